//! The MCP headers of a request and their value rules (SEP-2243).

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD};

/// Names of the headers, as they are registered.
pub const PROTOCOL_VERSION: &str = "mcp-protocol-version";
/// Mirrors the method.
pub const METHOD: &str = "mcp-method";
/// Mirrors the tool's, prompt's or resource's name.
pub const NAME: &str = "mcp-name";

/// The headers of one request that the era is chosen by. Values are trimmed of optional whitespace.
#[derive(Debug, Default, Clone, Copy)]
pub struct McpHeaders<'a> {
    /// `MCP-Protocol-Version`.
    pub protocol_version: Option<&'a str>,
    /// `Mcp-Method`.
    pub method: Option<&'a str>,
    /// `Mcp-Name`.
    pub name: Option<&'a str>,
}

/// Decodes `=?base64?…?=`; other values stand for themselves. `None` if it is not valid base 64 of UTF-8.
pub fn decode(value: &str) -> Option<Cow<'_, str>> {
    let Some(encoded) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Some(Cow::Borrowed(value));
    };
    let bytes = BASE64_STANDARD.decode(encoded).ok()?;
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// Encodes what a header cannot carry as it is: control and non-ASCII characters, space at the ends, and what looks like an encoded value.
pub fn encode(value: &str) -> Cow<'_, str> {
    let plain = value.bytes().all(|b| matches!(b, b' '..=b'~'))
        && value.trim() == value
        && !(value.starts_with("=?base64?") && value.ends_with("?="));
    if plain { Cow::Borrowed(value) } else { Cow::Owned(format!("=?base64?{}?=", BASE64_STANDARD.encode(value))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for value in ["", "a b", " a", "ä", "a\nb", "=?base64?eA==?=", "~"] {
            let encoded = encode(value);
            assert!(encoded.bytes().all(|b| matches!(b, b' '..=b'~')), "{encoded}");
            assert_eq!(decode(&encoded).as_deref(), Some(value));
        }
        assert_eq!(encode("a b"), "a b");
    }

    #[test]
    fn sentinel_is_decoded_and_everything_else_left_alone() {
        assert_eq!(decode("echo").as_deref(), Some("echo"));
        assert_eq!(decode("=?base64?w6Q=?=").as_deref(), Some("ä"));
        assert_eq!(decode("=?base64?!!?="), None);
        assert_eq!(decode("=?base64?/w==?="), None);
        assert_eq!(decode("=?BASE64?w6Q=?=").as_deref(), Some("=?BASE64?w6Q=?="));
    }
}
