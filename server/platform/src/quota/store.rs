//! SQL of limits and replicas.

use chrono::{DateTime, Utc};

use super::{bucket::Rate, limits::LimitScope};
use crate::{
    db::{SystemTx, TenantTx},
    error::{Error, Result},
    ids::{AgentId, LimitId, ReplicaId, ToolId},
};

#[derive(sqlx::FromRow)]
struct Row {
    scope: String,
    agent_id: Option<AgentId>,
    tool_id: Option<ToolId>,
    per_minute: i32,
    burst: i32,
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

impl TryFrom<Row> for (LimitScope, Rate) {
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
        let rate = Rate { per_minute: row.per_minute.unsigned_abs(), burst: row.burst.unsigned_abs() };
        Ok((scope, rate))
    }
}

pub(super) async fn load_limits(tx: &mut TenantTx) -> Result<Vec<(LimitScope, Rate)>> {
    let rows: Vec<Row> =
        sqlx::query_as("SELECT scope, agent_id, tool_id, per_minute, burst FROM app.limits WHERE tenant_id = $1")
            .bind(tx.tenant())
            .fetch_all(tx.connection())
            .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

pub(super) async fn upsert_limit(tx: &mut TenantTx, id: LimitId, scope: LimitScope, rate: Rate) -> Result<()> {
    let (word, agent, tool) = scope.columns();
    let number = |value: u32| i32::try_from(value).map_err(Error::internal);
    sqlx::query(
        "INSERT INTO app.limits (id, tenant_id, scope, agent_id, tool_id, per_minute, burst) VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (tenant_id, scope, agent_id, tool_id) DO UPDATE SET per_minute = EXCLUDED.per_minute, burst = EXCLUDED.burst",
    )
    .bind(id)
    .bind(tx.tenant())
    .bind(word)
    .bind(agent)
    .bind(tool)
    .bind(number(rate.per_minute)?)
    .bind(number(rate.burst)?)
    .execute(tx.connection())
    .await?;
    Ok(())
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

/// Notes that a replica is alive and counts those that are.
pub(super) async fn beat(tx: &mut SystemTx, id: ReplicaId, now: DateTime<Utc>) -> Result<i64> {
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
    Ok(sqlx::query_scalar("SELECT count(*) FROM app.replicas WHERE seen_at > $1::timestamptz - interval '15 seconds'")
        .bind(now)
        .fetch_one(tx.connection())
        .await?)
}

pub(super) async fn leave(tx: &mut SystemTx, id: ReplicaId) -> Result<()> {
    sqlx::query("DELETE FROM app.replicas WHERE id = $1").bind(id).execute(tx.connection()).await?;
    Ok(())
}
