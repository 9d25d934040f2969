//! The endpoint: origin → bearer → body → era → method.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    body::MessageBody as _,
    http::{
        StatusCode,
        header::{self, HeaderMap},
    },
    web::{Bytes, BytesMut, Data, Payload},
};
use futures_util::StreamExt as _;
use trunkline_platform::{
    gateway::{self, Caller, Credential, Measure, Shown, Unauthenticated},
    handshake::{Fault, Hop, Told},
    ids::TenantId,
    oauth::{AccessToken, Proven},
    session as sessions,
};
use trunkline_protocol::{
    mcp::{Incoming, Notification, Request, Revision, classify},
    oauth::challenge::Challenge,
};

use super::{
    MAX_BODY,
    accept::{Accept, sends_json},
    bodies::{Bodies, Room},
    headers,
    methods::{self, Exchange},
    origin,
    place::Place,
    respond, session,
};
use crate::{
    WebState, doctor,
    extract::{client_address, client_certificate},
    middleware::request_id,
};

/// Longest time for a body to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// When to come again where too many bodies are here.
const CROWDED_MS: u64 = 1_000;
/// Longest `Authorization` that is read.
const MAX_AUTHORIZATION: usize = 8 * 1024;

/// One message.
pub(super) async fn post(state: Data<WebState>, place: Place, request: HttpRequest, mut payload: Payload) -> HttpResponse {
    let measure = Measure::start();
    // The room is the body's until it has been answered; a stream goes on without it.
    let (caller, measure, accept, (body, _room)) = match receive(&state, &place, &request, &mut payload, measure).await {
        Ok(received) => received,
        Err(refused) => return refused,
    };
    let incoming = match classify(&body, &headers::of_era(request.headers())) {
        Ok(incoming) => incoming,
        Err(rejection) => return respond::rejection(&rejection),
    };
    let request_id = request_id(&request);
    let mirrored = headers::mirrored(request.headers());
    let Ok(idempotency) = headers::idempotency(request.headers()) else {
        return respond::transport(400, "Idempotency-Key must be one value of 1 to 255 visible ASCII characters");
    };
    let trace = headers::trace(request.headers());
    let exchange = Exchange {
        state: &state,
        place: &place,
        accept,
        measure,
        request_id: &request_id,
        address: client_address(&state.settings, &request),
        bytes_in: body.len(),
        mirrored: &mirrored,
        idempotency,
        trace: trace.as_ref(),
    };
    let (credential, tenant) = (caller.credential.clone(), caller.snapshot.tenant);
    let response = take(&exchange, caller, incoming, request.headers()).await;
    if let (StatusCode::FORBIDDEN, Credential::Token(token)) = (response.status(), &credential) {
        tell_of_scope(&state, &request, tenant, token, &response);
    }
    response
}

/// Tells the doctor which scope was missing, if that is why. A client that asks for it goes on; one that does not is seen to have stopped.
fn tell_of_scope(state: &WebState, request: &HttpRequest, tenant: TenantId, token: &AccessToken, response: &HttpResponse) {
    let challenge = response.headers().get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some((_, scope)) = challenge.split_once(r#"error="insufficient_scope", scope=""#) else { return };
    let scope = scope.split('"').next().unwrap_or_default();
    let told = Told::failed(Hop::Call, Fault::InsufficientScope).because(format!("What it called needs {scope}."));
    doctor::tell_of(state, request, Some(tenant), told, Some(&token.client), Some(token.grant.to_string()));
}

/// Answers what came. What a session settled counts in the era that has sessions; the other one has never heard of them.
async fn take(exchange: &Exchange<'_>, caller: Caller, incoming: Incoming<'_>, headers: &HeaderMap) -> HttpResponse {
    let caller = match &incoming {
        Incoming::Request(message) if !message.revision.has_handshake() => caller,
        Incoming::Request(message) if message.method == "initialize" => caller,
        Incoming::Notification(_) if is_stateless(headers) => caller,
        _ => match session::in_session(exchange.state, caller, headers).await {
            Ok(caller) => caller,
            Err(refused) => return refused,
        },
    };
    let caller = match &incoming {
        // Admission says whether credential and session are still there, of everything. A request is admitted by its method.
        Incoming::Notification(_) | Incoming::Response(_) => match gateway::admit_list(&exchange.state.platform, caller).await {
            Ok(caller) => caller,
            Err(refusal) => return respond::refused_without_id(exchange.state, exchange.place, &refusal),
        },
        _ => caller,
    };
    match incoming {
        Incoming::Request(message) => methods::dispatch(exchange, caller.clone(), &settled(message, &caller)).await,
        Incoming::Notification(notification) => {
            notified(exchange, &caller, &notification).await;
            HttpResponse::Accepted().finish()
        }
        Incoming::Response(response) => match &caller.session {
            Some(session) => {
                gateway::deliver_answer(&exchange.state.platform, session, response.id, response.outcome).await;
                HttpResponse::Accepted().finish()
            }
            None => respond::transport(400, "without a session there is no request of ours that this could answer"),
        },
        Incoming::Batch(messages) => Box::pin(batch(exchange, &caller, messages)).await,
    }
}

/// A request in the revision that its session has settled on.
fn settled<'a>(message: Request<'a>, caller: &Caller) -> Request<'a> {
    let revision = caller.session.as_ref().map_or(message.revision, |session| session.revision);
    Request { revision, ..message }
}

fn is_stateless(headers: &HeaderMap) -> bool {
    headers::of_era(headers).protocol_version.and_then(Revision::find).is_some_and(|revision| !revision.has_handshake())
}

async fn notified(exchange: &Exchange<'_>, caller: &Caller, notification: &Notification<'_>) {
    if let ("notifications/cancelled", Some(session), Some(request)) =
        (&*notification.method, &caller.session, notification.params.request_id)
    {
        sessions::cancel(&exchange.state.platform, session, request.get()).await;
    }
}

/// One after the other, answered together. Each is admitted, charged and recorded as if it had come alone.
async fn batch(exchange: &Exchange<'_>, caller: &Caller, messages: Vec<Incoming<'_>>) -> HttpResponse {
    if caller.session.as_ref().is_some_and(|session| !session.revision.has_batches()) {
        return respond::transport(400, "batches are not accepted in this revision: send one message per request");
    }
    if exchange.idempotency.is_some() {
        return respond::transport(400, "an Idempotency-Key is for one call: send it without a batch");
    }
    let mut answers = Vec::new();
    for message in messages {
        match message {
            Incoming::Request(message) => {
                let alone = Exchange { accept: Accept::Json, ..*exchange };
                let response = methods::dispatch(&alone, caller.clone(), &settled(message, caller)).await;
                let body = response.into_body().try_into_bytes().unwrap_or_default();
                answers.push(String::from_utf8_lossy(&body).into_owned());
            }
            // Charged like any other; what is over the limit is left out, as nobody waits for its answer.
            Incoming::Notification(notification) => {
                if gateway::admit_list(&exchange.state.platform, caller.clone()).await.is_ok() {
                    notified(exchange, caller, &notification).await;
                }
            }
            Incoming::Response(response) => {
                if let Some(session) = &caller.session
                    && gateway::admit_list(&exchange.state.platform, caller.clone()).await.is_ok()
                {
                    gateway::deliver_answer(&exchange.state.platform, session, response.id, response.outcome).await;
                }
            }
            Incoming::Batch(_) => return respond::transport(400, "a batch has no batches"),
        }
    }
    if answers.is_empty() { HttpResponse::Accepted().finish() } else { respond::json(200, format!("[{}]", answers.join(","))) }
}

/// Whose message it is, and the message; else the answer to it.
async fn receive(
    state: &WebState,
    place: &Place,
    request: &HttpRequest,
    payload: &mut Payload,
    measure: Measure,
) -> Result<(Caller, Measure, Accept, (Bytes, Room)), HttpResponse> {
    let caller = caller(state, place, request).await?;
    let measure = measure.authenticated();
    if !sends_json(request.headers()) {
        return Err(respond::transport(415, "the body must be application/json"));
    }
    let accept = Accept::from_headers(request.headers());
    let accept = accept.ok_or_else(|| respond::transport(406, "answers are application/json or text/event-stream"))?;
    let body = read(payload, &state.bodies).await.map_err(|unread| match unread {
        Unread::Refused(status, reason) => respond::transport(status, reason),
        Unread::Crowded => respond::unavailable(None, CROWDED_MS),
    })?;
    Ok((caller, measure, accept, body))
}

/// OPTIONS. The bearer is asked for first, as everywhere on this URL.
pub(super) async fn not_allowed(state: Data<WebState>, place: Place, request: HttpRequest) -> HttpResponse {
    match caller(&state, &place, &request).await {
        Ok(_) => session::not_allowed(),
        Err(refused) => refused,
    }
}

/// Whose request this is, by origin and bearer; else the answer to it.
pub(super) async fn caller(state: &WebState, place: &Place, request: &HttpRequest) -> Result<Caller, HttpResponse> {
    if !origin::is_allowed(state, request) {
        return Err(respond::transport(403, "this origin may not use the endpoint"));
    }
    let caller = match identify(state, place, request).await {
        Ok(caller) => caller,
        Err((refused, fault)) => {
            if refused.status() == StatusCode::UNAUTHORIZED {
                doctor::challenged(state, request, &place.tenant, fault).await;
            }
            return Err(refused);
        }
    };
    if let Credential::Token(token) = &caller.credential
        && token.is_first_use()
    {
        let (tenant, grant) = (Some(caller.snapshot.tenant), Some(token.grant.to_string()));
        doctor::tell_of(state, request, tenant, Told::well(Hop::Call), Some(&token.client), grant);
    }
    Ok(caller)
}

/// The answer to a request of nobody, and what is wrong with what it showed, if it showed something.
type Unknown = (HttpResponse, Option<Fault>);

/// Whose request this is; else the answer to it.
async fn identify(state: &WebState, place: &Place, request: &HttpRequest) -> Result<Caller, Unknown> {
    let headers = request.headers();
    let (presented, certificate) = (headers.contains_key(header::AUTHORIZATION), client_certificate(state, request));
    let unauthorized = |challenge, fault| (respond::unauthorized(state, place, challenge), fault);
    let credential = credential(headers);
    if credential.is_none() && presented {
        return Err(unauthorized(Challenge::Invalid, Some(Fault::NotACredential)));
    }
    if credential.is_none() && certificate.is_none() {
        return Err(unauthorized(Challenge::Missing, None));
    }
    let url;
    let proof = match &credential {
        Some((Scheme::Proven, _)) => match single(headers, "dpop") {
            Some(proof) => {
                url = format!("{}{}", state.settings.origin(), request.path());
                Some(Proven { proof, method: request.method().as_str(), url: &url })
            }
            None => return Err(unauthorized(Challenge::Unproven, Some(Fault::NotProven))),
        },
        _ => None,
    };
    let shown = Shown { bearer: credential.map(|(_, token)| token), proof, certificate: certificate.as_ref() };
    let (slug, toolset) = (&*place.tenant, place.toolset.as_deref());
    match gateway::authenticate(&state.platform, slug, toolset, shown).await {
        Ok(caller) => Ok(caller),
        Err(Unauthenticated::Unavailable) => Err((respond::unavailable(None, 1_000), None)),
        // A certificate that means nothing here is no failure yet: most who have one go on to log in.
        Err(_) if !presented => Err(unauthorized(Challenge::Missing, None)),
        Err(why) => {
            let fault = gateway::why_refused(&state.platform, slug, toolset, shown, why).await;
            let challenge = if why == Unauthenticated::Unproven { Challenge::Unproven } else { Challenge::Invalid };
            Err(unauthorized(challenge, Some(fault)))
        }
    }
}

/// How a token is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Bearer,
    /// With a proof of possession (RFC 9449).
    Proven,
}

/// The only header of that name, as a text.
fn single<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name);
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() { None } else { Some(value) }
}

/// The token: one header, the scheme in any case, exactly one space, visible characters. Anything else is none.
fn credential(headers: &HeaderMap) -> Option<(Scheme, &str)> {
    let mut values = headers.get_all(header::AUTHORIZATION);
    let value = values.next().filter(|value| value.len() <= MAX_AUTHORIZATION)?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_once(' ')?;
    let is_token = !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b));
    let schemes = [("bearer", Scheme::Bearer), ("dpop", Scheme::Proven)];
    let (_, scheme) = schemes.into_iter().find(|(name, _)| scheme.eq_ignore_ascii_case(name)).filter(|_| is_token)?;
    Some((scheme, token))
}

/// Why there is no body.
enum Unread {
    /// The status and the reason.
    Refused(u16, &'static str),
    /// Too many are on their way.
    Crowded,
}

/// The body, up to its bound, in its time, and its part of the room that large ones share. Nothing is read beyond.
async fn read(payload: &mut Payload, bodies: &Bodies) -> Result<(Bytes, Room), Unread> {
    let whole = async {
        let (mut body, mut room) = (BytesMut::new(), bodies.room());
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| Unread::Refused(400, "the body was cut short"))?;
            if body.len() + chunk.len() > MAX_BODY {
                return Err(Unread::Refused(413, "the body is larger than 1 MiB"));
            }
            if !room.grow_to(body.len() + chunk.len()) {
                return Err(Unread::Crowded);
            }
            body.extend_from_slice(&chunk);
        }
        Ok((body.freeze(), room))
    };
    tokio::time::timeout(BODY_WITHIN, whole).await.unwrap_or(Err(Unread::Refused(408, "the body did not arrive in time")))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{AUTHORIZATION, HeaderValue};

    use super::*;

    fn read_bearer(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).expect("header"));
        }
        credential(&headers).map(|(_, token)| token.to_owned())
    }

    #[test]
    fn bearer_is_read_strictly() {
        assert_eq!(read_bearer(&["bEARER abc"]).as_deref(), Some("abc"));
        for values in [
            &["Bearer  abc"][..],
            &["Bearer\tabc"],
            &["Bearer"],
            &["Bearer "],
            &["Basic abc"],
            &["Bearer a b"],
            &["Bearer a", "Bearer b"],
            &[],
        ] {
            assert_eq!(read_bearer(values), None, "{values:?}");
        }
    }
}
