//! A tool and its versions.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use trunkline_protocol::oauth::scope::Effect;

use super::{
    executor::{Executor, HttpTool},
    price::Price,
};
use crate::{
    audit::Difference,
    error::{Error, Result},
    ids::{CredentialId, ToolId, ToolVersionId},
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
    /// Has it never been published? Then what it points at is its newest draft.
    pub is_draft: bool,
    /// Is it kept from callers all the same? A tool of a source is served only while its definition is approved and its source has it.
    pub withheld: bool,
    /// Since when it exists.
    pub created_at: DateTime<Utc>,
    /// What runs.
    pub version: ToolVersion,
}

/// One definition, published or a draft. Never changes.
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
    /// When it was saved.
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
    /// What differs in the version after it. Of a URL what comes before its query, of a secret only whether it is another one: either may be
    /// nobody else's business. The digest says of the rest that it differs.
    pub(crate) fn note(&self, after: &Self) -> Difference {
        let digest = |version: &Self| version.digest.iter().take(6).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let http = |version: &Self| match &version.executor {
            Executor::Http(http) => Some(http.clone()),
            _ => None,
        };
        let (http_before, http_after) = (http(self), http(after));
        let request = |http: &HttpTool| {
            let url = http.url.as_str();
            format!("{} {}", http.method.as_str(), url.split_once('?').map_or(url, |(path, _)| path))
        };
        let parameters = |http: &HttpTool| http.parameters.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
        let both = |of: fn(&HttpTool) -> Option<String>| (http_before.as_ref().and_then(of), http_after.as_ref().and_then(of));
        let (header_before, header_after) = both(|http| http.secret_header.clone());
        let secret = |version: &Self, is_other: bool| match (version.credential, is_other) {
            (None, _) => "none",
            (Some(_), false) => "set",
            (Some(_), true) => "replaced",
        };
        let keeps_logs = |version: &Self| matches!(&version.executor, Executor::Function(function) if function.keep_logs);
        let is_other = self.credential.is_some() && self.credential != after.credential;
        Difference::default()
            .of("title", &self.title, &after.title)
            .of("description", &self.description, &after.description)
            .of("effect", self.effect.as_str(), after.effect.as_str())
            .of("keeps_logs", keeps_logs(self), keeps_logs(after))
            .of("request", http_before.as_ref().map(request), http_after.as_ref().map(request))
            .of("parameters", http_before.as_ref().map(parameters), http_after.as_ref().map(parameters))
            .of("timeout_ms", http_before.as_ref().map(|http| http.timeout_ms), http_after.as_ref().map(|http| http.timeout_ms))
            .of("secret_header", header_before, header_after)
            .of("secret", secret(self, false), secret(after, is_other))
            .of("price_micro", self.price.call_micro, after.price.call_micro)
            .of("price_per_kib_micro", self.price.kib_micro, after.price.kib_micro)
            .of("price_per_second_micro", self.price.second_micro, after.price.second_micro)
            .of("price_reported_micro", self.price.reported_micro, after.price.reported_micro)
            .of("digest", digest(self), digest(after))
    }

    /// Is it the same for callers, and for those who pay?
    pub(crate) fn runs_like(&self, other: &Self) -> bool {
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
            Executor::Function(function) => function.check(),
            Executor::Upstream { .. } | Executor::Operation(_) => {
                Err(Error::invalid("kind", "the definition of this tool comes from its source"))
            }
        }
    }
}

impl Tool {
    /// A tool that is switched on from the beginning.
    pub(super) fn new(id: ToolId, name: ToolName, version: ToolVersion, now: DateTime<Utc>) -> Self {
        Self { id, name, enabled: true, is_draft: false, withheld: false, created_at: now, version }
    }
}

/// Characters that a person approving the text would not see: controls, direction overrides, zero-width characters and tags.
pub(super) fn has_hidden_characters(text: &str) -> bool {
    text.chars().any(|c| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
    })
}
