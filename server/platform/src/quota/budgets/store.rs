//! SQL of budgets.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use super::{Budget, BudgetScope, Period, Stage, Terms};
use crate::{
    db::TenantTx,
    error::{Error, Result},
    ids::{AgentId, BudgetId, ToolId},
    quota::charge::DAY_S,
};

#[derive(sqlx::FromRow)]
struct Row {
    id: BudgetId,
    agent_id: Option<AgentId>,
    tool_id: Option<ToolId>,
    period: String,
    amount_micro: i64,
    warn_percent: Option<i16>,
    blocks: bool,
}

impl From<Row> for Budget {
    fn from(row: Row) -> Self {
        let Row { id, agent_id, tool_id, period, amount_micro, warn_percent, blocks } = row;
        let scope = match (agent_id, tool_id) {
            (Some(agent), _) => BudgetScope::Agent(agent),
            (None, Some(tool)) => BudgetScope::Tool(tool),
            (None, None) => BudgetScope::Tenant,
        };
        let period = if period == "day" { Period::Day } else { Period::Month };
        Self { id, scope, period, terms: Terms { amount_micro, warn_percent, blocks } }
    }
}

pub(super) async fn list(tx: &mut TenantTx) -> Result<Vec<Budget>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, agent_id, tool_id, period, amount_micro, warn_percent, blocks FROM app.budgets WHERE tenant_id = $1",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Is there such an agent or tool?
pub(super) async fn exists(tx: &mut TenantTx, scope: BudgetScope) -> Result<bool> {
    let (agent, tool) = scope.ids();
    Ok(sqlx::query_scalar(
        "SELECT ($2::uuid IS NULL OR EXISTS (SELECT FROM app.agents WHERE tenant_id = $1 AND id = $2))
            AND ($3::uuid IS NULL OR EXISTS (SELECT FROM app.tools WHERE tenant_id = $1 AND id = $3))",
    )
    .bind(tx.tenant())
    .bind(agent)
    .bind(tool)
    .fetch_one(tx.connection())
    .await?)
}

pub(super) async fn insert(tx: &mut TenantTx, budget: &Budget, now: DateTime<Utc>) -> Result<()> {
    let (agent, tool) = budget.scope.ids();
    sqlx::query(
        "INSERT INTO app.budgets (id, tenant_id, scope, agent_id, tool_id, period, amount_micro, warn_percent, blocks, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(budget.id)
    .bind(tx.tenant())
    .bind(budget.scope.noun())
    .bind(agent)
    .bind(tool)
    .bind(budget.period.as_str())
    .bind(budget.terms.amount_micro)
    .bind(budget.terms.warn_percent)
    .bind(budget.terms.blocks)
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(super) async fn update(tx: &mut TenantTx, id: BudgetId, terms: Terms) -> Result<()> {
    sqlx::query("UPDATE app.budgets SET amount_micro = $3, warn_percent = $4, blocks = $5 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .bind(terms.amount_micro)
        .bind(terms.warn_percent)
        .bind(terms.blocks)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(super) async fn delete(tx: &mut TenantTx, id: BudgetId) -> Result<()> {
    sqlx::query("DELETE FROM app.budgets WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// What the record has from one day until another, but for those calls; and what each of those that are there has cost. One statement, so that
/// both are of the same moment.
pub(super) async fn spent(
    tx: &mut TenantTx,
    scope: BudgetScope,
    (begins, ends): (i64, i64),
    calls: &[Uuid],
) -> Result<(i64, HashMap<Uuid, i64>)> {
    let (agent, tool) = scope.ids();
    let rows: Vec<(Option<Uuid>, i64, bool)> = sqlx::query_as(
        "SELECT NULL::uuid, COALESCE(sum(cost_micro), 0)::bigint, true FROM app.usage_rollups
         WHERE tenant_id = $1 AND step = 60 AND start >= to_timestamp($2::bigint) AND start < to_timestamp($3::bigint)
           AND ($4::uuid IS NULL OR agent_id = $4) AND ($5::uuid IS NULL OR tool_id = $5)
         UNION ALL
         SELECT id, cost_micro, at >= to_timestamp($2::bigint) AND at < to_timestamp($3::bigint) FROM app.calls
         WHERE tenant_id = $1 AND id = ANY ($6)",
    )
    .bind(tx.tenant())
    .bind(begins * DAY_S)
    .bind(ends * DAY_S)
    .bind(agent)
    .bind(tool)
    .bind(calls)
    .fetch_all(tx.connection())
    .await?;
    let (mut sum, mut of_calls) = (0, HashMap::new());
    for (call, micro, is_in_period) in rows {
        match call {
            None => sum += micro,
            Some(call) => {
                sum -= if is_in_period { micro } else { 0 };
                of_calls.insert(call, micro);
            }
        }
    }
    Ok((sum, of_calls))
}

/// False if it was noted before, or the budget is gone or another by now.
pub(super) async fn insert_notice(
    tx: &mut TenantTx,
    budget: &Budget,
    period: NaiveDate,
    stage: Stage,
    now: DateTime<Utc>,
) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO app.budget_notices (tenant_id, budget_id, period, stage, at)
         SELECT tenant_id, id, $3, $4, $5 FROM app.budgets
         WHERE tenant_id = $1 AND id = $2 AND amount_micro = $6 AND warn_percent IS NOT DISTINCT FROM $7
         ON CONFLICT DO NOTHING",
    )
    .bind(tx.tenant())
    .bind(budget.id)
    .bind(period)
    .bind(stage.as_str())
    .bind(now)
    .bind(budget.terms.amount_micro)
    .bind(budget.terms.warn_percent)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() > 0)
}

pub(super) async fn forget_notices(tx: &mut TenantTx, budget: BudgetId) -> Result<()> {
    sqlx::query("DELETE FROM app.budget_notices WHERE tenant_id = $1 AND budget_id = $2")
        .bind(tx.tenant())
        .bind(budget)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// How far a budget has come in the period that begins on that day.
pub(super) async fn stage(tx: &mut TenantTx, budget: BudgetId, begins: i64) -> Result<Option<Stage>> {
    let stages: Vec<String> =
        sqlx::query_scalar("SELECT stage FROM app.budget_notices WHERE tenant_id = $1 AND budget_id = $2 AND period = $3")
            .bind(tx.tenant())
            .bind(budget)
            .bind(super::period::date(begins))
            .fetch_all(tx.connection())
            .await?;
    Ok([Stage::Spent, Stage::Warned].into_iter().find(|stage| stages.iter().any(|word| word == stage.as_str())))
}

/// What a letter says of a budget.
#[derive(sqlx::FromRow)]
pub(super) struct About {
    pub(super) organisation: String,
    pub(super) slug: String,
    pub(super) currency: String,
    /// Of the agent or tool.
    pub(super) name: String,
}

pub(super) async fn about(tx: &mut TenantTx, scope: BudgetScope) -> Result<About> {
    let (agent, tool) = scope.ids();
    let about: Option<About> = sqlx::query_as(
        "SELECT t.name AS organisation, t.slug, t.currency, COALESCE(a.name, o.name, '') AS name
         FROM app.tenants t
         LEFT JOIN app.agents a ON a.tenant_id = t.id AND a.id = $2
         LEFT JOIN app.tools o ON o.tenant_id = t.id AND o.id = $3
         WHERE t.id = $1",
    )
    .bind(tx.tenant())
    .bind(agent)
    .bind(tool)
    .fetch_optional(tx.connection())
    .await?;
    about.ok_or(Error::not_found("tenant"))
}

/// Addresses of the tenant's owners.
pub(super) async fn owners(tx: &mut TenantTx) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar(
        "SELECT u.email FROM app.memberships m JOIN app.users u ON u.id = m.user_id
         WHERE m.tenant_id = $1 AND m.role = 'owner' ORDER BY u.email LIMIT 50",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?)
}
