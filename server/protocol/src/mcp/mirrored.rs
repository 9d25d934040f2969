//! Arguments that are mirrored into headers (`x-mcp-header`, SEP-2243): which ones a tool's schema names, and whether request and body agree.

use serde_json::{Map, Value};

use super::headers;

/// Before the name that the annotation gives.
pub const PREFIX: &str = "mcp-param-";
/// Largest integer that every reader represents exactly.
const MAX_SAFE: i64 = 9_007_199_254_740_991;

/// One argument that is mirrored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrored {
    /// Name of the header, lower case, prefix included.
    pub header: String,
    /// Where the argument stands: names of nested properties.
    pub path: Vec<String>,
}

/// Why an annotation cannot be used. Clients drop such a tool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAnnotation {
    /// Not a header token.
    #[error("x-mcp-header `{0}` is not a header name: expected letters, digits and -_.!#$%&'*+^`|~")]
    Name(String),
    /// Two properties, one header.
    #[error("x-mcp-header `{0}` is used twice")]
    Twice(String),
    /// Not a string, integer or boolean.
    #[error("x-mcp-header `{0}` stands on a property that is not a string, an integer or a boolean")]
    Type(String),
    /// Somewhere else than under `properties` alone.
    #[error("x-mcp-header stands below `{0}`, where the argument's place is not fixed")]
    Place(String),
}

/// The mirrored arguments of an input schema.
pub fn mirrored(schema: &Value) -> Result<Vec<Mirrored>, InvalidAnnotation> {
    let mut found = Vec::new();
    collect(schema, &mut Vec::new(), &mut found)?;
    Ok(found)
}

fn collect(schema: &Value, path: &mut Vec<String>, found: &mut Vec<Mirrored>) -> Result<(), InvalidAnnotation> {
    let Value::Object(members) = schema else { return Ok(()) };
    for (key, value) in members {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                for (name, property) in properties {
                    path.push(name.clone());
                    annotated(property, path, found)?;
                    collect(property, path, found)?;
                    path.pop();
                }
            }
            // Data, not schemas.
            ("enum" | "const" | "default" | "examples" | "x-mcp-header", _) => {}
            (other, below) if mentions(below) => return Err(InvalidAnnotation::Place(other.to_owned())),
            _ => {}
        }
    }
    Ok(())
}

fn annotated(property: &Value, path: &[String], found: &mut Vec<Mirrored>) -> Result<(), InvalidAnnotation> {
    let Some(annotation) = property.get("x-mcp-header") else { return Ok(()) };
    let name = annotation.as_str().unwrap_or_default();
    let is_token = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    if !is_token {
        return Err(InvalidAnnotation::Name(annotation.as_str().map_or_else(|| annotation.to_string(), str::to_owned)));
    }
    if !matches!(property["type"].as_str(), Some("string" | "integer" | "boolean")) {
        return Err(InvalidAnnotation::Type(name.to_owned()));
    }
    let header = format!("{PREFIX}{}", name.to_ascii_lowercase());
    if found.iter().any(|other| other.header == header) {
        return Err(InvalidAnnotation::Twice(name.to_owned()));
    }
    found.push(Mirrored { header, path: path.to_vec() });
    Ok(())
}

/// Is there an annotation anywhere below?
fn mentions(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.iter().any(|(key, value)| key == "x-mcp-header" || mentions(value)),
        Value::Array(items) => items.iter().any(mentions),
        _ => false,
    }
}

impl Mirrored {
    /// The argument, if it is there and not null.
    fn argument<'a>(&self, arguments: &'a Map<String, Value>) -> Option<&'a Value> {
        let (last, parents) = self.path.split_last()?;
        let mut object = arguments;
        for name in parents {
            object = object.get(name)?.as_object()?;
        }
        object.get(last).filter(|value| !value.is_null())
    }

    /// What the header must say for these arguments. `None`: it must not be there.
    pub fn value(&self, arguments: &Map<String, Value>) -> Option<String> {
        match self.argument(arguments)? {
            Value::String(text) => Some(headers::encode(text).into_owned()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Number(number) => number.as_i64().filter(|n| n.abs() <= MAX_SAFE).map(|n| n.to_string()),
            _ => None,
        }
    }

    /// Does a header, absent or not, agree with the arguments?
    pub fn agrees(&self, header: Option<&str>, arguments: &Map<String, Value>) -> bool {
        let (argument, header) = match (self.argument(arguments), header) {
            (None, header) => return header.is_none(),
            (Some(_), None) => return false,
            (Some(argument), Some(header)) => (argument, header),
        };
        let Some(header) = headers::decode(header) else { return false };
        match argument {
            Value::String(text) => *text == header,
            Value::Bool(flag) => flag.to_string() == header,
            Value::Number(number) => match (number.as_i64(), header.parse::<i64>()) {
                (Some(number), Ok(header)) => number == header,
                _ => number.as_f64().zip(header.parse().ok()).is_some_and(|(a, b): (f64, f64)| (a - b).abs() < f64::EPSILON),
            },
            // The schema will refuse it; there is nothing to compare.
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn arguments(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().expect("object")
    }

    #[test]
    fn headers_are_held_against_arguments() {
        let schema = json!({"type":"object","properties":{
            "region":{"type":"string","x-mcp-header":"Region"},
            "page":{"type":"object","properties":{"size":{"type":"integer","x-mcp-header":"Size"}}}}});
        let found = mirrored(&schema).expect("valid");
        assert_eq!(found.len(), 2);
        let region = found.iter().find(|m| m.header == "mcp-param-region").expect("region");
        let size = found.iter().find(|m| m.header == "mcp-param-size").expect("size");
        let given = arguments(&json!({"region":"süd","page":{"size":10}}));
        assert_eq!(region.value(&given).as_deref(), Some("=?base64?c8O8ZA==?="));
        assert!(region.agrees(Some("=?base64?c8O8ZA==?="), &given));
        assert!(
            !region.agrees(Some("nord"), &given) && !region.agrees(None, &given) && !region.agrees(Some("=?base64?!?="), &given)
        );
        assert!(size.agrees(Some("10"), &given) && !size.agrees(Some("11"), &given));
        let none = arguments(&json!({"region":null}));
        assert!(region.agrees(None, &none) && !region.agrees(Some("x"), &none) && region.value(&none).is_none());
    }

    #[test]
    fn unusable_annotations_are_named() {
        let of = |properties: Value| mirrored(&json!({"type":"object","properties":properties}));
        assert!(matches!(of(json!({"a":{"type":"string","x-mcp-header":"b c"}})), Err(InvalidAnnotation::Name(_))));
        assert!(matches!(of(json!({"a":{"type":"string","x-mcp-header":""}})), Err(InvalidAnnotation::Name(_))));
        assert!(matches!(of(json!({"a":{"type":"number","x-mcp-header":"a"}})), Err(InvalidAnnotation::Type(_))));
        assert!(matches!(
            of(json!({"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}})),
            Err(InvalidAnnotation::Twice(_))
        ));
        assert!(matches!(
            of(json!({"a":{"type":"array","items":{"type":"string","x-mcp-header":"a"}}})),
            Err(InvalidAnnotation::Place(_))
        ));
    }
}
