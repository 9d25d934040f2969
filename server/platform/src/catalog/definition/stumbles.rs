//! What the protocol allows and some clients, or the models' interfaces behind them, do not take. Nothing of it is refused here: it is said to
//! whoever chooses what an agent sees.

use serde_json::Value;

/// Clients put their name for the server in front of a tool's, and the whole has at most 64 characters.
const LONG_NAME: usize = 48;
/// Longer descriptions are cut by some.
const LONG_DESCRIPTION: usize = 1_024;
/// Deeper schemas are refused by some.
const DEEP: usize = 8;
/// What some do not take at the root of a schema.
const NOT_AT_ROOT: [&str; 6] = ["anyOf", "oneOf", "allOf", "not", "enum", "if"];

/// Something that some clients stumble over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stumble {
    /// A dot in the name.
    Dot,
    /// A long name.
    LongName,
    /// A long description.
    LongDescription,
    /// No description.
    NoDescription,
    /// A schema whose root is not only an object.
    Root,
    /// A schema with references.
    Reference,
    /// A schema that goes deep.
    Depth,
}

impl Stumble {
    /// What may happen, and what would be better.
    pub fn words(self) -> &'static str {
        match self {
            Self::Dot => {
                "The name has a dot. Some clients leave such tools out or rename them: use letters, digits, “_” and “-”."
            }
            Self::LongName => "The name is longer than 48 characters. With a client’s own prefix it passes 64, where many stop.",
            Self::LongDescription => {
                "The description is longer than 1,024 characters. Some clients cut it there: say what matters first."
            }
            Self::NoDescription => "It has no description. Models guess what it does, and some clients refuse it.",
            Self::Root => {
                "The root of its input schema has more than properties, such as anyOf. Some models’ interfaces refuse it."
            }
            Self::Reference => "Its input schema has references ($ref). Some clients pass them on without what they refer to.",
            Self::Depth => "Its input schema is more than 8 levels deep. Some models’ interfaces refuse it.",
        }
    }
}

/// What of a tool some clients stumble over.
pub fn stumbles(name: &str, description: &str, input_schema: &str) -> Vec<Stumble> {
    let schema: Value = serde_json::from_str(input_schema).unwrap_or_default();
    let found = [
        (name.contains('.'), Stumble::Dot),
        (name.len() > LONG_NAME, Stumble::LongName),
        (description.chars().count() > LONG_DESCRIPTION, Stumble::LongDescription),
        (description.trim().is_empty(), Stumble::NoDescription),
        (NOT_AT_ROOT.iter().any(|keyword| schema.get(keyword).is_some()), Stumble::Root),
        (input_schema.contains("\"$ref\""), Stumble::Reference),
        (depth(&schema) > DEEP, Stumble::Depth),
    ];
    found.into_iter().filter_map(|(is_there, stumble)| is_there.then_some(stumble)).collect()
}

/// How many schemas lie in each other.
fn depth(schema: &Value) -> usize {
    let of_all = |value: &Value| match value {
        Value::Object(members) => members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    };
    let inner = [schema.get("properties").map_or(0, of_all), schema.get("items").map_or(0, depth)];
    1 + inner.into_iter().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_and_nothing_else() {
        let plain = r#"{"type":"object","properties":{"a":{"type":"string"}}}"#;
        let mut deep = r#"{"type":"string"}"#.to_owned();
        for _ in 0..8 {
            deep = format!(r#"{{"type":"object","properties":{{"a":{deep}}}}}"#);
        }
        let (long, text) = ("n".repeat(49), "d".repeat(1_025));
        for (name, description, schema, stumble) in [
            ("a.b", "d", plain, Stumble::Dot),
            (&long, "d", plain, Stumble::LongName),
            ("a", &text, plain, Stumble::LongDescription),
            ("a", " ", plain, Stumble::NoDescription),
            ("a", "d", r#"{"type":"object","anyOf":[]}"#, Stumble::Root),
            ("a", "d", r##"{"type":"object","properties":{"a":{"$ref":"#/$defs/a"}}}"##, Stumble::Reference),
            ("a", "d", &deep, Stumble::Depth),
        ] {
            assert_eq!(stumbles(name, description, schema), [stumble], "{name} {schema}");
        }
        assert_eq!(stumbles(&"n".repeat(48), &"d".repeat(1_024), plain), []);
    }
}
