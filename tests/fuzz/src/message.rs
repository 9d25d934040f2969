//! The parser of messages.

use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use trunkline_protocol::{
    jsonrpc::{self, ErrorObject, INVALID_REQUEST, Malformed, Message, PARSE_ERROR},
    mcp::object::json_string,
};

/// Any bytes are a message or an error with a code; a message that is written out again is the same message.
pub fn target(data: &[u8]) {
    let _ = jsonrpc::batch(data);
    match Message::parse(data) {
        Ok(message) => same_again(&message),
        Err(malformed) => {
            assert!(matches!(malformed.code(), PARSE_ERROR | INVALID_REQUEST));
            assert!(malformed != Malformed::Batch || jsonrpc::is_array(data));
            if serde_json::from_slice::<IgnoredAny>(data).is_err() {
                assert!(matches!(malformed, Malformed::Json | Malformed::TooDeep), "{malformed:?} for what is no JSON");
            }
        }
    }
}

fn same_again(message: &Message<'_>) {
    let written = match message {
        Message::Request { id, method, params } => {
            answered(id);
            format!(r#"{{"jsonrpc":"2.0","id":{},"method":{}{}}}"#, id.get(), json_string(method), with_params(*params))
        }
        Message::Notification { method, params } => {
            format!(r#"{{"jsonrpc":"2.0","method":{}{}}}"#, json_string(method), with_params(*params))
        }
        Message::Response { id, outcome } => {
            let (member, value) = outcome.map_or_else(|error| ("error", error), |result| ("result", result));
            format!(r#"{{"jsonrpc":"2.0","id":{},"{member}":{}}}"#, id.get(), value.get())
        }
    };
    let again = Message::parse(written.as_bytes());
    assert_eq!(again.ok().map(|again| format!("{again:?}")), Some(format!("{message:?}")), "{written}");
}

fn with_params(params: Option<&RawValue>) -> String {
    params.map(|params| format!(r#","params":{}"#, params.get())).unwrap_or_default()
}

/// What is said to a request is an answer to it.
fn answered(id: &RawValue) {
    for body in [jsonrpc::success(id, "{}"), ErrorObject::new(INVALID_REQUEST, "\"no\"\n").to_body(Some(id))] {
        let answer = Message::parse(body.as_bytes());
        assert!(matches!(answer, Ok(Message::Response { id: its, .. }) if its.get() == id.get()), "{body}");
    }
}
