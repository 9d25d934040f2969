//! A function: code of the tenant's own, and what it may reach.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_sandbox::limits;
use url::{Host, Url};

use super::executor::{TIMEOUT_MS, check_header_name};
use crate::error::{Error, Result};

/// Hosts that one function may call.
pub const MAX_HOSTS: usize = 16;

/// Code, as stored in a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionTool {
    /// A module whose default export is the function.
    pub code: String,
    /// JSON Schema of its input.
    pub input_schema: Value,
    /// Origins that it may call.
    pub hosts: Vec<Origin>,
    /// Header that carries the sealed secret, to the first of the hosts.
    pub secret_header: Option<String>,
    /// Longest time of a call, in milliseconds.
    pub timeout_ms: u32,
    /// Are the last lines that it logs kept, for whoever may change it? They may be somebody's data, so not unless somebody says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_logs: bool,
}

/// `scheme://host:port` without a port where it is the usual one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Origin(String);

impl Origin {
    /// Reads `api.example.com`, `api.example.com:8443` or `https://api.example.com`.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid("hosts", format!("`{text}` is no host: expected one such as api.example.com or api.example.com:8443"))
        };
        let full = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let url = Url::parse(&full).map_err(|_| wrong())?;
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let is_plain = url.username().is_empty() && url.password().is_none();
        let is_host = matches!(url.host(), Some(Host::Domain(name)) if !name.contains('*'))
            || matches!(url.host(), Some(Host::Ipv4(_) | Host::Ipv6(_)));
        if is_bare && is_plain && is_host && matches!(url.scheme(), "https" | "http") {
            Ok(Self(url.origin().ascii_serialization()))
        } else {
            Err(wrong())
        }
    }

    /// The origin.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As a person writes it.
    pub fn brief(&self) -> &str {
        self.0.strip_prefix("https://").unwrap_or(&self.0)
    }
}

impl FunctionTool {
    /// Ok if the parts fit together; names the field that does not.
    pub fn check(&self) -> Result<()> {
        if self.code.trim().is_empty() {
            return Err(Error::invalid("code", "write a function: export default async function (input) { … }"));
        }
        if self.code.len() > limits::CODE_BYTES {
            let message = format!("the code has {} bytes; expected at most {}", self.code.len(), limits::CODE_BYTES);
            return Err(Error::invalid("code", message));
        }
        if self.code.contains('\0') {
            return Err(Error::invalid("code", "it contains a NUL character; remove it"));
        }
        if !TIMEOUT_MS.contains(&self.timeout_ms) {
            return Err(Error::invalid("timeout_ms", "expected 100 to 60000 milliseconds"));
        }
        if self.hosts.len() > MAX_HOSTS {
            return Err(Error::invalid("hosts", format!("expected at most {MAX_HOSTS} hosts")));
        }
        match (&self.secret_header, self.hosts.first()) {
            (Some(_), None) => Err(Error::invalid("hosts", "name the host that the secret is sent to")),
            (Some(name), Some(_)) => check_header_name("secret_header", name),
            (None, _) => Ok(()),
        }
    }

    /// Reads the schema of the input. Empty: an object of whatever.
    pub fn parse_schema(text: &str) -> Result<Value> {
        let wrong = |why: String| Error::invalid("input_schema", why);
        if text.trim().is_empty() {
            return Ok(serde_json::json!({ "type": "object" }));
        }
        let schema: Value = serde_json::from_str(text).map_err(|error| wrong(format!("it is no JSON: {error}")))?;
        if schema.get("type").and_then(Value::as_str) != Some("object") {
            return Err(wrong("expected a JSON Schema of an object: {\"type\": \"object\", \"properties\": {…}}".to_owned()));
        }
        // The same bounds as for schemas that come from elsewhere.
        match super::definition::misfit(text, &schema) {
            Some(why) => Err(wrong(format!("it cannot be used: {why}"))),
            None => Ok(schema),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_origins() {
        for (text, origin) in [
            ("api.example.com", "https://api.example.com"),
            ("API.example.com:8443", "https://api.example.com:8443"),
            ("https://api.example.com/", "https://api.example.com"),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ] {
            assert_eq!(Origin::parse(text).expect("a host").as_str(), origin);
        }
        for text in ["", "a b", "*.example.com", "https://a.example/path", "ftp://a.example", "u@a.example", "a.example?x"] {
            assert!(Origin::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_schema_is_one_of_an_object() {
        for text in ["[]", "{", "{}", "{\"type\": \"string\"}", "{\"type\": \"object\", \"properties\": 7}"] {
            assert!(FunctionTool::parse_schema(text).is_err(), "{text}");
        }
        assert!(FunctionTool::parse_schema(" ").is_ok());
        assert!(FunctionTool::parse_schema("{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"string\"}}}").is_ok());
    }
}
