//! An endpoint, as a registry speaks of it.

use std::{collections::HashSet, sync::Arc};

use chrono::{DateTime, Utc};
use serde_json::{Value, json, value::RawValue};
use sha2::{Digest as _, Sha256};
use url::{Host, Url};

use crate::{
    catalog::{Executor, snapshot::LoadedTool, toolset::Toolset},
    ids::{SourceId, ToolId, ToolsetId},
};

/// The schema of `server.json` that is spoken.
const SCHEMA: &str = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json";
/// Longest description and title.
const MOST_WORDS: usize = 100;

/// A version of an entry.
#[derive(Debug, Clone)]
pub struct Entry {
    /// As its `server.json` has it: `example.trunkline/acme.billing`.
    pub name: String,
    /// Counts its versions.
    pub number: i32,
    /// Is there none after it?
    pub is_latest: bool,
    /// `server.json`.
    pub server: Box<RawValue>,
    /// Since when it is there.
    pub published_at: DateTime<Utc>,
}

impl Entry {
    /// As its `server.json` has it.
    pub fn version(&self) -> String {
        version(self.number)
    }
}

fn version(number: i32) -> String {
    format!("1.0.{}", number - 1)
}

/// What is known to fail.
#[derive(Debug, Default)]
pub(super) struct Failing {
    pub(super) tools: HashSet<ToolId>,
    pub(super) sources: HashSet<SourceId>,
}

/// An endpoint that offers tools.
pub(super) struct Offered<'c> {
    pub(super) toolset: Option<ToolsetId>,
    pub(super) tools: Vec<&'c Arc<LoadedTool>>,
    name: String,
    title: String,
    description: String,
    url: String,
}

impl<'c> Offered<'c> {
    pub(super) fn whole(origin: &Url, slug: &str, tools: Vec<&'c Arc<LoadedTool>>) -> Self {
        let base = origin.as_str().trim_end_matches('/');
        Self {
            toolset: None,
            name: format!("{}/{slug}", reversed(origin)),
            title: slug.to_owned(),
            description: format!("All tools of {slug}"),
            url: format!("{base}/t/{slug}/mcp"),
            tools,
        }
    }

    pub(super) fn of_toolset(origin: &Url, slug: &str, toolset: &Toolset, tools: &'c [Arc<LoadedTool>]) -> Self {
        let (whole, name) = (Self::whole(origin, slug, Vec::new()), toolset.name.as_str());
        let or = |text: &str, other: String| if text.trim().is_empty() { other } else { cut(text) };
        Self {
            toolset: Some(toolset.id),
            name: format!("{}.{name}", whole.name),
            title: or(&toolset.title, name.to_owned()),
            description: or(&toolset.description, or(&toolset.title, format!("The toolset {name} of {slug}"))),
            url: format!("{}/{name}", whole.url),
            tools: tools.iter().filter(|tool| toolset.tools.contains(&tool.tool.id)).collect(),
        }
    }

    /// Over everything that a version is about.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut put = |part: &[u8]| {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        };
        for text in [&self.name, &self.title, &self.description, &self.url] {
            put(text.as_bytes());
        }
        for tool in &self.tools {
            put(tool.tool.name.as_str().as_bytes());
            put(&tool.digest.0);
        }
        hash.finalize().into()
    }

    pub(super) fn has_any(&self, failing: &Failing) -> bool {
        self.tools.iter().any(|loaded| {
            let of_source = match &loaded.tool.version.executor {
                Executor::Upstream { source, .. } => failing.sources.contains(source),
                _ => false,
            };
            of_source || failing.tools.contains(&loaded.tool.id)
        })
    }

    /// `server.json` of that version.
    pub(super) fn server(&self, number: i32) -> Value {
        json!({
            "$schema": SCHEMA,
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "version": version(number),
            "remotes": [{ "type": "streamable-http", "url": self.url }],
            "_meta": { "io.modelcontextprotocol.registry/publisher-provided": { "tools": self.tools.len() } },
        })
    }
}

/// The host as a namespace: `example.com` is `com.example`.
fn reversed(origin: &Url) -> String {
    match origin.host() {
        Some(Host::Domain(domain)) => domain.split('.').rev().collect::<Vec<_>>().join("."),
        Some(Host::Ipv4(address)) => address.to_string(),
        _ => "localhost".to_owned(),
    }
}

fn cut(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MOST_WORDS { line } else { line.chars().take(MOST_WORDS - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_namespaces_and_words_fit() {
        let url = |text: &str| Url::parse(text).expect("a URL");
        assert_eq!(reversed(&url("https://mcp.example.com")), "com.example.mcp");
        assert_eq!(reversed(&url("http://127.0.0.1:8080")), "127.0.0.1");
        assert_eq!(reversed(&url("http://[::1]:8080")), "localhost");
        assert_eq!(cut("  a\n b "), "a b");
        assert_eq!(cut(&"x".repeat(101)).chars().count(), 100);
        let whole = Offered::whole(&url("https://mcp.example.com"), "acme", Vec::new());
        assert_eq!((whole.name.as_str(), whole.url.as_str()), ("com.example.mcp/acme", "https://mcp.example.com/t/acme/mcp"));
        assert_eq!(whole.server(3)["version"], "1.0.2");
    }
}
