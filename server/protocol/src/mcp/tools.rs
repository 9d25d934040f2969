//! Tools: their description in a list, and the result of a call. A tool that failed is a result; a request that failed is an error.

use serde::Serialize;
use serde_json::value::RawValue;

use super::object::{RawObject, json_string};
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

/// The result object of a tool that answers with text; what the revision wants is added by `results::complete`.
pub fn text_result(result: &ToolResult) -> RawObject<'static> {
    let mut object = RawObject::default();
    object.set("content", format!(r#"[{{"type":"text","text":{}}}]"#, json_string(&result.text)));
    object.set("isError", if result.is_error { "true" } else { "false" });
    object
}
