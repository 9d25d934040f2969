//! A credential as people see it: everything but its value.

use chrono::{DateTime, Utc};

use crate::ids::{ApiId, CredentialId, SourceId, ToolId};

/// A sealed secret of the tenant, and who uses it.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Its id.
    pub id: CredentialId,
    /// What its owner calls it; empty: nothing.
    pub label: String,
    /// Where it is sent, and nowhere else.
    pub origin: String,
    /// Since when it exists.
    pub created_at: DateTime<Utc>,
    /// When its value was last exchanged, and by whom, if by somebody who is still known.
    pub rotated: Option<(DateTime<Utc>, Option<String>)>,
    /// The value before is still kept.
    pub overlap: Option<Overlap>,
    /// Counts changes of what is sent: who changes an older one is late.
    pub edition: i32,
    /// How it is sent.
    pub kind: Kind,
    /// What uses it, the first few by name: APIs, then sources, then tools, by the versions that stand or that agents are pinned to.
    pub uses: Vec<Use>,
    /// How many use it.
    pub used: i64,
    /// Versions of tools that refer to it, also those that nobody runs.
    pub versions: i64,
}

/// For a while, calls go on with the value before where the one in force is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// Until then.
    pub until: DateTime<Utc>,
    /// How often that happened.
    pub refused: i64,
    /// When it last did.
    pub refused_at: Option<DateTime<Utc>>,
}

/// How a secret is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// In that header.
    Header(String),
    /// As the security schemes of an imported API want it: several secrets, sealed together.
    Schemes,
    /// Nothing refers to it, so that nobody knows.
    Unknown,
}

/// Who uses a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// What it is.
    pub user: User,
    /// Its name.
    pub name: String,
}

/// What uses a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// An imported API.
    Api(ApiId),
    /// An MCP server.
    Source(SourceId),
    /// A tool.
    Tool(ToolId),
}

/// One of the secrets of an API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Name of its scheme.
    pub scheme: String,
    /// What belongs into it.
    pub shape: Shape,
}

/// What a secret looks like, without telling anything of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A header's whole value, or a key or token that is put where its scheme wants it.
    Plain,
    /// A header's value that begins with that word, as the one in force does.
    Scheme(&'static str),
    /// `user:password`.
    Basic,
    /// `client_id:client_secret`, for the token endpoint that it was entered for.
    Client,
}
