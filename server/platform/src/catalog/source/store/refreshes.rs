//! SQL of when a source is read next, and by whom.

use chrono::{DateTime, Utc};

use crate::{
    db::{SystemTx, TenantTx},
    error::Result,
    ids::{SourceId, TenantId},
};

/// Has the source read at that time, and every few minutes from then on.
pub(in crate::catalog::source) async fn schedule(tx: &mut TenantTx, id: SourceId, due_at: DateTime<Utc>) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.refreshes (source_id, tenant, due_at) VALUES ($1, $2, $3)
         ON CONFLICT (source_id) DO UPDATE SET due_at = EXCLUDED.due_at",
    )
    .bind(id)
    .bind(tx.tenant())
    .bind(due_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(in crate::catalog::source) async fn unschedule(tx: &mut TenantTx, id: SourceId) -> Result<()> {
    sqlx::query("DELETE FROM app.refreshes WHERE tenant = $1 AND source_id = $2")
        .bind(tx.tenant())
        .bind(id)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Leases the refresh of one source; false if somebody else reads it, or nobody should.
pub(in crate::catalog::source) async fn lease(
    tx: &mut TenantTx,
    id: SourceId,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE app.refreshes SET leased_until = $4
         WHERE tenant = $1 AND source_id = $2 AND (leased_until IS NULL OR leased_until <= $3)",
    )
    .bind(tx.tenant())
    .bind(id)
    .bind(now)
    .bind(until)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Leases the refresh that is due longest, of any tenant but these. `SKIP LOCKED`: replicas do not wait for each other.
pub(in crate::catalog::source) async fn lease_due(
    tx: &mut SystemTx,
    but: &[TenantId],
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Option<(TenantId, SourceId)>> {
    Ok(sqlx::query_as(
        "UPDATE app.refreshes SET leased_until = $2
         WHERE source_id = (SELECT source_id FROM app.refreshes
                            WHERE due_at <= $1 AND (leased_until IS NULL OR leased_until <= $1) AND tenant <> ALL($3)
                            ORDER BY due_at, source_id
                            LIMIT 1
                            FOR UPDATE SKIP LOCKED)
         RETURNING tenant, source_id",
    )
    .bind(now)
    .bind(until)
    .bind(but)
    .fetch_optional(tx.connection())
    .await?)
}

/// Ends a lease.
pub(in crate::catalog::source) async fn release(tx: &mut TenantTx, id: SourceId, due_at: DateTime<Utc>) -> Result<()> {
    sqlx::query("UPDATE app.refreshes SET leased_until = NULL, due_at = $3 WHERE tenant = $1 AND source_id = $2")
        .bind(tx.tenant())
        .bind(id)
        .bind(due_at)
        .execute(tx.connection())
        .await?;
    Ok(())
}
