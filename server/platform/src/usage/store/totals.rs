//! SQL that reads sums.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, FromRow, Postgres, postgres::PgArguments, query::QueryAs};
use uuid::Uuid;

use super::LimitedAgent;
use crate::{
    db::TenantTx,
    error::{Error, Result},
    ids::{AgentId, ToolId},
    usage::{
        histogram,
        parts::Part,
        rollup::Kind,
        series::{Point, Ranking, Totals},
    },
};

/// Most sums that are ranked. A tenant with very many agents or tools would need more; then it is ranked by the end of the range only.
const MOST_RANKED: i64 = 200_000;

/// Which sums are read.
#[derive(Debug, Clone)]
pub(in crate::usage) struct Read {
    /// Of what.
    pub(in crate::usage) kind: Kind,
    /// Of which intervals, in the order of time.
    pub(in crate::usage) parts: Vec<Part>,
}

impl Read {
    /// When it begins.
    pub(in crate::usage) fn from(&self) -> DateTime<Utc> {
        self.parts.first().map_or(DateTime::UNIX_EPOCH, |part| part.from)
    }

    /// Of it, what begins then or later.
    fn since(&self, from: DateTime<Utc>) -> Self {
        let later = self.parts.iter().map(|part| Part { from: part.from.max(from), ..*part });
        Self { kind: self.kind, parts: later.filter(|part| part.from <= part.to).collect() }
    }

    /// The column that tells one from another.
    fn column(&self) -> &'static str {
        match self.kind {
            Kind::Tool => "u.tool_id",
            Kind::Agent => "u.agent_id",
            Kind::Version => "u.version_id",
            Kind::All | Kind::Each => "'00000000-0000-0000-0000-000000000000'::uuid",
        }
    }

    /// Where its sums are, as `u`: needs the tenant as $1, then the lengths, beginnings and ends of the parts. Each part is a scan of the index by
    /// itself, however many there are of others.
    pub(super) fn source(&self) -> String {
        let kind = self.kind.as_str();
        let part = |number: usize| {
            format!(
                "SELECT * FROM app.usage_sums WHERE tenant_id = $1 AND kind = '{kind}' AND step = ($2::smallint[])[{number}]
                   AND start >= ($3::timestamptz[])[{number}] AND start < ($4::timestamptz[])[{number}]"
            )
        };
        format!("({}) AS u", (1..=self.parts.len().max(1)).map(part).collect::<Vec<_>>().join(" UNION ALL "))
    }

    /// Adds to a query what `source` needs.
    pub(super) fn bind<'q, T>(
        &self,
        query: QueryAs<'q, Postgres, T, PgArguments>,
        tx: &TenantTx,
    ) -> QueryAs<'q, Postgres, T, PgArguments> {
        query
            .bind(tx.tenant())
            .bind(self.parts.iter().map(|part| part.step).collect::<Vec<_>>())
            .bind(self.parts.iter().map(|part| part.from).collect::<Vec<_>>())
            .bind(self.parts.iter().map(|part| part.to).collect::<Vec<_>>())
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
fn sums(read: &Read, key: &str, which: &str, top: &str) -> String {
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

/// Narrows sums to those of one, if it is $5. The two are two texts: a plan for both would read those of all.
fn only_that(read: &Read, only: Option<Uuid>) -> String {
    only.map_or_else(|| "WHERE $5::uuid IS NULL".to_owned(), |_| format!("WHERE {} = $5", read.column()))
}

/// All together, or of one of the kind.
pub(in crate::usage) async fn totals(tx: &mut TenantTx, read: &Read, only: Option<Uuid>) -> Result<Totals> {
    let sql = format!("{} SELECT {TOTALS} FROM totals t", sums(read, "true", &only_that(read, only), ""));
    let query = read.bind(sqlx::query_as::<_, TotalsRow>(AssertSqlSafe(sql)), tx);
    let row = query.bind(only).fetch_optional(tx.connection()).await?;
    Ok(row.map(|row| row.split().0).unwrap_or_default())
}

/// By time, so many minutes a point; points without calls are missing.
pub(in crate::usage) async fn points(tx: &mut TenantTx, read: &Read, minutes: i64, only: Option<Uuid>) -> Result<Vec<Point>> {
    #[derive(FromRow)]
    struct Row {
        at: DateTime<Utc>,
        #[sqlx(flatten)]
        totals: TotalsRow,
    }
    let sums = sums(read, "date_bin(make_interval(mins => $6), u.start, $7)", &only_that(read, only), "");
    let sql = format!("{sums} SELECT t.key AS at, {TOTALS} FROM totals t ORDER BY t.key");
    let query = read.bind(sqlx::query_as::<_, Row>(AssertSqlSafe(sql)), tx).bind(only);
    let query = query.bind(i32::try_from(minutes).map_err(Error::internal)?).bind(read.from());
    let rows = query.fetch_all(tx.connection()).await?;
    let point = |row: Row| {
        let (totals, latency) = row.totals.split();
        Point { at: row.at, totals, latency }
    };
    Ok(rows.into_iter().map(point).collect())
}

/// Only sums of that agent, of that tool.
pub(super) type Only = (Option<AgentId>, Option<ToolId>);

/// What narrows sums to those, if they are $5 and $6.
pub(super) fn only_those((agent, tool): Only) -> String {
    let agent = agent.map_or("$5::uuid IS NULL", |_| "u.agent_id = $5");
    format!("WHERE {agent} AND {}", tool.map_or("$6::uuid IS NULL", |_| "u.tool_id = $6"))
}

/// What can be read within bounds: all of it, or the end of it where that are more sums.
pub(super) async fn within(tx: &mut TenantTx, read: &Read, only: Only, most: i64) -> Result<Read> {
    let (source, which) = (read.source(), only_those(only));
    let count = format!("SELECT count(*) FROM {source} {which}");
    let query = read.bind(sqlx::query_as(AssertSqlSafe(count)), tx).bind(only.0).bind(only.1);
    let (count,): (i64,) = query.fetch_one(tx.connection()).await?;
    if count <= most {
        return Ok(read.clone());
    }
    let cut =
        format!("SELECT u.start + make_interval(mins => u.step) FROM {source} {which} ORDER BY u.start DESC OFFSET $7 LIMIT 1");
    let query = read.bind(sqlx::query_as(AssertSqlSafe(cut)), tx).bind(only.0).bind(only.1).bind(most);
    let cut: Option<(DateTime<Utc>,)> = query.fetch_optional(tx.connection()).await?;
    Ok(cut.map_or_else(|| read.clone(), |(cut,)| read.since(cut)))
}

#[derive(FromRow)]
struct NamedRow {
    id: Uuid,
    name: Option<String>,
    #[sqlx(flatten)]
    totals: TotalsRow,
}

/// The most called tools or agents, and from when on they were ranked.
pub(in crate::usage) async fn top(tx: &mut TenantTx, read: &Read, most: i64) -> Result<(Vec<Ranking>, DateTime<Utc>)> {
    let read = within(tx, read, (None, None), MOST_RANKED).await?;
    let names = if read.kind == Kind::Agent { "app.agents" } else { "app.tools" };
    let top = format!("ORDER BY {CALLS} DESC, key LIMIT $5");
    let sql = format!(
        "{} SELECT t.key AS id, n.name, {TOTALS} FROM totals t LEFT JOIN {names} n ON n.tenant_id = $1 AND n.id = t.key
         ORDER BY t.ok + t.tool_error + t.upstream_error + t.timeout + t.denied + t.limited + t.cancelled + t.unknown DESC, t.key",
        sums(&read, read.column(), "", &top)
    );
    let query = read.bind(sqlx::query_as::<_, NamedRow>(AssertSqlSafe(sql)), tx);
    let rows = query.bind(most).fetch_all(tx.connection()).await?;
    let ranking = |row: NamedRow| Ranking { id: row.id, name: row.name.unwrap_or_default(), totals: row.totals.split().0 };
    Ok((rows.into_iter().map(ranking).collect(), read.from()))
}

/// Of those tools or agents; those without calls are missing.
pub(in crate::usage) async fn of(tx: &mut TenantTx, read: &Read, ids: &[Uuid]) -> Result<HashMap<Uuid, Totals>> {
    let which = format!("WHERE {} = ANY ($5)", read.column());
    let sql = format!("{} SELECT t.key AS id, NULL::text AS name, {TOTALS} FROM totals t", sums(read, read.column(), &which, ""));
    let query = read.bind(sqlx::query_as::<_, NamedRow>(AssertSqlSafe(sql)), tx);
    let rows = query.bind(ids).fetch_all(tx.connection()).await?;
    Ok(rows.into_iter().map(|row| (row.id, row.totals.split().0)).collect())
}

/// Agents that were over a limit most often.
pub(in crate::usage) async fn most_limited(tx: &mut TenantTx, read: &Read, most: i64) -> Result<Vec<LimitedAgent>> {
    let read = within(tx, read, (None, None), MOST_RANKED).await?;
    let sql = format!(
        "SELECT s.agent_id, a.name, s.limited, s.calls
         FROM (SELECT u.agent_id, sum(u.limited)::bigint AS limited, {CALLS}::bigint AS calls
               FROM {} GROUP BY u.agent_id HAVING sum(u.limited) > 0 ORDER BY 2 DESC, u.agent_id LIMIT $5) AS s
         JOIN app.agents a ON a.tenant_id = $1 AND a.id = s.agent_id
         ORDER BY s.limited DESC, s.agent_id",
        read.source()
    );
    let query = read.bind(sqlx::query_as(AssertSqlSafe(sql)), tx).bind(most);
    Ok(query.fetch_all(tx.connection()).await?)
}
