//! What a source says of one tool, prompt or resource: read strictly, digested in one form, and judged before anybody relies on it.
//!
//! Pure: what becomes of a definition is decided in `source`.

mod fitness;
pub mod hidden;
mod instructions;
mod json;
mod name;
mod risk;
mod schema;
mod stumbles;

use serde_json::{Map, Value, value::RawValue};
use sha2::{Digest as _, Sha256};
use trunkline_protocol::oauth::scope::Effect;

pub use crate::dialogue::ItemKind;
pub use json::pretty;
pub(crate) use json::{canonical, canonical_members};
pub use name::exposed_key;
pub use risk::{Finding, FindingKind, risk};
pub use schema::compile;
pub(in crate::catalog) use schema::misfit;
pub use stumbles::{Stumble, stumbles};

/// Largest definition, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// Longest name or URI, in bytes: it stands in an index.
const MAX_KEY: usize = 1024;

/// One definition as its source gave it.
#[derive(Debug, Clone)]
pub struct Definition {
    /// What it defines.
    pub kind: ItemKind,
    /// Its name or URI.
    pub key: String,
    /// To the byte.
    pub raw: Box<RawValue>,
    /// SHA-256 over the canonical form of what callers and models rely on.
    pub digest: [u8; 32],
    value: Map<String, Value>,
}

/// Why something in a list is no definition. It is left out, and the source says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not an object, broken, or with a member twice.
    #[error("it is not a JSON object that can be read in one way only")]
    Json,
    /// More than 256 KiB.
    #[error("it is larger than 256 KiB")]
    Large,
    /// No name, an empty one, a very long one, or one with control characters.
    #[error("its name or URI is missing, longer than 1024 bytes, or has control characters")]
    Key,
}

impl ItemKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::ResourceTemplates];

    /// One of them, as stored and shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tools => "tool",
            Self::Prompts => "prompt",
            Self::Resources => "resource",
            Self::ResourceTemplates => "resource_template",
        }
    }

    /// The kind of that stored word.
    pub fn find(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// The member that names one.
    fn key_member(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::ResourceTemplates => "uriTemplate",
        }
    }

    /// Members that callers and models rely on. The others, such as icons, are kept but do not lock anything.
    fn relied_on(self) -> &'static [&'static str] {
        match self {
            Self::Tools => &["name", "title", "description", "inputSchema", "outputSchema", "annotations"],
            Self::Prompts => &["name", "title", "description", "arguments"],
            Self::Resources => &["uri", "name", "title", "description", "mimeType"],
            Self::ResourceTemplates => &["uriTemplate", "name", "title", "description", "mimeType"],
        }
    }
}

impl Definition {
    /// Reads one item of a list.
    pub fn read(kind: ItemKind, raw: Box<RawValue>) -> Result<Self, Unreadable> {
        if raw.get().len() > MAX_BYTES {
            return Err(Unreadable::Large);
        }
        let Ok(Value::Object(value)) = json::parse(raw.get()) else { return Err(Unreadable::Json) };
        let key = value.get(kind.key_member()).and_then(Value::as_str).unwrap_or_default();
        if key.is_empty() || key.len() > MAX_KEY || key.chars().any(char::is_control) {
            return Err(Unreadable::Key);
        }
        let key = key.to_owned();
        let relied_on = kind.relied_on().iter().filter_map(|member| value.get_key_value(*member));
        let relied_on: Map<String, Value> = relied_on.map(|(key, value)| (key.clone(), value.clone())).collect();
        let canonical = json::canonical(&Value::Object(relied_on));
        Ok(Self { kind, key, raw, digest: Sha256::digest(canonical).into(), value })
    }

    /// For people; empty if it has none.
    pub fn title(&self) -> &str {
        let annotated = self.value.get("annotations").and_then(|annotations| annotations.get("title"));
        self.value.get("title").or(annotated).and_then(Value::as_str).unwrap_or_default()
    }

    /// For models; empty if it has none.
    pub fn description(&self) -> &str {
        self.value.get("description").and_then(Value::as_str).unwrap_or_default()
    }

    /// A member of it.
    pub fn member(&self, name: &str) -> Option<&Value> {
        self.value.get(name)
    }

    /// The members that are locked by the digest, in the order in which people read them.
    pub fn locked(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.kind.relied_on().iter().filter_map(|member| Some((*member, self.value.get(*member)?)))
    }

    /// What a tool does to the world by its annotations; `silent` if it says nothing.
    pub fn effect(&self, silent: Effect) -> Effect {
        let hint = |name: &str| self.value.get("annotations").and_then(|annotations| annotations.get(name)?.as_bool());
        match (hint("readOnlyHint"), hint("destructiveHint")) {
            (Some(true), _) => Effect::Read,
            (_, Some(false)) => Effect::Write,
            (_, Some(true)) => Effect::Destructive,
            // Whoever says that it is not read-only is not silent about that.
            (Some(false), None) => silent.max(Effect::Write),
            (None, None) => silent,
        }
    }

    /// Why it cannot be served. Empty: it can.
    pub fn misfits(&self) -> Vec<Finding> {
        fitness::misfits(self)
    }

    /// The raw JSON of a member, as its source wrote it.
    pub(super) fn raw_member(&self, name: &str) -> Option<String> {
        let object = trunkline_protocol::mcp::object::RawObject::parse(self.raw.get()).ok()?;
        object.get(name).map(str::to_owned)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    pub(crate) fn tool(value: &Value) -> Definition {
        read(ItemKind::Tools, &value.to_string()).expect("a tool")
    }

    fn read(kind: ItemKind, text: &str) -> Result<Definition, Unreadable> {
        Definition::read(kind, RawValue::from_string(text.to_owned()).expect("JSON"))
    }

    #[test]
    fn digest_covers_what_is_relied_on_and_nothing_else() {
        let one = tool(&json!({ "name": "x", "description": "d", "inputSchema": { "type": "object", "a": 1, "b": 2 } }));
        let same = read(
            ItemKind::Tools,
            r#"{"inputSchema":{"b":2.0,"a":1,"type":"object"}, "icons":[{"src":"https://x"}], "description":"d","_meta":{"k":1},"name":"x"}"#,
        );
        assert_eq!(one.digest, same.expect("a tool").digest);
        for other in [
            json!({ "name": "x", "description": "e", "inputSchema": { "type": "object", "a": 1, "b": 2 } }),
            json!({ "name": "x", "description": "d", "inputSchema": { "type": "object", "a": 1 } }),
            json!({ "name": "x", "description": "d", "title": "t", "inputSchema": { "type": "object", "a": 1, "b": 2 } }),
            json!({ "name": "x", "description": "d", "inputSchema": { "type": "object", "a": 1, "b": 2 }, "annotations": {} }),
            json!({ "name": "x", "description": "d", "inputSchema": { "type": "object", "a": 1, "b": 2 }, "outputSchema": {} }),
        ] {
            assert_ne!(one.digest, tool(&other).digest, "{other}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_not_read() {
        for text in [
            "[]",
            "7",
            r#"{"name":"x","name":"y"}"#,
            r#"{"name":"x","inputSchema":{"properties":{"a":{"description":"1","description":"2"}}}}"#,
            r#"{"name":"x","a":1e999}"#,
            r#"{"name":"x","a":"\ud800"}"#,
        ] {
            assert_eq!(read(ItemKind::Tools, text).err(), Some(Unreadable::Json), "{text}");
        }
        for text in [r#"{"description":"d"}"#, r#"{"name":""}"#, r#"{"name":7}"#, r#"{"name":"a\u0000"}"#, r#"{"name":"a\nb"}"#] {
            assert_eq!(read(ItemKind::Tools, text).err(), Some(Unreadable::Key), "{text}");
        }
        let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(MAX_KEY + 1));
        assert_eq!(read(ItemKind::Tools, &long).err(), Some(Unreadable::Key));
        let large = format!(r#"{{"name":"x","_meta":"{}"}}"#, "x".repeat(MAX_BYTES));
        assert_eq!(read(ItemKind::Tools, &large).err(), Some(Unreadable::Large));
        assert!(read(ItemKind::Resources, r#"{"uri":"test://a","name":"a"}"#).is_ok());
    }

    #[test]
    fn effect_follows_the_annotations() {
        for (annotations, effect) in [
            (json!({ "readOnlyHint": true, "destructiveHint": true }), Effect::Read),
            (json!({ "readOnlyHint": false, "destructiveHint": false }), Effect::Write),
            (json!({ "destructiveHint": true }), Effect::Destructive),
            (json!({ "readOnlyHint": "true" }), Effect::Destructive),
            (json!({ "readOnlyHint": false }), Effect::Destructive),
            (json!({}), Effect::Destructive),
        ] {
            let tool = tool(&json!({ "name": "x", "annotations": annotations }));
            assert_eq!(tool.effect(Effect::Destructive), effect, "{annotations}");
        }
        assert_eq!(tool(&json!({ "name": "x" })).effect(Effect::Write), Effect::Write);
        let says_no = tool(&json!({ "name": "x", "annotations": { "readOnlyHint": false } }));
        assert_eq!(says_no.effect(Effect::Read), Effect::Write);
    }
}
