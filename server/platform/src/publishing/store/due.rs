//! SQL of when probes are due.

use chrono::{DateTime, Utc};

use crate::{
    db::{SystemTx, TenantTx},
    error::Result,
    ids::{ProbeId, TenantId},
};

pub(in crate::publishing) async fn schedule(tx: &mut TenantTx, id: ProbeId, due_at: DateTime<Utc>) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.probe_rounds (probe_id, tenant, due_at) VALUES ($1, $2, $3)
         ON CONFLICT (probe_id) DO UPDATE SET due_at = EXCLUDED.due_at, leased_until = NULL",
    )
    .bind(id)
    .bind(tx.tenant())
    .bind(due_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(in crate::publishing) async fn unschedule(tx: &mut TenantTx, id: ProbeId) -> Result<()> {
    sqlx::query("DELETE FROM app.probe_rounds WHERE tenant = $1 AND probe_id = $2")
        .bind(tx.tenant())
        .bind(id)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Leases the probe that is due longest, of any tenant but these. `SKIP LOCKED`: replicas do not wait for each other.
pub(in crate::publishing) async fn lease_due(
    tx: &mut SystemTx,
    but: &[TenantId],
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Option<(TenantId, ProbeId)>> {
    Ok(sqlx::query_as(
        "UPDATE app.probe_rounds SET leased_until = $2
         WHERE probe_id = (SELECT probe_id FROM app.probe_rounds
                           WHERE due_at <= $1 AND (leased_until IS NULL OR leased_until <= $1) AND tenant <> ALL ($3)
                           ORDER BY due_at, probe_id
                           LIMIT 1
                           FOR UPDATE SKIP LOCKED)
         RETURNING tenant, probe_id",
    )
    .bind(now)
    .bind(until)
    .bind(but)
    .fetch_optional(tx.connection())
    .await?)
}

/// Ends a lease. What is not scheduled any more stays so.
pub(in crate::publishing) async fn release(tx: &mut TenantTx, id: ProbeId, due_at: DateTime<Utc>) -> Result<()> {
    sqlx::query("UPDATE app.probe_rounds SET leased_until = NULL, due_at = $3 WHERE tenant = $1 AND probe_id = $2")
        .bind(tx.tenant())
        .bind(id)
        .bind(due_at)
        .execute(tx.connection())
        .await?;
    Ok(())
}
