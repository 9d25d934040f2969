//! Which arguments each tool wants mirrored into headers, learnt from the lists of tools that pass by.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};
use trunkline_protocol::mcp::mirrored::{Mirrored, mirrored};

/// Tools that are remembered.
const MOST_TOOLS: usize = 10_000;

/// What is known, by tool. Tools without such arguments need no remembering.
#[derive(Debug, Default)]
pub(super) struct Schemas(Mutex<HashMap<String, Vec<Mirrored>>>);

/// A page of `tools/list`, as far as it matters here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    #[serde(borrow)]
    tools: Vec<Tool<'a>>,
    #[serde(default)]
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tool<'a> {
    name: String,
    #[serde(borrow, default)]
    input_schema: Option<&'a RawValue>,
}

impl Schemas {
    /// Reads a page of a list; gives where the list goes on.
    pub(super) fn learn(&self, result: &RawValue) -> Option<String> {
        let page: Page<'_> = serde_json::from_str(result.get()).ok()?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for tool in page.tools {
            let schema = tool.input_schema.filter(|schema| schema.get().contains("x-mcp-header"));
            let schema = schema.and_then(|schema| serde_json::from_str::<Value>(schema.get()).ok());
            // An annotation that cannot be used takes the tool out of a client's list: nothing of it is mirrored.
            match schema.and_then(|schema| mirrored(&schema).ok()).filter(|mirrored| !mirrored.is_empty()) {
                Some(mirrored) if known.len() < MOST_TOOLS || known.contains_key(&tool.name) => {
                    known.insert(tool.name, mirrored);
                }
                _ => {
                    known.remove(&tool.name);
                }
            }
        }
        page.next_cursor
    }

    /// Adds the headers of a call.
    pub(super) fn mirror(&self, tool: &str, arguments: Option<&RawValue>, headers: &mut HeaderMap) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mirrored) = known.get(tool) else { return };
        let arguments = arguments.and_then(|raw| serde_json::from_str::<Map<String, Value>>(raw.get()).ok()).unwrap_or_default();
        for mirrored in mirrored {
            let name = HeaderName::from_bytes(mirrored.header.as_bytes());
            let value = mirrored.value(&arguments).map(|value| HeaderValue::from_str(&value));
            if let (Ok(name), Some(Ok(value))) = (name, value) {
                headers.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn arguments_are_mirrored_as_the_last_list_says() {
        let schemas = Schemas::default();
        let list = |schema: &str| raw(&format!(r#"{{"tools":[{{"name":"a","inputSchema":{schema}}}],"nextCursor":"2"}}"#));
        let of = |tool: &str, arguments: &str| {
            let mut headers = HeaderMap::new();
            schemas.mirror(tool, Some(&raw(arguments)), &mut headers);
            headers.get("mcp-param-region").map(|value| value.to_str().unwrap().to_owned())
        };
        let with = r#"{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}"#;
        assert_eq!(schemas.learn(&list(with)).as_deref(), Some("2"));
        assert_eq!(of("a", r#"{"region":"eu"}"#).as_deref(), Some("eu"));
        assert_eq!(of("a", r#"{"region":"süd"}"#).as_deref(), Some("=?base64?c8O8ZA==?="));
        assert_eq!((of("a", "{}"), of("a", "7"), of("b", r#"{"region":"eu"}"#)), (None, None, None));
        schemas.learn(&list(r#"{"type":"object"}"#));
        assert_eq!(of("a", r#"{"region":"eu"}"#), None);
    }
}
