//! Which era a request belongs to. The body decides; headers are only held against it, and never trusted for anything else.

use std::borrow::Cow;

use serde_json::{json, value::RawValue};

use super::{
    HEADER_MISMATCH, UNSUPPORTED_VERSION,
    headers::{self, McpHeaders},
    params::{self, Meta, Params},
    revision::Revision,
};
use crate::jsonrpc::{self, ErrorObject, INVALID_PARAMS, INVALID_REQUEST, Malformed, Message};

/// Messages of one batch that are taken.
pub const MOST_IN_BATCH: usize = 16;

/// What came.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// Wants an answer.
    Request(Request<'a>),
    /// Accepted, and not answered.
    Notification(Notification<'a>),
    /// Answers a request of ours.
    Response(Response<'a>),
    /// Several of them (2025-03-26 only).
    Batch(Vec<Incoming<'a>>),
}

/// A request whose revision is known and whose headers agree with its body.
#[derive(Debug)]
pub struct Request<'a> {
    /// As it was written.
    pub id: &'a RawValue,
    /// The method.
    pub method: Cow<'a, str>,
    /// Its parameters, as far as they are read.
    pub params: Params<'a>,
    /// All its parameters, as they were written.
    pub raw_params: Option<&'a RawValue>,
    /// The revision to answer in, unless a session has settled on another one.
    pub revision: Revision,
}

/// A notification of a client.
#[derive(Debug)]
pub struct Notification<'a> {
    /// The method.
    pub method: Cow<'a, str>,
    /// Its parameters, where they can be read.
    pub params: Params<'a>,
}

/// A client's answer to a request of ours.
#[derive(Debug)]
pub struct Response<'a> {
    /// The id we gave.
    pub id: &'a RawValue,
    /// Its result, or its error object.
    pub outcome: Result<&'a RawValue, &'a RawValue>,
}

/// A message that is refused before its method is looked at.
#[derive(Debug)]
pub struct Rejection<'a> {
    /// HTTP status.
    pub status: u16,
    /// JSON-RPC error.
    pub error: ErrorObject,
    /// The request's id, if it could be read.
    pub id: Option<&'a RawValue>,
}

impl From<Malformed> for Rejection<'_> {
    fn from(malformed: Malformed) -> Self {
        Self { status: 400, error: ErrorObject::new(malformed.code(), malformed.to_string()), id: None }
    }
}

/// Classifies the body of a POST.
pub fn classify<'a>(body: &'a [u8], headers: &McpHeaders<'_>) -> Result<Incoming<'a>, Rejection<'a>> {
    if jsonrpc::is_array(body) { batch(body, headers) } else { one(body, headers) }
}

fn one<'a>(body: &'a [u8], headers: &McpHeaders<'_>) -> Result<Incoming<'a>, Rejection<'a>> {
    match Message::parse(body)? {
        Message::Request { id, method, params } => request(id, method, params, headers).map(Incoming::Request),
        Message::Notification { method, params } => {
            let params = Params::read(params).unwrap_or_default();
            Ok(Incoming::Notification(Notification { method, params }))
        }
        Message::Response { id, outcome } if !headers.protocol_version.is_some_and(is_stateless_date) => {
            Ok(Incoming::Response(Response { id, outcome }))
        }
        Message::Response { .. } => Err(Rejection {
            status: 400,
            error: ErrorObject::new(INVALID_REQUEST, "in this revision a server asks nothing that a client could answer"),
            id: None,
        }),
    }
}

/// A batch is of the oldest revision as a whole, or refused as a whole.
fn batch<'a>(body: &'a [u8], headers: &McpHeaders<'_>) -> Result<Incoming<'a>, Rejection<'a>> {
    let refuse = |message| Rejection { status: 400, error: ErrorObject::new(INVALID_REQUEST, message), id: None };
    let elements = jsonrpc::batch(body)?;
    if !matches!(headers.protocol_version, None | Some("2025-03-26")) {
        return Err(Malformed::Batch.into());
    }
    if elements.is_empty() || elements.len() > MOST_IN_BATCH {
        return Err(refuse("a batch has 1 to 16 messages"));
    }
    let mut messages = Vec::with_capacity(elements.len());
    for element in elements {
        let message = one(element.get().as_bytes(), headers)?;
        if matches!(&message, Incoming::Request(request) if !request.revision.has_handshake() || request.method == "initialize") {
            return Err(refuse("a batch has no initialize and no message of a stateless revision"));
        }
        messages.push(message);
    }
    Ok(Incoming::Batch(messages))
}

fn request<'a>(
    id: &'a RawValue,
    method: Cow<'a, str>,
    raw_params: Option<&'a RawValue>,
    headers: &McpHeaders<'_>,
) -> Result<Request<'a>, Rejection<'a>> {
    let reject = |status, error| Rejection { status, error, id: Some(id) };
    let header_is_modern = headers.protocol_version.is_some_and(is_stateless_date);
    let params = match Params::read(raw_params) {
        Ok(params) => params,
        Err(error) => {
            let status = if header_is_modern { 400 } else { 200 };
            return Err(reject(status, ErrorObject::new(INVALID_PARAMS, format!("params do not fit: {error}"))));
        }
    };
    let revision = match params.meta.as_ref().filter(|meta| meta.protocol_version.is_some()) {
        Some(meta) => claimed(meta, &method, headers),
        None if header_is_modern && method == "initialize" => Err(mismatch("initialize does not exist in that revision")),
        None if header_is_modern => Err(ErrorObject::new(
            INVALID_PARAMS,
            "params._meta needs io.modelcontextprotocol/protocolVersion and io.modelcontextprotocol/clientCapabilities",
        )),
        None => with_handshake(&method, headers),
    }
    .map_err(|error| reject(400, error))?;
    if !revision.has_handshake() {
        standard_headers(&method, &params, headers).map_err(|error| reject(400, error))?;
    }
    Ok(Request { id, method, params, raw_params, revision })
}

/// The revision that `_meta` claims. A malformed claim never falls back to an older era.
fn claimed(meta: &Meta<'_>, method: &str, headers: &McpHeaders<'_>) -> Result<Revision, ErrorObject> {
    let raw = meta.protocol_version.map_or("", RawValue::get);
    let Ok(claim) = serde_json::from_str::<String>(raw) else {
        return Err(ErrorObject::new(INVALID_PARAMS, "io.modelcontextprotocol/protocolVersion must be a string"));
    };
    if headers.protocol_version.is_some_and(|header| header != claim) {
        return Err(mismatch("MCP-Protocol-Version differs from io.modelcontextprotocol/protocolVersion"));
    }
    if headers.method.is_some_and(|header| header != method) {
        return Err(mismatch("Mcp-Method differs from the method"));
    }
    let revision = Revision::find(&claim).ok_or_else(|| unsupported(&claim))?;
    if !revision.has_handshake() && !meta.client_capabilities.is_some_and(|raw| raw.get().starts_with('{')) {
        return Err(ErrorObject::new(INVALID_PARAMS, "params._meta needs the object io.modelcontextprotocol/clientCapabilities"));
    }
    Ok(revision)
}

/// The revision of a request without a claim: what the header says, or the newest with a handshake.
fn with_handshake(method: &str, headers: &McpHeaders<'_>) -> Result<Revision, ErrorObject> {
    match headers.protocol_version {
        // The handshake settles it in its parameters.
        _ if method == "initialize" => Ok(Revision::LATEST_WITH_HANDSHAKE),
        // Clients before 2025-06-18 send no header; a session knows better.
        None => Ok(Revision::WITHOUT_HEADER),
        Some(date) => Revision::find(date).ok_or_else(|| unsupported(date)),
    }
}

/// In the stateless era the headers are required and must say what the body says.
fn standard_headers(method: &str, params: &Params<'_>, headers: &McpHeaders<'_>) -> Result<(), ErrorObject> {
    if headers.protocol_version.is_none() {
        return Err(mismatch("the header MCP-Protocol-Version is missing"));
    }
    if headers.method.is_none() {
        return Err(mismatch("the header Mcp-Method is missing"));
    }
    if params::is_named(method) {
        let header = headers.name.ok_or_else(|| mismatch("the header Mcp-Name is missing"))?;
        let header = headers::decode(header).ok_or_else(|| mismatch("Mcp-Name is not valid base 64 of UTF-8"))?;
        if params.mirrored_name(method).is_some_and(|name| **name != *header) {
            return Err(mismatch("Mcp-Name differs from what the parameters name"));
        }
    }
    Ok(())
}

/// Does a date name a revision without a handshake, whether it is served or not?
pub fn is_stateless_date(date: &str) -> bool {
    date >= Revision::V2026_07_28.as_str()
}

fn mismatch(message: &'static str) -> ErrorObject {
    ErrorObject::new(HEADER_MISMATCH, message)
}

fn unsupported(requested: &str) -> ErrorObject {
    ErrorObject::new(UNSUPPORTED_VERSION, "this protocol version is not supported")
        .with_data(json!({ "supported": Revision::ALL.map(Revision::as_str), "requested": requested }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODERN: McpHeaders<'_> =
        McpHeaders { protocol_version: Some("2026-07-28"), method: Some("tools/call"), name: Some("echo") };

    fn modern_body(name: &str) -> String {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{name}","_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
        )
    }

    fn outcome(body: &str, headers: &McpHeaders<'_>) -> Result<Revision, (u16, i64)> {
        match classify(body.as_bytes(), headers) {
            Ok(Incoming::Request(request)) => Ok(request.revision),
            Ok(other) => panic!("not a request: {other:?}"),
            Err(rejection) => Err((rejection.status, rejection.error.code)),
        }
    }

    #[test]
    fn claim_makes_a_request_stateless() {
        assert_eq!(outcome(&modern_body("echo"), &MODERN), Ok(Revision::V2026_07_28));
    }

    #[test]
    fn headers_must_agree_with_the_body() {
        let other = |change: fn(&mut McpHeaders<'static>)| {
            let mut headers = MODERN;
            change(&mut headers);
            outcome(&modern_body("echo"), &headers)
        };
        let mismatch = Err((400, HEADER_MISMATCH));
        assert_eq!(other(|h| h.name = Some("cheap")), mismatch);
        assert_eq!(other(|h| h.name = None), mismatch);
        assert_eq!(other(|h| h.name = Some("=?base64?!?=")), mismatch);
        assert_eq!(other(|h| h.name = Some("=?base64?ZWNobw==?=")), Ok(Revision::V2026_07_28));
        assert_eq!(other(|h| h.method = None), mismatch);
        assert_eq!(other(|h| h.method = Some("tools/list")), mismatch);
        assert_eq!(other(|h| h.method = Some("Tools/Call")), mismatch);
        assert_eq!(other(|h| h.protocol_version = None), mismatch);
        assert_eq!(other(|h| h.protocol_version = Some("2025-11-25")), mismatch);
    }

    #[test]
    fn malformed_claim_never_falls_back() {
        let body = |meta: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"_meta":{meta}}}}}"#);
        let none = McpHeaders::default();
        assert_eq!(outcome(&body(r#"{"io.modelcontextprotocol/protocolVersion":7}"#), &none), Err((400, INVALID_PARAMS)));
        assert_eq!(
            outcome(&body(r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#), &none),
            Err((400, INVALID_PARAMS))
        );
        assert_eq!(
            outcome(&body(r#"{"io.modelcontextprotocol/protocolVersion":"2031-01-01"}"#), &none),
            Err((400, UNSUPPORTED_VERSION))
        );
        let modern = McpHeaders { protocol_version: Some("2026-07-28"), ..McpHeaders::default() };
        assert_eq!(outcome(&body("{}"), &modern), Err((400, INVALID_PARAMS)));
    }

    #[test]
    fn without_a_claim_the_handshake_era_serves() {
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        let with = |date| McpHeaders { protocol_version: date, ..McpHeaders::default() };
        assert_eq!(outcome(ping, &with(None)), Ok(Revision::V2025_03_26));
        assert_eq!(outcome(ping, &with(Some("2025-06-18"))), Ok(Revision::V2025_06_18));
        assert_eq!(outcome(ping, &with(Some("2019-01-01"))), Err((400, UNSUPPORTED_VERSION)));
        let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
        assert_eq!(outcome(initialize, &with(None)), Ok(Revision::V2025_11_25));
        assert_eq!(outcome(initialize, &with(Some("2026-07-28"))), Err((400, HEADER_MISMATCH)));
    }

    #[test]
    fn batches_are_of_the_oldest_revision_only() {
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        let none = McpHeaders::default();
        let batch = |elements: &[&str]| format!("[{}]", elements.join(","));
        let status = |body: &str, headers: &McpHeaders<'_>| {
            classify(body.as_bytes(), headers).map_err(|r| (r.status, r.error.code)).map(|i| matches!(i, Incoming::Batch(_)))
        };
        assert_eq!(status(&batch(&[ping, ping]), &none), Ok(true));
        let refused = Err((400, INVALID_REQUEST));
        assert_eq!(status(&batch(&[]), &none), refused);
        assert_eq!(status(&batch(&[ping; 17]), &none), refused);
        assert_eq!(status(&batch(&[ping, "7"]), &none), refused);
        assert_eq!(status(&batch(&[r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#]), &none), refused);
        assert_eq!(status(&batch(&[ping]), &McpHeaders { protocol_version: Some("2025-11-25"), ..none }), refused);
        let modern = McpHeaders { protocol_version: None, ..MODERN };
        assert!(status(&batch(&[&modern_body("echo")]), &modern).is_err());
    }

    #[test]
    fn answers_are_of_the_handshake_era_only() {
        let answer = br#"{"jsonrpc":"2.0","id":"q1","result":{"a":1}}"#;
        assert!(matches!(classify(answer, &McpHeaders::default()), Ok(Incoming::Response(Response { outcome: Ok(_), .. }))));
        assert_eq!(classify(answer, &MODERN).map_err(|r| r.status).err(), Some(400));
    }
}
