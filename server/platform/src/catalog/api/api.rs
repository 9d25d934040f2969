//! An imported API, its operations, and how they are looked at.

use chrono::{DateTime, Utc};
use trunkline_protocol::oauth::scope::Effect;
use url::Url;

use crate::{
    catalog::{Carrier, openapi::Scheme, source::SourceName},
    error::{Error, Result},
    ids::{ApiId, CredentialId, OperationId, ToolId},
};

/// An HTTP API whose description was imported.
#[derive(Debug, Clone)]
pub struct Api {
    /// Its id.
    pub id: ApiId,
    /// Unique among the APIs of the tenant.
    pub name: SourceName,
    /// As its document has it.
    pub title: String,
    /// As its document has it.
    pub version: String,
    /// Where the document was read from; `None`: somebody uploaded it.
    pub link: Option<Url>,
    /// Of the document.
    pub sha256: [u8; 32],
    /// Of the document.
    pub bytes: usize,
    /// As its document has them.
    pub servers: Vec<String>,
    /// The chosen one; empty as long as there is none.
    pub server: String,
    /// Names of its tools begin with it.
    pub prefix: String,
    /// How callers prove who they are.
    pub schemes: Vec<Scheme>,
    /// Its secrets, sealed together.
    pub credential: Option<CredentialId>,
    /// Since when it is here.
    pub created_at: DateTime<Utc>,
    /// When its document was read, or approved.
    pub read_at: DateTime<Utc>,
    /// When its link last led to that document.
    pub verified_at: Option<DateTime<Utc>>,
    /// Its link cannot be read.
    pub failing: Option<Failing>,
}

/// That a link cannot be read.
#[derive(Debug, Clone)]
pub struct Failing {
    /// Since then.
    pub since: DateTime<Utc>,
    /// For that reason.
    pub why: String,
}

impl Api {
    /// Where tokens of that scheme are fetched, if they are.
    pub fn token_url(&self, scheme: &str) -> Option<&Url> {
        match &self.schemes.iter().find(|known| known.name == scheme)?.carrier {
            Some(Carrier::ClientCredentials { token_url, .. }) => Some(token_url),
            _ => None,
        }
    }
}

/// A description that somebody brought.
#[derive(Debug)]
pub struct Document {
    /// As it came.
    pub bytes: Vec<u8>,
    /// Where it was read from; `None`: it was uploaded.
    pub link: Option<Url>,
}

/// An API in a list.
#[derive(Debug, Clone)]
pub struct ListedApi {
    /// The API.
    pub api: Api,
    /// Does another document wait for somebody to decide?
    pub is_waiting: bool,
    /// Its operations.
    pub counts: Counts,
}

/// How many operations there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// In its document.
    pub all: i64,
    /// Picked.
    pub picked: i64,
    /// Published as tools.
    pub tools: i64,
    /// Published, and since changed by the document.
    pub changed: i64,
    /// Published, and no longer in the document.
    pub gone: i64,
    /// That cannot be tools.
    pub refused: i64,
}

/// An operation in a list.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub struct ListedOperation {
    /// Its id.
    pub id: OperationId,
    /// Method and path.
    pub key: String,
    /// What it is for, in a line.
    pub summary: String,
    /// Groups that it belongs to.
    pub tags: Vec<String>,
    /// Should nobody begin to use it?
    pub is_deprecated: bool,
    /// Why it cannot be a tool; empty if it can.
    pub refused: String,
    /// Of the tool, without the prefix.
    pub name: String,
    /// What it does to the world.
    pub effect: Effect,
    /// What is not as the document has it; empty if everything is.
    pub notes: String,
    /// Will it be a tool with the next publishing?
    pub is_picked: bool,
    /// Is it otherwise in the document than it was published?
    pub is_changed: bool,
    /// Does the document not have it any more?
    pub is_gone: bool,
    /// The tool that it is.
    pub tool: Option<ToolId>,
}

/// Which operations to list.
#[derive(Debug, Clone, Default)]
pub struct OperationFilter {
    /// Of that tag only; empty: of all.
    pub tag: String,
    /// Which of them.
    pub shown: Shown,
}

/// Which operations to list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Shown {
    /// All of them.
    #[default]
    All,
    /// Picked.
    Picked,
    /// That change nothing.
    Read,
    /// Otherwise than published, new since, or gone.
    Changed,
    /// That cannot be tools.
    Refused,
}

/// A group of operations.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Tag {
    /// Its name.
    pub name: String,
    /// Operations of it.
    pub count: i64,
}

/// What a newer document brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Never seen before.
    pub added: usize,
    /// Otherwise than before.
    pub changed: usize,
    /// Not there any more.
    pub removed: usize,
}

impl Shown {
    /// All of them, in the order they are offered.
    pub const ALL: [Self; 5] = [Self::All, Self::Picked, Self::Read, Self::Changed, Self::Refused];

    /// As in addresses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Picked => "picked",
            Self::Read => "read",
            Self::Changed => "changed",
            Self::Refused => "refused",
        }
    }

    /// The one of that word.
    pub fn find(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shown| shown.as_str() == word)
    }
}

/// Reads a prefix of names.
pub fn parse_prefix(text: &str) -> Result<String> {
    let text = text.trim();
    let fits = text.len() <= 32 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if fits { Ok(text.to_owned()) } else { Err(Error::invalid("prefix", "expected at most 32 of A-Z a-z 0-9 _ -")) }
}
