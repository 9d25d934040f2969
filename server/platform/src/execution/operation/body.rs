//! The body, of the argument `body`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use reqwest::header::HeaderValue;
use serde_json::{Map, Value};
use url::form_urlencoded::Serializer;

use super::{Misfit, boundary, style};
use crate::catalog::{BODY, Body, FieldStyle, Style};

/// As usual in forms.
const USUAL: FieldStyle = FieldStyle { style: Style::Form, explode: true };

/// `Content-Type` and body; `None`: the caller gives none.
pub(super) fn write(kind: &Body, arguments: &Map<String, Value>) -> Result<Option<(HeaderValue, Bytes)>, Misfit> {
    let Some(value) = arguments.get(BODY) else { return Ok(None) };
    let (media_type, bytes) = match kind {
        Body::Json { media_type } => (media_type.clone(), serde_json::to_vec(value).map_err(|error| error.to_string())?),
        Body::Form { fields } => {
            let mut form = Serializer::new(String::new());
            for (name, value) in object(value)? {
                let field = fields.get(name).copied().unwrap_or(USUAL);
                // An object without a style of its own stays together.
                let explode = field.explode && (fields.contains_key(name) || !value.is_object());
                let pairs = if value.is_object() && !fields.contains_key(name) {
                    vec![(name.clone(), value.to_string())]
                } else {
                    style::form(name, field.style, explode, value)
                };
                form.extend_pairs(pairs);
            }
            ("application/x-www-form-urlencoded".to_owned(), form.finish().into_bytes())
        }
        Body::Multipart { files } => {
            let boundary = boundary();
            let mut bytes = Vec::new();
            for (name, value) in object(value)? {
                let each: &[Value] = if let Value::Array(each) = value { each } else { std::slice::from_ref(value) };
                for one in each {
                    part(&mut bytes, &boundary, name, files.get(name).map(String::as_str), one)?;
                }
            }
            bytes.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
            (format!("multipart/form-data; boundary={boundary}"), bytes)
        }
        Body::Text { media_type } => (media_type.clone(), style::scalar(value).into_bytes()),
        Body::Binary { media_type } => (media_type.clone(), decode(BODY, value)?),
    };
    let media_type = HeaderValue::from_str(&media_type).map_err(|_| "the definition is broken".to_owned())?;
    Ok(Some((media_type, bytes.into())))
}

fn object(value: &Value) -> Result<&Map<String, Value>, Misfit> {
    value.as_object().ok_or_else(|| "body must be an object".to_owned())
}

fn part(bytes: &mut Vec<u8>, boundary: &str, name: &str, file: Option<&str>, value: &Value) -> Result<(), Misfit> {
    // As forms of HTML do: what would end the name is encoded.
    let quoted = name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
    let head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{quoted}\"");
    let (head, content) = match (file, value) {
        (Some(kind), value) => (format!("{head}; filename=\"{quoted}\"\r\nContent-Type: {kind}"), decode(name, value)?),
        (None, Value::Object(_) | Value::Array(_)) => {
            (format!("{head}\r\nContent-Type: application/json"), value.to_string().into_bytes())
        }
        (None, value) => (head, style::scalar(value).into_bytes()),
    };
    bytes.extend_from_slice(head.as_bytes());
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes.extend_from_slice(&content);
    bytes.extend_from_slice(b"\r\n");
    Ok(())
}

fn decode(name: &str, value: &Value) -> Result<Vec<u8>, Misfit> {
    let text = value.as_str().and_then(|text| STANDARD.decode(text.trim()).ok());
    text.ok_or_else(|| format!("{name} must be base64"))
}
