//! SQL of what functions logged.

use chrono::{DateTime, Utc};

use crate::{
    db::{SystemTx, TenantTx},
    error::Result,
    ids::{EntryId, TenantId, ToolId},
};

/// Tenants of one page.
const PAGE: i64 = 200;

/// Nothing is written for a tool that is gone, nor twice for a call.
pub(super) async fn insert(tx: &mut TenantTx, (call, tool): (EntryId, ToolId), sealed: &[u8], at: DateTime<Utc>) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.function_logs (id, tenant_id, tool_id, sealed, at)
         SELECT $2, t.tenant_id, t.id, $4, $5 FROM app.tools t WHERE t.tenant_id = $1 AND t.id = $3
         ON CONFLICT DO NOTHING",
    )
    .bind(tx.tenant())
    .bind(call)
    .bind(tool)
    .bind(sealed)
    .bind(at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Drops what is beyond the newest so many of a tool.
pub(super) async fn prune(tx: &mut TenantTx, tool: ToolId, most: i64) -> Result<()> {
    sqlx::query(
        "DELETE FROM app.function_logs
         WHERE tenant_id = $1 AND id IN (SELECT id FROM app.function_logs WHERE tenant_id = $1 AND tool_id = $2
                                         ORDER BY at DESC, id DESC OFFSET $3)",
    )
    .bind(tx.tenant())
    .bind(tool)
    .bind(most)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Of a tool since then, newest first: beyond the first so many, at most so many.
pub(super) async fn recent(
    tx: &mut TenantTx,
    tool: ToolId,
    since: DateTime<Utc>,
    (skip, most): (i64, i64),
) -> Result<Vec<(EntryId, DateTime<Utc>, Vec<u8>)>> {
    Ok(sqlx::query_as(
        "SELECT id, at, sealed FROM app.function_logs
         WHERE tenant_id = $1 AND tool_id = $2 AND at >= $3 ORDER BY at DESC, id DESC OFFSET $4 LIMIT $5",
    )
    .bind(tx.tenant())
    .bind(tool)
    .bind(since)
    .bind(skip)
    .bind(most)
    .fetch_all(tx.connection())
    .await?)
}

/// Destroys what is older.
pub(super) async fn forget(tx: &mut TenantTx, before: DateTime<Utc>) -> Result<()> {
    sqlx::query("DELETE FROM app.function_logs WHERE tenant_id = $1 AND at < $2")
        .bind(tx.tenant())
        .bind(before)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Tenants that have, or had, a function, by id.
pub(super) async fn tenants(tx: &mut SystemTx, after: Option<TenantId>) -> Result<Vec<TenantId>> {
    Ok(sqlx::query_scalar(
        "SELECT tenant FROM app.function_tenants WHERE $1::uuid IS NULL OR tenant > $1 ORDER BY tenant LIMIT $2",
    )
    .bind(after)
    .bind(PAGE)
    .fetch_all(tx.connection())
    .await?)
}

/// What another key than that one has sealed.
pub(super) async fn under_others(tx: &mut TenantTx, key: &[u8], most: i64) -> Result<Vec<(EntryId, Vec<u8>)>> {
    // After the version comes the id of the key.
    Ok(sqlx::query_as(
        "SELECT id, sealed FROM app.function_logs
         WHERE tenant_id = $1 AND substring(sealed FROM 2 FOR 8) <> $2 ORDER BY id LIMIT $3 FOR UPDATE",
    )
    .bind(tx.tenant())
    .bind(key)
    .bind(most)
    .fetch_all(tx.connection())
    .await?)
}

pub(super) async fn set_sealed(tx: &mut TenantTx, call: EntryId, sealed: &[u8]) -> Result<()> {
    sqlx::query("UPDATE app.function_logs SET sealed = $3 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(call)
        .bind(sealed)
        .execute(tx.connection())
        .await?;
    Ok(())
}
