//! The session of a client with a handshake: how it was begun, so that it can be begun again, and what it had set.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use reqwest::header::{HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use trunkline_protocol::mcp::{Params, Revision, headers::PROTOCOL_VERSION};

use super::{
    ask::{ask, tell},
    endpoint::Endpoint,
    failure::Failure,
    headers::{self, SESSION},
    message::Request,
};
use crate::terminal;

/// Settings of a session that are made again with it.
const MOST_KEPT: usize = 1_000;
/// Longest time for its end.
const END_WITHIN: Duration = Duration::from_secs(3);

/// A session, or a handshake that settled a revision without one.
#[derive(Debug)]
pub(super) struct Session {
    id: Option<HeaderValue>,
    revision: String,
}

impl Session {
    pub(super) fn new(id: Option<HeaderValue>, revision: &str) -> Self {
        Self { id, revision: revision.to_owned() }
    }

    /// Adds its headers.
    pub(super) fn stamp(&self, headers: &mut HeaderMap) {
        if let Some(id) = &self.id {
            headers.insert(SESSION, id.clone());
        }
        if Revision::find(&self.revision).is_none_or(Revision::has_version_header) {
            headers::put(headers, PROTOCOL_VERSION, &self.revision);
        }
    }

    /// Only those.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        self.stamp(&mut headers);
        headers
    }

    /// Can the endpoint lose it?
    pub(super) fn can_be_lost(&self) -> bool {
        self.id.is_some()
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    begun_with: Option<Box<RawValue>>,
    session: Option<Arc<Session>>,
    /// Method and parameters of what was set in it.
    kept: BTreeMap<String, (&'static str, Box<RawValue>)>,
}

/// The one session at a time. Whoever asks for it waits while it is begun.
#[derive(Debug)]
pub(super) struct Sessions {
    endpoint: Endpoint,
    state: Arc<Mutex<State>>,
    open: watch::Sender<Option<Arc<Session>>>,
}

/// A handshake that is under way.
pub(super) struct Beginning(OwnedMutexGuard<State>);

impl Sessions {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, state: Arc::default(), open: watch::Sender::new(None) }
    }

    /// The client shakes hands: what follows waits for the outcome.
    pub(super) async fn begin(&self) -> Beginning {
        let mut state = Arc::clone(&self.state).lock_owned().await;
        *state = State::default();
        self.open.send_replace(None);
        Beginning(state)
    }

    /// The session, if there is one.
    pub(super) async fn current(&self) -> Option<Arc<Session>> {
        self.state.lock().await.session.clone()
    }

    /// The client has said that it is ready: the stream of the session can be opened.
    pub(super) fn is_ready(&self, session: Option<Arc<Session>>) {
        self.open.send_replace(session);
    }

    /// The session whose stream is to be open.
    pub(super) fn to_listen(&self) -> watch::Receiver<Option<Arc<Session>>> {
        self.open.subscribe()
    }

    /// Begins again, once for all that lost the same session.
    pub(super) async fn renew(&self, lost: &Arc<Session>) -> Result<Arc<Session>, Failure> {
        let mut state = self.state.lock().await;
        match (&state.session, &state.begun_with) {
            (Some(session), _) if !Arc::ptr_eq(session, lost) => Ok(Arc::clone(session)),
            (_, None) => Err(Failure::Answered("it was never begun".to_owned())),
            (_, Some(params)) => {
                let session = Arc::new(self.shake_hands(params).await?);
                for (method, params) in state.kept.values() {
                    if let Err(failure) = ask(&self.endpoint, Some(&session), method, params.get()).await {
                        terminal::complain(format!("connect: {method} could not be repeated: {}", failure.line()));
                    }
                }
                state.session = Some(Arc::clone(&session));
                self.open.send_replace(Some(Arc::clone(&session)));
                terminal::complain("connect: the session had ended and was begun again");
                Ok(session)
            }
        }
    }

    async fn shake_hands(&self, params: &RawValue) -> Result<Session, Failure> {
        let asked = ask(&self.endpoint, None, "initialize", params.get()).await?;
        let session = settled(asked.session, &asked.result).ok_or(Failure::Broken)?;
        tell(&self.endpoint, &session, "notifications/initialized").await?;
        Ok(session)
    }

    /// What a client set in its session, and would have to set again in a new one.
    pub(super) async fn keep(&self, request: &Request) {
        let Some(params) = &request.params else { return };
        let uri = || {
            let read = Params::read(Some(params)).unwrap_or_default();
            format!("resource {}", read.uri.unwrap_or_default())
        };
        let mut state = self.state.lock().await;
        match request.method.as_str() {
            "logging/setLevel" => {
                state.kept.insert("level".to_owned(), ("logging/setLevel", params.clone()));
            }
            "resources/subscribe" if state.kept.len() < MOST_KEPT => {
                state.kept.insert(uri(), ("resources/subscribe", params.clone()));
            }
            "resources/unsubscribe" => {
                state.kept.remove(&uri());
            }
            _ => {}
        }
    }

    /// Ends it at the endpoint too.
    pub(super) async fn end(&self) {
        let end = async {
            let Some(session) = self.current().await.filter(|session| session.can_be_lost()) else { return };
            // One that does not answer lets it expire.
            let _ = self.endpoint.delete(session.headers()).await;
        };
        let _ = tokio::time::timeout(END_WITHIN, end).await;
    }
}

impl Beginning {
    /// The handshake is answered.
    pub(super) fn settle(mut self, request: &Request, id: Option<HeaderValue>, result: &RawValue) {
        self.0.session = settled(id, result).map(Arc::new);
        self.0.begun_with.clone_from(&request.params);
    }
}

/// What a handshake settled, by the header and the result of its answer.
pub(super) fn settled(id: Option<HeaderValue>, result: &RawValue) -> Option<Session> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Settled {
        protocol_version: String,
    }
    let Settled { protocol_version } = serde_json::from_str(result.get()).ok()?;
    Some(Session::new(id, &protocol_version))
}
