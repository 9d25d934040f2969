//! Answers to programs: JSON that nobody keeps, errors as RFC 6749 writes them, open to scripts of any origin, since no cookie counts here.

use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
};
use serde_json::Value;
use trunkline_platform::{Error, ErrorKind, oauth::Failure};
use trunkline_protocol::oauth::error::{ErrorCode, OAuthError};

/// Lets scripts of any origin read the answer.
pub(crate) fn open_to_browsers(mut response: HttpResponse) -> HttpResponse {
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
        .headers_mut()
        .insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin"));
    response
}

/// What a browser asks before a script's request.
pub(super) async fn preflight() -> HttpResponse {
    let response = HttpResponse::NoContent()
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, accept, mcp-protocol-version, dpop"))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, "86400"))
        .finish();
    open_to_browsers(response)
}

/// A body that nobody may keep.
pub(super) fn json(status: u16, body: &Value) -> HttpResponse {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let response = HttpResponse::build(status)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::PRAGMA, "no-cache"))
        .json(body);
    open_to_browsers(response)
}

/// A refusal.
pub(super) fn refused(error: &OAuthError) -> HttpResponse {
    let mut response = json(error.code.status(), &error.to_json());
    let headers = response.headers_mut();
    if error.code == ErrorCode::InvalidClient {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(r#"Basic realm="trunkline""#));
    }
    response
}

/// A failure of either kind. Ours are logged here.
pub(super) fn failed(failure: &Failure) -> HttpResponse {
    let Failure::Failed(error) = failure else { return refused(&failure.to_oauth()) };
    log(error);
    match error.kind() {
        ErrorKind::Exhausted { retry_after_ms } => too_many(*retry_after_ms),
        ErrorKind::Unavailable(_) => {
            let mut response = refused(&failure.to_oauth());
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
            response
        }
        _ => refused(&failure.to_oauth()),
    }
}

fn too_many(retry_after_ms: u64) -> HttpResponse {
    let error = OAuthError::new(ErrorCode::TemporarilyUnavailable, "too many attempts from this address");
    let mut response = json(429, &error.to_json());
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after_ms.div_ceil(1000).max(1)));
    response
}

fn log(error: &Error) {
    match error.kind() {
        ErrorKind::Internal => tracing::error!(error = error as &dyn std::error::Error, "a request of a client failed"),
        ErrorKind::Unavailable(what) => {
            tracing::warn!(dependency = what, error = error as &dyn std::error::Error, "a client could not be answered");
        }
        _ => {}
    }
}
