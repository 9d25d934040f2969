//! From an outcome to an answer: status, headers, body.

use std::sync::Arc;

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::{
        StatusCode,
        header::{self, ContentType},
    },
    web::Bytes,
};
use serde_json::{json, value::RawValue};
use trunkline_platform::{
    catalog::snapshot::Page,
    gateway::{Refusal, StreamUse},
    quota::{Decision, Remaining},
};
use trunkline_protocol::{
    jsonrpc::{self, ErrorObject, INVALID_PARAMS},
    mcp::{HEADER_MISMATCH, Rejection},
    oauth::{challenge::Challenge, metadata::FIRST_SCOPE},
};

use super::{pieces::Pieces, place::Place};
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

/// A list, with what stands before and after its items.
pub(super) fn list(id: &RawValue, before: &str, page: Arc<Page>, after: &str) -> HttpResponse {
    let (head, end) = jsonrpc::around_result(id);
    let pieces = [[&head, before].concat().into(), Bytes::from_owner(Items(page)), [after, end].concat().into()];
    builder(200).insert_header(ContentType::json()).body(Pieces::new(pieces))
}

/// The bytes of a page, without a copy of it.
struct Items(Arc<Page>);

impl AsRef<[u8]> for Items {
    fn as_ref(&self) -> &[u8] {
        self.0.items.as_bytes()
    }
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
pub(super) fn unauthorized(state: &WebState, place: &Place, challenge: Challenge<'_>) -> HttpResponse {
    let proof = challenge.proof_header();
    let challenge = challenge.header(&place.metadata_url(state), FIRST_SCOPE);
    let body = ErrorObject::new(jsonrpc::INVALID_REQUEST, "send a bearer that works at this endpoint").to_body(None);
    builder(401)
        .insert_header((header::WWW_AUTHENTICATE, challenge))
        .append_header((header::WWW_AUTHENTICATE, proof))
        .insert_header(ContentType::json())
        .body(body)
}

fn unavailable_error(retry_after_ms: u64) -> ErrorObject {
    let data = json!({ "retryable": true, "retry_after_ms": retry_after_ms });
    ErrorObject::new(UNAVAILABLE, "this cannot be decided at the moment; try again").with_data(data)
}

/// Try again later.
pub(super) fn unavailable(id: Option<&RawValue>, retry_after_ms: u64) -> HttpResponse {
    let body = unavailable_error(retry_after_ms).to_body(id);
    builder(503)
        .insert_header((header::RETRY_AFTER, retry_after_ms.div_ceil(1000).max(1)))
        .insert_header(ContentType::json())
        .body(body)
}

/// A request that was refused before anything ran.
pub(super) fn refusal(state: &WebState, place: &Place, id: &RawValue, refusal: &Refusal) -> HttpResponse {
    refused(state, place, Some(id), refusal)
}

/// The same for what is no JSON-RPC request.
pub(super) fn refused_without_id(state: &WebState, place: &Place, refusal: &Refusal) -> HttpResponse {
    refused(state, place, None, refusal)
}

fn refused(state: &WebState, place: &Place, id: Option<&RawValue>, refusal: &Refusal) -> HttpResponse {
    match refusal {
        Refusal::Limited { by, retry_after_ms } => limited(id, *by, *retry_after_ms),
        Refusal::Unavailable { retry_after_ms } => unavailable(id, *retry_after_ms),
        Refusal::Revoked => unauthorized(state, place, Challenge::Invalid),
        Refusal::InsufficientScope { scopes } => {
            let challenge = Challenge::Insufficient(scopes).header(&place.metadata_url(state), FIRST_SCOPE);
            let body = refusal_error(refusal).to_body(id);
            builder(403).insert_header((header::WWW_AUTHENTICATE, challenge)).insert_header(ContentType::json()).body(body)
        }
        Refusal::NoSession => super::session::no_session(),
        Refusal::UnknownTool | Refusal::InvalidState => error(200, id, &refusal_error(refusal)),
        Refusal::HeaderMismatch { .. } => error(400, id, &refusal_error(refusal)),
        Refusal::Suspended => error(403, id, &refusal_error(refusal)),
    }
}

/// As many streams are open as one agent may have.
pub(super) fn too_many_streams(id: Option<&RawValue>, purpose: StreamUse) -> HttpResponse {
    let most = u32::try_from(purpose.most()).unwrap_or(u32::MAX);
    limited(id, Remaining::concurrency(most), 1_000)
}

/// A refusal as a JSON-RPC error, for streams that have begun.
pub(super) fn refusal_error(refusal: &Refusal) -> ErrorObject {
    match refusal {
        Refusal::UnknownTool => ErrorObject::new(INVALID_PARAMS, "unknown tool"),
        Refusal::InvalidState => ErrorObject::new(
            INVALID_PARAMS,
            "requestState is not one that was given for this request, or it is too old, or it was used before",
        ),
        Refusal::HeaderMismatch { header } => {
            ErrorObject::new(HEADER_MISMATCH, format!("the header {header} is missing or differs from its argument"))
        }
        Refusal::Limited { by, retry_after_ms } => limited_error(*by, *retry_after_ms),
        Refusal::Unavailable { retry_after_ms } => unavailable_error(*retry_after_ms),
        Refusal::InsufficientScope { scopes } => {
            ErrorObject::new(jsonrpc::INVALID_REQUEST, format!("the token does not allow this; it needs: {scopes}"))
        }
        Refusal::Revoked => ErrorObject::new(jsonrpc::INVALID_REQUEST, "send a bearer that works at this endpoint"),
        Refusal::NoSession => ErrorObject::new(jsonrpc::INVALID_REQUEST, "the session has ended: begin again with initialize"),
        Refusal::Suspended => ErrorObject::new(SUSPENDED, "this agent is suspended until a member of its tenant resumes it")
            .with_data(json!({ "retryable": false })),
    }
}

fn limited_error(by: Remaining, retry_after_ms: u64) -> ErrorObject {
    let scope = by.scope.as_str();
    let message =
        format!("over the limit of {} calls per minute ({scope}); try again in {retry_after_ms} ms", by.rate.per_minute);
    ErrorObject::new(LIMITED, message).with_data(Decision::limited_data(by, retry_after_ms))
}

fn limited(id: Option<&RawValue>, by: Remaining, retry_after_ms: u64) -> HttpResponse {
    let scope = by.scope.as_str();
    let wait_s = retry_after_ms.div_ceil(1000).max(1);
    let body = limited_error(by, retry_after_ms).to_body(id);
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
