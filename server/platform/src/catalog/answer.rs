//! What of an HTTP answer a tool gives: a part of it, up to a size, as structured content.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json_path::JsonPath;

use super::definition::misfit;
use crate::error::{Error, Result};

/// Longest text that is given, in bytes: what a model can still read.
pub const MAX_TEXT_BYTES: u32 = 1024 * 1024;
/// Longest expression, in characters.
const MAX_SELECT: usize = 256;
/// What can make more of a document than it has: descent into everything, conditions, and one part named several times.
const UNBOUNDED: [&str; 3] = ["..", "?", ","];

/// The author's words on it. By default all of the answer is given, as text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AnswerShape {
    /// Which part: a JSON Pointer (RFC 6901), or a JSONPath (RFC 9535) without descent, conditions and unions, which gives a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub select: Option<String>,
    /// Most bytes of text; never more than [`MAX_TEXT_BYTES`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u32>,
    /// JSON Schema that what is given keeps to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
}

/// A part of a document, ready to be taken.
#[derive(Debug)]
pub enum Selection {
    /// One value.
    Pointer(String),
    /// A list of values.
    Path(JsonPath),
}

impl AnswerShape {
    /// Is it the default?
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Ok if it can be used; names the field that cannot.
    pub fn check(&self) -> Result<()> {
        if let Some(select) = &self.select {
            Selection::parse(select)?;
        }
        if self.max_bytes.is_some_and(|most| !(1..=MAX_TEXT_BYTES).contains(&most)) {
            return Err(Error::invalid("max_bytes", format!("expected 1 to {MAX_TEXT_BYTES} bytes, or nothing")));
        }
        Ok(())
    }

    /// Most bytes of text.
    pub fn most_bytes(&self) -> usize {
        self.max_bytes.unwrap_or(MAX_TEXT_BYTES).min(MAX_TEXT_BYTES) as usize
    }

    /// Reads the schema of what is given. Empty: none is promised.
    pub fn parse_schema(text: &str) -> Result<Option<Value>> {
        let wrong = |why: String| Error::invalid("output_schema", why);
        if text.trim().is_empty() {
            return Ok(None);
        }
        let schema: Value = serde_json::from_str(text).map_err(|error| wrong(format!("it is no JSON: {error}")))?;
        if !schema.is_object() {
            return Err(wrong("expected a JSON Schema, such as {\"type\": \"object\", \"properties\": {…}}".to_owned()));
        }
        match misfit(text, &schema) {
            Some(why) => Err(wrong(format!("it cannot be used: {why}"))),
            None => Ok(Some(schema)),
        }
    }
}

impl Selection {
    /// Reads `/data/items` or `$.data.items[*].name`.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::invalid("select", why);
        if text.chars().count() > MAX_SELECT {
            return Err(wrong("expected at most 256 characters"));
        }
        if text.starts_with('/') {
            return Ok(Self::Pointer(text.to_owned()));
        }
        if !text.starts_with('$') {
            return Err(wrong("expected a JSON Pointer such as /data/items, or a JSONPath such as $.data.items[*].name"));
        }
        if UNBOUNDED.iter().any(|part| text.contains(part)) {
            return Err(wrong("a JSONPath here has no “..”, no “?” and no “,”; write a function for what needs them"));
        }
        let path = JsonPath::parse(text).map_err(|error| wrong(&format!("that is no JSONPath: {error}")))?;
        Ok(Self::Path(path))
    }

    /// The part of that document. `None`: there is none at that place.
    pub fn take(&self, document: &Value) -> Option<Value> {
        match self {
            Self::Pointer(pointer) => document.pointer(pointer).cloned(),
            Self::Path(path) => Some(path.query(document).iter().map(|value| (*value).clone()).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_are_taken_by_pointer_and_by_path() {
        let document = json!({ "data": { "items": [{ "name": "a", "n": 1 }, { "name": "b" }], "a/b": 7 } });
        for (text, part) in [
            ("/data/items/1/name", Some(json!("b"))),
            ("/data/a~1b", Some(json!(7))),
            ("/data/none", None),
            ("$.data.items[*].name", Some(json!(["a", "b"]))),
            ("$['data'].items[0:1].n", Some(json!([1]))),
            ("$.none[*]", Some(json!([]))),
            ("$", Some(json!([document.clone()]))),
        ] {
            assert_eq!(Selection::parse(text).expect("a selection").take(&document), part, "{text}");
        }
    }

    #[test]
    fn what_could_grow_or_means_nothing_is_refused() {
        let long = format!("/{}", "x".repeat(256));
        for text in ["", "data", ".data", "$..name", "$[?@.a==1]", "$['a','b']", "$[*,*][*,*]", "$.", "$[", &long] {
            assert!(Selection::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_shape_is_within_its_bounds() {
        let of = |max_bytes| AnswerShape { max_bytes: Some(max_bytes), ..AnswerShape::default() }.check();
        assert!(of(1).is_ok() && of(MAX_TEXT_BYTES).is_ok() && of(0).is_err() && of(MAX_TEXT_BYTES + 1).is_err());
        assert!(AnswerShape::parse_schema(" ").expect("none").is_none());
        for text in ["{", "[]", "7", "{\"type\": 7}"] {
            assert!(AnswerShape::parse_schema(text).is_err(), "{text}");
        }
    }
}
