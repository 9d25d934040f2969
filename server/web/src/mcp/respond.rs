//! From an outcome to an answer: status, headers, body.

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::{
        StatusCode,
        header::{self, ContentType},
    },
};
use serde_json::{json, value::RawValue};
use trunkline_platform::{gateway::Refusal, quota::Decision, quota::Remaining};
use trunkline_protocol::{
    jsonrpc::{self, ErrorObject, INVALID_PARAMS},
    mcp::Rejection,
};

use super::resource;
use crate::WebState;

/// Over a limit. Positive, since the specification keeps the negative range to itself.
const LIMITED: i64 = 4290;
/// The agent or its tenant is suspended.
const SUSPENDED: i64 = 4031;
/// Cannot be decided or recorded now.
const UNAVAILABLE: i64 = 5030;

/// A JSON body that nobody may keep.
pub(super) fn json(status: u16, body: String) -> HttpResponse {
    builder(status).insert_header(ContentType::json()).body(body)
}

fn builder(status: u16) -> HttpResponseBuilder {
    let mut builder = HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    builder.insert_header((header::CACHE_CONTROL, "no-store"));
    builder
}

/// A result.
pub(super) fn result(id: &RawValue, result: &str) -> HttpResponse {
    json(200, jsonrpc::success(id, result))
}

/// An error of the protocol.
pub(super) fn error(status: u16, id: Option<&RawValue>, error: &ErrorObject) -> HttpResponse {
    json(status, error.to_body(id))
}

/// A request that was refused before its method was looked at.
pub(super) fn rejection(rejection: &Rejection<'_>) -> HttpResponse {
    error(rejection.status, rejection.id, &rejection.error)
}

/// Something about the HTTP request itself.
pub(super) fn transport(status: u16, message: &'static str) -> HttpResponse {
    error(status, None, &ErrorObject::new(jsonrpc::INVALID_REQUEST, message))
}

/// No bearer, or one that does not work here. Which check failed is not told.
pub(super) fn unauthorized(state: &WebState, tenant: &str, presented: bool) -> HttpResponse {
    let metadata = resource::metadata_url(state, tenant);
    let challenge = if presented {
        format!(r#"Bearer error="invalid_token", resource_metadata="{metadata}", scope="tools:read""#)
    } else {
        format!(r#"Bearer resource_metadata="{metadata}", scope="tools:read""#)
    };
    let body = ErrorObject::new(jsonrpc::INVALID_REQUEST, "send a bearer that works at this endpoint").to_body(None);
    builder(401).insert_header((header::WWW_AUTHENTICATE, challenge)).insert_header(ContentType::json()).body(body)
}

/// Try again later.
pub(super) fn unavailable(id: Option<&RawValue>, retry_after_ms: u64) -> HttpResponse {
    let data = json!({ "retryable": true, "retry_after_ms": retry_after_ms });
    let body = ErrorObject::new(UNAVAILABLE, "this cannot be decided at the moment; try again").with_data(data).to_body(id);
    builder(503)
        .insert_header((header::RETRY_AFTER, retry_after_ms.div_ceil(1000).max(1)))
        .insert_header(ContentType::json())
        .body(body)
}

/// A call that was refused before its tool ran.
pub(super) fn refusal(state: &WebState, tenant: &str, id: &RawValue, refusal: &Refusal) -> HttpResponse {
    match refusal {
        Refusal::UnknownTool => error(200, Some(id), &ErrorObject::new(INVALID_PARAMS, "unknown tool")),
        Refusal::Limited { by, retry_after_ms } => limited(id, *by, *retry_after_ms),
        Refusal::Unavailable { retry_after_ms } => unavailable(Some(id), *retry_after_ms),
        Refusal::Revoked => unauthorized(state, tenant, true),
        Refusal::Suspended => {
            let suspended = ErrorObject::new(SUSPENDED, "this agent is suspended until a member of its tenant resumes it");
            error(403, Some(id), &suspended.with_data(json!({ "retryable": false })))
        }
    }
}

fn limited(id: &RawValue, by: Remaining, retry_after_ms: u64) -> HttpResponse {
    let scope = by.scope.as_str();
    let wait_s = retry_after_ms.div_ceil(1000).max(1);
    let message =
        format!("over the limit of {} calls per minute ({scope}); try again in {retry_after_ms} ms", by.rate.per_minute);
    let body = ErrorObject::new(LIMITED, message).with_data(Decision::limited_data(by, retry_after_ms)).to_body(Some(id));
    builder(429)
        .insert_header((header::RETRY_AFTER, wait_s))
        .insert_header(("ratelimit-policy", format!(r#""{scope}";q={};w=60"#, by.rate.per_minute)))
        .insert_header(("ratelimit", format!(r#""{scope}";r=0;t={wait_s}"#)))
        .insert_header(("x-ratelimit-limit", by.rate.per_minute))
        .insert_header(("x-ratelimit-remaining", 0))
        .insert_header(("x-ratelimit-reset", by.reset_ms.div_ceil(1000)))
        .insert_header(ContentType::json())
        .body(body)
}
