//! SQL that reads sums.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
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

/// A stored sum as pages read it.
#[derive(FromRow)]
struct SumRow {
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
    /// The first bucket, from 1, and what is in it and those after.
    first: i32,
    counts: Vec<Option<i64>>,
}

#[derive(FromRow)]
struct Keyed<K> {
    key: K,
    #[sqlx(flatten)]
    sum: SumRow,
}

#[derive(FromRow)]
struct NamedRow {
    id: Uuid,
    name: Option<String>,
    #[sqlx(flatten)]
    sum: SumRow,
}

/// The columns of `SumRow`. A slice begins at 1, wherever the histogram does.
const NUMBERS: &str =
    "u.ok, u.tool_error, u.upstream_error, u.timeout, u.denied, u.limited, u.cancelled, u.unknown, u.cost_micro, u.counted,
    u.tokens_definition, u.tokens_out, u.context_micro, coalesce(array_lower(u.histogram, 1), 1) AS first, u.histogram[:] AS counts";

/// Sums that are added up here, and not where they are: the database would make a row of each bucket and sort them, and that was three quarters of what
/// a ranking took.
struct Adding {
    totals: Totals,
    latency: Vec<i64>,
}

impl Default for Adding {
    fn default() -> Self {
        Self { totals: Totals::default(), latency: vec![0; histogram::BUCKETS] }
    }
}

impl Adding {
    fn add(&mut self, row: &SumRow) {
        let totals = &mut self.totals;
        let errors = row.tool_error + row.upstream_error + row.timeout + row.unknown;
        totals.calls += row.ok + errors + row.denied + row.limited + row.cancelled;
        totals.errors += errors;
        totals.tool_errors += row.tool_error;
        totals.upstream_errors += row.upstream_error;
        totals.timeouts += row.timeout;
        totals.unknown += row.unknown;
        totals.cancelled += row.cancelled;
        totals.denied += row.denied;
        totals.limited += row.limited;
        totals.cost_micro = totals.cost_micro.saturating_add(row.cost_micro);
        totals.counted += row.counted;
        totals.tokens_definition += row.tokens_definition;
        totals.tokens_out += row.tokens_out;
        totals.context_micro = totals.context_micro.saturating_add(row.context_micro);
        let first = usize::try_from(row.first - 1).unwrap_or(0);
        for (slot, count) in self.latency.iter_mut().skip(first).zip(&row.counts) {
            *slot += count.unwrap_or(0);
        }
    }

    fn totals(self) -> Totals {
        self.totals.with_latency(&self.latency)
    }
}

/// The sums of some key, as `key` and the columns of `SumRow`. `which` narrows them.
fn sums(read: &Read, key: &str, which: &str) -> String {
    format!("SELECT {key} AS key, {NUMBERS} FROM {} {which}", read.source())
}

/// All calls of a sum.
const CALLS: &str = "sum(ok + tool_error + upstream_error + timeout + denied + limited + cancelled + unknown)";

/// Narrows sums to those of one, if it is $5. The two are two texts: a plan for both would read those of all.
fn only_that(read: &Read, only: Option<Uuid>) -> String {
    only.map_or_else(|| "WHERE $5::uuid IS NULL".to_owned(), |_| format!("WHERE {} = $5", read.column()))
}

/// All together, or of one of the kind.
pub(in crate::usage) async fn totals(tx: &mut TenantTx, read: &Read, only: Option<Uuid>) -> Result<Totals> {
    let sql = sums(read, read.column(), &only_that(read, only));
    let query = read.bind(sqlx::query_as::<_, SumRow>(AssertSqlSafe(sql)), tx).bind(only);
    let (mut rows, mut all) = (query.fetch(tx.connection()), Adding::default());
    while let Some(row) = rows.try_next().await? {
        all.add(&row);
    }
    Ok(all.totals())
}

/// By time, so many minutes a point, oldest first; points without calls are missing.
pub(in crate::usage) async fn points(tx: &mut TenantTx, read: &Read, minutes: i64, only: Option<Uuid>) -> Result<Vec<Point>> {
    let sql = sums(read, "date_bin(make_interval(mins => $6), u.start, $7)", &only_that(read, only));
    let query = read.bind(sqlx::query_as::<_, Keyed<DateTime<Utc>>>(AssertSqlSafe(sql)), tx).bind(only);
    let query = query.bind(i32::try_from(minutes).map_err(Error::internal)?).bind(read.from());
    let (mut rows, mut points) = (query.fetch(tx.connection()), BTreeMap::<_, Adding>::new());
    while let Some(row) = rows.try_next().await? {
        points.entry(row.key).or_default().add(&row.sum);
    }
    let point =
        |(at, Adding { totals, latency }): (DateTime<Utc>, Adding)| Point { at, totals: totals.with_latency(&latency), latency };
    Ok(points.into_iter().map(point).collect())
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

/// The most called tools or agents, and from when on they were ranked.
pub(in crate::usage) async fn top(tx: &mut TenantTx, read: &Read, most: i64) -> Result<(Vec<Ranking>, DateTime<Utc>)> {
    let read = within(tx, read, (None, None), MOST_RANKED).await?;
    let names = if read.kind == Kind::Agent { "app.agents" } else { "app.tools" };
    let (source, column) = (read.source(), read.column());
    let sql = format!(
        "WITH top AS MATERIALIZED (SELECT {column} AS id FROM {source} GROUP BY 1 ORDER BY {CALLS} DESC, 1 LIMIT $5)
         SELECT top.id, n.name, {NUMBERS} FROM top JOIN {source} ON {column} = top.id LEFT JOIN {names} n ON n.tenant_id = $1 AND n.id = top.id"
    );
    let query = read.bind(sqlx::query_as::<_, NamedRow>(AssertSqlSafe(sql)), tx).bind(most);
    let (mut rows, mut found) = (query.fetch(tx.connection()), HashMap::<_, (Option<String>, Adding)>::new());
    while let Some(row) = rows.try_next().await? {
        found.entry(row.id).or_insert_with(|| (row.name, Adding::default())).1.add(&row.sum);
    }
    let ranking = |(id, (name, sum)): (Uuid, (Option<String>, Adding))| Ranking {
        id,
        name: name.unwrap_or_default(),
        totals: sum.totals(),
    };
    let mut ranked: Vec<Ranking> = found.into_iter().map(ranking).collect();
    ranked.sort_unstable_by_key(|one| (Reverse(one.totals.calls), one.id));
    Ok((ranked, read.from()))
}

/// Of those tools or agents; those without calls are missing.
pub(in crate::usage) async fn of(tx: &mut TenantTx, read: &Read, ids: &[Uuid]) -> Result<HashMap<Uuid, Totals>> {
    let sql = sums(read, read.column(), &format!("WHERE {} = ANY ($5)", read.column()));
    let query = read.bind(sqlx::query_as::<_, Keyed<Uuid>>(AssertSqlSafe(sql)), tx).bind(ids);
    let (mut rows, mut found) = (query.fetch(tx.connection()), HashMap::<_, Adding>::new());
    while let Some(row) = rows.try_next().await? {
        found.entry(row.key).or_default().add(&row.sum);
    }
    Ok(found.into_iter().map(|(id, sum)| (id, sum.totals())).collect())
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
