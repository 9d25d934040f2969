//! JSON-RPC 2.0: the envelope, borrowed from the body so that nothing is copied, and the error object.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::{Value, value::RawValue};

/// Deepest nesting that is read. serde_json would allow 128; nobody needs 64.
pub const MAX_DEPTH: usize = 64;

/// Parse error.
pub const PARSE_ERROR: i64 = -32700;
/// Not a request.
pub const INVALID_REQUEST: i64 = -32600;
/// No such method.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// Parameters that do not fit.
pub const INVALID_PARAMS: i64 = -32602;
/// The server's fault.
pub const INTERNAL_ERROR: i64 = -32603;

/// One message as it came, its members still raw.
#[derive(Debug, Deserialize)]
pub struct Envelope<'a> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    /// Absent in a notification. `null` is kept apart from absent: it is never valid.
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// One valid message.
#[derive(Debug)]
pub enum Message<'a> {
    /// Wants an answer.
    Request {
        /// A string or an integer, as it was written.
        id: &'a RawValue,
        /// The method.
        method: Cow<'a, str>,
        /// Its parameters.
        params: Option<&'a RawValue>,
    },
    /// Wants none.
    Notification {
        /// The method.
        method: Cow<'a, str>,
        /// Its parameters.
        params: Option<&'a RawValue>,
    },
    /// Answers a request of ours.
    Response {
        /// The id we gave.
        id: &'a RawValue,
        /// Its result, or its error object.
        outcome: Result<&'a RawValue, &'a RawValue>,
    },
}

/// Why a body is not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not JSON, not UTF-8, a key twice, or something after the end.
    #[error("the body is not one JSON value in UTF-8")]
    Json,
    /// Nested deeper than `MAX_DEPTH`.
    #[error("the body is nested deeper than 64 levels")]
    TooDeep,
    /// An array, where one message is wanted.
    #[error("batches are not accepted: send one message per request")]
    Batch,
    /// JSON, but not a JSON-RPC 2.0 message.
    #[error(
        "the body is not a JSON-RPC 2.0 message: it needs \"jsonrpc\": \"2.0\", a method, and an id that is a string or an integer"
    )]
    Shape,
}

impl Malformed {
    /// Its code.
    pub fn code(self) -> i64 {
        match self {
            Self::Json => PARSE_ERROR,
            Self::TooDeep | Self::Batch | Self::Shape => INVALID_REQUEST,
        }
    }
}

impl<'a> Message<'a> {
    /// Reads one message.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        if depth(body) > MAX_DEPTH {
            return Err(Malformed::TooDeep);
        }
        if is_array(body) {
            // Told apart from other shapes, because old clients do send batches.
            return Err(serde_json::from_slice::<Vec<&RawValue>>(body).map_or(Malformed::Json, |_| Malformed::Batch));
        }
        let body = std::str::from_utf8(body).map_err(|_| Malformed::Json)?;
        let envelope: Envelope<'a> = serde_json::from_str(body).map_err(|error| {
            let is_json = serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok();
            if is_json && !is_duplicate(&error) { Malformed::Shape } else { Malformed::Json }
        })?;
        envelope.classify()
    }
}

/// Does the body begin like an array?
pub fn is_array(body: &[u8]) -> bool {
    body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[')
}

/// The elements of a batch, still raw.
pub fn batch(body: &[u8]) -> Result<Vec<&RawValue>, Malformed> {
    if depth(body) > MAX_DEPTH {
        return Err(Malformed::TooDeep);
    }
    serde_json::from_slice(body).map_err(|_| Malformed::Json)
}

/// serde calls a repeated key a data error; on the wire it is a body that two readers may read differently.
fn is_duplicate(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("duplicate field")
}

impl<'a> Envelope<'a> {
    fn classify(self) -> Result<Message<'a>, Malformed> {
        if self.jsonrpc != "2.0" || self.id.is_some_and(|id| !is_valid_id(id.get())) {
            return Err(Malformed::Shape);
        }
        match (self.method, self.id) {
            (Some(method), Some(id)) => Ok(Message::Request { id, method, params: self.params }),
            (Some(method), None) => Ok(Message::Notification { method, params: self.params }),
            (None, Some(id)) => match (self.result, self.error) {
                (Some(result), None) => Ok(Message::Response { id, outcome: Ok(result) }),
                (None, Some(error)) => Ok(Message::Response { id, outcome: Err(error) }),
                _ => Err(Malformed::Shape),
            },
            (None, None) => Err(Malformed::Shape),
        }
    }
}

/// A string or an integer; never null, a fraction, an array or an object. Half a surrogate pair is no text, and not everybody reads it.
fn is_valid_id(id: &str) -> bool {
    match id.as_bytes() {
        [b'"', ..] => !id.contains('\\') || serde_json::from_str::<Cow<'_, str>>(id).is_ok(),
        [b'-' | b'0'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// Deepest nesting of brackets outside strings, found without recursion.
fn depth(body: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0usize, false, false);
    for &byte in body {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
        } else {
            match byte {
                b'"' => in_string = true,
                b'{' | b'[' => {
                    depth += 1;
                    deepest = deepest.max(depth);
                }
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
    }
    deepest
}

/// An error answer's `error` member.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ErrorObject {
    /// Reserved codes are negative; our own are positive (the specification keeps -32768 to -32000 for itself).
    pub code: i64,
    /// One sentence for whoever reads the log of the client.
    pub message: Cow<'static, str>,
    /// Structured details.
    #[serde(default)]
    pub data: Option<Value>,
}

impl ErrorObject {
    /// An error without details.
    pub fn new(code: i64, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// With details.
    #[must_use]
    pub fn with_data(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }

    /// The `error` member.
    pub fn to_json(&self) -> Value {
        let mut error = serde_json::json!({ "code": self.code, "message": self.message });
        if let Some(data) = &self.data {
            error["data"] = data.clone();
        }
        error
    }

    /// The whole answer. Without a readable request id the member is left out, as MCP wants it.
    pub fn to_body(&self, id: Option<&RawValue>) -> String {
        let error = self.to_json();
        match id {
            Some(id) => format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, id.get()),
            None => format!(r#"{{"jsonrpc":"2.0","error":{error}}}"#),
        }
    }
}

/// A notification around parameters that are already JSON.
pub fn notification(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#)
}

/// A request around parameters that are already JSON. `id` is JSON too.
pub fn request(id: &str, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

/// A successful answer around a result that is already JSON.
pub fn success(id: &RawValue, result: &str) -> String {
    // Not `format!`, which would grow and move a large result once more for the last brace.
    [BEFORE_ID, id.get(), BEFORE_RESULT, result, AFTER_RESULT].concat()
}

/// What stands before and after the result in a successful answer.
pub fn around_result(id: &RawValue) -> (String, &'static str) {
    ([BEFORE_ID, id.get(), BEFORE_RESULT].concat(), AFTER_RESULT)
}

const BEFORE_ID: &str = r#"{"jsonrpc":"2.0","id":"#;
const BEFORE_RESULT: &str = r#","result":"#;
const AFTER_RESULT: &str = "}";

#[cfg(test)]
mod tests {
    use super::*;

    fn code(body: &[u8]) -> Option<i64> {
        Message::parse(body).err().map(Malformed::code)
    }

    #[test]
    fn request_notification_and_response_are_told_apart() {
        let request = br#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#;
        assert!(matches!(Message::parse(request), Ok(Message::Request { id, .. }) if id.get() == "\"a\""));
        assert!(matches!(Message::parse(br#"{"jsonrpc":"2.0","method":"x"}"#), Ok(Message::Notification { .. })));
        assert!(matches!(
            Message::parse(br#"{"jsonrpc":"2.0","id":1,"result":null}"#),
            Ok(Message::Response { outcome: Ok(_), .. })
        ));
    }

    #[test]
    fn what_is_not_json_is_a_parse_error() {
        for body in [
            &b""[..],
            b"{",
            b"{}x",
            b"\xff",
            b"\xef\xbb\xbf{}",
            br#"{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}"#,
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}",
        ] {
            assert_eq!(code(body), Some(PARSE_ERROR), "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn what_is_not_a_message_is_an_invalid_request() {
        for body in [
            &br"{}"[..],
            br#"{"jsonrpc":"1.0","id":1,"method":"x"}"#,
            br#"{"jsonrpc":"2.0","id":null,"method":"x"}"#,
            br#"{"jsonrpc":"2.0","id":1.5,"method":"x"}"#,
            br#"{"jsonrpc":"2.0","id":[],"method":"x"}"#,
            br#"{"jsonrpc":"2.0","id":"\ud800","method":"x"}"#,
            br#"{"jsonrpc":"2.0","id":1,"method":7}"#,
            br#"{"jsonrpc":"2.0","id":1}"#,
            br#"[{"jsonrpc":"2.0","id":1,"method":"x"}]"#,
            br#""text""#,
        ] {
            assert_eq!(code(body), Some(INVALID_REQUEST), "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn deep_nesting_is_refused_without_recursion() {
        let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(Message::parse(deep.as_bytes()).err(), Some(Malformed::TooDeep));
        let brackets_in_text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}\""}}"#, "[".repeat(100));
        assert!(Message::parse(brackets_in_text.as_bytes()).is_ok());
    }
}
