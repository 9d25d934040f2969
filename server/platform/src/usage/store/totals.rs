//! SQL that reads sums.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, FromRow};
use uuid::Uuid;

use super::LimitedAgent;
use crate::{
    db::TenantTx,
    error::{Error, Result},
    usage::{
        histogram,
        rollup::Kind,
        series::{Point, Ranking, Totals},
    },
};

/// Most sums that are ranked. A tenant with very many agents or tools would need more; then it is ranked by the end of the range only.
const MOST_RANKED: i64 = 200_000;

/// Which sums are read.
#[derive(Debug, Clone, Copy)]
pub(in crate::usage) struct Read {
    /// Of what. Minutes of tools and agents are those of what both have in common.
    pub(in crate::usage) kind: Kind,
    /// Length of their intervals in minutes.
    pub(in crate::usage) step: i16,
    /// Their first start, and the first that is too late.
    pub(in crate::usage) from: DateTime<Utc>,
    pub(in crate::usage) to: DateTime<Utc>,
}

impl Read {
    fn is_pairs(self) -> bool {
        matches!(self.kind, Kind::Tool | Kind::Agent) && self.step < 60
    }

    /// The column that tells one from another.
    fn column(self) -> &'static str {
        match self.kind {
            Kind::Tool => "u.tool_id",
            Kind::Agent => "u.agent_id",
            Kind::Version => "u.version_id",
            Kind::Grant => "u.grant_id",
            Kind::User => "u.user_id",
            Kind::All | Kind::Each => "'00000000-0000-0000-0000-000000000000'::uuid",
        }
    }

    /// Where they are: needs the tenant as $1, and then kind, step, from and to.
    fn source(self) -> &'static str {
        if self.is_pairs() {
            "app.usage_rollups u WHERE u.tenant_id = $1 AND $2::text <> '' AND u.step = $3 AND u.start >= $4 AND u.start < $5"
        } else {
            "app.usage_sums u WHERE u.tenant_id = $1 AND u.kind = $2 AND u.step = $3 AND u.start >= $4 AND u.start < $5"
        }
    }
}

#[derive(FromRow)]
struct TotalsRow {
    ok: i64,
    tool_error: i64,
    upstream_error: i64,
    timeout: i64,
    denied: i64,
    limited: i64,
    cancelled: i64,
    unknown: i64,
    cost_micro: i64,
    counted: i64,
    tokens_definition: i64,
    tokens_out: i64,
    context_micro: i64,
    /// Buckets of the histogram that are not empty, from 1, and what is in them.
    buckets: Vec<i64>,
    counts: Vec<i64>,
}

impl TotalsRow {
    fn split(self) -> (Totals, Vec<i64>) {
        let Self { ok, tool_error, upstream_error, timeout, denied, limited, cancelled, unknown, .. } = self;
        let mut latency = vec![0; histogram::BUCKETS];
        for (bucket, count) in self.buckets.into_iter().zip(self.counts) {
            if let Some(slot) = usize::try_from(bucket - 1).ok().and_then(|bucket| latency.get_mut(bucket)) {
                *slot = count;
            }
        }
        let errors = tool_error + upstream_error + timeout + unknown;
        let totals = Totals {
            calls: ok + errors + denied + limited + cancelled,
            errors,
            tool_errors: tool_error,
            upstream_errors: upstream_error,
            timeouts: timeout,
            denied,
            limited,
            cancelled,
            unknown,
            cost_micro: self.cost_micro,
            counted: self.counted,
            tokens_definition: self.tokens_definition,
            tokens_out: self.tokens_out,
            context_micro: self.context_micro,
            ..Totals::default()
        };
        (totals.with_latency(&latency), latency)
    }
}

/// Sums by some key, as `key` and the columns of `TotalsRow`. `which` narrows the rows, `top` the keys. Histograms are added up bucket by bucket
/// in one pass, and only those of the keys that are wanted. `sum` of bigint is numeric; counts of calls fit a bigint.
fn sums(read: Read, key: &str, which: &str, top: &str) -> String {
    let source = read.source();
    let wanted = if top.is_empty() { "" } else { "AND p.key IN (SELECT key FROM sums)" };
    format!(
        "WITH picked AS NOT MATERIALIZED (
           SELECT {key} AS key, u.ok, u.tool_error, u.upstream_error, u.timeout, u.denied, u.limited, u.cancelled, u.unknown,
                  u.cost_micro, u.counted, u.tokens_definition, u.tokens_out, u.context_micro, u.histogram
           FROM {source} {which}
         ), sums AS MATERIALIZED (
           SELECT key, sum(ok)::bigint AS ok, sum(tool_error)::bigint AS tool_error, sum(upstream_error)::bigint AS upstream_error,
                  sum(timeout)::bigint AS timeout, sum(denied)::bigint AS denied, sum(limited)::bigint AS limited,
                  sum(cancelled)::bigint AS cancelled, sum(unknown)::bigint AS unknown, sum(cost_micro)::bigint AS cost_micro,
                  sum(counted)::bigint AS counted, sum(tokens_definition)::bigint AS tokens_definition,
                  sum(tokens_out)::bigint AS tokens_out, sum(context_micro)::bigint AS context_micro
           FROM picked GROUP BY key {top}
         ), buckets AS (
           SELECT p.key, array_lower(p.histogram, 1) - 1 + l.place AS bucket, sum(l.count)::bigint AS count
           FROM picked p, unnest(p.histogram) WITH ORDINALITY AS l (count, place)
           WHERE l.count <> 0 {wanted} GROUP BY 1, 2
         ), histograms AS (
           SELECT key, array_agg(bucket ORDER BY bucket) AS buckets, array_agg(count ORDER BY bucket) AS counts
           FROM buckets GROUP BY key
         ), totals AS (
           SELECT s.*, coalesce(h.buckets, '{{}}') AS buckets, coalesce(h.counts, '{{}}') AS counts
           FROM sums s LEFT JOIN histograms h ON h.key = s.key
         )"
    )
}

/// The columns of `TotalsRow` after `sums`.
const TOTALS: &str =
    "t.ok, t.tool_error, t.upstream_error, t.timeout, t.denied, t.limited, t.cancelled, t.unknown, t.cost_micro, t.counted,
    t.tokens_definition, t.tokens_out, t.context_micro, t.buckets, t.counts";
/// All calls of a sum.
const CALLS: &str = "sum(ok + tool_error + upstream_error + timeout + denied + limited + cancelled + unknown)";

/// All together, or of one of the kind.
pub(in crate::usage) async fn totals(tx: &mut TenantTx, read: Read, only: Option<Uuid>) -> Result<Totals> {
    let which = format!("AND ($6::uuid IS NULL OR {} = $6)", read.column());
    let sql = format!("{} SELECT {TOTALS} FROM totals t", sums(read, "true", &which, ""));
    let row: Option<TotalsRow> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(tx.tenant())
        .bind(read.kind.as_str())
        .bind(read.step)
        .bind(read.from)
        .bind(read.to)
        .bind(only)
        .fetch_optional(tx.connection())
        .await?;
    Ok(row.map(|row| row.split().0).unwrap_or_default())
}

/// By time, so many minutes a point; points without calls are missing.
pub(in crate::usage) async fn points(tx: &mut TenantTx, read: Read, minutes: i64, only: Option<Uuid>) -> Result<Vec<Point>> {
    #[derive(FromRow)]
    struct Row {
        at: DateTime<Utc>,
        #[sqlx(flatten)]
        totals: TotalsRow,
    }
    let which = format!("AND ($6::uuid IS NULL OR {} = $6)", read.column());
    let sums = sums(read, "date_bin(make_interval(mins => $7), u.start, $4)", &which, "");
    let sql = format!("{sums} SELECT t.key AS at, {TOTALS} FROM totals t ORDER BY t.key");
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(tx.tenant())
        .bind(read.kind.as_str())
        .bind(read.step)
        .bind(read.from)
        .bind(read.to)
        .bind(only)
        .bind(i32::try_from(minutes).map_err(Error::internal)?)
        .fetch_all(tx.connection())
        .await?;
    let point = |row: Row| {
        let (totals, latency) = row.totals.split();
        Point { at: row.at, totals, latency }
    };
    Ok(rows.into_iter().map(point).collect())
}

/// From when on a ranking can be made within bounds: the beginning of the range, or later where that are too many sums.
async fn ranked_from(tx: &mut TenantTx, read: Read) -> Result<DateTime<Utc>> {
    let sql = format!("SELECT u.start FROM {} ORDER BY u.start DESC OFFSET $6 LIMIT 1", read.source());
    let cut: Option<DateTime<Utc>> = sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(tx.tenant())
        .bind(read.kind.as_str())
        .bind(read.step)
        .bind(read.from)
        .bind(read.to)
        .bind(MOST_RANKED)
        .fetch_optional(tx.connection())
        .await?;
    Ok(cut.map_or(read.from, |cut| cut + chrono::TimeDelta::minutes(read.step.into())))
}

#[derive(FromRow)]
struct NamedRow {
    id: Uuid,
    name: Option<String>,
    #[sqlx(flatten)]
    totals: TotalsRow,
}

/// The most called tools or agents, and from when on they were ranked.
pub(in crate::usage) async fn top(tx: &mut TenantTx, read: Read, most: i64) -> Result<(Vec<Ranking>, DateTime<Utc>)> {
    let from = ranked_from(tx, read).await?;
    let names = if read.kind == Kind::Agent { "app.agents" } else { "app.tools" };
    let top = format!("ORDER BY {CALLS} DESC, key LIMIT $6");
    let sql = format!(
        "{} SELECT t.key AS id, n.name, {TOTALS} FROM totals t LEFT JOIN {names} n ON n.tenant_id = $1 AND n.id = t.key
         ORDER BY t.ok + t.tool_error + t.upstream_error + t.timeout + t.denied + t.limited + t.cancelled + t.unknown DESC, t.key",
        sums(read, read.column(), "", &top)
    );
    let rows: Vec<NamedRow> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(tx.tenant())
        .bind(read.kind.as_str())
        .bind(read.step)
        .bind(from)
        .bind(read.to)
        .bind(most)
        .fetch_all(tx.connection())
        .await?;
    let ranking = |row: NamedRow| Ranking { id: row.id, name: row.name.unwrap_or_default(), totals: row.totals.split().0 };
    Ok((rows.into_iter().map(ranking).collect(), from))
}

/// Of those tools or agents; those without calls are missing.
pub(in crate::usage) async fn of(tx: &mut TenantTx, read: Read, ids: &[Uuid]) -> Result<HashMap<Uuid, Totals>> {
    let which = format!("AND {} = ANY ($6)", read.column());
    let sql = format!("{} SELECT t.key AS id, NULL::text AS name, {TOTALS} FROM totals t", sums(read, read.column(), &which, ""));
    let rows: Vec<NamedRow> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(tx.tenant())
        .bind(read.kind.as_str())
        .bind(read.step)
        .bind(read.from)
        .bind(read.to)
        .bind(ids)
        .fetch_all(tx.connection())
        .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.totals.split().0)).collect())
}

/// Agents that were over a limit most often.
pub(in crate::usage) async fn most_limited(tx: &mut TenantTx, read: Read, most: i64) -> Result<Vec<LimitedAgent>> {
    let from = ranked_from(tx, read).await?;
    Ok(sqlx::query_as(
        "SELECT u.agent_id, a.name, u.limited, u.calls
         FROM (SELECT agent_id, sum(limited)::bigint AS limited,
                      sum(ok + tool_error + upstream_error + timeout + denied + limited + cancelled + unknown)::bigint AS calls
               FROM app.usage_sums WHERE tenant_id = $1 AND kind = 'agent' AND step = $2 AND start >= $3 AND start < $4
               GROUP BY agent_id HAVING sum(limited) > 0 ORDER BY 2 DESC, agent_id LIMIT $5) AS u
         JOIN app.agents a ON a.tenant_id = $1 AND a.id = u.agent_id
         ORDER BY u.limited DESC, u.agent_id",
    )
    .bind(tx.tenant())
    .bind(read.step)
    .bind(from)
    .bind(read.to)
    .bind(most)
    .fetch_all(tx.connection())
    .await?)
}
