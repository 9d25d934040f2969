//! Sessions with upstreams of the handshake era. Each belongs to one link and one set of promises; it is opened once, however many calls want
//! it, used by all of them, and ended when nobody has used it for a while.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::StreamExt as _;
use reqwest::header::{HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tokio::{
    sync::Mutex as Turn,
    time::{Instant, timeout_at},
};
use trunkline_protocol::{
    jsonrpc,
    mcp::{
        HEADER_MISMATCH, LogLevel, MISSING_CAPABILITY, Revision, UNSUPPORTED_VERSION,
        headers::PROTOCOL_VERSION,
        lifecycle,
        object::{RawObject, json_string},
    },
};

use super::{
    Server, UpstreamError,
    conversation::{Conversation, Outcome},
    error::Fault,
    link::{Link, lock},
    wire::SESSION_ID,
};
use crate::dialogue::Dialogue;

/// Most sessions of this process.
const MOST: usize = 256;
/// Sessions that wait to be ended; beyond them the upstream's own expiry has to do.
const MOST_ENDING: usize = 1024;
/// Sessions that are ended at the same time.
const ENDED_TOGETHER: usize = 16;
/// Longest time for a goodbye.
const END_WITHIN: Duration = Duration::from_secs(2);

/// What a session is opened with. Callers whose clients can be asked the same share one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Setup {
    capabilities: String,
    level: Option<&'static str>,
}

/// An open session.
#[derive(Debug)]
pub(super) struct Session {
    id: Option<HeaderValue>,
    pub(super) server: Arc<Server>,
}

/// All sessions of this process.
#[derive(Debug, Default)]
pub(super) struct Pool {
    slots: Mutex<HashMap<(u64, Setup), Arc<Slot>>>,
    ending: Mutex<Vec<Ending>>,
}

/// The place of one session.
#[derive(Debug)]
struct Slot {
    link: Arc<Link>,
    /// One handshake at a time.
    opening: Turn<()>,
    state: Mutex<(Option<Arc<Session>>, Instant)>,
}

#[derive(Debug)]
struct Ending {
    link: Arc<Link>,
    session: Arc<Session>,
}

impl Setup {
    /// Only which kinds of questions the caller's client takes, so that there are few of them.
    pub(super) fn of(dialogue: &Dialogue) -> Self {
        let can = dialogue.capabilities();
        let mut capabilities = RawObject::default();
        match (can.elicitation_form(), can.elicitation_url()) {
            (false, false) => {}
            // What revisions from before the modes understand.
            (true, false) => capabilities.set("elicitation", "{}"),
            (false, true) => capabilities.set("elicitation", r#"{"url":{}}"#),
            (true, true) => capabilities.set("elicitation", r#"{"form":{},"url":{}}"#),
        }
        if can.sampling() {
            let all: Value = serde_json::from_str(&can.to_json()).unwrap_or_default();
            let with_tools = all["sampling"]["tools"].is_object();
            capabilities.set("sampling", if with_tools { r#"{"tools":{}}"# } else { "{}" });
        }
        if can.roots() {
            capabilities.set("roots", "{}");
        }
        Self { capabilities: capabilities.to_json(), level: dialogue.log_level().map(LogLevel::as_str) }
    }
}

impl Session {
    /// Headers of every message in it.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(id) = &self.id {
            headers.insert(SESSION_ID, id.clone());
        }
        if self.server.revision.has_version_header() {
            headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(self.server.revision.as_str()));
        }
        headers
    }

    /// Can it be forgotten over there?
    pub(super) fn has_id(&self) -> bool {
        self.id.is_some()
    }

    /// Says goodbye. Whoever forgot the session already has nothing to end.
    pub(super) async fn end(&self, link: &Link) {
        if self.has_id()
            && let Err(error) = link.wire.delete(self.headers(), Instant::now() + END_WITHIN).await
        {
            tracing::debug!(%error, "a session with an upstream is not ended");
        }
    }
}

impl Pool {
    /// The session of that link for these promises; opened if there is none.
    pub(super) async fn obtain(&self, link: &Arc<Link>, setup: &Setup, deadline: Instant) -> Result<Arc<Session>, Fault> {
        let slot = self.slot(link, setup)?;
        if let Some(session) = slot.current() {
            return Ok(session);
        }
        let _turn = timeout_at(deadline, slot.opening.lock()).await.map_err(|_| UpstreamError::Timeout)?;
        if let Some(session) = slot.current() {
            return Ok(session);
        }
        let session = Arc::new(open(link, setup, deadline).await?);
        lock(&slot.state).0 = Some(Arc::clone(&session));
        Ok(session)
    }

    /// A session that is not known over there any more. The next caller opens another.
    pub(super) fn forget(&self, link: &Link, setup: &Setup, gone: &Arc<Session>) {
        if let Some(slot) = lock(&self.slots).get(&(link.number, setup.clone())) {
            let mut state = lock(&slot.state);
            if state.0.as_ref().is_some_and(|session| Arc::ptr_eq(session, gone)) {
                state.0 = None;
            }
        }
    }

    /// Drops what nobody has used for so long, and says goodbye to all that was dropped.
    pub(super) async fn sweep(&self, idle: Duration) {
        self.drop_where(|slot| slot.is_free() && slot.idle() >= idle);
        let ending = std::mem::take(&mut *lock(&self.ending));
        futures_util::stream::iter(ending)
            .for_each_concurrent(ENDED_TOGETHER, |ending| async move { ending.session.end(&ending.link).await })
            .await;
    }

    /// Drops what belongs to links that are no longer wanted. Calls that run keep their session to their end.
    pub(super) fn drop_links(&self, is_unwanted: impl Fn(&Link) -> bool) {
        self.drop_where(|slot| is_unwanted(&slot.link));
    }

    /// Does the link have a session?
    pub(super) fn has_any(&self, link: &Link) -> bool {
        lock(&self.slots).keys().any(|(number, _)| *number == link.number)
    }

    fn slot(&self, link: &Arc<Link>, setup: &Setup) -> Result<Arc<Slot>, UpstreamError> {
        let key = (link.number, setup.clone());
        let mut slots = lock(&self.slots);
        if let Some(slot) = slots.get(&key) {
            lock(&slot.state).1 = Instant::now();
            return Ok(Arc::clone(slot));
        }
        if slots.len() >= MOST {
            let free = slots.iter().filter(|(_, slot)| slot.is_free());
            let oldest = free.max_by_key(|(_, slot)| slot.idle()).map(|(key, _)| key.clone()).ok_or(UpstreamError::Busy)?;
            if let Some(slot) = slots.remove(&oldest) {
                self.end_later(&slot);
            }
        }
        let state = Mutex::new((None, Instant::now()));
        let slot = Arc::new(Slot { link: Arc::clone(link), opening: Turn::default(), state });
        slots.insert(key, Arc::clone(&slot));
        Ok(slot)
    }

    fn drop_where(&self, is_unwanted: impl Fn(&Arc<Slot>) -> bool) {
        lock(&self.slots).retain(|_, slot| {
            let is_unwanted = is_unwanted(slot);
            if is_unwanted {
                self.end_later(slot);
            }
            !is_unwanted
        });
    }

    fn end_later(&self, slot: &Slot) {
        let Some(session) = lock(&slot.state).0.take().filter(|session| session.has_id()) else { return };
        let mut ending = lock(&self.ending);
        if ending.len() < MOST_ENDING {
            ending.push(Ending { link: Arc::clone(&slot.link), session });
        }
    }
}

impl Slot {
    fn current(&self) -> Option<Arc<Session>> {
        lock(&self.state).0.clone()
    }

    /// Neither used nor being opened. Asked under the pool's lock, so that nobody can begin meanwhile.
    fn is_free(self: &Arc<Self>) -> bool {
        let used = lock(&self.state).0.as_ref().is_some_and(|session| Arc::strong_count(session) > 1);
        !used && Arc::strong_count(self) == 1
    }

    fn idle(&self) -> Duration {
        lock(&self.state).1.elapsed()
    }
}

/// The handshake.
pub(super) async fn open(link: &Link, setup: &Setup, deadline: Instant) -> Result<Session, Fault> {
    let id = link.next_id();
    let body = jsonrpc::request(&id, "initialize", &handshake(&setup.capabilities));
    let answer = timeout_at(deadline, link.wire.post(HeaderMap::new(), body, deadline)).await;
    let mut answer = answer.map_err(|_| UpstreamError::Timeout)??;
    if !answer.is_success() {
        let refusal = answer.refusal(deadline).await?;
        let (code, error) = (refusal.code(), refusal.as_error());
        return Err(if is_other_era(code, refusal.status) { Fault::OtherEra(error, None) } else { error.into() });
    }
    let session_id = answer.session.take();
    let result = converse(link, &id, None, answer, deadline).await?.map_err(|error| {
        let refused = UpstreamError::Broken("it refuses the handshake");
        if is_other_era(Some(error.code), 200) { Fault::OtherEra(refused, None) } else { refused.into() }
    })?;
    let session = Session { id: session_id, server: Arc::new(read(&result)?) };
    let body = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned();
    let answer = timeout_at(deadline, link.wire.post(session.headers(), body, deadline)).await;
    let answer = answer.map_err(|_| UpstreamError::Timeout)??;
    if !answer.is_success() {
        return Err(answer.refusal(deadline).await?.as_error().into());
    }
    if let Some(level) = setup.level.filter(|_| session.server.has("logging")) {
        let id = link.next_id();
        let body = jsonrpc::request(&id, "logging/setLevel", &format!("{{\"level\":{}}}", json_string(level)));
        let answer = timeout_at(deadline, link.wire.post(session.headers(), body, deadline)).await;
        let answer = answer.map_err(|_| UpstreamError::Timeout)??;
        if answer.is_success() {
            // A server that does not take the level sends what it likes; the caller's own level filters it.
            let _ = converse(link, &id, Some(session.headers()), answer, deadline).await?;
        }
    }
    Ok(session)
}

/// `params` of `initialize`.
fn handshake(capabilities: &str) -> String {
    let version = json_string(Revision::LATEST_WITH_HANDSHAKE.as_str());
    format!(r#"{{"protocolVersion":{version},"capabilities":{capabilities},"clientInfo":{}}}"#, lifecycle::server_info())
}

async fn converse(
    link: &Link,
    id: &str,
    session: Option<HeaderMap>,
    answer: super::wire::Answer,
    deadline: Instant,
) -> Result<Outcome, Fault> {
    let dialogue = Dialogue::silent();
    Conversation { id, dialogue: &dialogue, wire: &link.wire, session, deadline }.answer(answer).await
}

/// Would a server of the stateless era say so to a message of this one? Here errors in the protocol have status 200.
pub(super) fn is_other_era(code: Option<i64>, status: u16) -> bool {
    match code {
        Some(HEADER_MISMATCH | MISSING_CAPABILITY | UNSUPPORTED_VERSION) => true,
        Some(jsonrpc::METHOD_NOT_FOUND) => status == 404,
        Some(jsonrpc::INVALID_PARAMS) => status == 400,
        _ => false,
    }
}

/// What the upstream says of itself.
fn read(result: &RawValue) -> Result<Server, UpstreamError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Initialized {
        protocol_version: String,
        #[serde(default)]
        capabilities: Option<Box<RawValue>>,
        #[serde(default)]
        server_info: Option<Box<RawValue>>,
        #[serde(default)]
        instructions: Option<String>,
    }
    let broken = UpstreamError::Broken("its answer to the handshake cannot be read");
    let read: Initialized = serde_json::from_str(result.get()).map_err(|_| broken)?;
    let revision = Revision::find(&read.protocol_version).filter(|revision| revision.has_handshake());
    Ok(Server {
        revision: revision.ok_or(UpstreamError::Broken("it answers the handshake with a revision that is not spoken here"))?,
        info: read.server_info,
        capabilities: read.capabilities,
        instructions: read.instructions,
    })
}
