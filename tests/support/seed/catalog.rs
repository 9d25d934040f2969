//! Tools beside the verbs: their secrets, pins, probes and logs, toolsets, and entries of the registry.

use sqlx::PgConnection;
use trunkline_platform::{
    clock::Clock as _,
    ids::{AgentId, CredentialId, SourceId, TenantId, ToolId, ToolsetId},
};

use super::TOOLSET;
use crate::support::{Tenant, TestApp};

/// The secret of that tool was exchanged, beside the verbs; both values are the same.
pub(super) async fn exchange_secret(
    sql: &mut PgConnection,
    app: &TestApp,
    tenant: &Tenant<'_>,
    canary: &str,
    tool: ToolId,
) -> CredentialId {
    let id = sqlx::query_scalar(
        "UPDATE app.credentials c
         SET label = $3, rotated_at = $4, rotated_by = $5, previous = sealed, overlap_until = $4 + interval '7 days', refused = 2, refused_at = $4
         FROM app.tools t JOIN app.tool_versions v ON v.id = t.version_id
         WHERE t.tenant_id = $1 AND t.id = $2 AND c.id = v.credential_id RETURNING c.id",
    )
    .bind(tenant.id)
    .bind(tool)
    .bind(format!("{canary} label"))
    .bind(app.clock.now())
    .bind(tenant.owner.user)
    .fetch_one(&mut *sql)
    .await
    .expect("its secret");
    sqlx::query("INSERT INTO app.credential_overlaps (credential_id, tenant, due_at) VALUES ($1, $2, $3::timestamptz + interval '7 days')")
        .bind(id)
        .bind(tenant.id)
        .bind(app.clock.now())
        .execute(sql)
        .await
        .expect("its end");
    id
}

/// The agent is given the version that there is, beside the verbs.
pub(super) async fn insert_pin(sql: &mut PgConnection, app: &TestApp, tenant: &Tenant<'_>, agent: AgentId, tool: ToolId) {
    sqlx::query(
        "INSERT INTO app.agent_pins (tenant_id, agent_id, tool_id, version_id, pinned_by, pinned_at)
         SELECT $1, $2, id, version_id, $4, $5 FROM app.tools WHERE tenant_id = $1 AND id = $3",
    )
    .bind(tenant.id)
    .bind(agent)
    .bind(tool)
    .bind(tenant.owner.user)
    .bind(app.clock.now())
    .execute(sql)
    .await
    .expect("a pin");
}

/// What a function of the tenant logged, beside the verbs: long enough ago not to be shown, since nothing can open it.
pub(super) async fn insert_function_log(sql: &mut PgConnection, app: &TestApp, tenant: &Tenant<'_>, tool: ToolId) {
    sqlx::query(
        "WITH noted AS (INSERT INTO app.function_tenants (tenant) VALUES ($1) ON CONFLICT DO NOTHING)
         INSERT INTO app.function_logs (id, tenant_id, tool_id, sealed, at) VALUES (gen_random_uuid(), $1, $2, 'sealed', $3)",
    )
    .bind(tenant.id)
    .bind(tool)
    .bind(app.clock.now() - chrono::TimeDelta::days(8))
    .execute(sql)
    .await
    .expect("what a function logged");
}

/// How the tool and the source are tried, what came of it, and that the tool was published by hand, beside the verbs.
pub(super) async fn insert_probes(
    sql: &mut PgConnection,
    app: &TestApp,
    tenant: &Tenant<'_>,
    canary: &str,
    (tool, source): (ToolId, SourceId),
) {
    for (tool, source) in [(Some(tool), None), (None, Some(source))] {
        sqlx::query(
            "WITH probe AS (
               INSERT INTO app.probes (id, tenant_id, tool_id, source_id, expected, set_by, state, failed, problem)
               VALUES (gen_random_uuid(), $1, $2, $3, $4, $5, 'failing', 'call', $4) RETURNING id)
             INSERT INTO app.probe_runs (id, tenant_id, probe_id, kind, passed, took_ms, report, at)
             SELECT gen_random_uuid(), $1, id, 'probe', false, 1, json_build_object('checks', '[]'::json), $6 FROM probe",
        )
        .bind(tenant.id)
        .bind(tool)
        .bind(source)
        .bind(format!("{canary} expected"))
        .bind(tenant.owner.user)
        .bind(app.clock.now())
        .execute(&mut *sql)
        .await
        .expect("a probe and what it found");
    }
    sqlx::query(
        "INSERT INTO app.tool_publications (id, tenant_id, tool_id, version_id, how, reason, published_by, at)
         SELECT gen_random_uuid(), $1, id, version_id, 'untried', $3, $4, $5 FROM app.tools WHERE tenant_id = $1 AND id = $2",
    )
    .bind(tenant.id)
    .bind(tool)
    .bind(format!("{canary} reason"))
    .bind(tenant.owner.user)
    .bind(app.clock.now())
    .execute(sql)
    .await
    .expect("a publication");
}

/// A toolset, beside the verbs.
pub(super) async fn insert_toolset(
    sql: &mut PgConnection,
    app: &TestApp,
    tenant: &Tenant<'_>,
    canary: &str,
    tool: ToolId,
) -> ToolsetId {
    let now = app.clock.now();
    let toolset = ToolsetId::new(now);
    sqlx::query("INSERT INTO app.toolsets (id, tenant_id, name, title, description, created_at) VALUES ($1, $2, $3, $4, '', $5)")
        .bind(toolset)
        .bind(tenant.id)
        .bind(TOOLSET)
        .bind(format!("{canary} toolset"))
        .bind(now)
        .execute(&mut *sql)
        .await
        .expect("a toolset");
    sqlx::query("INSERT INTO app.toolset_tools (tenant_id, toolset_id, tool_id) VALUES ($1, $2, $3)")
        .bind(tenant.id)
        .bind(toolset)
        .bind(tool)
        .execute(sql)
        .await
        .expect("its tool");
    toolset
}

/// A version of an entry of the registry, beside the verbs.
pub(super) async fn insert_registry_entry(sql: &mut PgConnection, app: &TestApp, tenant: TenantId) {
    sqlx::query(
        "INSERT INTO app.registry_entries (id, tenant_id, number, digest, server, published_at)
         VALUES (gen_random_uuid(), $1, 1, sha256('x'), '{}', $2)",
    )
    .bind(tenant)
    .bind(app.clock.now())
    .execute(sql)
    .await
    .expect("an entry");
}
