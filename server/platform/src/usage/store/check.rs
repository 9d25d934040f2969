//! SQL that holds sums against the record.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    call::{Context, Outcome},
    db::{ChainTx, RecordTx, SystemTx, TenantTx},
    error::{Error, Result},
    ids::{AgentId, EntryId, GrantId, TenantId, ToolId, ToolVersionId, UserId},
    usage::{
        histogram::Histogram,
        rollup::{Counted, Kind, MINUTE, PairKey, Sum, SumKey},
    },
};

/// Which tenant is due, how far its sums were checked, and since when they were found wrong. It is left alone by others until the lease ends.
pub(in crate::usage) async fn lease_due(
    tx: &mut SystemTx,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Option<(TenantId, DateTime<Utc>, Option<DateTime<Utc>>)>> {
    Ok(sqlx::query_as(
        "UPDATE app.usage_checks SET leased_until = $2
         WHERE tenant = (SELECT tenant FROM app.usage_checks WHERE due_at <= $1 AND (leased_until IS NULL OR leased_until <= $1)
                         ORDER BY due_at, tenant LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING tenant, checked_to, wrong_from",
    )
    .bind(now)
    .bind(until)
    .fetch_optional(tx.connection())
    .await?)
}

pub(in crate::usage) async fn release(
    tx: &mut SystemTx,
    tenant: TenantId,
    (checked_to, wrong_from): (DateTime<Utc>, Option<DateTime<Utc>>),
    due_at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query(
        "UPDATE app.usage_checks SET checked_to = $2, wrong_from = $3, due_at = $4, leased_until = NULL WHERE tenant = $1",
    )
    .bind(tenant)
    .bind(checked_to)
    .bind(wrong_from)
    .bind(due_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Notes that the sums of a day (UTC) are wrong, or that they are right again.
pub(in crate::usage) async fn note_day(tx: &mut SystemTx, tenant: TenantId, day: NaiveDate, is_wrong: bool) -> Result<()> {
    sqlx::query(
        "UPDATE app.usage_checks
         SET wrong_days = CASE WHEN $3 THEN array_append(array_remove(wrong_days, $2), $2) ELSE array_remove(wrong_days, $2) END
         WHERE tenant = $1 AND ($3 OR $2 = ANY (wrong_days))",
    )
    .bind(tenant)
    .bind(day)
    .bind(is_wrong)
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(in crate::usage) async fn find_tenant(tx: &mut SystemTx, slug: &str) -> Result<Option<TenantId>> {
    Ok(sqlx::query_scalar("SELECT id FROM app.tenants WHERE slug = $1").bind(slug).fetch_optional(tx.connection()).await?)
}

/// How often sums of the tenant were corrected.
pub(in crate::usage) async fn mended(tx: &mut TenantTx) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT mended FROM app.usage_checks WHERE tenant = $1")
        .bind(tx.tenant())
        .fetch_one(tx.connection())
        .await?)
}

/// Notes one more correction. False: somebody else has made one since they were counted.
pub(in crate::usage) async fn note_mended(tx: &mut RecordTx, tenant: TenantId, before: i64) -> Result<bool> {
    let noted = sqlx::query("UPDATE app.usage_checks SET mended = mended + 1 WHERE tenant = $1 AND mended = $2")
        .bind(tenant)
        .bind(before)
        .execute(tx.connection())
        .await?;
    Ok(noted.rows_affected() == 1)
}

/// Is the month of the record, as `YYYYMM`, there?
pub(in crate::usage) async fn has_month(tx: &mut TenantTx, month: &str) -> Result<bool> {
    Ok(sqlx::query_scalar("SELECT to_regclass('app.calls_' || $1) IS NOT NULL").bind(month).fetch_one(tx.connection()).await?)
}

#[derive(FromRow)]
struct CallRow {
    id: EntryId,
    at: DateTime<Utc>,
    agent_id: AgentId,
    tool_id: Option<ToolId>,
    tool_version_id: Option<ToolVersionId>,
    grant_id: Option<GrantId>,
    user_id: Option<UserId>,
    outcome: String,
    latency_us: i64,
    cost_micro: i64,
    bytes_in: i64,
    bytes_out: i64,
    tokens_definition: Option<i64>,
    tokens_out: Option<i64>,
    context_micro: Option<i64>,
}

impl CallRow {
    fn counted(self, tenant: TenantId) -> Result<(EntryId, Counted)> {
        let outcome = Outcome::find(&self.outcome).ok_or_else(|| Error::internal("an outcome of a newer version"))?;
        let context = match (self.tokens_definition, self.tokens_out, self.context_micro) {
            (Some(tokens_definition), Some(tokens_out), Some(micro)) => {
                Some(Context { tokens_definition, tokens_out, is_estimate: false, micro })
            }
            _ => None,
        };
        let Self { at, latency_us, cost_micro, bytes_in, bytes_out, .. } = self;
        let tool = self.tool_id.zip(self.tool_version_id);
        let (agent, grant, user) = (self.agent_id, self.grant_id, self.user_id);
        let counted =
            Counted { tenant, at, agent, tool, grant, user, outcome, latency_us, cost_micro, bytes_in, bytes_out, context };
        Ok((self.id, counted))
    }
}

/// Calls of an interval after that one, in the order of their ids. An id is of its call's millisecond, so that ids find them.
pub(in crate::usage) async fn calls_between(
    tx: &mut TenantTx,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    after: Option<EntryId>,
    most: i64,
) -> Result<Vec<(EntryId, Counted)>> {
    let rows: Vec<CallRow> = sqlx::query_as(
        "SELECT id, at, agent_id, tool_id, tool_version_id, grant_id, user_id, outcome, latency_us, cost_micro, bytes_in, bytes_out,
                tokens_definition, tokens_out, context_micro
         FROM app.calls WHERE tenant_id = $1 AND at >= $2 AND at < $3 AND id >= $4 AND id < $5 AND ($6::uuid IS NULL OR id > $6)
         ORDER BY id LIMIT $7",
    )
    .bind(tx.tenant())
    .bind(from)
    .bind(to)
    .bind(EntryId::first_at(from))
    .bind(EntryId::first_at(to))
    .bind(after)
    .bind(most)
    .fetch_all(tx.connection())
    .await?;
    let tenant = tx.tenant();
    rows.into_iter().map(|row| row.counted(tenant)).collect()
}

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
    bytes_in: i64,
    bytes_out: i64,
    counted: i64,
    tokens_definition: i64,
    tokens_out: i64,
    context_micro: i64,
    /// The first bucket, from 1, and what is in it and those after.
    first: i32,
    counts: Vec<Option<i64>>,
}

impl From<SumRow> for Sum {
    fn from(row: SumRow) -> Self {
        let SumRow { ok, tool_error, upstream_error, timeout, denied, limited, cancelled, unknown, .. } = row;
        Self {
            by_outcome: [ok, tool_error, upstream_error, timeout, denied, limited, cancelled, unknown],
            cost_micro: row.cost_micro,
            bytes_in: row.bytes_in,
            bytes_out: row.bytes_out,
            counted: row.counted,
            tokens_definition: row.tokens_definition,
            tokens_out: row.tokens_out,
            context_micro: row.context_micro,
            latency: Histogram::from_stored(row.first, row.counts),
        }
    }
}

/// The sums of an agent and a tool, of hours that begin in an interval. Latencies are of an earlier release, and not read.
pub(in crate::usage) async fn pairs_between(
    tx: &mut TenantTx,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
) -> Result<Vec<(PairKey, Sum)>> {
    #[derive(FromRow)]
    struct Row {
        start: DateTime<Utc>,
        agent_id: AgentId,
        tool_id: ToolId,
        #[sqlx(flatten)]
        sum: SumRow,
    }
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT start, agent_id, tool_id, ok, tool_error, upstream_error, timeout, denied, limited, cancelled, unknown,
                cost_micro, bytes_in, bytes_out, counted, tokens_definition, tokens_out, context_micro,
                1 AS first, '{}'::bigint[] AS counts
         FROM app.usage_rollups WHERE tenant_id = $1 AND step = 60 AND start >= $2 AND start < $3",
    )
    .bind(tx.tenant())
    .bind(from)
    .bind(to)
    .fetch_all(tx.connection())
    .await?;
    let tenant = tx.tenant();
    let key = |row: &Row| PairKey { tenant, start: row.start, agent: row.agent_id, tool: row.tool_id };
    Ok(rows.into_iter().map(|row| (key(&row), row.sum.into())).collect())
}

/// The sums of kinds that begin in an interval.
pub(in crate::usage) async fn kinds_between(
    tx: &mut TenantTx,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    steps: &[i16],
) -> Result<Vec<(SumKey, Sum)>> {
    #[derive(FromRow)]
    struct Row {
        kind: String,
        step: i16,
        start: DateTime<Utc>,
        agent_id: Uuid,
        tool_id: Uuid,
        version_id: Uuid,
        grant_id: Uuid,
        user_id: Uuid,
        #[sqlx(flatten)]
        sum: SumRow,
    }
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT kind, step, start, agent_id, tool_id, version_id, grant_id, user_id,
                ok, tool_error, upstream_error, timeout, denied, limited, cancelled, unknown,
                cost_micro, bytes_in, bytes_out, counted, tokens_definition, tokens_out, context_micro,
                COALESCE(array_lower(histogram, 1), 1) AS first, histogram[:] AS counts
         FROM app.usage_sums WHERE tenant_id = $1 AND kind = ANY ($2) AND step = ANY ($3) AND start >= $4 AND start < $5",
    )
    .bind(tx.tenant())
    .bind(Kind::ALL.map(Kind::as_str))
    .bind(steps)
    .bind(from)
    .bind(to)
    .fetch_all(tx.connection())
    .await?;
    let tenant = tx.tenant();
    let keyed = |row: Row| {
        let kind = Kind::find(&row.kind).ok_or_else(|| Error::internal("a sum of a newer version"))?;
        let Row { step, start, agent_id, tool_id, version_id, grant_id, user_id, sum, .. } = row;
        let (agent, tool, version, grant, user) = (agent_id, tool_id, version_id, grant_id, user_id);
        Ok((SumKey { tenant, kind, step, start, agent, tool, version, grant, user }, sum.into()))
    };
    rows.into_iter().map(keyed).collect()
}

/// Drops minutes of a tenant that are older than that, at most so many of each kind. How many went? Those of an agent and a tool are of an earlier
/// release.
pub(in crate::usage) async fn drop_minutes(tx: &mut ChainTx, tenant: TenantId, before: DateTime<Utc>, most: i64) -> Result<u64> {
    let pairs = sqlx::query(
        "DELETE FROM app.usage_rollups WHERE tenant_id = $1 AND step = 1 AND start < $2
           AND start <= (SELECT max(start) FROM (SELECT start FROM app.usage_rollups WHERE tenant_id = $1 AND step = 1 AND start < $2
                                                 ORDER BY start LIMIT $3) AS oldest)",
    )
    .bind(tenant)
    .bind(before)
    .bind(most)
    .execute(tx.connection())
    .await?;
    let mut went = pairs.rows_affected();
    for kind in Kind::ALL.into_iter().filter(|kind| kind.steps().contains(&MINUTE)) {
        let kinds = sqlx::query(
            "DELETE FROM app.usage_sums WHERE tenant_id = $1 AND kind = $4 AND step = 1 AND start < $2
               AND start <= (SELECT max(start) FROM (SELECT start FROM app.usage_sums WHERE tenant_id = $1 AND kind = $4 AND step = 1
                                                       AND start < $2 ORDER BY start LIMIT $3) AS oldest)",
        )
        .bind(tenant)
        .bind(before)
        .bind(most)
        .bind(kind.as_str())
        .execute(tx.connection())
        .await?;
        went += kinds.rows_affected();
    }
    Ok(went)
}
