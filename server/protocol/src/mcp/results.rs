//! Results in the shape of the caller's revision, whoever produced them: what the revision wants is added, what it does not know is taken
//! out, everything else stays as it was written.

use serde_json::Value;

use super::{
    lifecycle::SERVER_INFO_MEMBER,
    object::{RawObject, json_string},
    revision::Revision,
};

/// May a client keep the result? Then the stateless revision wants to be told for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// Lists, reads and discovery. Always `private` and 0 ms: what is seen follows scopes, which change at once.
    Never,
    /// Not a cacheable result.
    NotTold,
}

/// A complete result as that revision writes it. `additions` are members of `_meta`: key and JSON.
pub fn complete(revision: Revision, mut result: RawObject<'_>, caching: Caching, additions: &[(&str, &str)]) -> String {
    if revision.has_result_metadata() {
        result.set("resultType", r#""complete""#);
        if caching == Caching::Never {
            result.set("ttlMs", "0");
            result.set("cacheScope", r#""private""#);
        }
    } else {
        for key in ["resultType", "ttlMs", "cacheScope"] {
            result.remove(key);
        }
        fit_structured_content(revision, &mut result);
    }
    let meta = meta(revision, result.get("_meta"), additions);
    match meta {
        Some(meta) => result.set("_meta", meta),
        None => drop(result.remove("_meta")),
    }
    result.to_json()
}

/// Older revisions know structured content as an object only, the oldest not at all. The text beside it says the same.
fn fit_structured_content(revision: Revision, result: &mut RawObject<'_>) {
    let fits = revision.has_structured_content() && result.get("structuredContent").is_some_and(|json| json.starts_with('{'));
    if !fits {
        result.remove("structuredContent");
    }
    if !revision.has_structured_content()
        && let Some(content) = result.get("content").filter(|json| json.contains("resource_link"))
        && let Some(content) = without_links(content)
    {
        result.set("content", content);
    }
}

/// Links to resources as text, for clients from before they existed.
fn without_links(content: &str) -> Option<String> {
    let mut blocks: Vec<Value> = serde_json::from_str(content).ok()?;
    for block in &mut blocks {
        if block["type"] == "resource_link" {
            *block = serde_json::json!({ "type": "text", "text": block["uri"] });
        }
    }
    serde_json::to_string(&blocks).ok()
}

/// `_meta` of a result: what came, ours, and who we are where the revision wants it.
fn meta(revision: Revision, from: Option<&str>, additions: &[(&str, &str)]) -> Option<String> {
    let mut meta = from.and_then(|json| RawObject::parse(json).ok()).unwrap_or_default();
    meta.remove(super::SERVER_INFO);
    for (key, json) in additions {
        meta.set(key, *json);
    }
    if revision.has_result_metadata() {
        meta.set(super::SERVER_INFO, SERVER_INFO_MEMBER);
    }
    (!meta.is_empty()).then(|| meta.to_json())
}

/// What stands before and after the items of a list, which are JSON already, with commas between them.
pub fn around_list(revision: Revision, key: &str, next_cursor: Option<&str>) -> [String; 2] {
    let mut end = "]".to_owned();
    if let Some(cursor) = next_cursor {
        end.push_str(r#","nextCursor":"#);
        end.push_str(&json_string(cursor));
    }
    if revision.has_result_metadata() {
        end.push_str(r#","resultType":"complete","ttlMs":0,"cacheScope":"private","_meta":{""#);
        end.push_str(super::SERVER_INFO);
        end.push_str("\":");
        end.push_str(SERVER_INFO_MEMBER);
        end.push('}');
    }
    end.push('}');
    [format!("{{\"{key}\":["), end]
}

/// An empty result: acknowledgements and `ping`.
pub fn empty(revision: Revision) -> String {
    complete(revision, RawObject::default(), Caching::NotTold, &[])
}

/// A result that asks for input (stateless revision only). `requests` is the object of requests by key, `state` ours, sealed.
pub fn input_required(requests: Option<&str>, state: Option<&str>) -> String {
    let mut result = RawObject::default();
    result.set("resultType", r#""input_required""#);
    if let Some(requests) = requests {
        result.set("inputRequests", requests);
    }
    if let Some(state) = state {
        result.set_text("requestState", state);
    }
    result.set("_meta", format!("{{\"{}\":{SERVER_INFO_MEMBER}}}", super::SERVER_INFO));
    result.to_json()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shaped(revision: Revision, json: &str) -> Value {
        let object = RawObject::parse(json).expect("object");
        serde_json::from_str(&complete(revision, object, Caching::Never, &[("trunkline/limits", "{}")])).expect("JSON")
    }

    #[test]
    fn each_revision_gets_its_shape() {
        let upstream = r#"{"content":[{"type":"resource_link","uri":"a://b"}],"structuredContent":[1],"resultType":"complete","ttlMs":5,
            "cacheScope":"public","x":{"y":1.0},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"other"},"k":1}}"#;
        let newest = shaped(Revision::V2026_07_28, upstream);
        assert_eq!((&newest["ttlMs"], &newest["cacheScope"]), (&json!(0), &json!("private")));
        assert_eq!(newest["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "trunkline");
        assert_eq!(newest["structuredContent"], json!([1]));
        let older = shaped(Revision::V2025_11_25, upstream);
        assert_eq!(older["x"]["y"], json!(1.0));
        assert_eq!(older["_meta"], json!({"k":1,"trunkline/limits":{}}));
        for key in ["resultType", "ttlMs", "cacheScope", "structuredContent"] {
            assert!(older.get(key).is_none(), "{key}");
        }
        let oldest = shaped(Revision::V2025_03_26, upstream);
        assert_eq!(oldest["content"], json!([{"type":"text","text":"a://b"}]));
    }

    #[test]
    fn lists_and_empty_results_are_json_in_each_era() {
        for revision in Revision::ALL {
            let list: Value = serde_json::from_str(&around_list(revision, "tools", Some("x\"")).join("{},{}")).expect("JSON");
            assert_eq!(list["tools"].as_array().map(Vec::len), Some(2));
            assert_eq!(list["nextCursor"], "x\"");
            assert_eq!(list["resultType"].is_string(), revision.has_result_metadata());
            let empty: Value = serde_json::from_str(&empty(revision)).expect("JSON");
            assert_eq!(empty.as_object().map(serde_json::Map::is_empty), Some(revision.has_handshake()));
        }
        let asked: Value = serde_json::from_str(&input_required(Some("{}"), Some("s"))).expect("JSON");
        assert_eq!((&asked["resultType"], &asked["requestState"]), (&json!("input_required"), &json!("s")));
    }
}
