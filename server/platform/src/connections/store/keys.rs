//! SQL that seals secrets and tokens anew, when data keys are renewed.

use uuid::Uuid;

use crate::{
    db::TenantTx,
    error::Result,
    ids::{SourceId, UserId},
};

#[derive(sqlx::FromRow)]
pub(in crate::connections) struct SecretRow {
    pub(in crate::connections) source_id: SourceId,
    pub(in crate::connections) token_url: String,
    pub(in crate::connections) secret: Vec<u8>,
}

/// Client secrets that are sealed under another key than that one, until the end of the transaction nobody else's.
pub(in crate::connections) async fn secrets_under_others(tx: &mut TenantTx, key: &[u8], most: i64) -> Result<Vec<SecretRow>> {
    // After the version comes the id of the key.
    Ok(sqlx::query_as(
        "SELECT source_id, token_url, secret FROM app.connection_providers
         WHERE tenant_id = $1 AND substring(secret FROM 2 FOR 8) <> $2 ORDER BY source_id LIMIT $3 FOR UPDATE",
    )
    .bind(tx.tenant())
    .bind(key)
    .bind(most)
    .fetch_all(tx.connection())
    .await?)
}

pub(in crate::connections) async fn reseal_secret(tx: &mut TenantTx, source: SourceId, sealed: &[u8]) -> Result<()> {
    sqlx::query("UPDATE app.connection_providers SET secret = $3 WHERE tenant_id = $1 AND source_id = $2")
        .bind(tx.tenant())
        .bind(source)
        .bind(sealed)
        .execute(tx.connection())
        .await?;
    Ok(())
}

#[derive(sqlx::FromRow)]
pub(in crate::connections) struct TokensRow {
    pub(in crate::connections) id: Uuid,
    pub(in crate::connections) source_id: SourceId,
    pub(in crate::connections) user_id: UserId,
    pub(in crate::connections) origin: String,
    pub(in crate::connections) access: Vec<u8>,
    pub(in crate::connections) refresh: Option<Vec<u8>>,
}

/// The same of tokens.
pub(in crate::connections) async fn tokens_under_others(tx: &mut TenantTx, key: &[u8], most: i64) -> Result<Vec<TokensRow>> {
    Ok(sqlx::query_as(
        "SELECT c.id, c.source_id, c.user_id, p.origin, c.access, c.refresh
         FROM app.connections c
         JOIN app.connection_providers p ON p.tenant_id = c.tenant_id AND p.source_id = c.source_id
         WHERE c.tenant_id = $1 AND (substring(c.access FROM 2 FOR 8) <> $2 OR substring(c.refresh FROM 2 FOR 8) <> $2)
         ORDER BY c.id LIMIT $3 FOR UPDATE OF c",
    )
    .bind(tx.tenant())
    .bind(key)
    .bind(most)
    .fetch_all(tx.connection())
    .await?)
}

pub(in crate::connections) async fn reseal_tokens(
    tx: &mut TenantTx,
    id: Uuid,
    access: &[u8],
    refresh: Option<&[u8]>,
) -> Result<()> {
    sqlx::query("UPDATE app.connections SET access = $3, refresh = $4 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .bind(access)
        .bind(refresh)
        .execute(tx.connection())
        .await?;
    Ok(())
}
