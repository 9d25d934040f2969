//! What a caller gave.

use serde_json::{Map, Value};
use trunkline_protocol::mcp::object::RawObject;

/// A tool or prompt by name, with its arguments.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) arguments: Map<String, Value>,
}

impl Call {
    /// Reads `params`. `None`: without a name, or with arguments that are not an object.
    pub(super) fn read(params: &RawObject<'_>) -> Option<Self> {
        let arguments = match params.get("arguments") {
            None | Some("null") => Map::new(),
            Some(json) => serde_json::from_str(json).ok()?,
        };
        Some(Self { name: params.text("name")?, arguments })
    }

    /// An argument that is a text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.arguments.get(name)?.as_str()
    }
}

#[cfg(test)]
impl Call {
    /// A call as a caller would make it.
    pub(super) fn of(name: &str, arguments: Value) -> Self {
        let Value::Object(arguments) = arguments else { panic!("expected an object") };
        Self { name: name.to_owned(), arguments }
    }
}
