//! SQL of limits and replicas.

use chrono::{DateTime, Utc};

use super::{
    bucket::Rate,
    charge::Counted,
    limits::{Limit, LimitScope},
    plans::Plan,
};
use crate::{
    db::{SystemTx, TenantTx},
    error::{Error, Result},
    ids::{AgentId, LimitId, ReplicaId, TenantId, ToolId},
};

#[derive(sqlx::FromRow)]
struct Row {
    scope: String,
    agent_id: Option<AgentId>,
    tool_id: Option<ToolId>,
    #[sqlx(flatten)]
    amounts: Amounts,
}

/// What a limit or a plan says; NULL where it says nothing.
#[derive(Clone, Copy, sqlx::FromRow)]
struct Amounts {
    per_minute: Option<i32>,
    burst: Option<i32>,
    per_day: Option<i32>,
    at_once: Option<i32>,
}

impl From<Amounts> for Limit {
    fn from(amounts: Amounts) -> Self {
        let rate = amounts.per_minute.zip(amounts.burst);
        Self {
            rate: rate.map(|(per_minute, burst)| Rate { per_minute: per_minute.unsigned_abs(), burst: burst.unsigned_abs() }),
            per_day: amounts.per_day.map(i32::unsigned_abs),
            at_once: amounts.at_once.map(i32::unsigned_abs),
        }
    }
}

impl TryFrom<Limit> for Amounts {
    type Error = Error;

    fn try_from(limit: Limit) -> Result<Self> {
        let number = |value: Option<u32>| value.map(i32::try_from).transpose().map_err(Error::internal);
        Ok(Self {
            per_minute: number(limit.rate.map(|rate| rate.per_minute))?,
            burst: number(limit.rate.map(|rate| rate.burst))?,
            per_day: number(limit.per_day)?,
            at_once: number(limit.at_once)?,
        })
    }
}

impl LimitScope {
    fn columns(self) -> (&'static str, Option<AgentId>, Option<ToolId>) {
        match self {
            Self::AgentOnTool(agent, tool) => ("agent_tool", Some(agent), Some(tool)),
            Self::AgentOnEachTool(agent) => ("agent_tool", Some(agent), None),
            Self::EachAgentOnTool(tool) => ("agent_tool", None, Some(tool)),
            Self::Agent(agent) => ("agent", Some(agent), None),
            Self::Tool(tool) => ("tool", None, Some(tool)),
            Self::Tenant => ("tenant", None, None),
        }
    }
}

impl TryFrom<Row> for (LimitScope, Limit) {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let scope = match (row.scope.as_str(), row.agent_id, row.tool_id) {
            ("agent_tool", Some(agent), Some(tool)) => LimitScope::AgentOnTool(agent, tool),
            ("agent_tool", Some(agent), None) => LimitScope::AgentOnEachTool(agent),
            ("agent_tool", None, Some(tool)) => LimitScope::EachAgentOnTool(tool),
            ("agent", Some(agent), None) => LimitScope::Agent(agent),
            ("tool", None, Some(tool)) => LimitScope::Tool(tool),
            ("tenant", None, None) => LimitScope::Tenant,
            _ => return Err(Error::internal("a stored limit has an unknown scope")),
        };
        Ok((scope, row.amounts.into()))
    }
}

pub(super) async fn load_limits(tx: &mut TenantTx) -> Result<Vec<(LimitScope, Limit)>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT scope, agent_id, tool_id, per_minute, burst, per_day, at_once FROM app.limits WHERE tenant_id = $1",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// What the tenant's plan gives it, if it has one.
pub(super) async fn load_plan(tx: &mut TenantTx) -> Result<Option<Limit>> {
    let amounts: Option<Amounts> = sqlx::query_as(
        "SELECT p.per_minute, p.burst, p.per_day, p.at_once FROM app.tenants t JOIN app.plans p ON p.name = t.plan WHERE t.id = $1",
    )
    .bind(tx.tenant())
    .fetch_optional(tx.connection())
    .await?;
    Ok(amounts.map(Into::into))
}

/// The name of the tenant's plan.
pub(super) async fn plan_name(tx: &mut TenantTx) -> Result<Option<String>> {
    Ok(sqlx::query_scalar("SELECT plan FROM app.tenants WHERE id = $1").bind(tx.tenant()).fetch_one(tx.connection()).await?)
}

pub(super) async fn upsert_limit(tx: &mut TenantTx, id: LimitId, scope: LimitScope, limit: Limit) -> Result<()> {
    let (word, agent, tool) = scope.columns();
    let amounts = Amounts::try_from(limit)?;
    sqlx::query(
        "INSERT INTO app.limits (id, tenant_id, scope, agent_id, tool_id, per_minute, burst, per_day, at_once)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (tenant_id, scope, agent_id, tool_id)
         DO UPDATE SET per_minute = EXCLUDED.per_minute, burst = EXCLUDED.burst, per_day = EXCLUDED.per_day, at_once = EXCLUDED.at_once",
    )
    .bind(id)
    .bind(tx.tenant())
    .bind(word)
    .bind(agent)
    .bind(tool)
    .bind(amounts.per_minute)
    .bind(amounts.burst)
    .bind(amounts.per_day)
    .bind(amounts.at_once)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Calls of the day that begins at that second which ran, as far as they are in the record.
pub(super) async fn used_on(tx: &mut TenantTx, of: Counted, begins_s: i64) -> Result<u64> {
    let (agent, tool) = match of {
        Counted::Agent(agent) => (Some(agent), None),
        Counted::Tool(tool) => (None, Some(tool)),
        Counted::Tenant => (None, None),
    };
    let used: i64 = sqlx::query_scalar(
        "SELECT COALESCE(sum(ok + tool_error + upstream_error + timeout + cancelled + unknown), 0)::bigint FROM app.usage_rollups
         WHERE tenant_id = $1 AND step = 60 AND start >= to_timestamp($2::bigint) AND start < to_timestamp($2::bigint + 86400)
           AND ($3::uuid IS NULL OR agent_id = $3) AND ($4::uuid IS NULL OR tool_id = $4)",
    )
    .bind(tx.tenant())
    .bind(begins_s)
    .bind(agent)
    .bind(tool)
    .fetch_one(tx.connection())
    .await?;
    Ok(used.unsigned_abs())
}

pub(super) async fn delete_limit(tx: &mut TenantTx, scope: LimitScope) -> Result<()> {
    let (word, agent, tool) = scope.columns();
    sqlx::query(
        "DELETE FROM app.limits WHERE tenant_id = $1 AND scope = $2 AND agent_id IS NOT DISTINCT FROM $3 AND tool_id IS NOT DISTINCT FROM $4",
    )
    .bind(tx.tenant())
    .bind(word)
    .bind(agent)
    .bind(tool)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Notes that a replica is alive. How many are, and what time it is for the server.
pub(super) async fn beat(tx: &mut SystemTx, id: ReplicaId, now: DateTime<Utc>) -> Result<(i64, DateTime<Utc>)> {
    sqlx::query(
        "INSERT INTO app.replicas (id, seen_at) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET seen_at = EXCLUDED.seen_at",
    )
    .bind(id)
    .bind(now)
    .execute(tx.connection())
    .await?;
    sqlx::query("DELETE FROM app.replicas WHERE seen_at < $1::timestamptz - interval '1 minute'")
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(sqlx::query_as(
        "SELECT count(*), clock_timestamp() FROM app.replicas WHERE seen_at > $1::timestamptz - interval '15 seconds'",
    )
    .bind(now)
    .fetch_one(tx.connection())
    .await?)
}

pub(super) async fn leave(tx: &mut SystemTx, id: ReplicaId) -> Result<()> {
    sqlx::query("DELETE FROM app.replicas WHERE id = $1").bind(id).execute(tx.connection()).await?;
    Ok(())
}

pub(super) async fn list_plans(tx: &mut SystemTx) -> Result<Vec<Plan>> {
    #[derive(sqlx::FromRow)]
    struct Row {
        name: String,
        #[sqlx(flatten)]
        amounts: Amounts,
        tenants: i64,
    }
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT p.name, p.per_minute, p.burst, p.per_day, p.at_once, (SELECT count(*) FROM app.tenants t WHERE t.plan = p.name) AS tenants
         FROM app.plans p ORDER BY p.name",
    )
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().map(|row| Plan { name: row.name, limit: row.amounts.into(), tenants: row.tenants }).collect())
}

/// Gives the tenants that have it.
pub(super) async fn upsert_plan(tx: &mut SystemTx, name: &str, limit: Limit) -> Result<Vec<TenantId>> {
    let amounts = Amounts::try_from(limit)?;
    sqlx::query(
        "INSERT INTO app.plans (name, per_minute, burst, per_day, at_once) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (name) DO UPDATE SET per_minute = EXCLUDED.per_minute, burst = EXCLUDED.burst, per_day = EXCLUDED.per_day,
                                          at_once = EXCLUDED.at_once",
    )
    .bind(name)
    .bind(amounts.per_minute)
    .bind(amounts.burst)
    .bind(amounts.per_day)
    .bind(amounts.at_once)
    .execute(tx.connection())
    .await?;
    tenants_of_plan(tx, name).await
}

pub(super) async fn tenants_of_plan(tx: &mut SystemTx, name: &str) -> Result<Vec<TenantId>> {
    Ok(sqlx::query_scalar("SELECT id FROM app.tenants WHERE plan = $1").bind(name).fetch_all(tx.connection()).await?)
}

/// False if there is none of that name.
pub(super) async fn delete_plan(tx: &mut SystemTx, name: &str) -> Result<bool> {
    let done = sqlx::query("DELETE FROM app.plans WHERE name = $1").bind(name).execute(tx.connection()).await?;
    Ok(done.rows_affected() > 0)
}

/// Gives whom it was given, and the plan before.
pub(super) async fn give_plan(tx: &mut SystemTx, slug: &str, plan: Option<&str>) -> Result<Option<(TenantId, Option<String>)>> {
    Ok(sqlx::query_as(
        "UPDATE app.tenants t SET plan = $2 FROM (SELECT id, plan FROM app.tenants WHERE slug = $1 FOR UPDATE) AS before
         WHERE t.id = before.id RETURNING t.id, before.plan",
    )
    .bind(slug)
    .bind(plan)
    .fetch_optional(tx.connection())
    .await?)
}
