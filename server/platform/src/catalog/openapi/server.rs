//! Servers: where an API is, with the defaults of its variables.

use serde_json::Value;
use url::Url;

use crate::error::{Error, Result};

/// Servers that are offered.
const MAX_SERVERS: usize = 20;

/// Of a document, a path or an operation.
pub(super) fn of(value: &Value) -> Vec<String> {
    let servers = value.get("servers").and_then(Value::as_array).into_iter().flatten();
    servers.filter_map(one).take(MAX_SERVERS).collect()
}

fn one(server: &Value) -> Option<String> {
    let mut url = server.get("url")?.as_str()?.trim().to_owned();
    for (name, variable) in server.get("variables").and_then(Value::as_object).into_iter().flatten() {
        let first = || variable.pointer("/enum/0").and_then(Value::as_str);
        let value = variable.get("default").and_then(Value::as_str).or_else(first).unwrap_or_default();
        url = url.replace(&format!("{{{name}}}"), value);
    }
    let is_visible = !url.is_empty() && url.len() <= 500 && !url.chars().any(|c| c.is_control() || c.is_whitespace());
    is_visible.then_some(url)
}

/// The server as a URL. One that is relative is so to where the document came from.
pub fn resolve_server(server: &str, document: Option<&Url>) -> Result<Url> {
    let wrong = |message: String| Error::invalid("server", message);
    if let Some(at) = server.find('{') {
        let name: String = server[at..].chars().take_while(|c| *c != '/').collect();
        return Err(wrong(format!(
            "{name} stands for something that only you know; write the whole URL, such as https://api.example.com/v1"
        )));
    }
    match (Url::parse(server), document) {
        (Ok(url), _) if url.has_host() => Ok(url),
        (Err(url::ParseError::RelativeUrlWithoutBase), Some(document)) => {
            document.join(server).map_err(|error| wrong(format!("{error}; expected https://host/path")))
        }
        _ => Err(wrong("expected a whole URL, such as https://api.example.com/v1".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn variables_have_defaults_and_relative_ones_a_base() {
        let root = json!({ "servers": [
            { "url": "https://{region}.example.com/{v}", "variables": { "region": { "default": "eu" }, "v": { "enum": ["v2"] } } },
            { "url": "/api" }, { "url": " " }, {}, 7,
        ] });
        assert_eq!(of(&root), ["https://eu.example.com/v2", "/api"]);
        let base = Url::parse("https://docs.example.com/spec/openapi.json").expect("URL");
        assert_eq!(resolve_server("/api", Some(&base)).expect("URL").as_str(), "https://docs.example.com/api");
        assert!(resolve_server("/api", None).is_err() && resolve_server("https://{x}.a/", None).is_err());
        assert!(resolve_server("file:///etc/passwd", None).is_err() && resolve_server("javascript:x", None).is_err());
    }
}
