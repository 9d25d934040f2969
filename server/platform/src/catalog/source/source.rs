//! A source: where imported definitions come from, and how far it is trusted.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use trunkline_protocol::oauth::scope::Effect;
use url::Url;

use crate::{
    catalog::{SecretChange, TIMEOUT_MS, check_header_name},
    error::{Error, Result},
    ids::{CredentialId, SourceId},
};

/// Where imported definitions come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Its id.
    pub id: SourceId,
    /// Unique in the tenant; never changes, since the names of its tools begin with it.
    pub name: SourceName,
    /// How it is reached.
    pub kind: SourceKind,
    /// Are its definitions served, and is it read?
    pub enabled: bool,
    /// Are its tools and prompts called `<source>.<name>`? Never changes.
    pub prefix: bool,
    /// What becomes of what it brings.
    pub policy: Policy,
    /// What a tool does to the world that says nothing about it.
    pub default_effect: Effect,
    /// Longest time for one request, in milliseconds.
    pub timeout_ms: u32,
    /// When its lists were last read.
    pub refreshed_at: Option<DateTime<Utc>>,
    /// Since when they cannot be read, and why.
    pub stale: Option<Stale>,
    /// What the last refresh left out; empty if nothing.
    pub notice: String,
    /// Since when it exists.
    pub created_at: DateTime<Utc>,
    /// Counts changes of what is asked and how.
    pub(crate) edition: i32,
}

/// How a source is reached. There is no kind that starts a program.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceKind {
    /// An MCP server.
    Mcp {
        /// Where.
        url: Url,
        /// Header that carries the sealed secret.
        secret_header: Option<String>,
        /// The sealed secret.
        credential: Option<CredentialId>,
    },
    /// The origin of HTTP tools, which stand in the catalogue by themselves. It has no definitions, only the accounts of people.
    Api {
        /// The origin, as a URL.
        url: Url,
    },
    /// The fixtures of the conformance suite.
    Conformance,
}

/// What becomes of what a source brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// New definitions.
    pub new: NewDefinitions,
    /// Changes of approved ones.
    pub changes: Changes,
    /// An approved one while its change waits.
    pub meanwhile: Meanwhile,
}

/// What becomes of a definition that nobody has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NewDefinitions {
    /// It is off until somebody switches it on.
    #[default]
    Wait,
    /// It is on at once, unless something about it is suspicious.
    Approve,
}

/// What becomes of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Changes {
    /// It is taken at once, unless it introduces something suspicious.
    #[default]
    HarmlessPass,
    /// It waits for a person, whatever it is.
    EverythingWaits,
}

/// What is served while a change waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Meanwhile {
    /// The version that was approved.
    #[default]
    ServeApproved,
    /// Nothing.
    Block,
}

/// Since when a source's lists cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// Since when.
    pub since: DateTime<Utc>,
    /// In words of ours.
    pub why: String,
}

/// What a person says of a source.
#[derive(Debug, Clone)]
pub struct NewSource {
    /// Where it is.
    pub url: Url,
    /// Header that carries the secret.
    pub secret_header: Option<String>,
    /// What becomes of the secret.
    pub secret: SecretChange,
    /// Longest time for one request, in milliseconds.
    pub timeout_ms: u32,
    /// What becomes of what it brings.
    pub policy: Policy,
    /// What a tool does to the world that says nothing about it.
    pub default_effect: Effect,
}

/// `a-z 0-9 _ -`, at most 31, beginning with a letter or digit. Without a dot, so that it cannot contain another source's prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceName(String);

impl SourceName {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let fits = text.len() <= 31
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
            && text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid("name", "expected 1 to 31 of a-z 0-9 _ -, beginning with a letter or digit"))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(in crate::catalog) fn restore(name: String) -> Self {
        Self(name)
    }
}

impl std::fmt::Display for SourceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! words {
    ($($name:ident: $what:literal { $($variant:ident $word:literal),* })*) => {$(
        impl $name {
            /// As stored and sent by forms.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(Error::invalid($what, concat!("expected one of", $(" ", $word),*))),
                }
            }
        }
    )*};
}

words! {
    NewDefinitions: "new_definitions" { Wait "wait", Approve "approve" }
    Changes: "changes" { HarmlessPass "harmless_pass", EverythingWaits "everything_waits" }
    Meanwhile: "meanwhile" { ServeApproved "serve_approved", Block "block" }
}

/// Reads the URL of an MCP server.
pub fn parse_url(text: &str) -> Result<Url> {
    let wrong = |message: &str| Error::invalid("url", message);
    let text = text.trim();
    if text.len() > 2000 || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(wrong("expected a URL of at most 2000 characters without spaces"));
    }
    let url = Url::parse(text).map_err(|error| wrong(&format!("{error}; expected https://host/path")))?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(wrong(
            "expected https:// or http://; a source is reached over the network, it is never a program that is started",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("a user name or password does not belong into the URL; enter it as the secret"));
    }
    if url.fragment().is_some() {
        return Err(wrong("a fragment (#…) is never sent; leave it out"));
    }
    Ok(url)
}

impl Source {
    /// The sealed secret it uses.
    pub(in crate::catalog) fn credential(&self) -> Option<CredentialId> {
        match &self.kind {
            SourceKind::Mcp { credential, .. } => *credential,
            SourceKind::Api { .. } | SourceKind::Conformance => None,
        }
    }
}

impl NewSource {
    pub(super) fn check(&self) -> Result<()> {
        if !TIMEOUT_MS.contains(&self.timeout_ms) {
            return Err(Error::invalid("timeout_ms", "expected 100 to 60000 milliseconds"));
        }
        if let Some(name) = &self.secret_header {
            check_header_name("secret_header", name)?;
        }
        if let SecretChange::Set(secret) = &self.secret {
            secret_fits(secret.reveal())?;
        }
        Ok(())
    }

    /// `scheme://host:port`, to which the secret is bound.
    pub(super) fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }
}

fn secret_fits(secret: &str) -> Result<()> {
    let visible = secret.bytes().all(|b| (0x20..0x7f).contains(&b));
    if visible && (1..=4096).contains(&secret.len()) {
        Ok(())
    } else {
        Err(Error::invalid("secret", "expected 1 to 4096 visible ASCII characters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_dot() {
        for name in ["github", "a", "0_-", "x".repeat(31).as_str(), " trimmed "] {
            assert!(SourceName::parse(name).is_ok(), "{name}");
        }
        for name in ["", "-a", "_a", "a.b", "A", "ä", "a b", "x".repeat(32).as_str()] {
            assert!(SourceName::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_source_is_a_url_and_nothing_that_could_be_started() {
        for url in ["https://mcp.example.com/mcp", "http://127.0.0.1:8080/", "https://a.example/mcp?tenant=1"] {
            assert!(parse_url(url).is_ok(), "{url}");
        }
        for url in [
            "stdio://npx",
            "stdio:npx -y evil",
            "npx -y evil",
            "/usr/bin/env",
            "file:///bin/sh",
            "ws://a.example/",
            "unix:///run/x.sock",
            "https://u:p@a.example/",
            "https://a.example/#x",
            "https://a b/",
            "",
        ] {
            assert!(parse_url(url).is_err(), "{url}");
        }
    }
}
