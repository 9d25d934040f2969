//! The tools we bring along, as they are offered: what each is for, and the schema of its arguments. `execution::builtin` runs them.

use serde_json::{Value, json};

use super::executor::Builtin;

impl Builtin {
    /// What it is for, in a line.
    pub fn words(self) -> &'static str {
        match self {
            Self::Echo => "Gives its text back. For first calls, and for finding out whether a connection works.",
            Self::Time => "Tells the time at an offset from UTC, as RFC 3339.",
            Self::JsonQuery => {
                "Takes the parts of a JSON document that JSON Pointers (RFC 6901) name, so that a model need not read all of it."
            }
            Self::Hash => "Computes the SHA-256 of a text, in hexadecimal.",
            Self::Uuid => "Makes up to 100 random UUIDs (version 4).",
        }
    }

    /// The JSON Schema of its arguments.
    pub(super) fn input_schema(self) -> Value {
        match self {
            Self::Echo => json!({
                "type": "object",
                "properties": { "text": { "type": "string", "description": "What to give back.", "maxLength": 100_000 } },
                "required": ["text"],
                "additionalProperties": false,
            }),
            Self::Time => json!({
                "type": "object",
                "properties": { "offset_minutes": {
                    "type": "integer", "minimum": -1080, "maximum": 1080,
                    "description": "Offset from UTC in minutes, such as 60 for +01:00. Default 0.",
                } },
                "additionalProperties": false,
            }),
            Self::JsonQuery => json!({
                "type": "object",
                "properties": {
                    "document": { "description": "The JSON document; a string is read as the text of one." },
                    "pointers": {
                        "type": "array", "minItems": 1, "maxItems": 50, "items": { "type": "string", "maxLength": 1_000 },
                        "description": "JSON Pointers, such as /orders/0/total; the empty one is the whole.",
                    },
                },
                "required": ["document", "pointers"],
                "additionalProperties": false,
            }),
            Self::Hash => json!({
                "type": "object",
                "properties": { "text": { "type": "string", "description": "The text, hashed as UTF-8.", "maxLength": 500_000 } },
                "required": ["text"],
                "additionalProperties": false,
            }),
            Self::Uuid => json!({
                "type": "object",
                "properties": { "count": { "type": "integer", "minimum": 1, "maximum": 100, "default": 1, "description": "How many." } },
                "additionalProperties": false,
            }),
        }
    }
}
