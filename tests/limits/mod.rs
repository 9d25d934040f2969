//! Limits: exact under load, free when refused, and what holds of them without Redis. Tests that have a number (Q-01 and so on) are those of the
//! requirements.

mod breaker;
mod cluster;
mod day;
mod faults;
mod ladder;
mod once;
mod once_killed;
mod page;
mod rate;
mod redis_away;
mod resilience;
mod script;
mod what_if;

use trunkline_platform::ids::{AgentId, LimitId, ToolId};

use crate::support::{Tenant, TestApp, full};

/// Settings under which no decision is made without Redis, however long a busy machine takes to bring the answer.
fn patient(app: crate::support::Builder) -> crate::support::Builder {
    app.set("REDIS_DECISION_MS", 10_000).set("REDIS_TIMEOUT_MS", 10_000)
}

/// A limit of a day or of what runs at the same time, beside the verbs.
async fn insert_more(
    app: &TestApp,
    tenant: &Tenant<'_>,
    scope: &str,
    (agent, tool): (Option<AgentId>, Option<ToolId>),
    (per_day, at_once): (Option<i32>, Option<i32>),
) {
    sqlx::query(
        "INSERT INTO app.limits (id, tenant_id, scope, agent_id, tool_id, per_day, at_once) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(LimitId::new(trunkline_platform::clock::Clock::now(&*app.clock)))
    .bind(tenant.id)
    .bind(scope)
    .bind(agent)
    .bind(tool)
    .bind(per_day)
    .bind(at_once)
    .execute(&mut app.sql().await)
    .await
    .expect("a limit");
    app.platform.generations.advance(tenant.id);
}
