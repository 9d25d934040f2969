//! SQL of data keys.

use uuid::Uuid;

use crate::{db::TenantTx, error::Result};

/// A data key as it is stored.
#[derive(sqlx::FromRow)]
pub(super) struct StoredKey {
    pub(super) id: Uuid,
    pub(super) kek_id: String,
    pub(super) wrapped: Vec<u8>,
}

/// Until the end of the transaction, nobody else changes the tenant's data keys.
pub(super) async fn lock(tx: &mut TenantTx) -> Result<()> {
    sqlx::query("SELECT FROM app.tenants WHERE id = $1 FOR UPDATE").bind(tx.tenant()).execute(tx.connection()).await?;
    Ok(())
}

/// All, the newest first.
pub(super) async fn list(tx: &mut TenantTx) -> Result<Vec<StoredKey>> {
    Ok(sqlx::query_as("SELECT id, kek_id, wrapped FROM app.tenant_keys WHERE tenant_id = $1 ORDER BY id DESC")
        .bind(tx.tenant())
        .fetch_all(tx.connection())
        .await?)
}

pub(super) async fn insert(tx: &mut TenantTx, id: Uuid, kek_id: &str, wrapped: &[u8]) -> Result<()> {
    sqlx::query("INSERT INTO app.tenant_keys (id, tenant_id, kek_id, wrapped) VALUES ($1, $2, $3, $4)")
        .bind(id)
        .bind(tx.tenant())
        .bind(kek_id)
        .bind(wrapped)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(super) async fn update(tx: &mut TenantTx, id: Uuid, kek_id: &str, wrapped: &[u8]) -> Result<()> {
    sqlx::query("UPDATE app.tenant_keys SET kek_id = $3, wrapped = $4 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .bind(kek_id)
        .bind(wrapped)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(super) async fn delete_all_but(tx: &mut TenantTx, id: Uuid) -> Result<u64> {
    let deleted = sqlx::query("DELETE FROM app.tenant_keys WHERE tenant_id = $1 AND id <> $2")
        .bind(tx.tenant())
        .bind(id)
        .execute(tx.connection())
        .await?;
    Ok(deleted.rows_affected())
}
