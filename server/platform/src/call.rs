//! What is kept of a call. Never its arguments, never its result.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, EntryId, GrantId, KeyId, TenantId, ToolId, ToolVersionId, UserId};

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The tool did what it should.
    Ok,
    /// The tool said it failed, or its arguments did not fit.
    ToolError,
    /// Upstream answered with an error, nonsense, or not at all.
    UpstreamError,
    /// Upstream was too slow.
    Timeout,
    /// Not allowed.
    Denied,
    /// Over a limit.
    Limited,
    /// The caller went away.
    Cancelled,
    /// It was begun and its end is not known.
    Unknown,
}

impl Outcome {
    /// All outcomes, in the order of their columns.
    pub const ALL: [Self; 8] = [
        Self::Ok,
        Self::ToolError,
        Self::UpstreamError,
        Self::Timeout,
        Self::Denied,
        Self::Limited,
        Self::Cancelled,
        Self::Unknown,
    ];

    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::UpstreamError => "upstream_error",
            Self::Timeout => "timeout",
            Self::Denied => "denied",
            Self::Limited => "limited",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }

    /// The outcome of that word.
    pub fn find(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }

    /// Did a tool run? Only such calls have a latency that says something about it.
    pub fn ran(self) -> bool {
        !matches!(self, Self::Denied | Self::Limited)
    }

    /// Is it the platform's or the tool's failure, as error rates count it? Refusals are not.
    pub fn is_error(self) -> bool {
        matches!(self, Self::ToolError | Self::UpstreamError | Self::Timeout | Self::Unknown)
    }

    /// How the audit log calls it.
    pub fn decision(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Limited => "limited",
            _ => "allowed",
        }
    }
}

/// What is kept of a call. Written to the spool as it is: a member that is added needs a default, for entries of the version before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Id of the usage record and of the audit entry.
    pub id: EntryId,
    /// Whose.
    pub tenant: TenantId,
    /// When it came.
    pub at: DateTime<Utc>,
    /// Who called.
    pub agent: AgentId,
    /// With which key.
    pub key: Option<KeyId>,
    /// By which grant.
    pub grant: Option<GrantId>,
    /// What was called, if it exists for the caller.
    pub tool: Option<(ToolId, ToolVersionId)>,
    /// The name that was asked for, cut to 128 bytes.
    pub tool_name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Class of the failure.
    pub error: Option<Cow<'static, str>>,
    /// Whole time, in microseconds.
    pub latency_us: i64,
    /// Of it: who is it?
    pub auth_us: i64,
    /// Of it: may it?
    pub admission_us: i64,
    /// Of it: the tool.
    pub upstream_us: i64,
    /// Size of the request's body.
    pub bytes_in: i64,
    /// Size of the result.
    pub bytes_out: i64,
    /// What it costs, in micro-units of the tenant's currency.
    pub cost_micro: i64,
    /// Revision of the protocol.
    pub revision: Cow<'static, str>,
    /// What the client says it is.
    pub client_name: String,
    /// Id of the HTTP request, as in the logs.
    pub request_id: String,
    /// Decided without Redis.
    pub degraded: bool,
    /// The person for whom the agent called, if a person let it.
    #[serde(default)]
    pub user: Option<UserId>,
    /// Id of the JSON-RPC request, as it was written.
    #[serde(default)]
    pub jsonrpc_id: Option<String>,
    /// Trace that the caller continues here.
    #[serde(default)]
    pub trace_id: Option<String>,
}
