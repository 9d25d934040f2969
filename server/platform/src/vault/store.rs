//! SQL of data keys.

use uuid::Uuid;

use crate::{db::TenantTx, error::Result};

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Seals secrets.
    Secrets,
    /// Fingerprints arguments.
    Record,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Secrets => "secrets",
            Self::Record => "record",
        }
    }
}

/// A key as it is stored.
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

/// All of that purpose, the newest first.
pub(super) async fn list(tx: &mut TenantTx, purpose: Purpose) -> Result<Vec<StoredKey>> {
    Ok(sqlx::query_as("SELECT id, kek_id, wrapped FROM app.tenant_keys WHERE tenant_id = $1 AND purpose = $2 ORDER BY id DESC")
        .bind(tx.tenant())
        .bind(purpose.as_str())
        .fetch_all(tx.connection())
        .await?)
}

pub(super) async fn insert(tx: &mut TenantTx, purpose: Purpose, id: Uuid, kek_id: &str, wrapped: &[u8]) -> Result<()> {
    sqlx::query("INSERT INTO app.tenant_keys (id, tenant_id, kek_id, wrapped, purpose) VALUES ($1, $2, $3, $4, $5)")
        .bind(id)
        .bind(tx.tenant())
        .bind(kek_id)
        .bind(wrapped)
        .bind(purpose.as_str())
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

/// All of that purpose but one.
pub(super) async fn delete_all_but(tx: &mut TenantTx, purpose: Purpose, id: Uuid) -> Result<u64> {
    let deleted = sqlx::query("DELETE FROM app.tenant_keys WHERE tenant_id = $1 AND id <> $2 AND purpose = $3")
        .bind(tx.tenant())
        .bind(id)
        .bind(purpose.as_str())
        .execute(tx.connection())
        .await?;
    Ok(deleted.rows_affected())
}
