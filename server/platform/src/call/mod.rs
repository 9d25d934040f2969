//! What is kept of a call. Never its arguments, never its result.

mod provenance;

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    egress::Exchanges,
    ids::{AgentId, EntryId, GrantId, KeyId, TenantId, ToolId, ToolVersionId, UserId},
};

pub use provenance::{Fingerprint, Provenance};

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

/// Classes of failures of which it is certain that nothing left for the tool.
const UNSENT: [&str; 11] = [
    "secret_integrity",
    "source_gone",
    "egress_refused",
    "upstream_unreachable",
    "connection_needed",
    "connection_declined",
    "connection_needs_person",
    "connection_unavailable",
    "token_refused",
    "tool_busy",
    "tool_unavailable",
];

/// Did anything leave for the tool of a call that was admitted and ended so? If not, it gets back what it was charged.
pub fn was_sent(error: Option<&str>) -> bool {
    error.is_none_or(|error| !UNSENT.contains(&error))
}

/// What was reserved of budgets for a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserved {
    /// Micro-units of each budget; 0 if its entry is of what goes on after the call that had reserved.
    pub micro: i64,
    /// The counters of the budgets, by their names.
    pub counters: Vec<String>,
}

impl Reserved {
    /// The same counters for another entry that has reserved nothing of them by itself.
    #[must_use]
    pub fn successor(&self) -> Self {
        Self { micro: 0, counters: self.counters.clone() }
    }
}

/// What a call cost in its caller's model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Tokens of the tool's definition.
    pub tokens_definition: i64,
    /// Tokens of what the tool gave back.
    pub tokens_out: i64,
    /// Not all of it was counted.
    pub is_estimate: bool,
    /// Their price, in micro-units of the tenant's currency. Never a part of what the call costs.
    pub micro: i64,
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
    /// Where it came from and what it was about.
    #[serde(default)]
    pub provenance: Provenance,
    /// Requests that were made for it.
    #[serde(default, skip_serializing_if = "Exchanges::is_empty")]
    pub downstream: Exchanges,
    /// What was reserved of budgets, until it is settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<Reserved>,
    /// What it cost in its caller's model. Counted after it was kept, so it is there on the way out only.
    #[serde(skip)]
    pub context: Option<Context>,
}
