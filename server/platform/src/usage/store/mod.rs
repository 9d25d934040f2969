//! SQL of the call log. Sums have files of their own: what adds to them, what reads them, what holds them against the record.

mod add;
mod check;
mod costs;
mod markers;
mod narrow;
mod runs;
mod totals;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, FromRow};

use crate::{
    call::Outcome,
    db::TenantTx,
    egress::Exchanges,
    error::{Error, Result},
    ids::{AgentId, ClientId, EntryId, KeyId, ToolId, ToolVersionId, UserId},
    trace::TraceId,
};

pub(super) use add::add_sums;
pub(super) use check::{
    calls_between, drop_minutes, find_tenant, has_month, kinds_between, lease_due, mended, note_day, note_mended, pairs_between,
    release,
};
pub(super) use costs::{Groups, costs};
pub(super) use markers::{marked_names, markers};
pub use narrow::FilterNames;
pub(super) use narrow::{filter_names, within_version};
pub(super) use runs::{runs, runs_from, whole_second};
pub(super) use totals::{Read, most_limited, of, points, top, totals};

/// An agent that was over a limit.
#[derive(Debug, Clone, FromRow)]
pub struct LimitedAgent {
    /// Which.
    pub agent_id: AgentId,
    /// Its name.
    pub name: String,
    /// Calls that were over a limit.
    pub limited: i64,
    /// All its calls, those too.
    pub calls: i64,
}

/// One index look-up per agent, not a scan of its calls.
pub(super) async fn last_calls(tx: &mut TenantTx, agents: &[AgentId]) -> Result<HashMap<AgentId, DateTime<Utc>>> {
    let rows: Vec<(AgentId, DateTime<Utc>)> = sqlx::query_as(
        "SELECT wanted.id, last.at
         FROM unnest($2::uuid[]) AS wanted (id)
         CROSS JOIN LATERAL (SELECT c.at FROM app.calls c WHERE c.tenant_id = $1 AND c.agent_id = wanted.id
                             ORDER BY c.id DESC LIMIT 1) AS last",
    )
    .bind(tx.tenant())
    .bind(agents.iter().map(|agent| agent.uuid()).collect::<Vec<_>>())
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().collect())
}

/// A call as the log shows it.
#[derive(Debug, Clone, FromRow)]
pub struct Call {
    /// Its id.
    pub id: EntryId,
    /// When it came.
    pub at: DateTime<Utc>,
    /// Who called.
    pub agent_id: AgentId,
    /// Its name now.
    pub agent_name: Option<String>,
    /// With which key.
    pub key_id: Option<KeyId>,
    /// The key's name.
    pub key_name: Option<String>,
    /// What was called, if it exists.
    pub tool_id: Option<ToolId>,
    /// The version that ran.
    pub version_id: Option<ToolVersionId>,
    /// Its number.
    pub tool_version: Option<i32>,
    /// The name that was asked for.
    pub tool_name: String,
    /// How it ended.
    pub outcome: String,
    /// Class of the failure.
    pub error: Option<String>,
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
    /// What it cost, in micro-units.
    pub cost_micro: i64,
    /// Tokens of the tool's definition. This and the next three are there if they were counted.
    pub tokens_definition: Option<i64>,
    /// Tokens of what the tool gave back.
    pub tokens_out: Option<i64>,
    /// Not all of it was counted.
    pub tokens_estimated: Option<bool>,
    /// What both cost in the caller's model, in micro-units.
    pub context_micro: Option<i64>,
    /// Revision of the protocol.
    pub revision: String,
    /// What the client says it is.
    pub client_name: String,
    /// The OAuth client of the grant that it was made by.
    pub client_id: Option<ClientId>,
    /// What that is called.
    pub client: Option<String>,
    /// The person it was made for.
    pub user_id: Option<UserId>,
    /// Their address.
    pub user_email: Option<String>,
    /// Id of the HTTP request.
    pub request_id: String,
    /// Id of the JSON-RPC request, as it was written.
    pub jsonrpc_id: Option<String>,
    /// The trace that it belongs to.
    pub trace_id: Option<String>,
    /// The network that it came from. It and the next four are there if they are known.
    pub network: Option<String>,
    /// Region of the replica that took it.
    pub region: Option<String>,
    /// HMAC-SHA256 of the arguments under a key of the tenant, in base 16.
    pub arguments_digest: Option<String>,
    /// SHA-256 of the tool's definition, in base 16.
    pub definition_digest: Option<String>,
    /// First digit of the HTTP status that upstream answered with.
    pub upstream_status: Option<i16>,
    /// The requests that were made for it, in the order in which they began.
    #[sqlx(json)]
    pub downstream: Exchanges,
    /// Decided without Redis.
    pub degraded: bool,
}

/// Those of one, or those that have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Narrow<T> {
    /// Of that one.
    To(T),
    /// Of none.
    Without,
}

impl<T: Copy> Narrow<T> {
    /// The one, if it is one.
    pub fn id(self) -> Option<T> {
        match self {
            Self::To(id) => Some(id),
            Self::Without => None,
        }
    }
}

/// Which calls of the log.
#[derive(Debug, Clone, Default)]
pub struct CallFilter {
    /// Only those that ended so; empty: however they ended.
    pub outcomes: Vec<Outcome>,
    /// Only those of that agent.
    pub agent: Option<AgentId>,
    /// Only those of that tool.
    pub tool: Option<ToolId>,
    /// Only those of that version; without one are calls of what does not exist for its caller.
    pub version: Option<Narrow<ToolVersionId>>,
    /// Only those by that OAuth client; without one are those with a key or a certificate.
    pub client: Option<Narrow<ClientId>>,
    /// Only those for that person; without one are those of services.
    pub user: Option<Narrow<UserId>>,
    /// Only those of that trace; without one are those that belong to none.
    pub run: Option<Narrow<TraceId>>,
    /// Only those from that moment on.
    pub from: Option<DateTime<Utc>>,
    /// Only those that came earlier.
    pub to: Option<DateTime<Utc>>,
    /// Only those before that one.
    pub before: Option<EntryId>,
}

/// The columns of `Call`.
const CALL: &str = "
    SELECT c.id, c.at, c.agent_id, a.name AS agent_name, c.key_id, k.name AS key_name, c.tool_id, c.tool_version_id AS version_id,
           v.number AS tool_version, c.tool_name,
           c.outcome, c.error, c.latency_us, c.auth_us, c.admission_us, c.upstream_us, c.bytes_in, c.bytes_out, c.cost_micro,
           c.tokens_definition, c.tokens_out, c.tokens_estimated, c.context_micro, c.revision, c.client_name, c.request_id, c.degraded,
           c.network, c.region, encode(c.arguments_digest, 'hex') AS arguments_digest, encode(c.definition_digest, 'hex') AS definition_digest,
           c.upstream_status, COALESCE(c.downstream, '{}') AS downstream, c.jsonrpc_id, c.trace_id, g.client_id, o.name AS client, c.user_id,
           u.email AS user_email
    FROM app.calls c
    LEFT JOIN app.agents a ON a.tenant_id = c.tenant_id AND a.id = c.agent_id
    LEFT JOIN app.keys k ON k.tenant_id = c.tenant_id AND k.id = c.key_id
    LEFT JOIN app.tool_versions v ON v.tenant_id = c.tenant_id AND v.id = c.tool_version_id
    LEFT JOIN app.grants g ON g.tenant_id = c.tenant_id AND g.id = c.grant_id
    LEFT JOIN app.clients o ON o.tenant_id = c.tenant_id AND o.id = g.client_id
    LEFT JOIN app.users u ON u.id = c.user_id
    WHERE c.tenant_id = $1";

/// What a filter asks of a call, but for the client: that is its grant's.
const FILTERS: &str =
    "AND ($2::text[] = '{}' OR c.outcome = ANY ($2)) AND ($3::uuid IS NULL OR c.agent_id = $3) AND ($4::uuid IS NULL OR c.tool_id = $4)
     AND ($5::uuid IS NULL OR c.id < $5) AND ($6::timestamptz IS NULL OR c.at >= $6 AND c.id >= $7) AND ($8::timestamptz IS NULL OR c.at < $8 AND c.id < $9)
     AND ($11::uuid IS NULL OR c.tool_version_id = $11) AND ($12::uuid IS NULL OR c.user_id = $12)
     AND NOT ($14 AND c.tool_version_id IS NOT NULL) AND NOT ($15 AND c.user_id IS NOT NULL) AND NOT ($16 AND c.grant_id IS NOT NULL)
     AND ($17::text IS NULL OR c.trace_id = $17) AND NOT ($18 AND c.trace_id IS NOT NULL)";

pub(super) async fn calls(tx: &mut TenantTx, filter: &CallFilter, limit: usize) -> Result<Vec<Call>> {
    let client = filter.client.and_then(Narrow::id);
    // The newest of each of its grants: whoever looks for a client that seldom calls does not read what others called.
    let which = client.map_or_else(
        || format!("AND $13::uuid IS NULL {FILTERS}"),
        |_| {
            format!(
                "AND c.id = ANY (ARRAY (
                   SELECT newest.id FROM app.grants g
                   CROSS JOIN LATERAL (SELECT c.id FROM app.calls c WHERE c.tenant_id = $1 AND c.grant_id = g.id {FILTERS} ORDER BY c.id DESC LIMIT $10) AS newest
                   WHERE g.tenant_id = $1 AND g.client_id = $13 ORDER BY newest.id DESC LIMIT $10))"
            )
        },
    );
    let sql = format!("{CALL} {which} ORDER BY c.id DESC LIMIT $10");
    // Planned each time: a plan that fits all filters would use the index of none.
    let query = sqlx::query_as(AssertSqlSafe(sql)).persistent(false);
    Ok(query
        .bind(tx.tenant())
        .bind(filter.outcomes.iter().map(|outcome| outcome.as_str()).collect::<Vec<_>>())
        .bind(filter.agent)
        .bind(filter.tool)
        .bind(filter.before)
        .bind(filter.from)
        .bind(filter.from.map(EntryId::first_at))
        .bind(filter.to)
        .bind(filter.to.map(EntryId::first_at))
        .bind(i64::try_from(limit).map_err(Error::internal)?)
        .bind(filter.version.and_then(Narrow::id))
        .bind(filter.user.and_then(Narrow::id))
        .bind(client)
        .bind(filter.version == Some(Narrow::Without))
        .bind(filter.user == Some(Narrow::Without))
        .bind(filter.client == Some(Narrow::Without))
        .bind(filter.run.and_then(Narrow::id).map(|trace| trace.to_string()))
        .bind(filter.run == Some(Narrow::Without))
        .fetch_all(tx.connection())
        .await?)
}

pub(super) async fn call(tx: &mut TenantTx, id: EntryId) -> Result<Option<Call>> {
    let sql = format!("{CALL} AND c.id = $2");
    Ok(sqlx::query_as(AssertSqlSafe(sql)).bind(tx.tenant()).bind(id).fetch_optional(tx.connection()).await?)
}

pub(super) async fn has_calls(tx: &mut TenantTx) -> Result<bool> {
    Ok(sqlx::query_scalar("SELECT EXISTS (SELECT FROM app.calls WHERE tenant_id = $1)")
        .bind(tx.tenant())
        .fetch_one(tx.connection())
        .await?)
}
