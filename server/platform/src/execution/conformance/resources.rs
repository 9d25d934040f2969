//! Resources: two that never change, one that does, and one for each id.

use serde_json::{Value, json};
use trunkline_protocol::{
    jsonrpc::{ErrorObject, INVALID_PARAMS},
    mcp::object::RawObject,
};

use super::{World, reply};
use crate::dialogue::Reply;

/// The one whose subscribers are told that it changed, by `test_trigger_resource_update`.
pub(super) const WATCHED: &str = "test://watched-resource";

/// Answers `resources/read`.
pub(super) fn read(world: World<'_>, params: &RawObject<'_>) -> Reply {
    let Some(uri) = params.text("uri") else { return reply::invalid("uri is not a text") };
    let contents = match uri.as_str() {
        WATCHED => {
            Some(json!({ "mimeType": "text/plain", "text": format!("Read at {}.", world.platform.clock.now().to_rfc3339()) }))
        }
        uri => unchanging(uri),
    };
    match contents {
        Some(mut contents) => {
            contents["uri"] = json!(uri);
            reply::result(&json!({ "contents": [contents] }))
        }
        None => Reply::Error(ErrorObject::new(INVALID_PARAMS, "There is no such resource.").with_data(json!({ "uri": uri }))),
    }
}

fn unchanging(uri: &str) -> Option<Value> {
    match uri {
        "test://static-text" => {
            Some(json!({ "mimeType": "text/plain", "text": "This is the content of the static text resource." }))
        }
        "test://static-binary" => Some(json!({ "mimeType": "image/png", "blob": reply::PNG })),
        uri => {
            let id = uri.strip_prefix("test://template/")?.strip_suffix("/data")?;
            let data = json!({ "id": id, "templateTest": true, "data": format!("Data for ID: {id}") });
            (!id.is_empty() && !id.contains('/')).then(|| json!({ "mimeType": "application/json", "text": data.to_string() }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_needs_one_id() {
        let read = |uri| unchanging(uri).map(|contents| contents["text"].as_str().unwrap_or_default().to_owned());
        let text = read("test://template/123/data").expect("there is one");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON")["data"], "Data for ID: 123");
        for uri in ["test://template//data", "test://template/a/b/data", "test://template/data", "test://other", ""] {
            assert_eq!(read(uri), None, "{uri}");
        }
    }
}
