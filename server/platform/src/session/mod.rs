//! Sessions of the revisions that have a handshake. They live in Redis, so every replica knows them and none owns them; a session names its
//! agent and its credential and is no authentication by itself. Bounded per agent, gone after an idle time.

mod in_flight;
mod log;
mod store;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use serde::{Deserialize, Serialize};
use trunkline_protocol::mcp::{LogLevel, Revision, capabilities::ClientCapabilities};

pub use in_flight::{InFlight, Running, cancel, run};
pub use log::{EventId, LoggedEvent, Newest, StreamLog, newest, replay};
pub use store::{MAX_SUBSCRIPTIONS, MAX_URI};

use crate::{
    Platform,
    bus::{self, Word},
    ids::{AgentId, TenantId},
    quota::SessionKeys,
    redis::Away,
};

/// A session that is not used for this long ends, in seconds.
pub const IDLE_S: u64 = 4 * 3600;
/// Sessions of one agent. Beginning one more ends the one that was used least recently.
pub const MOST_PER_AGENT: usize = 1_000;
/// Sessions that a replica remembers, so that it need not ask for what never changes.
const MOST_REMEMBERED: usize = 50_000;
/// Largest capabilities that are kept, in bytes of JSON.
const MAX_CAPABILITIES: usize = 1_024;
/// Characters of a session's id: 190 bits.
const ID_LENGTH: usize = 32;

/// What `initialize` settled. Only the log level changes later.
#[derive(Debug)]
pub struct Session {
    /// Unguessable.
    pub id: String,
    /// Whose.
    pub tenant: TenantId,
    /// Whose.
    pub agent: AgentId,
    /// Whose credential it was begun with: another key, client or person of the same agent is another client.
    pub credential: String,
    /// The revision.
    pub revision: Revision,
    /// What the client can be asked.
    pub capabilities: ClientCapabilities,
    /// What the client says it is.
    pub client_name: String,
    level: RwLock<Option<LogLevel>>,
}

impl Session {
    /// From which level on the client wants log messages, if it has said so.
    pub fn log_level(&self) -> Option<LogLevel> {
        *self.level.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_log_level(&self, level: LogLevel) {
        *self.level.write().unwrap_or_else(PoisonError::into_inner) = Some(level);
    }

    /// Its keys, for admission.
    pub(crate) fn keys(&self, platform: &Platform) -> SessionKeys {
        SessionKeys {
            id: self.id.clone(),
            session: key(platform, self.tenant, &self.id),
            index: index_key(platform, self.tenant, self.agent),
            idle_s: IDLE_S,
        }
    }
}

/// As it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    a: AgentId,
    k: String,
    v: String,
    c: String,
    n: String,
}

/// Where a session is in Redis. Tests and admission need it.
pub(crate) fn key(platform: &Platform, tenant: TenantId, id: &str) -> String {
    platform.redis.tenant_key(tenant, &format!("s:{id}"))
}

/// Where an agent's sessions are listed by last use.
pub(crate) fn index_key(platform: &Platform, tenant: TenantId, agent: AgentId) -> String {
    platform.redis.tenant_key(tenant, &format!("sa:{}", agent.uuid().simple()))
}

/// The sessions that were used on this replica lately.
#[derive(Debug, Default)]
pub struct Sessions(RwLock<HashMap<(TenantId, String), Arc<Session>>>);

impl Sessions {
    fn remember(&self, session: &Arc<Session>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_REMEMBERED {
            known.clear();
        }
        known.insert((session.tenant, session.id.clone()), Arc::clone(session));
    }

    fn known(&self, tenant: TenantId, id: &str) -> Option<Arc<Session>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&(tenant, id.to_owned())).cloned()
    }

    fn forget(&self, tenant: TenantId, id: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&(tenant, id.to_owned()));
    }
}

/// What a new session is made of.
#[derive(Debug, Clone)]
pub struct NewSession<'a> {
    /// Whose.
    pub tenant: TenantId,
    /// Whose.
    pub agent: AgentId,
    /// The credential.
    pub credential: &'a str,
    /// The revision.
    pub revision: Revision,
    /// What the client can be asked. What is larger than 1 KiB is reduced to what can be asked at all, or to nothing.
    pub capabilities: ClientCapabilities,
    /// What the client says it is.
    pub client_name: &'a str,
}

/// A word that tells one stream of a session from another.
pub fn mark() -> String {
    crate::random::base62(12)
}

/// Begins a session.
pub async fn begin(platform: &Platform, new: NewSession<'_>) -> Result<Arc<Session>, Away> {
    let mut capabilities = new.capabilities.askable();
    if capabilities.to_json().len() > MAX_CAPABILITIES {
        capabilities = ClientCapabilities::default();
    }
    let session = Arc::new(Session {
        id: crate::random::base62(ID_LENGTH),
        tenant: new.tenant,
        agent: new.agent,
        credential: new.credential.to_owned(),
        revision: new.revision,
        capabilities,
        client_name: new.client_name.to_owned(),
        level: RwLock::default(),
    });
    store::insert(platform, &session).await?;
    platform.sessions.remember(&session);
    Ok(session)
}

/// The session of that id, if it is this agent's and was begun with this credential. What is remembered may have ended meanwhile: admission
/// says so.
pub async fn find(
    platform: &Platform,
    tenant: TenantId,
    agent: AgentId,
    credential: &str,
    id: &str,
) -> Result<Option<Arc<Session>>, Away> {
    if id.len() != ID_LENGTH || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Ok(None);
    }
    let mut session = platform.sessions.known(tenant, id);
    if session.is_none() {
        session = store::find(platform, tenant, id).await?.map(Arc::new);
        if let Some(session) = &session {
            platform.sessions.remember(session);
        }
    }
    Ok(session.filter(|session| session.agent == agent && session.credential == credential))
}

/// Is it still there? Asked where admission does not.
pub async fn is_alive(platform: &Platform, session: &Session) -> Result<bool, Away> {
    let alive = store::touch(platform, session).await?;
    if !alive {
        platform.sessions.forget(session.tenant, &session.id);
    }
    Ok(alive)
}

/// Ends it, everywhere.
pub async fn end(platform: &Platform, session: &Session) -> Result<(), Away> {
    platform.sessions.forget(session.tenant, &session.id);
    store::delete(platform, session).await?;
    let word = Word::SessionEnded { tenant: session.tenant.uuid(), session: session.id.clone() };
    // A replica that does not hear it finds out when it looks.
    let _ = bus::say(platform, word).await;
    Ok(())
}

/// Admission has found that it has ended.
pub(crate) fn has_ended(platform: &Platform, session: &Session) {
    platform.sessions.forget(session.tenant, &session.id);
}

/// From which level on the client wants log messages, on every replica.
pub async fn set_log_level(platform: &Platform, session: &Session, level: LogLevel) -> Result<(), Away> {
    store::set_log_level(platform, session, level).await?;
    session.note_log_level(level);
    let word = Word::LogLevel { tenant: session.tenant.uuid(), session: session.id.clone(), level: level.as_str().to_owned() };
    // Another replica that does not hear it learns it when it meets the session anew.
    let _ = bus::say(platform, word).await;
    Ok(())
}

/// Adds a resource to what the client wants to hear of; false if there are `MAX_SUBSCRIPTIONS` already.
pub async fn subscribe(platform: &Platform, session: &Session, uri: &str) -> Result<bool, Away> {
    let is_subscribed = store::subscribe(platform, session, uri).await?;
    if is_subscribed {
        say_changed(platform, session).await;
    }
    Ok(is_subscribed)
}

/// Tells the replica that has the session's stream.
async fn say_changed(platform: &Platform, session: &Session) {
    let word = Word::SubscriptionsChanged { tenant: session.tenant.uuid(), session: session.id.clone() };
    // A replica that does not hear it finds out when it looks.
    let _ = bus::say(platform, word).await;
}

/// Takes it out.
pub async fn unsubscribe(platform: &Platform, session: &Session, uri: &str) -> Result<(), Away> {
    store::unsubscribe(platform, session, uri).await?;
    say_changed(platform, session).await;
    Ok(())
}

/// What the client wants to hear of.
pub async fn subscriptions(platform: &Platform, session: &Session) -> Result<Vec<String>, Away> {
    store::subscriptions(platform, session).await
}
