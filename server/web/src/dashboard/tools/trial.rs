//! The try-out's form, made from the tool's input schema, and what it sends back.

use serde_json::{Map, Value, value::RawValue};
use trunkline_platform::{
    Error,
    catalog::{Executor, Tool},
};

use super::draft::article;
use crate::{
    dashboard::components::Choice,
    error::HtmlError,
    extract::{FieldErrors, Fields},
};

/// One argument.
pub(super) struct TryField {
    pub(super) input: String,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) required: bool,
    pub(super) description: String,
    pub(super) value: String,
    pub(super) choices: Vec<Choice>,
}

/// The tool's arguments in the order of its parameters, with what was sent or else their defaults.
pub(super) fn fields(tool: &Tool, sent: Option<&Fields>) -> Result<Vec<TryField>, HtmlError> {
    let schema: Value = serde_json::from_str(tool.version.input_schema.get()).map_err(Error::internal)?;
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut properties: Vec<(&String, &Value)> = schema["properties"].as_object().into_iter().flatten().collect();
    if let Executor::Http(http) = &tool.version.executor {
        properties.sort_by_key(|(name, _)| http.parameters.iter().position(|parameter| parameter.name == **name));
    }
    Ok(properties.into_iter().map(|(name, schema)| field(name, schema, required.contains(&name.as_str()), sent)).collect())
}

fn field(name: &str, schema: &Value, required: bool, sent: Option<&Fields>) -> TryField {
    let input = format!("argument_{name}");
    let kind = schema["type"].as_str().unwrap_or("string").to_owned();
    let default = match &schema["default"] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let value = sent.map_or(default, |fields| fields.exactly(&input).to_owned());
    let choice = |word: &str, label: &str| Choice {
        value: word.to_owned(),
        label: label.to_owned(),
        hint: String::new(),
        chosen: word == value,
    };
    let choices = if kind == "boolean" {
        vec![choice("", "not set"), choice("true", "true"), choice("false", "false")]
    } else {
        Vec::new()
    };
    TryField {
        input,
        kind,
        required,
        description: schema["description"].as_str().unwrap_or_default().to_owned(),
        choices,
        value,
        name: name.to_owned(),
    }
}

/// The form's arguments as JSON. Empty fields that need not be there are left out.
pub(super) fn collect(fields: &[TryField], errors: &mut FieldErrors) -> Result<Box<RawValue>, HtmlError> {
    let mut arguments = Map::new();
    for field in fields {
        let value = match (field.kind.as_str(), field.value.as_str()) {
            (_, "") if !field.required => continue,
            ("string", text) => Value::String(text.replace("\r\n", "\n")),
            (kind, text) => {
                let Ok(value) = serde_json::from_str(text.trim()) else {
                    errors.add(&field.name, format!("expected {} as JSON", article(kind)));
                    continue;
                };
                value
            }
        };
        arguments.insert(field.name.clone(), value);
    }
    Ok(serde_json::value::to_raw_value(&arguments).map_err(Error::internal)?)
}

/// Arguments written as JSON.
pub(super) fn read(text: &str, errors: &mut FieldErrors) -> Option<Box<RawValue>> {
    let read = RawValue::from_string(if text.is_empty() { "{}".to_owned() } else { text.to_owned() });
    match read {
        Ok(raw) if raw.get().starts_with('{') => Some(raw),
        Ok(_) => {
            errors.add("arguments", r#"expected an object, such as {"text": "hello"}"#);
            None
        }
        Err(error) => {
            errors.add("arguments", format!("this is not JSON: line {}, column {}", error.line(), error.column()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(kind: &str, required: bool, value: &str) -> TryField {
        let kind = kind.to_owned();
        TryField {
            input: String::new(),
            name: "x".to_owned(),
            kind,
            required,
            description: String::new(),
            value: value.to_owned(),
            choices: vec![],
        }
    }

    #[test]
    fn fields_become_json_of_their_type() {
        for (kind, required, value, json) in [
            ("string", false, "", "{}"),
            ("string", true, "", r#"{"x":""}"#),
            ("string", false, "7", r#"{"x":"7"}"#),
            ("integer", true, " 7 ", r#"{"x":7}"#),
            ("boolean", false, "true", r#"{"x":true}"#),
            ("array", false, "[1]", r#"{"x":[1]}"#),
        ] {
            let mut errors = FieldErrors::default();
            let raw = collect(&[one(kind, required, value)], &mut errors).unwrap();
            assert_eq!((raw.get(), errors.is_empty()), (json, true));
        }
        let mut errors = FieldErrors::default();
        collect(&[one("integer", true, "seven")], &mut errors).unwrap();
        assert_eq!(errors.of("x"), "Expected an integer as JSON");
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["[]", "7", "{", "{} {}", "nonsense"] {
            let mut errors = FieldErrors::default();
            assert!(read(text, &mut errors).is_none() && !errors.is_empty(), "{text}");
        }
        assert_eq!(read(r#" {"a": 1}"#, &mut FieldErrors::default()).unwrap().get(), r#"{"a": 1}"#);
    }
}
