//! Tools: their description in a list, and the result of a call. A tool that failed is a result; a request that failed is an error.

use serde::Serialize;
use serde_json::value::RawValue;

use super::revision::Revision;
use crate::oauth::scope::Effect;

/// A tool as it stands in `tools/list`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolDescription<'a> {
    /// 1 to 64 characters of `A-Z a-z 0-9 _ . -`.
    pub name: &'a str,
    /// For people.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub title: &'a str,
    /// For models.
    pub description: &'a str,
    /// JSON Schema of the arguments.
    pub input_schema: &'a RawValue,
    /// What it does to the world.
    pub annotations: Annotations,
}

/// Hints of the specification, from the tool's effect.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Annotations {
    read_only_hint: bool,
    destructive_hint: bool,
}

impl From<Effect> for Annotations {
    fn from(effect: Effect) -> Self {
        Self { read_only_hint: effect == Effect::Read, destructive_hint: effect == Effect::Destructive }
    }
}

/// What a tool gave back.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolResult {
    /// What the model reads.
    pub text: String,
    /// Did the tool fail?
    pub is_error: bool,
}

/// Result of `tools/list` from descriptions that are JSON already.
pub fn list_result<'a>(revision: Revision, tools: impl Iterator<Item = &'a str>, next_cursor: Option<&str>) -> String {
    let mut result = String::from(r#"{"tools":["#);
    for (i, tool) in tools.enumerate() {
        if i > 0 {
            result.push(',');
        }
        result.push_str(tool);
    }
    result.push(']');
    if let Some(cursor) = next_cursor {
        result.push_str(r#","nextCursor":"#);
        push_json_string(&mut result, cursor);
    }
    if revision.has_result_metadata() {
        result.push_str(r#","resultType":"complete","ttlMs":0,"cacheScope":"private","_meta":{"#);
        result.push_str(SERVER_INFO_MEMBER);
        result.push('}');
    }
    result.push('}');
    result
}

/// Result of `tools/call`. `meta` has our own keys; who we are is added where the revision wants it.
pub fn call_result(revision: Revision, result: &ToolResult, meta: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(result.text.len() + 256);
    text.push_str(r#"{"content":[{"type":"text","text":"#);
    push_json_string(&mut text, &result.text);
    text.push_str(if result.is_error { r#"}],"isError":true"# } else { r#"}],"isError":false"# });
    if revision.has_result_metadata() {
        text.push_str(r#","resultType":"complete""#);
    }
    text.push_str(r#","_meta":{"#);
    let mut first = true;
    for (key, json) in meta {
        text.push_str(if first { "\"" } else { ",\"" });
        text.push_str(key);
        text.push_str("\":");
        text.push_str(json);
        first = false;
    }
    if revision.has_result_metadata() {
        text.push_str(if first { "" } else { "," });
        text.push_str(SERVER_INFO_MEMBER);
    }
    text.push_str("}}");
    text
}

/// Written out once: it stands in every stateless result.
const SERVER_INFO_MEMBER: &str = concat!(
    r#""io.modelcontextprotocol/serverInfo":{"name":"trunkline","title":"Trunkline","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}"#
);

fn push_json_string(target: &mut String, text: &str) {
    // serde_json writes only UTF-8, and a `String` never refuses a write.
    match serde_json::to_string(text) {
        Ok(json) => target.push_str(&json),
        Err(_) => target.push_str("\"\""),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::mcp::lifecycle;

    #[test]
    fn results_are_valid_json_in_each_era() {
        let result = ToolResult { text: "a \"quoted\"\nline \u{1F600}".into(), is_error: false };
        for revision in Revision::ALL {
            let value: Value =
                serde_json::from_str(&call_result(revision, &result, &[("trunkline/limits", "{}")])).expect("JSON");
            assert_eq!(value["content"][0]["text"], result.text);
            assert_eq!(value["resultType"].is_string(), revision.has_result_metadata());
            assert!(value["_meta"]["trunkline/limits"].is_object());
            let list: Value = serde_json::from_str(&list_result(revision, ["{}", "{}"].into_iter(), Some("x"))).expect("JSON");
            assert_eq!(list["tools"].as_array().map(Vec::len), Some(2));
            let info: Value = serde_json::from_str(&format!("{{{SERVER_INFO_MEMBER}}}")).expect("JSON");
            assert_eq!(info["io.modelcontextprotocol/serverInfo"], lifecycle::server_info());
        }
    }
}
