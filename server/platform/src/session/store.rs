//! Sessions in Redis: a hash per session, a sorted set per agent.

use std::sync::{LazyLock, RwLock};

use redis::cmd;
use trunkline_protocol::mcp::{LogLevel, Revision, capabilities::ClientCapabilities};

use super::{IDLE_S, MOST_PER_AGENT, Session, Stored, index_key, key};
use crate::{
    Platform,
    ids::TenantId,
    redis::{Away, Script},
};

/// Resources that one session may subscribe to.
pub const MAX_SUBSCRIPTIONS: usize = 100;

/// Longest URI of such a resource, in bytes.
pub const MAX_URI: usize = 2_048;

static BEGIN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("begin.lua")));
static SUBSCRIBE: LazyLock<Script> = LazyLock::new(|| {
    // One more subscription of a session that is there, if there is room. KEYS[1] the session. ARGV: field, most subscriptions.
    // Beside them a session has itself, and perhaps a level.
    Script::new(
        "if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
         local most = tonumber(ARGV[2]) + 1 + redis.call('HEXISTS', KEYS[1], 'l')
         if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 and redis.call('HLEN', KEYS[1]) >= most then return 0 end
         redis.call('HSET', KEYS[1], ARGV[1], '') return 1",
    )
});
static TOUCH: LazyLock<Script> = LazyLock::new(|| {
    // KEYS[1] the session, KEYS[2] its agent's sessions by last use. ARGV: id, idle time (s).
    Script::new(
        "if redis.call('EXPIRE', KEYS[1], ARGV[2]) == 0 then return 0 end
         redis.call('ZADD', KEYS[2], tonumber(redis.call('TIME')[1]), ARGV[1])
         redis.call('EXPIRE', KEYS[2], ARGV[2]) return 1",
    )
});
static SET_IF_THERE: LazyLock<Script> = LazyLock::new(|| {
    Script::new("if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end return 1")
});

pub(super) async fn insert(platform: &Platform, session: &Session) -> Result<(), Away> {
    let stored = Stored {
        a: session.agent,
        k: session.credential.clone(),
        v: session.revision.as_str().to_owned(),
        c: session.capabilities.to_json(),
        n: session.client_name.clone(),
    };
    let stored = serde_json::to_string(&stored).unwrap_or_default();
    let mut script = BEGIN.prepare_invoke();
    script
        .key(key(platform, session.tenant, &session.id))
        .key(index_key(platform, session.tenant, session.agent))
        .arg(&session.id)
        .arg(stored)
        .arg(IDLE_S)
        .arg(MOST_PER_AGENT);
    let ended: Vec<String> = platform.redis.run(&script).await?;
    if ended.is_empty() {
        return Ok(());
    }
    // One that is used before this is said counts among its agent's again.
    let keys: Vec<String> = ended.iter().map(|id| key(platform, session.tenant, id)).collect();
    platform.redis.command::<i64>(cmd("DEL").arg(keys)).await.map(drop)
}

pub(super) async fn find(platform: &Platform, tenant: TenantId, id: &str) -> Result<Option<Session>, Away> {
    let (stored, level): (Option<String>, Option<String>) =
        platform.redis.command(cmd("HMGET").arg(key(platform, tenant, id)).arg("s").arg("l")).await?;
    Ok(stored.and_then(|stored| read(tenant, id, &stored, level.as_deref())))
}

fn read(tenant: TenantId, id: &str, stored: &str, level: Option<&str>) -> Option<Session> {
    let stored: Stored = serde_json::from_str(stored).ok()?;
    Some(Session {
        id: id.to_owned(),
        tenant,
        agent: stored.a,
        credential: stored.k,
        revision: Revision::find(&stored.v)?,
        capabilities: ClientCapabilities::parse(&stored.c)?,
        client_name: stored.n,
        level: RwLock::new(level.and_then(|level| level.parse().ok())),
    })
}

/// Puts its end off; false if it has ended.
pub(super) async fn touch(platform: &Platform, session: &Session) -> Result<bool, Away> {
    let mut script = TOUCH.prepare_invoke();
    script
        .key(key(platform, session.tenant, &session.id))
        .key(index_key(platform, session.tenant, session.agent))
        .arg(&session.id)
        .arg(IDLE_S);
    platform.redis.run(&script).await
}

pub(super) async fn delete(platform: &Platform, session: &Session) -> Result<(), Away> {
    platform.redis.command::<()>(cmd("DEL").arg(key(platform, session.tenant, &session.id))).await?;
    platform.redis.command(cmd("ZREM").arg(index_key(platform, session.tenant, session.agent)).arg(&session.id)).await
}

pub(super) async fn set_log_level(platform: &Platform, session: &Session, level: LogLevel) -> Result<(), Away> {
    let mut script = SET_IF_THERE.prepare_invoke();
    script.key(key(platform, session.tenant, &session.id)).arg("l").arg(level.as_str());
    platform.redis.run(&script).await
}

pub(super) async fn subscribe(platform: &Platform, session: &Session, uri: &str) -> Result<bool, Away> {
    let mut script = SUBSCRIBE.prepare_invoke();
    script.key(key(platform, session.tenant, &session.id)).arg(format!("u:{uri}")).arg(MAX_SUBSCRIPTIONS);
    platform.redis.run(&script).await
}

pub(super) async fn unsubscribe(platform: &Platform, session: &Session, uri: &str) -> Result<(), Away> {
    platform.redis.command(cmd("HDEL").arg(key(platform, session.tenant, &session.id)).arg(format!("u:{uri}"))).await
}

pub(super) async fn subscriptions(platform: &Platform, session: &Session) -> Result<Vec<String>, Away> {
    let fields: Vec<String> = platform.redis.command(cmd("HKEYS").arg(key(platform, session.tenant, &session.id))).await?;
    Ok(fields.into_iter().filter_map(|field| field.strip_prefix("u:").map(str::to_owned)).collect())
}
