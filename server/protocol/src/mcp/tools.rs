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
    /// JSON Schema of the structured results, if it promises any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<&'a RawValue>,
    /// What it does to the world.
    pub annotations: Annotations,
}

/// Hints of the specification, from the tool's effect.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "names of the specification")]
pub struct Annotations {
    read_only_hint: bool,
    destructive_hint: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotent_hint: Option<bool>,
}

impl Annotations {
    /// Of a tool with that effect; whether the same call again changes nothing more, where that is known.
    pub fn new(effect: Effect, is_idempotent: Option<bool>) -> Self {
        Self {
            read_only_hint: effect == Effect::Read,
            destructive_hint: effect == Effect::Destructive,
            idempotent_hint: is_idempotent,
        }
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
