//! Dynamic client registration (RFC 7591).

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::CONTENT_TYPE,
    web::{Data, Payload},
};
use serde_json::Value;
use trunkline_platform::{
    handshake::{Hop, Told},
    oauth,
};
use trunkline_protocol::oauth::error::{ErrorCode, OAuthError};

use super::answer::{failed, json, refused};
use crate::{WebState, doctor, extract::ClientIp};

/// Largest registration.
const LARGEST: usize = 8 * 1024;
const WITHIN: Duration = Duration::from_secs(10);

/// Registers a client.
pub(super) async fn register(state: Data<WebState>, ip: ClientIp, request: HttpRequest, payload: Payload) -> HttpResponse {
    let body = match read(&request, payload).await {
        Ok(body) => body,
        Err(error) => return refused(&error),
    };
    match oauth::register(&state.platform, ip.0, &body).await {
        Ok(registered) => {
            doctor::tell_of(&state, &request, None, Told::well(Hop::Registration), Some(&registered.client_id), None);
            json(201, &registered.to_json(&body))
        }
        Err(failure) => {
            if let Some(told) = doctor::refused(Hop::Registration, &failure) {
                doctor::tell(&state, &request, None, told);
            }
            failed(&failure)
        }
    }
}

async fn read(request: &HttpRequest, payload: Payload) -> Result<Value, OAuthError> {
    let bad = |why| OAuthError::new(ErrorCode::InvalidClientMetadata, why);
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().map(str::trim) != Some("application/json") {
        return Err(bad("a registration is sent as application/json"));
    }
    let body = tokio::time::timeout(WITHIN, payload.to_bytes_limited(LARGEST)).await;
    let body = body.map_err(|_| bad("the body took too long to arrive"))?;
    let body = body.map_err(|_| bad("a registration has at most 8 KiB"))?.map_err(|_| bad("the body ended early"))?;
    serde_json::from_slice(&body).map_err(|_| bad("the body is not JSON"))
}
