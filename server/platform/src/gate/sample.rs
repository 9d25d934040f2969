//! A call that does no harm, made from what a tool says of itself. Nothing is invented: a tool that wants to be told something is only called with
//! what its own schema gives.

use serde_json::{Map, Value};
use trunkline_protocol::oauth::scope::Effect;

use super::Sample;
use crate::catalog::definition::Definition;

/// None can be called.
pub(super) const NONE: (&str, &str) = (
    "no tool says that it only reads (readOnlyHint) and has default, const, enum or examples for each argument that it requires",
    "Name a tool and its arguments.",
);
/// The one that was named is not there.
pub(super) const ABSENT: &str = "Name it as the server does, without a prefix of yours.";

/// The tool that requires least among those that only read.
pub(super) fn choose(tools: &[Definition]) -> Option<Sample> {
    let reads = tools.iter().filter(|tool| tool.effect(Effect::Write) == Effect::Read);
    let samples = reads.filter_map(|tool| {
        let arguments = arguments(tool.member("inputSchema")?)?;
        Some(Sample { tool: tool.key.clone(), arguments })
    });
    samples.min_by_key(|sample| sample.arguments.len())
}

fn arguments(schema: &Value) -> Option<Map<String, Value>> {
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    required
        .map(|name| {
            let name = name.as_str()?;
            Some((name.to_owned(), given(&schema["properties"][name])?))
        })
        .collect()
}

/// A value that the schema itself gives.
fn given(schema: &Value) -> Option<Value> {
    let one_of = |name: &str| schema.get(name)?.as_array()?.first().cloned();
    schema.get("default").or_else(|| schema.get("const")).cloned().or_else(|| one_of("examples")).or_else(|| one_of("enum"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::definition::tests::tool;

    #[test]
    fn only_what_reads_is_called_and_nothing_is_invented() {
        let reads = json!({ "readOnlyHint": true });
        let asks = json!({ "type": "object", "properties": { "q": { "type": "string" } }, "required": ["q"] });
        let gives = json!({ "type": "object", "required": ["q", "n"],
            "properties": { "q": { "type": "string", "examples": ["tea"] }, "n": { "enum": [3, 4] } } });
        let [asking, giving] = [("asks", &asks), ("gives", &gives)]
            .map(|(name, schema)| tool(&json!({ "name": name, "inputSchema": schema, "annotations": reads })));
        let writing = tool(&json!({ "name": "writes", "inputSchema": { "type": "object" } }));
        assert_eq!(choose(&[asking.clone(), writing.clone()]), None);
        let chosen = choose(&[writing, asking, giving]).expect("one");
        assert_eq!((&*chosen.tool, Value::Object(chosen.arguments)), ("gives", json!({ "q": "tea", "n": 3 })));
    }
}
