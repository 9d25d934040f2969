//! Names of the headers of the transport, and the MCP headers of a request.

use actix_web::http::header::HeaderMap;
use trunkline_platform::trace;
use trunkline_protocol::mcp::{
    headers::{METHOD, McpHeaders, NAME, PROTOCOL_VERSION},
    mirrored::PREFIX,
};

/// Names a session.
pub(super) const SESSION: &str = "mcp-session-id";
/// The last event that a client saw.
pub(super) const LAST_EVENT: &str = "last-event-id";

/// The headers by which the era is chosen, trimmed.
pub(super) fn of_era(headers: &HeaderMap) -> McpHeaders<'_> {
    McpHeaders { protocol_version: value(headers, PROTOCOL_VERSION), method: value(headers, METHOD), name: value(headers, NAME) }
}

/// The value of a header, trimmed; one that is not visible ASCII is none.
pub(super) fn value<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

/// The trace that an HTTP request belongs to. Of several states none is taken: their order would matter.
pub(super) fn trace(headers: &HeaderMap) -> Option<trace::Given> {
    let mut states = headers.get_all("tracestate");
    let state = states.next().and_then(|state| state.to_str().ok()).filter(|_| states.next().is_none());
    trace::Given::read(value(headers, "traceparent")?, state)
}

/// Arguments that are mirrored into headers, by lower-case name. A value that is no text is kept as one that nothing equals.
pub(super) fn mirrored(headers: &HeaderMap) -> Vec<(String, String)> {
    let named = headers.iter().filter(|(name, _)| name.as_str().starts_with(PREFIX));
    named.map(|(name, value)| (name.as_str().to_owned(), value.to_str().map_or("\0", str::trim).to_owned())).collect()
}

/// May that be one? 1 to 255 visible ASCII characters.
pub(super) fn is_idempotency_key(key: &str) -> bool {
    (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())
}

/// The key under which a call runs at most once. `Err`: it is not 1 to 255 visible characters, or there are several.
pub(super) fn idempotency(headers: &HeaderMap) -> Result<Option<&str>, ()> {
    let mut values = headers.get_all("idempotency-key");
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| is_idempotency_key(key));
    if values.next().is_some() { Err(()) } else { key.map(Some).ok_or(()) }
}
