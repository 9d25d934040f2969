//! A tool and its versions.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use trunkline_protocol::oauth::scope::Effect;

use super::{executor::Executor, price::Price};
use crate::{
    error::{Error, Result},
    ids::{CredentialId, TenantId, ToolId, ToolVersionId},
    quota::ToolLimits,
    secret::Plaintext,
};

/// A callable name and the version it points at.
#[derive(Debug, Clone)]
pub struct Tool {
    /// Its id.
    pub id: ToolId,
    /// Unique in the tenant; never changes, since callers and scopes name it.
    pub name: ToolName,
    /// Is it switched on?
    pub enabled: bool,
    /// Is it kept from callers all the same? A tool of a source is served only while its definition is approved and its source has it.
    pub withheld: bool,
    /// Since when it exists.
    pub created_at: DateTime<Utc>,
    /// What runs.
    pub version: ToolVersion,
}

/// One published definition. Never changes.
#[derive(Debug, Clone)]
pub struct ToolVersion {
    /// Its id.
    pub id: ToolVersionId,
    /// Counts from 1.
    pub number: i32,
    /// For people.
    pub title: String,
    /// For models.
    pub description: String,
    /// What it does to the world.
    pub effect: Effect,
    /// JSON Schema of the arguments.
    pub input_schema: Box<RawValue>,
    /// How it runs.
    pub executor: Executor,
    /// The sealed secret it sends.
    pub credential: Option<CredentialId>,
    /// What a call costs.
    pub price: Price,
    /// SHA-256 over the definition.
    pub digest: [u8; 32],
    /// The upstream's own definition, exactly as it was approved. `None`: the tool is ours.
    pub definition: Option<Box<RawValue>>,
    /// When it was published.
    pub created_at: DateTime<Utc>,
}

/// What a person says of a version.
#[derive(Debug, Clone)]
pub struct NewVersion {
    /// For people; at most 80 characters, may be empty.
    pub title: String,
    /// For models; 1 to 4096 characters.
    pub description: String,
    /// What it does to the world.
    pub effect: Effect,
    /// How it runs.
    pub executor: Executor,
    /// What becomes of the secret.
    pub secret: SecretChange,
    /// What a call costs.
    pub price: Price,
    /// Limits of the tool, whichever version it points at. `None`: they stay as they are.
    pub limits: Option<ToolLimits>,
}

/// What becomes of a tool's secret in its next version.
#[derive(Debug, Clone)]
pub enum SecretChange {
    /// It stays, if there is one and the origin is the same.
    Keep,
    /// There is none any more.
    Remove,
    /// A new one.
    Set(Plaintext),
}

/// 1 to 64 characters of `A-Z a-z 0-9 _ . -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ToolName(String);

impl ToolName {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let fits =
            (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if fits { Ok(Self(text.to_owned())) } else { Err(Error::invalid("name", "expected 1 to 64 of A-Z a-z 0-9 _ . -")) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn restore(name: String) -> Self {
        Self(name)
    }
}

impl std::fmt::Display for ToolName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl ToolVersion {
    /// Is it the same for callers, and for those who pay?
    pub(super) fn runs_like(&self, other: &Self) -> bool {
        (self.digest, self.credential, self.price) == (other.digest, other.credential, other.price)
    }
}

impl NewVersion {
    pub(super) fn check(&self) -> Result<()> {
        if self.title.chars().count() > 80 || has_hidden_characters(&self.title) {
            return Err(Error::invalid("title", "expected at most 80 visible characters"));
        }
        if self.description.is_empty() || self.description.chars().count() > 4096 {
            return Err(Error::invalid("description", "expected 1 to 4096 characters that tell a model what the tool does"));
        }
        if has_hidden_characters(&self.description) {
            return Err(Error::invalid("description", "it contains control, direction or invisible characters; remove them"));
        }
        self.price.check()?;
        if let SecretChange::Set(secret) = &self.secret {
            let visible = secret.reveal().bytes().all(|b| (0x20..0x7f).contains(&b));
            if !visible || secret.reveal().is_empty() || secret.reveal().len() > 4096 {
                return Err(Error::invalid("secret", "expected 1 to 4096 visible ASCII characters"));
            }
        }
        match &self.executor {
            Executor::Builtin { .. } => Ok(()),
            Executor::Http(http) => http.check(),
            Executor::Upstream { .. } => Err(Error::invalid("kind", "the definition of this tool comes from its source")),
        }
    }
}

impl Tool {
    /// A tool that is switched on from the beginning.
    pub(super) fn new(id: ToolId, name: ToolName, version: ToolVersion, now: DateTime<Utc>) -> Self {
        Self { id, name, enabled: true, withheld: false, created_at: now, version }
    }
}

/// Characters that a person approving the text would not see: controls, direction overrides, zero-width characters and tags.
pub(super) fn has_hidden_characters(text: &str) -> bool {
    text.chars().any(|c| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
    })
}

/// Where a sealed secret belongs: moving it to another tenant, row or origin makes it unreadable.
pub(crate) fn credential_place(tenant: TenantId, id: CredentialId, origin: &str) -> String {
    format!("{tenant}|credentials|{id}|{origin}")
}
