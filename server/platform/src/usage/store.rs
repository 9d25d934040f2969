//! SQL of sums and of the call log.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, FromRow};

use super::{
    histogram,
    rollup::{Sum, SumKey},
    series::{Point, Range, Ranking, Totals},
};
use crate::{
    call::Outcome,
    db::{RecordTx, TenantTx},
    egress::Exchanges,
    error::{Error, Result},
    ids::{AgentId, EntryId, KeyId, ToolId},
};

/// One column of all sums.
macro_rules! column {
    ($sums:expr, ($key:pat, $sum:pat) => $value:expr) => {
        $sums.iter().map(|($key, $sum)| $value).collect::<Vec<_>>()
    };
}

/// Adds sums to those that are there, in the order of their keys.
pub(super) async fn add_sums(tx: &mut RecordTx, sums: &BTreeMap<SumKey, Sum>) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.usage_rollups AS u
           (tenant_id, step, start, agent_id, tool_id, ok, tool_error, upstream_error, timeout, denied, limited, cancelled, unknown,
            cost_micro, bytes_in, bytes_out, counted, tokens_definition, tokens_out, context_micro, latency)
         SELECT tenant_id, step, start, agent_id, tool_id, ok, tool_error, upstream_error, timeout, denied, limited, cancelled, unknown,
            cost_micro, bytes_in, bytes_out, counted, tokens_definition, tokens_out, context_micro, latency::bigint[]
         FROM unnest($1::uuid[], $2::smallint[], $3::timestamptz[], $4::uuid[], $5::uuid[], $6::bigint[], $7::bigint[], $8::bigint[],
            $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[],
            $18::bigint[], $19::bigint[], $20::bigint[], $21::text[])
           AS s (tenant_id, step, start, agent_id, tool_id, ok, tool_error, upstream_error, timeout, denied, limited, cancelled, unknown,
            cost_micro, bytes_in, bytes_out, counted, tokens_definition, tokens_out, context_micro, latency)
         ON CONFLICT (tenant_id, step, start, agent_id, tool_id) DO UPDATE SET
           ok = u.ok + EXCLUDED.ok, tool_error = u.tool_error + EXCLUDED.tool_error,
           upstream_error = u.upstream_error + EXCLUDED.upstream_error, timeout = u.timeout + EXCLUDED.timeout,
           denied = u.denied + EXCLUDED.denied, limited = u.limited + EXCLUDED.limited,
           cancelled = u.cancelled + EXCLUDED.cancelled, unknown = u.unknown + EXCLUDED.unknown,
           cost_micro = u.cost_micro + EXCLUDED.cost_micro, bytes_in = u.bytes_in + EXCLUDED.bytes_in,
           bytes_out = u.bytes_out + EXCLUDED.bytes_out, counted = u.counted + EXCLUDED.counted,
           tokens_definition = u.tokens_definition + EXCLUDED.tokens_definition, tokens_out = u.tokens_out + EXCLUDED.tokens_out,
           context_micro = u.context_micro + EXCLUDED.context_micro, latency = app.histogram_add(u.latency, EXCLUDED.latency)",
    )
    .bind(column!(sums, (key, _) => key.tenant.uuid()))
    .bind(column!(sums, (key, _) => key.step))
    .bind(column!(sums, (key, _) => key.start))
    .bind(column!(sums, (key, _) => key.agent.uuid()))
    .bind(column!(sums, (key, _) => key.tool.uuid()))
    .bind(column!(sums, (_, sum) => sum.by_outcome[0]))
    .bind(column!(sums, (_, sum) => sum.by_outcome[1]))
    .bind(column!(sums, (_, sum) => sum.by_outcome[2]))
    .bind(column!(sums, (_, sum) => sum.by_outcome[3]))
    .bind(column!(sums, (_, sum) => sum.by_outcome[4]))
    .bind(column!(sums, (_, sum) => sum.by_outcome[5]))
    .bind(column!(sums, (_, sum) => sum.by_outcome[6]))
    .bind(column!(sums, (_, sum) => sum.by_outcome[7]))
    .bind(column!(sums, (_, sum) => sum.cost_micro))
    .bind(column!(sums, (_, sum) => sum.bytes_in))
    .bind(column!(sums, (_, sum) => sum.bytes_out))
    .bind(column!(sums, (_, sum) => sum.counted))
    .bind(column!(sums, (_, sum) => sum.tokens_definition))
    .bind(column!(sums, (_, sum) => sum.tokens_out))
    .bind(column!(sums, (_, sum) => sum.context_micro))
    .bind(column!(sums, (_, sum) => array_text(&sum.latency)))
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// An array as Postgres reads it: arrays of arrays would have to be flattened on the way.
fn array_text(counts: &[i64]) -> String {
    let counts: Vec<_> = counts.iter().map(ToString::to_string).collect();
    format!("{{{}}}", counts.join(","))
}

#[derive(FromRow)]
struct TotalsRow {
    calls: i64,
    errors: i64,
    denied: i64,
    limited: i64,
    cost_micro: i64,
    counted: i64,
    tokens_definition: i64,
    tokens_out: i64,
    context_micro: i64,
    /// Buckets of the histogram that are not empty, from 1, and what is in them.
    buckets: Vec<i64>,
    counts: Vec<i64>,
}

impl From<TotalsRow> for Totals {
    fn from(row: TotalsRow) -> Self {
        let TotalsRow { calls, errors, denied, limited, cost_micro, .. } = row;
        let TotalsRow { counted, tokens_definition, tokens_out, context_micro, buckets, counts, .. } = row;
        let mut latency = [0; histogram::BUCKETS];
        for (bucket, count) in buckets.into_iter().zip(counts) {
            if let Some(slot) = usize::try_from(bucket - 1).ok().and_then(|bucket| latency.get_mut(bucket)) {
                *slot = count;
            }
        }
        let sums = Self { calls, errors, denied, limited, cost_micro, ..Self::default() };
        Self { counted, tokens_definition, tokens_out, context_micro, ..sums }.with_latency(&latency)
    }
}

/// Sums by some key of the rollups, as `key` and the columns of `TotalsRow`. `which` narrows the rows, `top` the keys. Histograms are added
/// up bucket by bucket in one pass: an aggregate over arrays takes twenty times as long. `sum` of bigint is numeric; counts of calls fit
/// a bigint.
fn sums(key: &str, which: &str, top: &str) -> String {
    format!(
        "WITH picked AS NOT MATERIALIZED (
           SELECT {key} AS key, u.ok, u.tool_error, u.upstream_error, u.timeout, u.denied, u.limited, u.cancelled, u.unknown,
                  u.cost_micro, u.counted, u.tokens_definition, u.tokens_out, u.context_micro, u.latency
           FROM app.usage_rollups u
           WHERE u.tenant_id = $1 AND u.step = $2 AND u.start >= $3 {which}
         ), sums AS (
           SELECT key,
                  sum(ok + tool_error + upstream_error + timeout + denied + limited + cancelled + unknown)::bigint AS calls,
                  sum(tool_error + upstream_error + timeout + unknown)::bigint AS errors,
                  sum(denied)::bigint AS denied, sum(limited)::bigint AS limited, sum(cost_micro)::bigint AS cost_micro,
                  sum(counted)::bigint AS counted, sum(tokens_definition)::bigint AS tokens_definition,
                  sum(tokens_out)::bigint AS tokens_out, sum(context_micro)::bigint AS context_micro
           FROM picked GROUP BY key {top}
         ), buckets AS (
           SELECT p.key, l.bucket, sum(l.count)::bigint AS count
           FROM picked p, unnest(p.latency) WITH ORDINALITY AS l (count, bucket)
           WHERE l.count > 0 GROUP BY p.key, l.bucket
         ), histograms AS (
           SELECT key, array_agg(bucket ORDER BY bucket) AS buckets, array_agg(count ORDER BY bucket) AS counts
           FROM buckets GROUP BY key
         ), totals AS (
           SELECT s.key, s.calls, s.errors, s.denied, s.limited, s.cost_micro, s.counted, s.tokens_definition, s.tokens_out, s.context_micro,
                  coalesce(h.buckets, '{{}}') AS buckets, coalesce(h.counts, '{{}}') AS counts
           FROM sums s LEFT JOIN histograms h ON h.key = s.key
         )"
    )
}

/// The columns of `TotalsRow` after `sums`.
const TOTALS: &str =
    "t.calls, t.errors, t.denied, t.limited, t.cost_micro, t.counted, t.tokens_definition, t.tokens_out, t.context_micro,
    t.buckets, t.counts";
const TOP: &str = "ORDER BY calls DESC, key LIMIT 10";

pub(super) async fn totals(tx: &mut TenantTx, range: Range, since: DateTime<Utc>) -> Result<Totals> {
    let sql = format!("{} SELECT {TOTALS} FROM totals t", sums("true", "", ""));
    let row: Option<TotalsRow> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(tx.tenant())
        .bind(range.stored_step())
        .bind(since)
        .fetch_optional(tx.connection())
        .await?;
    Ok(row.map(Totals::from).unwrap_or_default())
}

pub(super) async fn points(tx: &mut TenantTx, range: Range, since: DateTime<Utc>) -> Result<Vec<Point>> {
    #[derive(FromRow)]
    struct Row {
        at: DateTime<Utc>,
        #[sqlx(flatten)]
        totals: TotalsRow,
    }
    let sums = sums("date_bin(make_interval(mins => $4), u.start, $3)", "", "");
    let sql = format!("{sums} SELECT t.key AS at, {TOTALS} FROM totals t ORDER BY t.key");
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(tx.tenant())
        .bind(range.stored_step())
        .bind(since)
        .bind(i32::try_from(range.step_minutes()).map_err(Error::internal)?)
        .fetch_all(tx.connection())
        .await?;
    Ok(rows.into_iter().map(|row| Point { at: row.at, totals: row.totals.into() }).collect())
}

#[derive(FromRow)]
struct ToolRow {
    id: ToolId,
    name: Option<String>,
    #[sqlx(flatten)]
    totals: TotalsRow,
}

#[derive(FromRow)]
struct AgentRow {
    id: AgentId,
    name: Option<String>,
    #[sqlx(flatten)]
    totals: TotalsRow,
}

pub(super) async fn top_tools(tx: &mut TenantTx, range: Range, since: DateTime<Utc>) -> Result<Vec<Ranking>> {
    let sql = format!(
        "{} SELECT t.key AS id, n.name, {TOTALS}
         FROM totals t LEFT JOIN app.tools n ON n.tenant_id = $1 AND n.id = t.key
         ORDER BY t.calls DESC, t.key",
        sums("u.tool_id", "", TOP)
    );
    let rows: Vec<ToolRow> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(tx.tenant())
        .bind(range.stored_step())
        .bind(since)
        .fetch_all(tx.connection())
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let id = if row.id == ToolId::NIL { String::new() } else { row.id.to_string() };
            Ranking { id, name: row.name.unwrap_or_default(), totals: row.totals.into() }
        })
        .collect())
}

pub(super) async fn top_agents(tx: &mut TenantTx, range: Range, since: DateTime<Utc>) -> Result<Vec<Ranking>> {
    let sql = format!(
        "{} SELECT t.key AS id, n.name, {TOTALS}
         FROM totals t LEFT JOIN app.agents n ON n.tenant_id = $1 AND n.id = t.key
         ORDER BY t.calls DESC, t.key",
        sums("u.agent_id", "", TOP)
    );
    let rows: Vec<AgentRow> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(tx.tenant())
        .bind(range.stored_step())
        .bind(since)
        .fetch_all(tx.connection())
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| Ranking { id: row.id.to_string(), name: row.name.unwrap_or_default(), totals: row.totals.into() })
        .collect())
}

pub(super) async fn of_tools(
    tx: &mut TenantTx,
    range: Range,
    since: DateTime<Utc>,
    tools: &[ToolId],
) -> Result<HashMap<ToolId, Totals>> {
    let sums = sums("u.tool_id", "AND u.tool_id = ANY ($4)", "");
    let sql = format!("{sums} SELECT t.key AS id, NULL::text AS name, {TOTALS} FROM totals t");
    let rows: Vec<ToolRow> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(tx.tenant())
        .bind(range.coarse_step())
        .bind(since)
        .bind(tools.iter().map(|tool| tool.uuid()).collect::<Vec<_>>())
        .fetch_all(tx.connection())
        .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.totals.into())).collect())
}

pub(super) async fn of_agents(
    tx: &mut TenantTx,
    range: Range,
    since: DateTime<Utc>,
    agents: &[AgentId],
) -> Result<HashMap<AgentId, Totals>> {
    let sums = sums("u.agent_id", "AND u.agent_id = ANY ($4)", "");
    let sql = format!("{sums} SELECT t.key AS id, NULL::text AS name, {TOTALS} FROM totals t");
    let rows: Vec<AgentRow> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(tx.tenant())
        .bind(range.coarse_step())
        .bind(since)
        .bind(agents.iter().map(|agent| agent.uuid()).collect::<Vec<_>>())
        .fetch_all(tx.connection())
        .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.totals.into())).collect())
}

/// Agents that were over a limit most often.
pub(super) async fn most_limited(tx: &mut TenantTx, range: Range, since: DateTime<Utc>, most: i64) -> Result<Vec<LimitedAgent>> {
    Ok(sqlx::query_as(
        "SELECT u.agent_id, a.name, u.limited, u.calls
         FROM (SELECT agent_id, sum(limited)::bigint AS limited,
                      sum(ok + tool_error + upstream_error + timeout + denied + limited + cancelled + unknown)::bigint AS calls
               FROM app.usage_rollups WHERE tenant_id = $1 AND step = $2 AND start >= $3
               GROUP BY agent_id HAVING sum(limited) > 0 ORDER BY 2 DESC, agent_id LIMIT $4) AS u
         JOIN app.agents a ON a.tenant_id = $1 AND a.id = u.agent_id
         ORDER BY u.limited DESC, u.agent_id",
    )
    .bind(tx.tenant())
    .bind(range.coarse_step())
    .bind(since)
    .bind(most)
    .fetch_all(tx.connection())
    .await?)
}

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
    /// Number of the version that ran.
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
    /// Id of the HTTP request.
    pub request_id: String,
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

/// Which calls of the log.
#[derive(Debug, Clone, Default)]
pub struct CallFilter {
    /// Only those that ended so.
    pub outcome: Option<Outcome>,
    /// Only those of that agent.
    pub agent: Option<AgentId>,
    /// Only those of that tool.
    pub tool: Option<ToolId>,
    /// Only those before that one.
    pub before: Option<EntryId>,
}

/// The columns of `Call`.
const CALL: &str = "
    SELECT c.id, c.at, c.agent_id, a.name AS agent_name, c.key_id, k.name AS key_name, c.tool_id, v.number AS tool_version, c.tool_name,
           c.outcome, c.error, c.latency_us, c.auth_us, c.admission_us, c.upstream_us, c.bytes_in, c.bytes_out, c.cost_micro,
           c.tokens_definition, c.tokens_out, c.tokens_estimated, c.context_micro, c.revision, c.client_name, c.request_id, c.degraded,
           c.network, c.region, encode(c.arguments_digest, 'hex') AS arguments_digest, encode(c.definition_digest, 'hex') AS definition_digest,
           c.upstream_status, COALESCE(c.downstream, '{}') AS downstream
    FROM app.calls c
    LEFT JOIN app.agents a ON a.tenant_id = c.tenant_id AND a.id = c.agent_id
    LEFT JOIN app.keys k ON k.tenant_id = c.tenant_id AND k.id = c.key_id
    LEFT JOIN app.tool_versions v ON v.tenant_id = c.tenant_id AND v.id = c.tool_version_id
    WHERE c.tenant_id = $1";

pub(super) async fn calls(tx: &mut TenantTx, filter: &CallFilter, limit: usize) -> Result<Vec<Call>> {
    let sql = format!(
        "{CALL} AND ($2::text IS NULL OR c.outcome = $2) AND ($3::uuid IS NULL OR c.agent_id = $3) AND ($4::uuid IS NULL OR c.tool_id = $4)
         AND ($5::uuid IS NULL OR c.id < $5) ORDER BY c.id DESC LIMIT $6"
    );
    Ok(sqlx::query_as(AssertSqlSafe(sql))
        .bind(tx.tenant())
        .bind(filter.outcome.map(Outcome::as_str))
        .bind(filter.agent)
        .bind(filter.tool)
        .bind(filter.before)
        .bind(i64::try_from(limit).map_err(Error::internal)?)
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
