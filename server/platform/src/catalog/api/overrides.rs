//! What somebody wants of an operation otherwise than its description has it: other words, a default, an argument that callers neither see nor choose.
//! Applied when it is published, to whatever the description is by then; what does not fit it any more stops the publishing and says why.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trunkline_protocol::oauth::scope::Effect;

use super::publish::Picked;
use crate::{
    catalog::{AnswerShape, ToolName, definition::compile, tool::has_hidden_characters},
    error::{Error, Result},
};

/// Arguments that can be pinned in one operation.
const MOST: usize = 64;
/// Longest value of one, as JSON.
const MOST_BYTES: usize = 4_096;

/// What is otherwise. Empty: nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Overrides {
    /// Of the tool, without the prefix. Only until it is published: a tool keeps its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// For models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it does to the world.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// Arguments by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<String, Pinned>,
    /// Which part of its answers is given, as [`AnswerShape`] has it. What the description promises of the whole is then nobody's promise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<String>,
    /// Most bytes of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u32>,
}

/// An argument that is pinned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "as", content = "value", rename_all = "snake_case")]
pub enum Pinned {
    /// Sent where the caller gives none.
    Default(Value),
    /// Always sent; callers neither see it nor choose it.
    Hidden(Value),
}

impl Pinned {
    /// What is sent.
    pub fn value(&self) -> &Value {
        match self {
            Self::Default(value) | Self::Hidden(value) => value,
        }
    }
}

impl Overrides {
    /// Ok if it can be kept; names the field that cannot.
    pub fn check(&self) -> Result<()> {
        if let Some(name) = &self.name {
            ToolName::parse(name)?;
        }
        let text = |field: &str, text: Option<&String>, most: usize| match text {
            Some(text) if text.chars().count() > most || has_hidden_characters(text) => {
                Err(Error::invalid(field, format!("expected at most {most} visible characters")))
            }
            _ => Ok(()),
        };
        text("title", self.title.as_ref(), 80)?;
        text("description", self.description.as_ref(), 4_096)?;
        AnswerShape { select: self.select.clone(), max_bytes: self.max_bytes, output_schema: None }.check()?;
        if self.arguments.len() > MOST {
            return Err(Error::invalid("arguments", format!("at most {MOST} arguments can be pinned")));
        }
        for (name, pinned) in &self.arguments {
            if pinned.value().to_string().len() > MOST_BYTES {
                return Err(Error::invalid(format!("value_{name}"), format!("expected at most {MOST_BYTES} bytes of JSON")));
            }
        }
        Ok(())
    }

    /// The operation as it will be published. `Err`: an argument that is pinned is not there, or its value does not fit.
    pub(super) fn apply(&self, picked: &mut Picked) -> Result<()> {
        if let (Some(name), None) = (&self.name, picked.tool) {
            picked.name.clone_from(name);
        }
        for (own, theirs) in [(&self.title, &mut picked.title), (&self.description, &mut picked.description)] {
            if let Some(own) = own {
                theirs.clone_from(own);
            }
        }
        picked.effect = self.effect.unwrap_or(picked.effect);
        let answer = &mut picked.operation.answer;
        answer.max_bytes = self.max_bytes;
        if self.select.is_some() {
            *answer = AnswerShape { select: self.select.clone(), output_schema: None, ..answer.clone() };
        }
        if self.arguments.is_empty() {
            return Ok(());
        }
        let mut schema: Value = serde_json::from_str(picked.input_schema.get()).map_err(Error::internal)?;
        self.check_values(&picked.name, &schema)?;
        for (name, pinned) in &self.arguments {
            if let Some(required) = schema["required"].as_array_mut() {
                required.retain(|required| required != name);
            }
            match pinned {
                Pinned::Default(value) => {
                    schema["properties"][name]["default"] = value.clone();
                    picked.operation.defaults.insert(name.clone(), value.clone());
                }
                Pinned::Hidden(value) => {
                    schema["properties"].as_object_mut().and_then(|properties| properties.remove(name));
                    picked.operation.fixed.insert(name.clone(), value.clone());
                }
            }
        }
        picked.input_schema = serde_json::value::to_raw_value(&schema).map_err(Error::internal)?;
        Ok(())
    }

    fn check_values(&self, operation: &str, schema: &Value) -> Result<()> {
        let wrong = |why: String| Error::invalid("operations", format!("{operation}: {why}"));
        let mut free = schema.clone();
        if let Some(members) = free.as_object_mut() {
            members.remove("required");
        }
        let validator = compile(&free).map_err(|why| wrong(format!("its schema cannot be used: {why}")))?;
        for (name, pinned) in &self.arguments {
            if schema["properties"].get(name).is_none() {
                return Err(wrong(format!(
                    "{name} is pinned, and the description has no such argument any more: change what is pinned"
                )));
            }
            let alone = Value::Object(Map::from_iter([(name.clone(), pinned.value().clone())]));
            if let Some(error) = validator.iter_errors(&alone).next() {
                return Err(wrong(format!("what {name} is pinned to does not fit: {}", error.masked())));
            }
        }
        Ok(())
    }
}
