//! Tasks in Redis.

use std::sync::LazyLock;

use redis::cmd;

use super::{KEPT_MS, MOST_PER_AGENT, Task};
use crate::{
    Platform,
    ids::{AgentId, TenantId},
    redis::{Away, Script},
};

static PUT: LazyLock<Script> = LazyLock::new(|| {
    // Keeps a task unless the one that is kept is over: what a client saw as the end stays the end. KEYS[1] the task. ARGV: the task, its
    // time left (ms), when its host must have been heard of last (or nothing).
    Script::new(
        "local kept = redis.call('GET', KEYS[1])
         local read, task = pcall(cjson.decode, kept or 'null')
         if read and type(task) == 'table' then
             if task.status == 'completed' or task.status == 'failed' or task.status == 'cancelled' then return 0 end
             if ARGV[3] ~= '' and task.heard ~= ARGV[3] then return 0 end
         end
         redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return 1",
    )
});

fn key(platform: &Platform, tenant: TenantId, id: &str) -> String {
    platform.redis.tenant_key(tenant, &format!("task:{id}"))
}

/// Is there room for one more of that agent? It is counted.
pub(super) async fn make_room(platform: &Platform, tenant: TenantId, agent: AgentId, id: &str) -> Result<bool, Away> {
    let list = platform.redis.tenant_key(tenant, &format!("tasks:{}", agent.uuid().simple()));
    let now = platform.clock.now().timestamp_millis();
    let kept = i64::try_from(KEPT_MS).unwrap_or(i64::MAX);
    platform.redis.command::<()>(cmd("ZREMRANGEBYSCORE").arg(&list).arg("-inf").arg(now - kept)).await?;
    if platform.redis.command::<i64>(cmd("ZCARD").arg(&list)).await? >= MOST_PER_AGENT {
        return Ok(false);
    }
    platform.redis.command::<()>(cmd("ZADD").arg(&list).arg(now).arg(id)).await?;
    platform.redis.command::<()>(cmd("PEXPIRE").arg(&list).arg(KEPT_MS)).await?;
    Ok(true)
}

/// Keeps it as it is now, unless it is over already.
pub(super) async fn put(platform: &Platform, tenant: TenantId, task: &Task) -> Result<(), Away> {
    put_if(platform, tenant, task, String::new()).await
}

/// The same, unless its host has been heard of since.
pub(super) async fn put_unheard(platform: &Platform, tenant: TenantId, task: &Task) -> Result<(), Away> {
    let heard = serde_json::to_value(task.heard).ok().and_then(|heard| heard.as_str().map(str::to_owned));
    put_if(platform, tenant, task, heard.unwrap_or_default()).await
}

async fn put_if(platform: &Platform, tenant: TenantId, task: &Task, heard: String) -> Result<(), Away> {
    let json = serde_json::to_string(task).unwrap_or_default();
    let age = (platform.clock.now() - task.created).num_milliseconds();
    // A task that ends late can still be read for a while.
    let left = i64::try_from(KEPT_MS).unwrap_or(i64::MAX).saturating_sub(age).max(60_000);
    let mut script = PUT.prepare_invoke();
    script.key(key(platform, tenant, &task.id)).arg(json).arg(left).arg(heard);
    platform.redis.run::<()>(&script).await
}

pub(super) async fn find(platform: &Platform, tenant: TenantId, id: &str) -> Result<Option<Task>, Away> {
    if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Ok(None);
    }
    let json: Option<String> = platform.redis.command(cmd("GET").arg(key(platform, tenant, id))).await?;
    Ok(json.and_then(|json| serde_json::from_str(&json).ok()))
}
