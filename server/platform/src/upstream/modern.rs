//! A request in the stateless era: everything about it travels with it, and closing its answer cancels it.

use std::collections::BTreeMap;

use reqwest::header::{HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use trunkline_protocol::{
    jsonrpc::{self, ErrorObject},
    mcp::{
        HEADER_MISMATCH, MISSING_CAPABILITY, Revision, UNSUPPORTED_VERSION,
        headers::{self, METHOD, NAME, PROTOCOL_VERSION},
        lifecycle,
    },
};

use super::{
    InputRequired, Reply, UpstreamError,
    conversation::{Conversation, Outcome, Posted, error_object},
    error::Fault,
    link::Link,
    request::Request,
    wire::Refusal,
};

/// Asks once and waits for the answer.
pub(super) async fn run(link: &Link, request: &Request<'_>) -> Result<Reply, Fault> {
    let id = link.next_id();
    let asked = async {
        let posted = async {
            let answer = link.wire.post(headers(request), body(request, &id), request.deadline).await?;
            if answer.is_success() {
                return Ok(Posted::Answer(answer.messages));
            }
            refused(&answer.refusal(request.deadline).await?, &id).map(Posted::Refused)
        };
        let (dialogue, wire, deadline) = (request.dialogue, &link.wire, request.deadline);
        Conversation { id: &id, dialogue, wire, session: None, deadline }.answer(posted, None).await
    };
    tokio::select! {
        outcome = asked => reply(request, outcome?),
        // Its stream is closed with it.
        () = request.cancelled.cancelled() => Err(UpstreamError::Cancelled.into()),
    }
}

/// Headers that mirror the body.
pub(super) fn headers(request: &Request<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(Revision::V2026_07_28.as_str()));
    let name = request.name();
    for (header, value) in [(METHOD, Some(request.method)), (NAME, name.as_deref())] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&headers::encode(value)).ok()) {
            headers.insert(header, value);
        }
    }
    headers.extend(request.mirrored());
    request.trace_headers(&mut headers);
    headers
}

/// The message.
pub(super) fn body(request: &Request<'_>, id: &str) -> String {
    let mut meta = request.meta();
    meta.set_text("io.modelcontextprotocol/protocolVersion", Revision::V2026_07_28.as_str());
    meta.set("io.modelcontextprotocol/clientInfo", lifecycle::server_info().to_string());
    meta.set("io.modelcontextprotocol/clientCapabilities", request.dialogue.capabilities().askable().to_json());
    if let Some(level) = request.dialogue.log_level() {
        meta.set_text("io.modelcontextprotocol/logLevel", level.as_str());
    }
    if request.dialogue.wants_progress() {
        meta.set("progressToken", id.to_owned());
    }
    if let Some(trace) = request.trace {
        meta.set_text("traceparent", &trace.traceparent);
        if let Some(state) = &trace.tracestate {
            meta.set_text("tracestate", state);
        }
    }
    let mut params = request.params(&meta);
    if let Some(input) = request.input {
        if let Some(responses) = &input.responses {
            params.set("inputResponses", responses.get().to_owned());
        }
        if let Some(state) = &input.state {
            params.set_text("requestState", state);
        }
    }
    jsonrpc::request(id, request.method, &params.to_json())
}

/// An answer with another status than success.
fn refused(refusal: &Refusal, id: &str) -> Result<ErrorObject, Fault> {
    let error = refusal.as_error();
    let written = refusal.error.as_ref().map(|(_, written)| error_object(written)).transpose()?;
    match (refusal.code(), written) {
        (Some(UNSUPPORTED_VERSION), written) => Err(Fault::OtherEra(error, written)),
        (Some(HEADER_MISMATCH | MISSING_CAPABILITY), Some(written)) => Ok(written),
        (_, Some(written)) if refusal.error_for(id).is_some() => Ok(written),
        // What servers say that want a handshake first.
        (_, written) if matches!(refusal.status, 400 | 404 | 405 | 406 | 422) => Err(Fault::OtherEra(error, written)),
        _ => Err(error.into()),
    }
}

/// What the answer means.
fn reply(request: &Request<'_>, outcome: Outcome) -> Result<Reply, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        #[serde(default)]
        result_type: Option<String>,
        #[serde(default)]
        input_requests: Option<Box<RawValue>>,
        #[serde(default)]
        request_state: Option<String>,
    }
    let result = match outcome {
        Ok(result) => result,
        Err(error) => return Ok(Reply::Error(error)),
    };
    let typed: Typed = serde_json::from_str(result.get()).map_err(|_| UpstreamError::Broken("its result cannot be read"))?;
    match typed.result_type.as_deref() {
        None | Some("complete") => Ok(Reply::Result(result)),
        Some("input_required") => {
            if !matches!(request.method, "tools/call" | "prompts/get" | "resources/read") {
                return Err(UpstreamError::Broken("it requires input for a method that takes none").into());
            }
            if typed.input_requests.is_none() && typed.request_state.is_none() {
                return Err(UpstreamError::Broken("it requires input and says nothing of it").into());
            }
            if let Some(requests) = &typed.input_requests {
                check_questions(request, requests)?;
            }
            Ok(Reply::InputRequired(InputRequired { requests: typed.input_requests, state: typed.request_state }))
        }
        Some(_) => Err(UpstreamError::Broken("its result is of an unknown type").into()),
    }
}

/// Only what the caller's client has said it can be asked.
fn check_questions(request: &Request<'_>, requests: &RawValue) -> Result<(), UpstreamError> {
    #[derive(Deserialize)]
    struct Question {
        method: String,
        #[serde(default)]
        params: Value,
    }
    let questions: BTreeMap<String, Question> =
        serde_json::from_str(requests.get()).map_err(|_| UpstreamError::Broken("the input that it requires cannot be read"))?;
    let can = request.dialogue.capabilities();
    if questions.values().all(|question| can.allows(&question.method, &question.params)) {
        Ok(())
    } else {
        Err(UpstreamError::Broken("it requires input that the caller's client cannot give"))
    }
}
