//! A session with an upstream of the handshake era: what it is opened with, the handshake, and its end.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

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
    conversation::{Conversation, Outcome, Posted},
    error::Fault,
    link::Link,
    standalone::Standalone,
    wire::SESSION_ID,
};
use crate::dialogue::Dialogue;

/// Longest time for a goodbye.
const END_WITHIN: Duration = Duration::from_secs(2);

/// What a session is opened with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Setup {
    capabilities: String,
    /// Somebody listens to its log. Which levels is not said here: the caller's own level filters them, and there are few setups.
    is_logged: bool,
}

/// An open session.
#[derive(Debug)]
pub(super) struct Session {
    id: Option<HeaderValue>,
    pub(super) server: Arc<Server>,
    /// Open where a caller can be asked, and read by the call that has the session.
    pub(super) standalone: Turn<Standalone>,
}

impl Setup {
    /// For a session in which nobody can be asked anything.
    pub(super) fn without_questions(&self) -> Self {
        Self { capabilities: "{}".to_owned(), is_logged: self.is_logged }
    }

    /// Can a caller be asked in it? Then it is lent to one call at a time, so that there is no doubt whose question it is.
    pub(super) fn has_questions(&self) -> bool {
        self.capabilities != "{}"
    }

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
        Self { capabilities: capabilities.to_json(), is_logged: dialogue.log_level().is_some() }
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
    let server = Arc::new(read(&result)?);
    let mut session = Session { id: session_id, server, standalone: Turn::new(Standalone::none()) };
    let body = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned();
    let answer = timeout_at(deadline, link.wire.post(session.headers(), body, deadline)).await;
    let answer = answer.map_err(|_| UpstreamError::Timeout)??;
    if !answer.is_success() {
        return Err(answer.refusal(deadline).await?.as_error().into());
    }
    if setup.is_logged && session.server.has("logging") {
        let id = link.next_id();
        let body = jsonrpc::request(&id, "logging/setLevel", &format!("{{\"level\":{}}}", json_string(LogLevel::Debug.as_str())));
        let answer = timeout_at(deadline, link.wire.post(session.headers(), body, deadline)).await;
        let answer = answer.map_err(|_| UpstreamError::Timeout)??;
        if answer.is_success() {
            // A server that does not take the level sends what it likes.
            let _ = converse(link, &id, Some(session.headers()), answer, deadline).await?;
        }
    }
    if setup.has_questions() && session.has_id() && !link.has_no_stream.load(Ordering::Relaxed) {
        let standalone = Standalone::open(&link.wire, session.headers()).await;
        link.has_no_stream.store(!standalone.is_there(), Ordering::Relaxed);
        session.standalone = Turn::new(standalone);
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
    Conversation { id, dialogue: &dialogue, wire: &link.wire, session, deadline }
        .answer(std::future::ready(Ok(Posted::Answer(answer.messages))), None)
        .await
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
