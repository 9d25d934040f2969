//! What the caller gets of an HTTP answer: text, an image, or bytes, as the tool's author shaped it; beside it structured content, where the tool
//! promises some.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::header::HeaderMap;
use serde_json::{Value, json, value::to_raw_value};

use super::{Answer, Run};
use crate::{
    call::Outcome,
    catalog::{AnswerShape, snapshot::LoadedTool},
    dialogue::Reply,
    egress::OutboundAnswer,
};

/// Header of an answer that says what the call has cost, in whole micro-units of the tenant's currency.
const COST: &str = "trunkline-cost";

/// Reads the answer. Upstream's error bodies stay upstream.
pub(super) fn read(tool: &LoadedTool, answer: &OutboundAnswer) -> Run {
    let reported_micro = reported(&answer.headers);
    let status = Some(answer.status.as_u16());
    let run = match tool.tool.version.executor.answer_shape() {
        Some(shape) => read_body(tool, shape, answer).unwrap_or_else(|run| run),
        None => broken(),
    };
    Run { reported_micro, status, ..run }
}

fn reported(headers: &HeaderMap) -> Option<i64> {
    headers.get(COST)?.to_str().ok()?.trim().parse().ok()
}

fn read_body(tool: &LoadedTool, shape: &AnswerShape, answer: &OutboundAnswer) -> Result<Run, Run> {
    let status = answer.status.as_u16();
    if !answer.status.is_success() {
        return Err(Run::of_status(status, format!("The tool's server answered with status {status}.")));
    }
    if answer.body.is_empty() {
        return if shape.output_schema.is_some() || shape.select.is_some() {
            Err(promised_otherwise())
        } else {
            Ok(Run::ok(format!("The tool's server answered with status {status} and no content.")))
        };
    }
    let kind = answer.content_type.as_str();
    let is_of_json = shape.output_schema.is_some() || shape.select.is_some();
    if !is_of_json && (kind.starts_with("image/") || kind.starts_with("audio/")) {
        let word = kind.split('/').next().unwrap_or_default();
        return Ok(of_content(&json!({ "type": word, "mimeType": kind, "data": STANDARD.encode(&answer.body) }), None));
    }
    let Ok(text) = std::str::from_utf8(&answer.body) else {
        return if is_of_json { Err(promised_otherwise()) } else { Ok(of_bytes(tool, answer)) };
    };
    if !is_of_json {
        return within(shape, text).map(|()| Run::ok(text.to_owned()));
    }
    let document: Value = serde_json::from_str(text).map_err(|_| promised_otherwise())?;
    let (text, value) = select(tool, shape, (text, document))?;
    within(shape, &text)?;
    let Some(validator) = tool.output_validator() else { return Ok(Run::ok(text.into_owned())) };
    match validator {
        Ok(validator) if validator.is_valid(&value) => Ok(of_content(&json!({ "type": "text", "text": text }), Some(&value))),
        _ => Err(promised_otherwise()),
    }
}

/// The part that the author wants of it, and its text. A text that stands for itself is not quoted.
fn select<'t>(tool: &LoadedTool, shape: &AnswerShape, (text, document): (&'t str, Value)) -> Result<(Cow<'t, str>, Value), Run> {
    let Some(selected) = &shape.select else { return Ok((text.into(), document)) };
    let selection = tool.selection().ok_or_else(broken)?;
    let part = selection.take(&document).ok_or_else(|| {
        let text = format!("The tool's server answered with a document that has nothing at {selected}.");
        Run::failed(Outcome::UpstreamError, "upstream_content", text)
    })?;
    let text = part.as_str().map_or_else(|| part.to_string(), str::to_owned);
    Ok((text.into(), part))
}

/// More than the author lets through is an error: a part of it would look like all of it.
fn within(shape: &AnswerShape, text: &str) -> Result<(), Run> {
    let most = shape.most_bytes();
    if text.len() <= most {
        return Ok(());
    }
    let text = format!("The tool's server answered with {} bytes; this tool gives at most {most}. Ask for less.", text.len());
    Err(Run::failed(Outcome::UpstreamError, "upstream_too_large", text))
}

/// Whoever reads structured content relies on what the tool promises.
fn promised_otherwise() -> Run {
    let text = "The tool's server answered with something else than the tool promises.";
    Run::failed(Outcome::UpstreamError, "output_schema", text)
}

/// A definition that publishing should not have let through.
fn broken() -> Run {
    Run::failed(Outcome::Unknown, "tool_crashed", "The tool's definition is broken. Its owner has to publish it again.")
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
        Err(_) => broken(),
    }
}
