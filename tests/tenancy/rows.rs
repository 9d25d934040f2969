//! Rows: what the server's role can reach, table by table, whatever a query forgets.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use trunkline_platform::ids::TenantId;

use crate::support::{
    TestApp, Upstream, run_sql,
    seed::{self, Seeded},
};

/// Tables with a tenant, without the partitions that only their parent reaches.
async fn tables(sql: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
         WHERE c.relnamespace = 'app'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1",
    )
    .fetch_all(sql)
    .await
    .expect("the catalogue")
}

async fn count(sql: &mut PgConnection, table: &str, condition: &str) -> i64 {
    let statement = format!("SELECT count(*) FROM app.{table} WHERE {condition}");
    sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(sql).await.expect("a count")
}

/// The SQLSTATE a statement fails with; empty if it does not fail. Nothing of it stays.
async fn state(sql: &mut PgConnection, statement: String) -> String {
    let mut tx = sql.begin().await.expect("a transaction");
    let outcome = tx.execute(AssertSqlSafe(statement)).await;
    tx.rollback().await.expect("rolled back");
    match outcome {
        Ok(_) => String::new(),
        Err(error) => error.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap_or_default().into_owned(),
    }
}

/// Goes on as the server does in that tenant, or in none.
async fn enter(sql: &mut PgConnection, tenant: Option<TenantId>) {
    let value = tenant.map(|tenant| tenant.uuid().to_string()).unwrap_or_default();
    run_sql(sql, format!("SELECT set_config('app.tenant', '{value}', false)")).await;
}

/// Everything that tenant `b` could see or change of tenant `a` in these tables. Empty if isolation holds.
async fn leaks(admin: &mut PgConnection, server: &mut PgConnection, tables: &[String], a: TenantId, b: TenantId) -> Vec<String> {
    let mut leaks = Vec::new();
    let (is_a, is_b) = (format!("tenant_id = '{}'", a.uuid()), format!("tenant_id = '{}'", b.uuid()));
    for table in tables {
        for (whose, condition) in [("A", &is_a), ("B", &is_b)] {
            assert!(count(admin, table, condition).await > 0, "the seed puts nothing of {whose} into {table}");
        }
        let mut leak = |what: &str| leaks.push(format!("{table}: {what}"));
        enter(server, Some(b)).await;
        if count(server, table, "tenant_id IS NOT NULL").await != count(admin, table, &is_b).await {
            leak("B does not see exactly its own rows");
        }
        let copy = format!("INSERT INTO app.{table} SELECT * FROM jsonb_populate_record(NULL::app.{table}, $$ROW$$::jsonb)");
        let row = format!("SELECT to_jsonb(t)::text FROM app.{table} t WHERE {is_a} LIMIT 1");
        let row: String = sqlx::query_scalar(AssertSqlSafe(row)).fetch_one(&mut *admin).await.expect("a row");
        if state(server, copy.replace("$$ROW$$", &format!("$row${row}$row$"))).await != "42501" {
            leak("B can insert a row of A's");
        }
        let give = format!("UPDATE app.{table} SET tenant_id = '{}' WHERE {is_b}", a.uuid());
        if state(server, give).await != "42501" {
            leak("B can give A a row");
        }
        for change in [
            format!("UPDATE app.{table} SET tenant_id = tenant_id WHERE {is_a}"),
            format!("DELETE FROM app.{table} WHERE {is_a}"),
        ] {
            let mut tx = server.begin().await.expect("a transaction");
            let touched = tx.execute(AssertSqlSafe(change)).await.map_or(0, |done| done.rows_affected());
            tx.rollback().await.expect("rolled back");
            if touched > 0 {
                leak("B can change a row of A's");
            }
        }
        enter(server, None).await;
        if count(server, table, "true").await != 0 {
            leak("rows are seen without a tenant");
        }
    }
    leaks
}

async fn two_tenants<'a>(app: &'a TestApp, upstream: &Upstream) -> (Seeded<'a>, Seeded<'a>) {
    (seed::everything(app, "acme", upstream).await, seed::everything(app, "bravo", upstream).await)
}

#[tokio::test]
async fn no_row_of_another_tenant_is_seen_inserted_or_changed_in_any_table() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let (a, b) = two_tenants(&app, &upstream).await;
    let (mut admin, mut server) = (app.sql().await, app.database().application().await);
    let tables = tables(&mut admin).await;
    assert!(tables.len() >= 12, "{tables:?}");
    let found = leaks(&mut admin, &mut server, &tables, a.tenant.id, b.tenant.id).await;
    assert!(found.is_empty(), "{found:#?}");
}

#[tokio::test]
async fn the_proof_sees_a_policy_that_is_missing_on_each_table() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let (a, b) = two_tenants(&app, &upstream).await;
    let (mut admin, mut server) = (app.sql().await, app.database().application().await);
    let mut seen = 0;
    let tables = tables(&mut admin).await;
    for table in &tables {
        for [damage, repair] in [
            ["DROP POLICY tenant ON app.T", "CREATE POLICY tenant ON app.T USING (tenant_id = app.current_tenant())"],
            ["ALTER TABLE app.T DISABLE ROW LEVEL SECURITY", "ALTER TABLE app.T ENABLE ROW LEVEL SECURITY"],
            [
                "ALTER POLICY tenant ON app.T USING (true)",
                "ALTER POLICY tenant ON app.T USING (tenant_id = app.current_tenant())",
            ],
        ] {
            run_sql(&mut admin, damage.replace(".T", &format!(".{table}"))).await;
            let found = leaks(&mut admin, &mut server, std::slice::from_ref(table), a.tenant.id, b.tenant.id).await;
            assert!(found.iter().any(|leak| leak.starts_with(&format!("{table}:"))), "{table}, {damage}: {found:?}");
            run_sql(&mut admin, repair.replace(".T", &format!(".{table}"))).await;
            seen += 1;
        }
    }
    let clean = leaks(&mut admin, &mut server, &tables, a.tenant.id, b.tenant.id).await;
    assert!(clean.is_empty(), "after the repair: {clean:#?}");
    crate::support::say(&format!("isolation: {seen} of {seen} removed policies were seen"));
}

#[tokio::test]
async fn references_cannot_cross_tenants_even_without_policies() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let (a, b) = two_tenants(&app, &upstream).await;
    let mut admin = app.sql().await;
    let (agent, tool, tenant) = (a.agent_id().uuid(), a.tool.uuid(), b.tenant.id.uuid());
    let (source, definition, toolset) = (a.source.uuid(), a.definition.uuid(), a.toolset.uuid());
    let id = uuid::Uuid::from_u128(1);
    for statement in [
        format!(
            "INSERT INTO app.keys (id, tenant_id, agent_id, name, lookup, digest, scopes, created_at, expires_at)
             VALUES ('{id}', '{tenant}', '{agent}', 'x', 'abcdefghijkl', decode(repeat('00', 32), 'hex'), '{{}}', now(), now())"
        ),
        format!(
            "INSERT INTO app.limits (id, tenant_id, scope, agent_id, tool_id, per_minute, burst)
             VALUES ('{id}', '{tenant}', 'agent_tool', '{agent}', NULL, 1, 1)"
        ),
        format!(
            "INSERT INTO app.limits (id, tenant_id, scope, agent_id, tool_id, per_minute, burst)
             VALUES ('{id}', '{tenant}', 'agent_tool', NULL, '{tool}', 1, 1)"
        ),
        format!("UPDATE app.tools SET version_id = (SELECT version_id FROM app.tools WHERE id = '{tool}') WHERE tenant_id = '{tenant}';
             SET CONSTRAINTS ALL IMMEDIATE"),
        format!("UPDATE app.sources SET credential_id = (SELECT id FROM app.credentials WHERE tenant_id <> '{tenant}') WHERE tenant_id = '{tenant}'"),
        format!("UPDATE app.definitions SET tool_id = '{tool}' WHERE tenant_id = '{tenant}'"),
        format!("UPDATE app.definitions SET source_id = '{source}' WHERE tenant_id = '{tenant}'"),
        format!("UPDATE app.definition_changes SET definition_id = '{definition}' WHERE tenant_id = '{tenant}'"),
        format!("UPDATE app.toolset_tools SET tool_id = '{tool}' WHERE tenant_id = '{tenant}'"),
        format!("UPDATE app.toolset_tools SET toolset_id = '{toolset}' WHERE tenant_id = '{tenant}'"),
        format!("UPDATE app.tool_versions SET credential_id = (SELECT id FROM app.credentials WHERE tenant_id <> '{tenant}') WHERE tenant_id = '{tenant}'"),
    ] {
        assert_eq!(state(&mut admin, statement.clone()).await, "23503", "{statement}");
    }
}

#[tokio::test]
async fn audit_entries_cannot_be_changed_by_the_server_or_by_the_owner() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let seeded = seed::everything(&app, "acme", &upstream).await;
    let (mut admin, mut server) = (app.sql().await, app.database().application().await);
    enter(&mut server, Some(seeded.tenant.id)).await;
    assert!(count(&mut server, "audit_entries", "true").await > 0);
    let statements =
        ["UPDATE app.audit_entries SET subject = 'x'", "DELETE FROM app.audit_entries", "TRUNCATE app.audit_entries"];
    for statement in statements {
        assert_eq!(state(&mut server, statement.to_owned()).await, "42501", "{statement}");
        assert_eq!(state(&mut admin, statement.to_owned()).await, "P0001", "{statement}, as superuser");
    }
    // The owner is bound by policies too, so it needs a tenant to reach a row at all.
    run_sql(&mut admin, "SET ROLE trunkline_owner".to_owned()).await;
    enter(&mut admin, Some(seeded.tenant.id)).await;
    for statement in statements {
        assert_eq!(state(&mut admin, statement.to_owned()).await, "P0001", "{statement}, as owner");
    }
    for statement in ["SET session_replication_role = replica", "ALTER TABLE app.audit_entries DISABLE TRIGGER append_only"] {
        assert_eq!(state(&mut server, statement.to_owned()).await, "42501", "{statement}");
    }
}

/// L-10: calls, links and checkpoints are as little changed as entries; the role that chains can only add.
#[tokio::test]
async fn l_10_calls_links_and_checkpoints_cannot_be_changed() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let seeded = seed::everything(&app, "acme", &upstream).await;
    let (mut admin, mut server) = (app.sql().await, app.database().application().await);
    enter(&mut server, Some(seeded.tenant.id)).await;
    for table in ["calls", "audit_entries", "audit_chain", "audit_checkpoints", "audit_receipts"] {
        assert!(count(&mut admin, table, "true").await > 0, "{table}");
        for change in ["UPDATE app.T SET tenant_id = tenant_id", "DELETE FROM app.T", "TRUNCATE app.T"] {
            let statement = change.replace(".T", &format!(".{table}"));
            assert_eq!(state(&mut server, statement.clone()).await, "42501", "{statement}");
            assert_eq!(state(&mut server, format!("SET LOCAL ROLE trunkline_chain; {statement}")).await, "42501", "{statement}");
            assert_eq!(state(&mut admin, statement.clone()).await, "P0001", "{statement}, as superuser");
            let replica = format!("SET LOCAL session_replication_role = replica; {statement}");
            assert_eq!(state(&mut admin, replica).await, "P0001", "{statement}, as a replica");
        }
    }
    let partitions: Vec<String> = sqlx::query_scalar(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent IN ('app.calls'::regclass, 'app.audit_entries'::regclass)",
    )
    .fetch_all(&mut admin)
    .await
    .expect("partitions");
    assert!(partitions.len() >= 10, "{partitions:?}");
    for partition in partitions {
        assert_eq!(state(&mut admin, format!("TRUNCATE {partition}")).await, "P0001", "{partition}");
    }
}

#[tokio::test]
async fn the_role_that_writes_records_reads_nothing_of_them() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    seed::everything(&app, "acme", &upstream).await;
    let mut server = app.database().application().await;
    run_sql(&mut server, "SET ROLE trunkline_audit".to_owned()).await;
    for statement in [
        "SELECT tool_name FROM app.calls",
        "SELECT subject FROM app.audit_entries",
        "SELECT hash FROM app.audit_chain",
        "SELECT note FROM app.audit_checkpoints",
        "DELETE FROM app.audit_unchained",
        "SELECT name FROM app.agents",
        "SELECT digest FROM app.keys",
        "UPDATE app.calls SET outcome = 'ok'",
        "DELETE FROM app.calls",
        "DELETE FROM app.usage_rollups",
        "DELETE FROM app.usage_sums",
    ] {
        assert_eq!(state(&mut server, statement.to_owned()).await, "42501", "{statement}");
    }
}
