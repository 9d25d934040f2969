//! Forms of answers.

use std::borrow::Cow;

use serde_json::{Value, json, value::to_raw_value};
use trunkline_protocol::{
    jsonrpc::{ErrorObject, INTERNAL_ERROR, INVALID_PARAMS},
    mcp::{MISSING_CAPABILITY, capabilities::ClientCapabilities},
};

use crate::dialogue::{AskError, InputRequired, Reply};

/// One red pixel.
pub(super) const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC";
/// Eight samples of silence, at 8 kHz.
pub(super) const WAV: &str = "UklGRiwAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQgAAACAgICAgICAgA==";

/// A result object.
pub(super) fn result(value: &Value) -> Reply {
    match to_raw_value(value) {
        Ok(raw) => Reply::Result(raw),
        Err(_) => Reply::Error(ErrorObject::new(INTERNAL_ERROR, "The result could not be written.")),
    }
}

/// A result of a tool with one text.
pub(super) fn text(text: impl Into<String>) -> Reply {
    result(&json!({ "content": [{ "type": "text", "text": text.into() }] }))
}

/// A result of a tool that failed, saying why.
pub(super) fn failure(text: impl Into<String>) -> Reply {
    result(&json!({ "content": [{ "type": "text", "text": text.into() }], "isError": true }))
}

/// The parameters do not fit.
pub(super) fn invalid(what: impl Into<Cow<'static, str>>) -> Reply {
    Reply::Error(ErrorObject::new(INVALID_PARAMS, what))
}

/// The client does not declare that it can be asked that.
pub(super) fn not_capable(method: &str, params: &Value) -> Reply {
    let required = ClientCapabilities::required_for(method, params);
    let error = ErrorObject::new(MISSING_CAPABILITY, "The client does not declare a capability that this needs.");
    Reply::Error(error.with_data(json!({ "requiredCapabilities": required })))
}

/// A question has no answer.
pub(super) fn unanswered(method: &str, params: &Value, error: &AskError) -> Reply {
    match error {
        AskError::NotCapable => not_capable(method, params),
        AskError::Refused(_) | AskError::Gone | AskError::TimedOut => failure(format!("{method} was not answered: {error}.")),
    }
}

/// Input is required first. `requests` is an object by key.
pub(super) fn input_required(requests: &Value, state: Option<String>) -> Reply {
    match to_raw_value(requests) {
        Ok(requests) => Reply::InputRequired(InputRequired { requests: Some(requests), state }),
        Err(_) => Reply::Error(ErrorObject::new(INTERNAL_ERROR, "The requests could not be written.")),
    }
}
