//! What may be spent and called, beside the verbs.

use sqlx::PgConnection;
use trunkline_platform::{
    clock::Clock as _,
    ids::{AgentId, BudgetId, LimitId, TenantId, ToolId},
};

use crate::support::{Tenant, TestApp};

/// A budget whose owners were told, beside the verbs.
pub(super) async fn insert_budget(sql: &mut PgConnection, app: &TestApp, tenant: &Tenant<'_>) {
    let (now, budget) = (app.clock.now(), BudgetId::new(app.clock.now()));
    sqlx::query(
        "INSERT INTO app.budgets (id, tenant_id, scope, period, amount_micro, warn_percent, blocks, created_at)
         VALUES ($1, $2, 'tenant', 'month', 1000000000, 80, true, $3)",
    )
    .bind(budget)
    .bind(tenant.id)
    .bind(now)
    .execute(&mut *sql)
    .await
    .expect("a budget");
    sqlx::query("INSERT INTO app.budget_notices (tenant_id, budget_id, period, stage, at) VALUES ($1, $2, $3, 'warned', $4)")
        .bind(tenant.id)
        .bind(budget)
        .bind(now.date_naive())
        .bind(now)
        .execute(sql)
        .await
        .expect("a notice");
}

/// A limit, beside the verbs.
pub(crate) async fn insert_limit(
    sql: &mut PgConnection,
    app: &TestApp,
    tenant: &Tenant<'_>,
    scope: &str,
    agent: Option<AgentId>,
    tool: Option<ToolId>,
    (per_minute, burst): (i32, i32),
) {
    sqlx::query(
        "INSERT INTO app.limits (id, tenant_id, scope, agent_id, tool_id, per_minute, burst) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(LimitId::new(app.clock.now()))
    .bind(tenant.id)
    .bind(scope)
    .bind(agent)
    .bind(tool)
    .bind(per_minute)
    .bind(burst)
    .execute(sql)
    .await
    .expect("a limit");
}

/// An upstream that is treated otherwise than usual, beside the verbs.
pub(super) async fn insert_resilience(sql: &mut PgConnection, tenant: TenantId) {
    sqlx::query("INSERT INTO app.resilience (tenant_id, upstream, breaker_s, retries) VALUES ($1, 'https://api.example', 5, 1)")
        .bind(tenant)
        .execute(sql)
        .await
        .expect("resilience");
}
