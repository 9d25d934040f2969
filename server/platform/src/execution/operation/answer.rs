//! What the caller gets of an answer: text, an image, or bytes; beside it structured content, where the tool promises some.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json, value::to_raw_value};

use super::super::{Answer, Run, http::reported};
use crate::{
    call::Outcome,
    catalog::{Operation, snapshot::LoadedTool},
    dialogue::Reply,
    egress::OutboundAnswer,
};

/// Longest text that is given, in bytes: what a model can still read.
const MAX_TEXT_BYTES: usize = 1024 * 1024;

/// Reads the answer. Upstream's error bodies stay upstream.
pub(in crate::execution) fn read(tool: &LoadedTool, operation: &Operation, answer: &OutboundAnswer) -> Run {
    let reported_micro = reported(&answer.headers);
    let status = Some(answer.status.as_u16());
    Run { reported_micro, status, ..read_body(tool, operation, answer) }
}

fn read_body(tool: &LoadedTool, operation: &Operation, answer: &OutboundAnswer) -> Run {
    let status = answer.status.as_u16();
    if !answer.status.is_success() {
        return Run::of_status(status, format!("The tool's server answered with status {status}."));
    }
    if answer.body.is_empty() {
        return if operation.output_schema.is_some() {
            promised_otherwise()
        } else {
            Run::ok(format!("The tool's server answered with status {status} and no content."))
        };
    }
    let kind = answer.content_type.as_str();
    if kind.starts_with("image/") || kind.starts_with("audio/") {
        let word = kind.split('/').next().unwrap_or_default();
        return of_content(&json!({ "type": word, "mimeType": kind, "data": STANDARD.encode(&answer.body) }), None);
    }
    let Ok(text) = std::str::from_utf8(&answer.body) else { return of_bytes(tool, answer) };
    if text.len() > MAX_TEXT_BYTES {
        return Run::failed(
            Outcome::UpstreamError,
            "upstream_too_large",
            format!("The tool's server answered with {} bytes; a tool gives at most {MAX_TEXT_BYTES}. Ask for less.", text.len()),
        );
    }
    let Some(validator) = tool.output_validator() else { return Run::ok(text.to_owned()) };
    let (Ok(validator), Ok(value)) = (validator, serde_json::from_str::<Value>(text)) else { return promised_otherwise() };
    if validator.is_valid(&value) {
        of_content(&json!({ "type": "text", "text": text }), Some(&value))
    } else {
        promised_otherwise()
    }
}

/// Whoever reads structured content relies on what the tool promises.
fn promised_otherwise() -> Run {
    let text = "The tool's server answered with something else than its output schema promises.";
    Run::failed(Outcome::UpstreamError, "output_schema", text)
}

fn of_bytes(tool: &LoadedTool, answer: &OutboundAnswer) -> Run {
    let kind = if answer.content_type.is_empty() { "application/octet-stream" } else { answer.content_type.as_str() };
    let uri = format!("trunkline:answer/{}", tool.tool.name);
    of_content(
        &json!({ "type": "resource", "resource": { "uri": uri, "mimeType": kind, "blob": STANDARD.encode(&answer.body) } }),
        None,
    )
}

fn of_content(content: &Value, structured: Option<&Value>) -> Run {
    let mut result = json!({ "content": [content], "isError": false });
    if let Some(structured) = structured {
        result["structuredContent"] = structured.clone();
    }
    match to_raw_value(&result) {
        Ok(result) => Run {
            outcome: Outcome::Ok,
            error: None,
            answer: Answer::Reply(Reply::Result(result)),
            reported_micro: None,
            status: None,
        },
        Err(_) => super::broken(),
    }
}
