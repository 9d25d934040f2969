//! Bodies of requests: which of the offered types is sent, and how.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    document::Document,
    parameter::{Parameters, describe},
    schema::Schemas,
};
use crate::catalog::{BODY, Body, FieldStyle, Style};

/// Is it a type of JSON?
pub(super) fn is_json(kind: &str) -> bool {
    let kind = essence(kind);
    kind == "application/json" || kind.ends_with("+json") || kind == "text/json" || kind == "*/*" || kind == "application/*"
}

/// Lower case, without parameters.
fn essence(kind: &str) -> String {
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The lower, the better a model can write it.
fn rank(kind: &str) -> u8 {
    match essence(kind).as_str() {
        "application/json" => 0,
        other if is_json(other) => 1,
        "application/x-www-form-urlencoded" => 2,
        "multipart/form-data" => 3,
        other if is_text(other) => 4,
        _ => 5,
    }
}

fn is_text(kind: &str) -> bool {
    kind.starts_with("text/")
        || kind.ends_with("+xml")
        || matches!(kind, "application/xml" | "application/yaml" | "application/x-ndjson" | "application/graphql")
}

/// Reads the body of an operation into its parameters.
pub(super) fn read(
    document: &Document,
    schemas: &mut Schemas<'_>,
    operation: &Value,
    parameters: &mut Parameters,
) -> Result<Option<Body>, String> {
    let Some(raw) = operation.get("requestBody") else { return Ok(None) };
    let raw = document.resolve(raw)?;
    let Some(content) = raw.get("content").and_then(Value::as_object) else { return Ok(None) };
    let Some((kind, media)) = content.iter().min_by_key(|(kind, _)| rank(kind)) else { return Ok(None) };
    let kind_said = kind.trim();
    if kind_said.is_empty() || kind_said.len() > 200 || !kind_said.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Err("its body has a type that is none".to_owned());
    }
    let any = Value::Bool(true);
    let declared = media.get("schema").unwrap_or(&any);
    let mut schema = schemas.convert(declared, &mut parameters.refs)?;
    let sent = if kind_said.contains('*') { "application/json".to_owned() } else { kind_said.to_owned() };
    let body = match rank(kind) {
        0 | 1 => Body::Json { media_type: sent },
        2 => Body::Form { fields: fields(media) },
        3 => Body::Multipart { files: files(document, media, declared, &mut schema)? },
        4 => {
            schema = json!({ "type": "string", "description": format!("Text, sent as {sent}.") });
            Body::Text { media_type: sent }
        }
        _ => {
            schema = base64(&sent);
            Body::Binary { media_type: if kind_said.contains('*') { "application/octet-stream".to_owned() } else { sent } }
        }
    };
    describe(&mut schema, raw.get("description").and_then(Value::as_str).unwrap_or_default());
    parameters.properties.insert(BODY.to_owned(), schema);
    if raw.get("required") == Some(&Value::Bool(true)) {
        parameters.required.push(BODY.into());
    }
    Ok(Some(body))
}

fn base64(kind: &str) -> Value {
    json!({ "type": "string", "contentEncoding": "base64", "description": format!("The bytes as base64, sent as {kind}.") })
}

/// Members of a form that say how they are written.
fn fields(media: &Value) -> BTreeMap<String, FieldStyle> {
    let encodings = media.get("encoding").and_then(Value::as_object).into_iter().flatten();
    encodings
        .filter_map(|(name, encoding)| {
            let style = match encoding.get("style").and_then(Value::as_str)? {
                "form" => Style::Form,
                "spaceDelimited" => Style::SpaceDelimited,
                "pipeDelimited" => Style::PipeDelimited,
                "deepObject" => Style::DeepObject,
                _ => return None,
            };
            let explode = encoding.get("explode").and_then(Value::as_bool).unwrap_or(style == Style::Form);
            Some((name.clone(), FieldStyle { style, explode }))
        })
        .collect()
}

/// Members of a multipart body that are files: base64 for whoever calls.
fn files(document: &Document, media: &Value, declared: &Value, schema: &mut Value) -> Result<BTreeMap<String, String>, String> {
    let declared = document.resolve(declared)?;
    let mut files = BTreeMap::new();
    let empty = Map::new();
    for (name, raw) in declared.get("properties").and_then(Value::as_object).unwrap_or(&empty) {
        let raw = document.resolve(raw)?;
        let item = match raw.get("items") {
            Some(item) => document.resolve(item)?,
            None => raw,
        };
        let is_file = item.get("format").and_then(Value::as_str) == Some("binary")
            || item.get("type").and_then(Value::as_str) == Some("file")
            || (item.get("contentMediaType").is_some() && item.get("contentEncoding").is_none());
        if !is_file {
            continue;
        }
        let said =
            media.get("encoding").and_then(|all| all.get(name)).and_then(|one| one.get("contentType")).and_then(Value::as_str);
        let said = said
            .and_then(|kinds| kinds.split(',').next())
            .map(str::trim)
            .filter(|kind| kind.bytes().all(|b| (0x20..0x7f).contains(&b)));
        let kind = said.filter(|kind| !kind.contains('*') && !kind.is_empty()).unwrap_or("application/octet-stream").to_owned();
        if let Some(property) = schema.pointer_mut(&format!("/properties/{}", name.replace('~', "~0").replace('/', "~1"))) {
            let text = property.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
            let mut one = base64(&kind);
            describe(&mut one, format!("{text} The bytes as base64.").trim_start());
            *property = if raw.get("items").is_some() { json!({ "type": "array", "items": one }) } else { one };
        }
        files.insert(name.clone(), kind);
    }
    Ok(files)
}
