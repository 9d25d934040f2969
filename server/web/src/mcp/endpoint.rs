//! The endpoint: origin → bearer → body → era → method.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderMap},
    web::{Bytes, BytesMut, Data, Path, Payload},
};
use futures_util::StreamExt as _;
use trunkline_platform::gateway::{self, Caller, Measure, Unauthenticated};
use trunkline_protocol::mcp::{
    Incoming, classify,
    headers::{METHOD, McpHeaders, NAME, PROTOCOL_VERSION},
};

use super::{
    MAX_BODY,
    accept::{Accept, sends_json},
    methods::{self, Exchange},
    origin, respond,
};
use crate::{WebState, middleware::request_id};

/// Longest time for a body to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Longest `Authorization` that is read.
const MAX_AUTHORIZATION: usize = 8 * 1024;

/// One message.
pub(super) async fn post(
    state: Data<WebState>,
    tenant: Path<String>,
    request: HttpRequest,
    mut payload: Payload,
) -> HttpResponse {
    let measure = Measure::start();
    let (caller, measure, accept, body) = match receive(&state, &tenant, &request, &mut payload, measure).await {
        Ok(received) => received,
        Err(mut refused) => {
            // Nobody reads the rest. While the answer holds it, the server closes the connection; once dropped, a body in chunks would be
            // read to its end, however long that is.
            refused.extensions_mut().insert(payload);
            return refused;
        }
    };
    match classify(&body, &mcp_headers(request.headers())) {
        Err(rejection) => respond::rejection(&rejection),
        Ok(Incoming::Notification(_)) => HttpResponse::Accepted().finish(),
        Ok(Incoming::Response(_) | Incoming::Batch(_)) => respond::transport(400, "send one request or notification"),
        Ok(Incoming::Request(message)) => {
            let request_id = request_id(&request);
            let exchange =
                Exchange { state: &state, tenant: &tenant, accept, measure, request_id: &request_id, bytes_in: body.len() };
            methods::dispatch(&exchange, caller, &message).await
        }
    }
}

/// Whose message it is, and the message; else the answer to it.
async fn receive(
    state: &WebState,
    tenant: &str,
    request: &HttpRequest,
    payload: &mut Payload,
    measure: Measure,
) -> Result<(Caller, Measure, Accept, Bytes), HttpResponse> {
    if !origin::is_allowed(state, request) {
        return Err(respond::transport(403, "this origin may not use the endpoint"));
    }
    let caller = identify(state, tenant, request.headers()).await?;
    let measure = measure.authenticated();
    if !sends_json(request.headers()) {
        return Err(respond::transport(415, "the body must be application/json"));
    }
    let accept = Accept::from_headers(request.headers());
    let accept = accept.ok_or_else(|| respond::transport(406, "answers are application/json or text/event-stream"))?;
    let body = read(payload).await.map_err(|(status, reason)| respond::transport(status, reason))?;
    Ok((caller, measure, accept, body))
}

/// GET, DELETE, OPTIONS. The bearer is asked for first, as everywhere on this URL.
pub(super) async fn not_allowed(state: Data<WebState>, tenant: Path<String>, request: HttpRequest) -> HttpResponse {
    if !origin::is_allowed(&state, &request) {
        return respond::transport(403, "this origin may not use the endpoint");
    }
    if let Err(response) = identify(&state, &tenant, request.headers()).await {
        return response;
    }
    let mut response = respond::transport(405, "send messages by POST");
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("POST"));
    response
}

/// Whose request this is; else the answer to it.
async fn identify(state: &WebState, tenant: &str, headers: &HeaderMap) -> Result<Caller, HttpResponse> {
    let Some(bearer) = bearer(headers) else {
        return Err(respond::unauthorized(state, tenant, headers.contains_key(header::AUTHORIZATION)));
    };
    match gateway::authenticate(&state.platform, tenant, bearer).await {
        Ok(caller) => Ok(caller),
        Err(Unauthenticated::Invalid) => Err(respond::unauthorized(state, tenant, true)),
        Err(Unauthenticated::Unavailable) => Err(respond::unavailable(None, 1_000)),
    }
}

/// The bearer: one header, the scheme in any case, exactly one space, visible characters. Anything else is none.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION);
    let value = values.next().filter(|value| value.len() <= MAX_AUTHORIZATION)?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_once(' ')?;
    let is_token = !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b));
    (scheme.eq_ignore_ascii_case("bearer") && is_token).then_some(token)
}

fn mcp_headers(headers: &HeaderMap) -> McpHeaders<'_> {
    let value = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    McpHeaders { protocol_version: value(PROTOCOL_VERSION), method: value(METHOD), name: value(NAME) }
}

/// Why there is no body: the status and the reason.
type Unread = (u16, &'static str);

/// The body, up to its bound, in its time. Nothing is read beyond.
async fn read(payload: &mut Payload) -> Result<Bytes, Unread> {
    let whole = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| (400, "the body was cut short"))?;
            if body.len() + chunk.len() > MAX_BODY {
                return Err((413, "the body is larger than 1 MiB"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    tokio::time::timeout(BODY_WITHIN, whole).await.unwrap_or(Err((408, "the body did not arrive in time")))
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
        bearer(&headers).map(str::to_owned)
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
