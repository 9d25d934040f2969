//! GET and DELETE: the stream of a session, and its end. The stateless era has neither.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderMap, HeaderValue},
    web::Data,
};
use trunkline_platform::{
    gateway::{self, Caller, SessionRefused},
    session::{self as sessions, Session},
};
use trunkline_protocol::mcp::{Revision, headers::PROTOCOL_VERSION};

use super::{
    accept::Accept,
    endpoint,
    headers::{self, LAST_EVENT, SESSION},
    listen,
    place::Place,
    respond,
};
use crate::WebState;

/// Opens the stream of a session, or goes on with one that was cut.
pub(super) async fn stream(state: Data<WebState>, place: Place, request: HttpRequest) -> HttpResponse {
    let (caller, session) = match session_of(&state, &place, &request).await {
        Ok(found) => found,
        Err(refused) => return refused,
    };
    if !matches!(Accept::from_headers(request.headers()), Some(Accept::Either | Accept::EventStream)) {
        return respond::transport(406, "this stream is text/event-stream");
    }
    let caller = match gateway::admit_list(&state.platform, caller).await {
        Ok(caller) => caller,
        Err(refusal) => return respond::refused_without_id(&state, &place, &refusal),
    };
    match headers::value(request.headers(), LAST_EVENT) {
        Some(last) => listen::resume(&state.platform, caller, session, last).await,
        None => listen::stream_of(&state.platform, caller, session).await,
    }
}

/// Ends a session, on every replica.
pub(super) async fn end(state: Data<WebState>, place: Place, request: HttpRequest) -> HttpResponse {
    let (caller, session) = match session_of(&state, &place, &request).await {
        Ok(found) => found,
        Err(refused) => return refused,
    };
    // Says whether credential and session are still there.
    if let Err(refusal) = gateway::admit_list(&state.platform, caller).await {
        return respond::refused_without_id(&state, &place, &refusal);
    }
    match sessions::end(&state.platform, &session).await {
        Ok(()) => HttpResponse::NoContent().finish(),
        Err(_) => respond::unavailable(None, 1_000),
    }
}

/// Whose request it is, and in which session; else the answer to it.
async fn session_of(state: &WebState, place: &Place, request: &HttpRequest) -> Result<(Caller, Arc<Session>), HttpResponse> {
    let caller = endpoint::caller(state, place, request).await?;
    let revision = headers::value(request.headers(), PROTOCOL_VERSION);
    match revision.map(Revision::find) {
        Some(None) => return Err(respond::transport(400, "this protocol version is not supported")),
        Some(Some(revision)) if !revision.has_handshake() => return Err(not_allowed()),
        _ => {}
    }
    let caller = in_session(state, caller, request.headers()).await?;
    match caller.session.clone() {
        Some(session) => Ok((caller, session)),
        None => Err(not_allowed()),
    }
}

/// The caller in the session that its headers name, if they name one.
pub(super) async fn in_session(state: &WebState, caller: Caller, headers: &HeaderMap) -> Result<Caller, HttpResponse> {
    if !headers.contains_key(SESSION) {
        return Ok(caller);
    }
    // What is no text is nobody's session.
    let id = headers::value(headers, SESSION).unwrap_or_default();
    caller.in_session(&state.platform, id).await.map_err(|refused| match refused {
        SessionRefused::NotFound => no_session(),
        SessionRefused::Unavailable => respond::unavailable(None, 1_000),
    })
}

pub(super) fn no_session() -> HttpResponse {
    respond::transport(404, "there is no such session (any more): begin again with initialize")
}

/// Without a session there is no stream to open and none to end.
pub(super) fn not_allowed() -> HttpResponse {
    let mut response = respond::transport(405, "send messages by POST");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}
