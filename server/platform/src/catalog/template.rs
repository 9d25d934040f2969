//! A URL with `{names}` in its path. The host, the port and the query are fixed: what a caller says can never choose where a request goes.

use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::{Error, Result};

/// A URL template, checked. Stored as its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UrlTemplate {
    text: String,
    origin: String,
    /// The path, split at `/`, without the first slash.
    segments: Vec<Vec<Part>>,
    query: Option<String>,
}

/// A piece of a path segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Fixed text, already encoded.
    Literal(String),
    /// The value of that parameter.
    Placeholder(String),
}

impl TryFrom<String> for UrlTemplate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).map_err(|error| error.to_string())
    }
}

impl From<UrlTemplate> for String {
    fn from(template: UrlTemplate) -> Self {
        template.text
    }
}

impl UrlTemplate {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |message: &str| Error::invalid("url", message);
        let text = text.trim();
        if text.len() > 2000 || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(wrong("expected a URL of at most 2000 characters without spaces"));
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("expected https://host/path"))?;
        let path_at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(path_at);
        let base = Url::parse(&format!("{scheme}://{authority}/"))
            .map_err(|error| wrong(&format!("{error}; expected https://host/path")))?;
        if !matches!(base.scheme(), "https" | "http") {
            return Err(wrong("expected https:// or http://"));
        }
        if authority.contains(['{', '}']) || !base.username().is_empty() || base.password().is_some() {
            return Err(wrong("the host is fixed: no {placeholders} and no user name in it"));
        }
        if tail.contains('#') {
            return Err(wrong("a fragment (#…) is never sent; leave it out"));
        }
        let (path, query) = tail.split_once('?').map_or((tail, None), |(path, query)| (path, Some(query)));
        if query.is_some_and(|query| query.contains(['{', '}'])) {
            return Err(wrong("placeholders belong into the path; add a parameter with place query instead"));
        }
        let segments = path.strip_prefix('/').unwrap_or(path).split('/').map(segment).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            text: text.to_owned(),
            origin: base.origin().ascii_serialization(),
            segments,
            query: query.filter(|query| !query.is_empty()).map(str::to_owned),
        })
    }

    /// `scheme://host:port`, to which a stored secret is bound.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Names of the placeholders.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().flatten().filter_map(|part| match part {
            Part::Placeholder(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// The path's segments.
    pub fn segments(&self) -> &[Vec<Part>] {
        &self.segments
    }

    /// The fixed query, if there is one.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }
}

fn segment(text: &str) -> Result<Vec<Part>> {
    let wrong = || Error::invalid("url", format!("`{text}`: expected {{name}} with a name of A-Z a-z 0-9 _ - ."));
    if matches!(text, "." | "..") {
        return Err(Error::invalid("url", "the path may not contain . or .."));
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find(['{', '}']) {
        let (literal, tail) = rest.split_at(open);
        let (name, after) = tail.strip_prefix('{').and_then(|tail| tail.split_once('}')).ok_or_else(wrong)?;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')) {
            return Err(wrong());
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.to_owned()));
        }
        parts.push(Part::Placeholder(name.to_owned()));
        rest = after;
    }
    if !rest.is_empty() || parts.is_empty() {
        parts.push(Part::Literal(rest.to_owned()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_stand_in_the_path_only() {
        let template = UrlTemplate::parse("https://api.example.com:8443/v1/users/{id}/x-{b}.json?fixed=1").expect("template");
        assert_eq!(template.origin(), "https://api.example.com:8443");
        assert_eq!(template.placeholders().collect::<Vec<_>>(), ["id", "b"]);
        assert_eq!(template.query(), Some("fixed=1"));
        for text in [
            "api.example.com/x",
            "https://{host}/x",
            "https://a{b}.com/",
            "https://user:pw@a.com/",
            "https://a.com/?q={x}",
            "https://a.com/#x",
            "https://a.com/{",
            "https://a.com/}",
            "https://a.com/{}",
            "https://a.com/{a/b}",
            "https://a.com/a b",
            "ftp://a.com/",
            "https:///x",
            "https://a.com/../x",
            "javascript://a/%0aalert(1)",
        ] {
            assert!(UrlTemplate::parse(text).is_err(), "{text}");
        }
    }
}
