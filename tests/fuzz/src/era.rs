//! The classifier of eras.

use serde_json::Value;
use trunkline_protocol::mcp::{Incoming, MOST_IN_BATCH, Rejection, Request, classify, headers::McpHeaders};

/// From this date on there is no handshake.
const STATELESS: &str = "2026-07-28";

/// Input: three header values, each on a line (empty is absent), and the body. Whatever they say, no message gets into the wrong era.
pub fn target(data: &[u8]) {
    let mut parts = data.splitn(4, |byte| *byte == b'\n');
    let mut header = || parts.next().and_then(|part| std::str::from_utf8(part).ok()).filter(|text| !text.is_empty());
    let headers = McpHeaders { protocol_version: header(), method: header(), name: header() };
    let body = parts.next().unwrap_or_default();
    match classify(body, &headers) {
        Ok(Incoming::Request(request)) => accepted(&request, body, &headers),
        Ok(Incoming::Batch(messages)) => {
            assert!((1..=MOST_IN_BATCH).contains(&messages.len()));
            for message in &messages {
                let Incoming::Request(request) = message else { continue };
                assert!(request.revision.has_handshake() && request.method != "initialize", "{request:?} in a batch");
            }
        }
        Ok(Incoming::Response(_)) => {
            assert!(headers.protocol_version.is_none_or(|date| date < STATELESS), "an answer in the stateless era");
        }
        Ok(Incoming::Notification(_)) => {}
        Err(rejection) => refused(&rejection),
    }
}

fn accepted(request: &Request<'_>, body: &[u8], headers: &McpHeaders<'_>) {
    let read: Value = match serde_json::from_slice(body) {
        Ok(read) => read,
        // Numbers that no type holds: nothing to compare with.
        Err(_) => return,
    };
    let meta = &read["params"]["_meta"];
    let claim = meta["io.modelcontextprotocol/protocolVersion"].as_str();
    assert_eq!(read["method"].as_str(), Some(&*request.method));
    if claim.is_some_and(|date| date >= STATELESS) || headers.protocol_version.is_some_and(|date| date >= STATELESS) {
        assert!(!request.revision.has_handshake(), "a stateless message in the handshake era");
    }
    if request.revision.has_handshake() {
        assert!(claim.is_none_or(|claim| claim == request.revision.as_str()));
        return;
    }
    assert_eq!(claim, Some(request.revision.as_str()));
    assert_eq!(headers.protocol_version, claim);
    assert_eq!(headers.method, Some(&*request.method));
    assert!(meta["io.modelcontextprotocol/clientCapabilities"].is_object());
}

fn refused(rejection: &Rejection<'_>) {
    assert!(matches!(rejection.status, 200 | 400), "{rejection:?}");
    let body = rejection.error.to_body(rejection.id);
    let answer: Value = serde_json::from_str(&body).unwrap_or_default();
    assert!(answer["error"]["code"].as_i64().is_some_and(|code| code < 0), "{body}");
}
