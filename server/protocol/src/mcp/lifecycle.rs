//! Who we are: `initialize` in the handshake era, `server/discover` in the stateless one.

use serde_json::{Value, json};

use super::{capabilities::TASKS, revision::Revision};

/// `serverInfo` as it stands in every stateless result, written out once.
pub(super) const SERVER_INFO_MEMBER: &str =
    concat!(r#"{"name":"trunkline","title":"Trunkline","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#);

/// What an endpoint serves, beside tools.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// Prompts.
    pub prompts: bool,
    /// Resources and templates.
    pub resources: bool,
    /// Completions of prompts and templates.
    pub completions: bool,
}

/// `serverInfo` of this server.
pub fn server_info() -> Value {
    json!({ "name": "trunkline", "title": "Trunkline", "version": env!("CARGO_PKG_VERSION") })
}

/// The revision that a handshake settles on: the asked one if it is served and has a handshake, else the newest that has one.
pub fn negotiate(requested: Option<&str>) -> Revision {
    requested.and_then(Revision::find).filter(|revision| revision.has_handshake()).unwrap_or(Revision::LATEST_WITH_HANDSHAKE)
}

/// Result of `initialize`. Changes of lists are only promised where a session can carry them.
pub fn initialize(revision: Revision, served: Served, has_session: bool, instructions: &str) -> Value {
    let mut result = json!({
        "protocolVersion": revision.as_str(),
        "capabilities": capabilities(served, has_session),
        "serverInfo": server_info(),
        "instructions": instructions,
    });
    if has_session {
        result["capabilities"]["logging"] = json!({});
    }
    if revision == Revision::V2025_03_26 {
        // `title` came later.
        result["serverInfo"] = json!({ "name": "trunkline", "version": env!("CARGO_PKG_VERSION") });
    }
    result
}

/// Result of `server/discover`.
pub fn discover(served: Served, instructions: &str) -> Value {
    let mut capabilities = capabilities(served, true);
    capabilities["logging"] = json!({});
    capabilities["extensions"] = json!({ TASKS: {} });
    json!({
        "resultType": "complete",
        "supportedVersions": Revision::ALL.map(Revision::as_str),
        "capabilities": capabilities,
        "instructions": instructions,
        // Nothing may be kept: lists follow scopes, which change at once.
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": { super::SERVER_INFO: server_info() },
    })
}

fn capabilities(served: Served, hears_of_changes: bool) -> Value {
    let list = || if hears_of_changes { json!({ "listChanged": true }) } else { json!({}) };
    let mut capabilities = json!({ "tools": list() });
    if served.prompts {
        capabilities["prompts"] = list();
    }
    if served.resources {
        capabilities["resources"] = list();
        if hears_of_changes {
            capabilities["resources"]["subscribe"] = json!(true);
        }
    }
    if served.completions {
        capabilities["completions"] = json!({});
    }
    capabilities
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshake_settles_on_a_revision_with_one() {
        assert_eq!(negotiate(Some("2025-06-18")), Revision::V2025_06_18);
        assert_eq!(negotiate(Some("2026-07-28")), Revision::V2025_11_25);
        assert_eq!(negotiate(Some("1999-01-01")), Revision::V2025_11_25);
        assert_eq!(negotiate(None), Revision::V2025_11_25);
    }

    #[test]
    fn server_info_is_the_same_everywhere() {
        assert_eq!(serde_json::from_str::<Value>(SERVER_INFO_MEMBER).expect("JSON"), server_info());
    }

    #[test]
    fn only_what_is_served_is_promised() {
        let bare = initialize(Revision::V2025_11_25, Served::default(), false, "");
        assert_eq!(bare["capabilities"], json!({ "tools": {} }));
        let all = discover(Served { prompts: true, resources: true, completions: true }, "");
        assert_eq!(all["capabilities"]["resources"], json!({ "listChanged": true, "subscribe": true }));
    }
}
