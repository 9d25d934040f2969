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
    quota::{Of, Remaining, Scope},
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
/// Never, by a limit of none.
const DENIED: i64 = 4030;
/// The agent or its tenant is suspended.
const SUSPENDED: i64 = 4031;
/// The first call with the same idempotency key still runs, or its result was too large to be kept.
const CONFLICTING: i64 = 4090;
/// The idempotency key was used for something else.
const REUSED: i64 = 4220;
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

/// A result of a call, with what is left of its limits.
pub(super) fn call_result(id: &RawValue, result: &str, left: Option<Remaining>) -> HttpResponse {
    let mut response = self::result(id, result);
    if let Some(left) = left {
        tell_limits(response.headers_mut(), left, left.reset_ms);
    }
    response
}

/// What is left, as the draft of the IETF says it (draft-ietf-httpapi-ratelimit-headers-10), and as clients read it before there was one.
pub(super) fn tell_limits(headers: &mut header::HeaderMap, left: Remaining, reset_ms: u64) {
    let (scope, limit, reset_s) = (left.scope.as_str(), left.limit, reset_ms.div_ceil(1000));
    let unit = match left.scope {
        Scope::Budget(_) => format!("w={};qu=\"micro-units\"", left.window_s),
        _ if left.window_s == 0 => "qu=\"concurrent-requests\"".to_owned(),
        _ => format!("w={}", left.window_s),
    };
    for (name, value) in [
        ("ratelimit-policy", format!(r#""{scope}";q={limit};{unit}"#)),
        ("ratelimit", format!(r#""{scope}";r={};t={reset_s}"#, left.remaining)),
        ("x-ratelimit-limit", limit.to_string()),
        ("x-ratelimit-remaining", left.remaining.to_string()),
        ("x-ratelimit-reset", reset_s.to_string()),
    ] {
        if let Ok(value) = header::HeaderValue::from_str(&value) {
            headers.insert(header::HeaderName::from_static(name), value);
        }
    }
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
        Refusal::Limited { by, retry_after_ms, .. } => limited(id, *by, *retry_after_ms),
        Refusal::Unavailable { retry_after_ms } => unavailable(id, *retry_after_ms),
        Refusal::SourceAway { retry_after_ms } => wait(503, id, refusal, *retry_after_ms),
        Refusal::StillRunning { retry_after_ms } => wait(409, id, refusal, *retry_after_ms),
        Refusal::TooLargeToKeep | Refusal::EndUnknown => error(409, id, &refusal_error(refusal)),
        Refusal::OtherArguments => error(422, id, &refusal_error(refusal)),
        Refusal::Revoked => unauthorized(state, place, Challenge::Invalid),
        Refusal::InsufficientScope { scopes } => {
            let challenge = Challenge::Insufficient(scopes).header(&place.metadata_url(state), FIRST_SCOPE);
            let body = refusal_error(refusal).to_body(id);
            builder(403).insert_header((header::WWW_AUTHENTICATE, challenge)).insert_header(ContentType::json()).body(body)
        }
        Refusal::NoSession => super::session::no_session(),
        Refusal::UnknownTool | Refusal::InvalidState => error(200, id, &refusal_error(refusal)),
        Refusal::HeaderMismatch { .. } => error(400, id, &refusal_error(refusal)),
        Refusal::Suspended | Refusal::Denied { .. } => error(403, id, &refusal_error(refusal)),
    }
}

/// As many streams are open as one agent may have.
pub(super) fn too_many_streams(id: Option<&RawValue>, purpose: StreamUse) -> HttpResponse {
    let most = u32::try_from(purpose.most()).unwrap_or(u32::MAX);
    limited(id, Remaining::at_once(Scope::Concurrency(Of::Agent), most), 1_000)
}

fn wait(status: u16, id: Option<&RawValue>, refusal: &Refusal, retry_after_ms: u64) -> HttpResponse {
    builder(status)
        .insert_header((header::RETRY_AFTER, retry_after_ms.div_ceil(1000).max(1)))
        .insert_header(ContentType::json())
        .body(refusal_error(refusal).to_body(id))
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
        Refusal::Limited { by, retry_after_ms, .. } => limited_error(*by, *retry_after_ms),
        Refusal::Denied { scope } => {
            let data = json!({ "scope": scope.as_str(), "of": scope.of().map(Of::as_str), "retryable": false });
            ErrorObject::new(DENIED, "a limit of this organisation allows no such call; asking again does not help")
                .with_data(data)
        }
        Refusal::SourceAway { retry_after_ms } => {
            let data = json!({ "retryable": true, "retry_after_ms": retry_after_ms, "reason": "breaker_open" });
            let message = "the tool's server fails most calls and is left alone for a moment; try again";
            ErrorObject::new(UNAVAILABLE, message).with_data(data)
        }
        Refusal::OtherArguments => {
            let message = "this Idempotency-Key was used for another tool or other arguments; use a new one";
            ErrorObject::new(REUSED, message).with_data(json!({ "retryable": false }))
        }
        Refusal::StillRunning { retry_after_ms } => {
            let data = json!({ "retryable": true, "retry_after_ms": retry_after_ms });
            ErrorObject::new(CONFLICTING, "the first call with this Idempotency-Key still runs; ask again").with_data(data)
        }
        Refusal::EndUnknown => {
            let message = "the call with this Idempotency-Key was begun, and what became of it is not known: it may have had its effect. \
                           Find out before you make it again under a new key";
            ErrorObject::new(CONFLICTING, message).with_data(json!({ "retryable": false, "reason": "end_unknown" }))
        }
        Refusal::TooLargeToKeep => {
            let message = "the call with this Idempotency-Key was made; its result is larger than 256 KiB and was not kept. \
                           To make the call again, use a new key";
            ErrorObject::new(CONFLICTING, message).with_data(json!({ "retryable": false }))
        }
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
    ErrorObject::new(LIMITED, limited_words(by, retry_after_ms)).with_data(by.to_refusal(retry_after_ms))
}

/// A refusal in words, for people and for models that read nothing else.
pub(super) fn limited_words(by: Remaining, retry_after_ms: u64) -> String {
    let (scope, limit) = (by.scope.as_str(), by.limit);
    if let Scope::Budget(of) = by.scope {
        let period = if by.window_s == 86_400 { "day" } else { "month" };
        let of = of.as_str();
        return format!("the budget of this {period} (UTC) is spent ({scope}, {of}); it begins anew in {retry_after_ms} ms");
    }
    let what = match by.window_s {
        0 => format!("{limit} calls at the same time"),
        60 => format!("{limit} calls per minute"),
        86_400 => format!("{limit} calls per day (UTC)"),
        seconds => format!("{limit} calls in {seconds} s"),
    };
    let whose = by.scope.of().map(|of| format!(", {}", of.as_str())).unwrap_or_default();
    format!("over the limit of {what} ({scope}{whose}); try again in {retry_after_ms} ms")
}

fn limited(id: Option<&RawValue>, by: Remaining, retry_after_ms: u64) -> HttpResponse {
    let body = limited_error(by, retry_after_ms).to_body(id);
    let mut response = builder(429)
        .insert_header((header::RETRY_AFTER, retry_after_ms.div_ceil(1000).max(1)))
        .insert_header(ContentType::json())
        .body(body);
    // The draft says by when something is there again, which is when to come back.
    tell_limits(response.headers_mut(), Remaining { remaining: 0, ..by }, retry_after_ms.max(1));
    if let Ok(reset) = header::HeaderValue::from_str(&by.reset_ms.div_ceil(1000).to_string()) {
        response.headers_mut().insert(header::HeaderName::from_static("x-ratelimit-reset"), reset);
    }
    response
}
