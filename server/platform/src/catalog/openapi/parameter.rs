//! Parameters: their names among the arguments, their places, and how they are written.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{
    document::Document,
    keywords,
    schema::{Refs, Schemas},
};
use crate::catalog::{BODY, Input, InputPlace, Style, check_header_name};

/// Most parameters of one operation.
const MAX_PARAMETERS: usize = 256;
/// Headers that OpenAPI leaves to others (4.8.12.2), what proves who calls, which is the tenant's affair, and what the client sets by itself.
const LEFT_OUT: &[&str] = &["accept", "content-type", "authorization", "accept-encoding", "content-length"];

/// Parameters of an operation, ready.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    pub(super) inputs: Vec<Input>,
    pub(super) properties: Map<String, Value>,
    pub(super) required: Vec<Value>,
    pub(super) refs: Refs,
    pub(super) notes: Vec<String>,
}

/// Those of the path, which the operation's own replace by name and place.
pub(super) fn read(document: &Document, schemas: &mut Schemas<'_>, shared: &Value, own: &Value) -> Result<Parameters, String> {
    let mut raw: Vec<&Value> = Vec::new();
    for list in [shared, own] {
        for one in list.get("parameters").and_then(Value::as_array).into_iter().flatten() {
            let one = document.resolve(one)?;
            let id = |value: &Value| (value.get("name").cloned(), value.get("in").cloned());
            raw.retain(|other| id(other) != id(one));
            raw.push(one);
        }
    }
    if raw.len() > MAX_PARAMETERS {
        return Err(format!("it has {} parameters; at most {MAX_PARAMETERS} are taken", raw.len()));
    }
    let mut parameters = Parameters::default();
    let mut names = HashSet::from([BODY.to_owned()]);
    for one in raw {
        parameters.add(schemas, one, &mut names)?;
    }
    Ok(parameters)
}

impl Parameters {
    fn add(&mut self, schemas: &mut Schemas<'_>, raw: &Value, names: &mut HashSet<String>) -> Result<(), String> {
        let text = |member: &str| raw.get(member).and_then(Value::as_str).unwrap_or_default();
        let flag = |member: &str| raw.get(member).and_then(Value::as_bool);
        let name = text("name");
        if name.is_empty() || name.len() > 200 || name.chars().any(char::is_control) {
            return Err("a parameter of it has no name, or one with control characters".to_owned());
        }
        let place = match text("in") {
            "path" => InputPlace::Path,
            "query" => InputPlace::Query,
            "header" => InputPlace::Header,
            "cookie" => InputPlace::Cookie,
            other => return Err(format!("its parameter {name} goes into {other:?}; expected path, query, header or cookie")),
        };
        let is_required = place == InputPlace::Path || flag("required") == Some(true);
        if place == InputPlace::Header && !self.takes_header(name, is_required)? {
            return Ok(());
        }
        if place == InputPlace::Cookie && !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~[]".contains(&b)) {
            return Err(format!("its parameter {name} cannot be the name of a cookie"));
        }
        let style = style(text("style"), place)?;
        let explode = flag("explode").unwrap_or(matches!(style, Style::Form));
        let (schema, json) = match (raw.get("schema"), raw.get("content").and_then(Value::as_object)) {
            (Some(schema), _) => (schema, false),
            (None, Some(content)) => {
                let (kind, media) = content.iter().next().ok_or_else(|| format!("its parameter {name} has no content"))?;
                if !super::body::is_json(kind) {
                    return Err(format!("its parameter {name} is written as {kind}; only JSON is taken there"));
                }
                (media.get("schema").unwrap_or(&Value::Bool(true)), true)
            }
            (None, None) => (&Value::Bool(true), false),
        };
        let mut schema = schemas.convert(schema, &mut self.refs)?;
        describe(&mut schema, text("description"));
        let argument = argument(name, place, names);
        if is_required {
            self.required.push(argument.clone().into());
        }
        self.properties.insert(argument.clone(), schema);
        let allow_reserved = flag("allowReserved") == Some(true) && place == InputPlace::Query;
        self.inputs.push(Input { argument, name: name.to_owned(), place, style, explode, allow_reserved, json });
        Ok(())
    }

    /// Does a header of that name come from callers? `Err`: it would have to, and never does.
    fn takes_header(&mut self, name: &str, is_required: bool) -> Result<bool, String> {
        let lower = name.to_ascii_lowercase();
        if LEFT_OUT.contains(&lower.as_str()) {
            return Ok(false);
        }
        match check_header_name("header", name) {
            Ok(()) => Ok(true),
            Err(_) if is_required => Err(format!("it requires the header {name}, which callers cannot set")),
            Err(_) => {
                self.notes.push(format!("The header {name} is left out: callers cannot set it."));
                Ok(false)
            }
        }
    }
}

/// Puts a description into a schema that has none of its own, or only that of its type.
pub(super) fn describe(schema: &mut Value, text: &str) {
    let Some(text) = keywords::description(text) else { return };
    match schema {
        Value::Object(members) => drop(members.insert("description".to_owned(), text.into())),
        _ => *schema = serde_json::json!({ "description": text }),
    }
}

fn style(word: &str, place: InputPlace) -> Result<Style, String> {
    let usual = match place {
        InputPlace::Path | InputPlace::Header => Style::Simple,
        InputPlace::Query | InputPlace::Cookie => Style::Form,
    };
    let style = match word {
        "" => usual,
        "simple" => Style::Simple,
        "label" => Style::Label,
        "matrix" => Style::Matrix,
        "form" => Style::Form,
        "spaceDelimited" => Style::SpaceDelimited,
        "pipeDelimited" => Style::PipeDelimited,
        "deepObject" => Style::DeepObject,
        other => return Err(format!("a parameter of it has the style {other:?}, which OpenAPI does not have")),
    };
    // A style where it has no meaning says nothing.
    let fits = match place {
        InputPlace::Path => matches!(style, Style::Simple | Style::Label | Style::Matrix),
        InputPlace::Header => style == Style::Simple,
        InputPlace::Cookie => style == Style::Form,
        InputPlace::Query => !matches!(style, Style::Simple | Style::Label | Style::Matrix),
    };
    Ok(if fits { style } else { usual })
}

/// A name for models: at most 64 of `A-Z a-z 0-9 _ . -`, each once.
fn argument(name: &str, place: InputPlace, names: &mut HashSet<String>) -> String {
    let mut plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' }).take(56).collect();
    let trimmed = plain.trim_matches('_').to_owned();
    if !trimmed.is_empty() && trimmed.len() < plain.len() && !name.starts_with('_') {
        plain = trimmed;
    }
    if names.insert(plain.clone()) {
        return plain;
    }
    let word = match place {
        InputPlace::Path => "path",
        InputPlace::Query => "query",
        InputPlace::Header => "header",
        InputPlace::Cookie => "cookie",
    };
    let mut number = 1;
    loop {
        let next = if number == 1 { format!("{word}_{plain}") } else { format!("{plain}_{number}") };
        if names.insert(next.clone()) {
            return next;
        }
        number += 1;
    }
}
