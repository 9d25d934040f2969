//! What nobody can approve: definitions that clients would choke on, or that a person cannot judge by looking at them.

use serde_json::Value;
use trunkline_protocol::mcp::mirrored::mirrored;

use super::{Definition, Finding, FindingKind, ItemKind, hidden, risk::texts, schema};

/// Longest description, in bytes.
const MAX_DESCRIPTION: usize = 4096;

/// Why it cannot be served. Empty: it can.
pub(super) fn misfits(definition: &Definition) -> Vec<Finding> {
    let mut found = Vec::new();
    for (place, text) in texts(definition) {
        if let Some(hidden) = hidden::first(text) {
            let what = format!("{} in “{}”", hidden::spelling(hidden), around(text, hidden));
            found.push(Finding::new(FindingKind::HiddenCharacters, place, what));
        }
    }
    if definition.description().len() > MAX_DESCRIPTION {
        let length = format!("{} bytes; at most {MAX_DESCRIPTION} are served", definition.description().len());
        found.push(Finding::new(FindingKind::LongDescription, "description", length));
    }
    if definition.kind == ItemKind::Tools {
        tool_misfits(definition, &mut found);
    }
    found
}

fn tool_misfits(definition: &Definition, found: &mut Vec<Finding>) {
    let mut unusable = |place: &str, why: String| found.push(Finding::new(FindingKind::Unusable, place, why));
    match definition.member("inputSchema") {
        Some(schema) if schema.get("type").and_then(Value::as_str) == Some("object") => {
            if let Err(error) = mirrored(schema) {
                unusable("inputSchema", error.to_string());
            }
        }
        _ => unusable("inputSchema", "expected a JSON Schema with \"type\": \"object\"".to_owned()),
    }
    for member in ["inputSchema", "outputSchema"] {
        let Some(value) = definition.member(member) else { continue };
        let written = definition.raw_member(member).unwrap_or_default();
        if let Some(why) = schema::misfit(&written, value) {
            unusable(member, why);
        }
    }
    let task_support = definition.member("execution").and_then(|execution| execution.get("taskSupport"));
    if task_support.and_then(Value::as_str) == Some("required") {
        unusable("execution.taskSupport", "the tool only runs as a task, which is not passed on".to_owned());
    }
}

/// The words beside it.
fn around(text: &str, hidden: char) -> String {
    let at = text.find(hidden).unwrap_or_default();
    let start = text[..at].char_indices().rev().nth(19).map_or(0, |(start, _)| start);
    let end = text[at..].char_indices().nth(20).map_or(text.len(), |(end, _)| at + end);
    let (before, after) = (if start > 0 { "…" } else { "" }, if end < text.len() { "…" } else { "" });
    format!("{before}{}{after}", hidden::spelt_out(&text[start..end]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::definition::tests::tool;

    #[test]
    fn each_misfit_is_named_with_its_place() {
        let schema = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
        for (value, place) in [
            (json!({ "name": "x", "description": "a\u{200b}b", "inputSchema": schema }), "description"),
            (json!({ "name": "x\u{e0041}", "inputSchema": schema }), "name"),
            (
                json!({ "name": "x", "inputSchema": { "type": "object", "properties": { "a\u{202e}": {} } } }),
                "inputSchema.properties",
            ),
            (json!({ "name": "x", "description": "d".repeat(4097), "inputSchema": schema }), "description"),
            (json!({ "name": "x" }), "inputSchema"),
            (json!({ "name": "x", "inputSchema": { "type": "array" } }), "inputSchema"),
            (json!({ "name": "x", "inputSchema": { "type": "object", "$ref": "https://a.example/" } }), "inputSchema"),
            (json!({ "name": "x", "inputSchema": schema, "outputSchema": { "type": 7 } }), "outputSchema"),
            (json!({ "name": "x", "inputSchema": schema, "execution": { "taskSupport": "required" } }), "execution.taskSupport"),
            (
                json!({ "name": "x", "inputSchema": { "type": "object", "properties": { "a": { "type": "number", "x-mcp-header": "A" } } } }),
                "inputSchema",
            ),
        ] {
            let found = misfits(&tool(&value));
            assert_eq!(found.len(), 1, "{value}: {found:?}");
            assert!(found[0].kind.forbids() && found[0].place == place, "{value}: {found:?}");
        }
        let fine = json!({ "name": "x", "description": "d".repeat(4096), "inputSchema": schema, "execution": { "taskSupport": "optional" } });
        assert_eq!(misfits(&tool(&fine)), []);
    }
}
