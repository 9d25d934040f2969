//! Every path we link to, as functions.

mod agents;
mod organisation;
mod people;
mod sources;
mod tools;
mod trust;
mod watch;

pub use self::{agents::*, organisation::*, people::*, sources::*, tools::*, trust::*, watch::*};

/// The front page.
pub fn start() -> &'static str {
    "/"
}

/// Where applications send people for consent.
pub fn authorize() -> &'static str {
    "/oauth/authorize"
}

/// What is read of an agent or a toolset, whose page that is.
pub fn context(of: &str) -> String {
    format!("{of}/context")
}

/// How calls treat the upstream of a source or a tool, whose page that is.
pub fn resilience(of: &str) -> String {
    format!("{of}/resilience")
}

/// The MCP endpoint of a toolset.
pub fn toolset_mcp(slug: &str, name: &str) -> String {
    format!("/t/{slug}/mcp/{name}")
}

/// A tenant's MCP endpoint.
pub fn mcp(slug: &str) -> String {
    format!("/t/{slug}/mcp")
}

/// A path with a query; fields without a value are left out.
pub fn with_query(path: &str, fields: &[(&str, &str)]) -> String {
    let query: Vec<String> =
        fields.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("{name}={}", encode(value))).collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

fn encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// A path of ours to go on with, from a query that anybody may have written. `None` for whatever a browser could take for another
/// site's address.
pub fn parse_next(text: &str) -> Option<&str> {
    let mut characters = text.chars();
    let ours = characters.next() == Some('/')
        && !matches!(characters.next(), Some('/' | '\\'))
        && !text.contains(|c: char| c.is_control() || c == '\\')
        && text.len() <= 8192;
    ours.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_is_a_path_of_ours() {
        for text in ["/", "/t/acme/members?x=1#y", "/invitations/ten_x"] {
            assert_eq!(parse_next(text), Some(text));
        }
        for text in
            ["", "t/acme", "//evil.example", "/\\evil.example", "https://evil.example", "/a\\b", "/\t/evil.example", "/\n", "\\/"]
        {
            assert_eq!(parse_next(text), None, "{text:?}");
        }
    }
}
