//! Tasks in Redis.

use redis::cmd;

use super::{KEPT_MS, MOST_PER_AGENT, Task};
use crate::{
    Platform,
    ids::{AgentId, TenantId},
    redis::Away,
};

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

pub(super) async fn put(platform: &Platform, tenant: TenantId, task: &Task) -> Result<(), Away> {
    let json = serde_json::to_string(task).unwrap_or_default();
    let age = (platform.clock.now() - task.created).num_milliseconds();
    // A task that ends late can still be read for a while.
    let left = i64::try_from(KEPT_MS).unwrap_or(i64::MAX).saturating_sub(age).max(60_000);
    platform.redis.command(cmd("SET").arg(key(platform, tenant, &task.id)).arg(json).arg("PX").arg(left)).await
}

pub(super) async fn find(platform: &Platform, tenant: TenantId, id: &str) -> Result<Option<Task>, Away> {
    if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Ok(None);
    }
    let json: Option<String> = platform.redis.command(cmd("GET").arg(key(platform, tenant, id))).await?;
    Ok(json.and_then(|json| serde_json::from_str(&json).ok()))
}
