//! What was noticed and told, and what the record has, beside the verbs.

use sqlx::PgConnection;
use trunkline_platform::{
    clock::Clock as _,
    ids::{AlertId, TenantId, ToolId},
};

use crate::support::{SOON, TestApp, eventually};

/// An alert that stays as it is, and whom alerts are told, beside the verbs.
pub(super) async fn insert_alert(sql: &mut PgConnection, app: &TestApp, tenant: TenantId, canary: &str, tool: ToolId) -> AlertId {
    let (now, alert) = (app.clock.now(), AlertId::new(app.clock.now()));
    sqlx::query("UPDATE app.alert_rounds SET due_at = 'infinity', leased_until = NULL WHERE tenant = $1")
        .bind(tenant)
        .execute(&mut *sql)
        .await
        .expect("no more looks");
    sqlx::query(
        "INSERT INTO app.alerts (id, tenant_id, kind, subject, name, state, usual, message, since, last_bad_at, told)
         VALUES ($1, $2, 'limits', $3, $4, 'firing', 0, 'Limits or budgets refused 40 % of 90 calls in the last 10 minutes.', $5, $5, true)",
    )
    .bind(alert)
    .bind(tenant)
    .bind(tool.to_string())
    .bind(format!("{canary}-tool"))
    .bind(now)
    .execute(&mut *sql)
    .await
    .expect("an alert");
    sqlx::query("INSERT INTO app.alert_targets (tenant_id, mail_roles, updated_at) VALUES ($1, '{owner}', $2)")
        .bind(tenant)
        .bind(now)
        .execute(&mut *sql)
        .await
        .expect("targets");
    sqlx::query(
        "INSERT INTO app.alert_baselines (tenant_id, tool_id, hour, ran, failed) VALUES ($1, $2, $3, 1, 0) ON CONFLICT DO NOTHING",
    )
    .bind(tenant)
    .bind(tool)
    .bind(now)
    .execute(sql)
    .await
    .expect("what is usual");
    alert
}

/// Waits until everything of the tenant has its place in the chain and a signed head, and puts in what never gets one.
pub(super) async fn insert_unchained(sql: &mut PgConnection, tenant: TenantId) {
    let rest = "SELECT (SELECT count(*) FROM app.audit_unchained WHERE tenant_id = $1) = 0
                  AND EXISTS (SELECT FROM app.audit_checkpoints WHERE tenant_id = $1)";
    eventually("the record is chained and signed", SOON, async || {
        let rests: bool = sqlx::query_scalar(rest).bind(tenant).fetch_one(&mut *sql).await.expect("an answer");
        rests.then_some(())
    })
    .await;
    sqlx::query("INSERT INTO app.audit_unchained (tenant_id, id, at) VALUES ($1, gen_random_uuid(), now())")
        .bind(tenant)
        .execute(&mut *sql)
        .await
        .expect("a row");
    sqlx::query("INSERT INTO app.audit_receipts (tenant_id, month, at, note) VALUES ($1, '202001', now(), 'nothing was there')")
        .bind(tenant)
        .execute(sql)
        .await
        .expect("a receipt");
}
