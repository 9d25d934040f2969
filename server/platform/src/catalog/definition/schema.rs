//! JSON Schemas of others: compiled within limits, without fetching anything, with patterns that run in linear time.

use jsonschema::{Draft, PatternOptions, Validator, error::ValidationErrorKind};
use serde_json::Value;

use super::json;

/// Largest schema, in bytes.
const MAX_BYTES: usize = 64 * 1024;
/// Deepest nesting.
const MAX_DEPTH: usize = 32;
/// Most patterns, and the size of each when compiled: together they bound the time it takes.
const MAX_PATTERNS: usize = 200;
const MAX_PATTERN_BYTES: usize = 256 * 1024;

/// Compiles a schema. Its dialect is the one that it names, else 2020-12. References lead into itself only.
pub fn compile(schema: &Value) -> Result<Validator, String> {
    if Draft::default().detect(schema) == Draft::Unknown {
        return Err("its `$schema` is not a dialect that is known here".to_owned());
    }
    let patterns = PatternOptions::regex().size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES);
    jsonschema::options().with_pattern_options(patterns).build(schema).map_err(|error| match error.kind() {
        ValidationErrorKind::Referencing(_) => "it refers to something outside of itself, which is never fetched".to_owned(),
        _ => error.masked().to_string(),
    })
}

/// Why a schema cannot be used. `text` is it as it was written.
pub(in crate::catalog) fn misfit(text: &str, schema: &Value) -> Option<String> {
    if text.len() > MAX_BYTES {
        return Some("it is larger than 64 KiB".to_owned());
    }
    if json::depth(schema) > MAX_DEPTH {
        return Some(format!("it is nested deeper than {MAX_DEPTH} levels"));
    }
    if patterns(schema) > MAX_PATTERNS {
        return Some(format!("it has more than {MAX_PATTERNS} patterns"));
    }
    compile(schema).err()
}

fn patterns(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(patterns).sum(),
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| {
                let own = match (key.as_str(), value) {
                    ("pattern", Value::String(_)) => 1,
                    ("patternProperties", Value::Object(properties)) => properties.len(),
                    _ => 0,
                };
                own + patterns(value)
            })
            .sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn misfit_of(schema: &Value) -> Option<String> {
        misfit(&schema.to_string(), schema)
    }

    #[test]
    fn limits_hold() {
        let deep = |levels: usize| (0..levels).fold(json!({}), |inner, _| json!({ "not": inner }));
        assert_eq!(misfit_of(&deep(31)), None);
        assert!(misfit_of(&deep(32)).is_some_and(|reason| reason.contains("32 levels")));
        assert!(misfit_of(&json!({ "description": "x".repeat(MAX_BYTES) })).is_some_and(|reason| reason.contains("64 KiB")));
        let many: serde_json::Map<_, _> = (0..201).map(|i| (format!("p{i}"), json!({ "pattern": "a" }))).collect();
        assert!(misfit_of(&json!({ "properties": many })).is_some_and(|reason| reason.contains("200 patterns")));
    }

    #[test]
    fn nothing_is_fetched_and_nothing_backtracks() {
        for schema in [
            json!({ "$ref": "http://127.0.0.1:9/schema.json" }),
            json!({ "$ref": "file:///etc/passwd" }),
            json!({ "$ref": "other.json" }),
            json!({ "pattern": "(a)\\1" }),
            json!({ "pattern": "(?=a)b" }),
            json!({ "pattern": "((a{100}){100}){100}" }),
            json!({ "$schema": "https://evil.example/dialect" }),
            json!({ "type": "nonsense" }),
        ] {
            assert!(misfit_of(&schema).is_some(), "{schema}");
        }
        for schema in [
            json!({ "$ref": "#/$defs/a", "$defs": { "a": { "type": "string" } } }),
            json!({ "$schema": "http://json-schema.org/draft-07/schema#", "type": "object" }),
            json!({ "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object" }),
        ] {
            assert_eq!(misfit_of(&schema), None, "{schema}");
        }
    }
}
