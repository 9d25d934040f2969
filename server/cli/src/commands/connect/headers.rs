//! The headers that each revision wants.

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use trunkline_protocol::mcp::headers::{METHOD, NAME, PROTOCOL_VERSION, encode};

use super::{
    message::{Kind, Message},
    schemas::Schemas,
    session::Session,
};

/// Names a session.
pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// The last event that was seen of a stream.
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// Those of a message.
pub(super) fn of(message: &Message, session: Option<&Session>, schemas: &Schemas) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(session) = session {
        session.stamp(&mut headers);
    }
    if let Some(claim) = &message.claim {
        put(&mut headers, PROTOCOL_VERSION, claim);
    }
    if message.is_stateless() {
        mirror(message, schemas, &mut headers);
    }
    headers
}

fn mirror(message: &Message, schemas: &Schemas, headers: &mut HeaderMap) {
    match &message.kind {
        Kind::Request(request) => {
            put(headers, METHOD, &request.method);
            if let Some(name) = &request.name {
                put(headers, NAME, &encode(name));
                if request.method == "tools/call" {
                    schemas.mirror(name, request.arguments.as_deref(), headers);
                }
            }
        }
        Kind::Notification { method, .. } => put(headers, METHOD, method),
        Kind::Response | Kind::Batch(_) => {}
    }
}

/// Those of a GET, for a new stream or the rest of one.
pub(super) fn of_stream(session: Option<&Session>, last_event: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    if let Some(session) = session {
        session.stamp(&mut headers);
    }
    if let Some(Ok(value)) = last_event.map(HeaderValue::from_str) {
        headers.insert(LAST_EVENT, value);
    }
    headers
}

/// What a header cannot carry is left out, and the endpoint says what is missing.
pub(super) fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::stdio::Line, *};

    fn of_line(line: &str, session: Option<&Session>) -> Vec<(String, String)> {
        let message = Message::read(Line::Whole(line.into())).unwrap().unwrap();
        let headers = of(&message, session, &Schemas::default());
        let ours = headers.iter().filter(|(name, _)| name.as_str().starts_with("mcp-"));
        let mut ours: Vec<_> = ours.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        ours.sort();
        ours
    }

    #[test]
    fn stateless_messages_carry_what_they_say_in_headers_and_no_session() {
        let line = r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"x://ä","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        let expected =
            [("mcp-method", "resources/read"), ("mcp-name", "=?base64?eDovL8Ok?="), ("mcp-protocol-version", "2026-07-28")];
        assert_eq!(of_line(line, None), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn messages_of_a_session_carry_it_and_its_revision() {
        let session = |revision: &str| Session::new(Some(HeaderValue::from_static("s1")), revision);
        let line = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}"#;
        let found = of_line(line, Some(&session("2025-11-25")));
        assert_eq!(found, [("mcp-protocol-version", "2025-11-25"), ("mcp-session-id", "s1")].map(|(n, v)| (n.into(), v.into())));
        assert_eq!(of_line(line, Some(&session("2025-03-26"))), [("mcp-session-id".to_owned(), "s1".to_owned())]);
        assert!(of_line(line, None).is_empty());
    }
}
