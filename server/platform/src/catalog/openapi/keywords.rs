//! Keywords of schemas that stand for themselves, taken where they have a meaning in JSON Schema 2020-12 and the right type. What else there is
//! (`discriminator`, `xml`, `example` …) is for other readers.

use serde_json::{Map, Value, json};

use super::text;

/// Longest description inside of a schema, in characters.
const MAX_DESCRIPTION: usize = 600;

/// As it may stand in a schema; `None`: nothing is left of it.
pub(super) fn description(raw: &str) -> Option<String> {
    let text = text::tidy(raw, MAX_DESCRIPTION);
    (!text.is_empty()).then_some(text)
}

/// Those that hold no schemas.
pub(super) fn simple(raw: &Map<String, Value>, is_old: bool) -> Map<String, Value> {
    let mut schema = Map::new();
    for (key, value) in raw {
        let kept = match (key.as_str(), value) {
            ("type", _) => types(value),
            ("title" | "description", Value::String(text)) => description(text).map(Value::String),
            ("format" | "contentEncoding" | "contentMediaType", Value::String(_))
            | ("minimum" | "maximum", Value::Number(_))
            | ("uniqueItems", Value::Bool(_))
            | ("default", _)
            | ("deprecated", Value::Bool(true)) => Some(value.clone()),
            ("multipleOf", Value::Number(number)) => number.as_f64().is_some_and(|number| number > 0.0).then(|| value.clone()),
            ("exclusiveMinimum" | "exclusiveMaximum", Value::Number(_)) | ("const", _) if !is_old => Some(value.clone()),
            (
                "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" | "minContains"
                | "maxContains",
                Value::Number(number),
            ) => number.as_u64().map(Value::from),
            ("enum", Value::Array(values)) => (!values.is_empty()).then(|| value.clone()),
            ("required", Value::Array(names)) => required(names),
            _ => None,
        };
        if let Some(kept) = kept {
            schema.insert(key.clone(), kept);
        }
    }
    // In 3.0, and in earlier drafts, it says of the bound that it is not one of the values.
    for (flag, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        if raw.get(flag) == Some(&Value::Bool(true))
            && let Some(value) = schema.remove(bound)
        {
            schema.insert(flag.to_owned(), value);
        }
    }
    schema
}

/// Names that are required, each once.
fn required(names: &[Value]) -> Option<Value> {
    let mut unique: Vec<&str> = Vec::new();
    for name in names.iter().filter_map(Value::as_str) {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    (!unique.is_empty()).then(|| json!(unique))
}

/// The types that JSON has.
fn types(value: &Value) -> Option<Value> {
    let known = |name: &str| matches!(name, "string" | "number" | "integer" | "boolean" | "array" | "object" | "null");
    match value {
        Value::String(name) => known(name).then(|| value.clone()),
        Value::Array(names) => {
            let mut names: Vec<&str> = names.iter().filter_map(Value::as_str).filter(|name| known(name)).collect();
            names.dedup();
            (!names.is_empty()).then(|| json!(names))
        }
        _ => None,
    }
}

/// The schema, which may be null too if it is so in 3.0.
pub(super) fn nullable(raw: &Map<String, Value>, mut schema: Map<String, Value>, is_old: bool) -> Value {
    if !is_old || raw.get("nullable") != Some(&Value::Bool(true)) {
        return Value::Object(schema);
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
    if let Some(Value::String(name)) = schema.get("type") {
        let both = json!([name, "null"]);
        schema.insert("type".to_owned(), both);
    }
    if ["allOf", "anyOf"].iter().any(|key| schema.contains_key(*key)) {
        return json!({ "anyOf": [schema, { "type": "null" }] });
    }
    Value::Object(schema)
}
