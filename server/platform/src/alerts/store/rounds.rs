//! SQL of rounds: which tenant is due, and who looks.

use chrono::{DateTime, Utc};

use crate::{
    db::{SystemTx, TenantTx},
    error::Result,
    ids::TenantId,
};

pub(in crate::alerts) async fn lease_due(
    tx: &mut SystemTx,
    but: &[TenantId],
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Option<TenantId>> {
    Ok(sqlx::query_scalar(
        "UPDATE app.alert_rounds SET leased_until = $2
         WHERE tenant = (SELECT tenant FROM app.alert_rounds
                         WHERE due_at <= $1 AND (leased_until IS NULL OR leased_until <= $1) AND tenant <> ALL ($3)
                         ORDER BY due_at, tenant
                         LIMIT 1
                         FOR UPDATE SKIP LOCKED)
         RETURNING tenant",
    )
    .bind(now)
    .bind(until)
    .bind(but)
    .fetch_optional(tx.connection())
    .await?)
}

pub(in crate::alerts) async fn release(tx: &mut TenantTx, due_at: DateTime<Utc>) -> Result<()> {
    sqlx::query(
        "UPDATE app.alert_rounds SET leased_until = NULL, due_at = $2,
                firing = (SELECT count(*) FROM app.alerts WHERE tenant_id = $1 AND state = 'firing')
         WHERE tenant = $1",
    )
    .bind(tx.tenant())
    .bind(due_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Holds the tenant's round until the end of the transaction. False: another replica has made it.
pub(in crate::alerts) async fn lock_round(tx: &mut TenantTx, now: DateTime<Utc>) -> Result<bool> {
    let is_due: Option<bool> = sqlx::query_scalar("SELECT due_at <= $2 FROM app.alert_rounds WHERE tenant = $1 FOR UPDATE")
        .bind(tx.tenant())
        .bind(now)
        .fetch_optional(tx.connection())
        .await?;
    Ok(is_due.unwrap_or(false))
}
