//! The URL: origin and path of the template, with each argument inside its own segment or pair.

use std::collections::HashSet;

use serde_json::{Map, Value};
use url::Url;

use super::{Misfit, given, style};
use crate::catalog::{Carrier, InputPlace, Operation, Piece, Style};

/// Longest URL, in bytes: what most servers take.
const MAX_BYTES: usize = 16 * 1024;

pub(super) fn build(operation: &Operation, arguments: &Map<String, Value>) -> Result<Url, Misfit> {
    let path = path(operation, arguments)?;
    let query = query(operation, arguments)?;
    let text = format!("{}{path}", operation.origin);
    if text.len() + query.as_ref().map_or(0, String::len) > MAX_BYTES {
        return Err(format!("they would make a URL of more than {MAX_BYTES} bytes"));
    }
    let mut url = Url::parse(&text).map_err(|_| "they make no URL".to_owned())?;
    url.set_query(query.as_deref());
    // What was read back is what was meant, to the byte.
    let is_meant = url.path() == path
        && url.origin().ascii_serialization() == operation.origin
        && url.query() == query.as_deref()
        && url.fragment().is_none()
        && url.path_segments().map_or(0, Iterator::count) == operation.path.len();
    if is_meant { Ok(url) } else { Err("they would change where the request goes".to_owned()) }
}

fn path(operation: &Operation, arguments: &Map<String, Value>) -> Result<String, Misfit> {
    let mut text = String::new();
    for segment in &operation.path {
        text.push('/');
        let start = text.len();
        let mut has_input = false;
        for piece in segment {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Input(at) => {
                    let input = operation.inputs.get(*at).ok_or("the definition is broken")?;
                    let value = arguments.get(&input.argument).filter(|value| !value.is_null());
                    let value = value.ok_or_else(|| format!("{} is missing", input.argument))?;
                    text.push_str(&style::path(input, value));
                    has_input = true;
                }
            }
        }
        if has_input && matches!(&text[start..], "" | "." | "..") {
            return Err("a part of the path would be empty, \".\" or \"..\"".to_owned());
        }
    }
    Ok(text)
}

fn query(operation: &Operation, arguments: &Map<String, Value>) -> Result<Option<String>, Misfit> {
    let mut pairs: Vec<String> = Vec::new();
    for (name, value) in &operation.query {
        pairs.push(format!("{}={}", style::encode(name), style::encode(value)));
    }
    for (input, value) in given(operation, arguments).filter(|(input, _)| input.place == InputPlace::Query) {
        if let (Style::Form, true, false, Value::Object(members)) = (input.style, input.explode, input.json, value) {
            check_members(operation, members)?;
        }
        pairs.extend(style::query(input, value));
    }
    Ok((!pairs.is_empty()).then(|| pairs.join("&")))
}

/// Members of an object that is written out become names in the query: they may be none that mean something else.
fn check_members(operation: &Operation, members: &Map<String, Value>) -> Result<(), Misfit> {
    let inputs = operation.inputs.iter().filter(|input| input.place == InputPlace::Query).map(|input| input.name.as_str());
    let fixed = operation.query.iter().map(|(name, _)| name.as_str());
    let secrets = operation.security.iter().filter_map(|proof| match &proof.carrier {
        Carrier::Query { name } => Some(name.as_str()),
        _ => None,
    });
    let taken: HashSet<&str> = inputs.chain(fixed).chain(secrets).collect();
    match members.keys().find(|name| taken.contains(name.as_str())) {
        Some(name) => Err(format!("{name} is a parameter of its own, and cannot be a member too")),
        None => Ok(()),
    }
}
