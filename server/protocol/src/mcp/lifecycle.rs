//! Who we are: `initialize` in the handshake era, `server/discover` in the stateless one.

use serde_json::{Value, json};

use super::revision::Revision;

/// `serverInfo` of this server.
pub fn server_info() -> Value {
    json!({ "name": "trunkline", "title": "Trunkline", "version": env!("CARGO_PKG_VERSION") })
}

/// Result of `initialize`: the asked revision if it is served and has a handshake, else the newest that has one.
pub fn initialize(requested: Option<&str>, instructions: &str) -> Value {
    let revision =
        requested.and_then(Revision::find).filter(|revision| revision.has_handshake()).unwrap_or(Revision::LATEST_WITH_HANDSHAKE);
    json!({
        "protocolVersion": revision.as_str(),
        "capabilities": { "tools": {} },
        "serverInfo": server_info(),
        "instructions": instructions,
    })
}

/// Result of `server/discover`.
pub fn discover(instructions: &str) -> Value {
    json!({
        "resultType": "complete",
        "supportedVersions": Revision::ALL.map(Revision::as_str),
        "capabilities": { "tools": {} },
        "instructions": instructions,
        // Nothing may be kept: lists follow scopes, which change at once.
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": { "io.modelcontextprotocol/serverInfo": server_info() },
    })
}
