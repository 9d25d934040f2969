//! SQL of standing grants, and of the keys that grants are bound to.

use crate::{
    db::TenantTx,
    error::{Error, Result},
    ids::GrantId,
    oauth::{Grant, grant::store::scopes_to},
};

/// The id of the grant of those parties, new or not.
pub(super) async fn keep(tx: &mut TenantTx, kind: &str, subject: &str, grant: &Grant) -> Result<GrantId> {
    // Two requests may come at the same time: the second waits for the first, and takes its row.
    let id: Option<GrantId> = sqlx::query_scalar(
        "INSERT INTO app.grants
           (id, tenant_id, agent_id, client_id, resource, toolset, scopes, created_at, expires_at, last_used_at, kind, subject)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $8, $10, $11)
         ON CONFLICT (tenant_id, client_id, agent_id, kind, resource, subject) WHERE kind <> 'consent' AND revoked_at IS NULL
         DO UPDATE SET last_used_at = EXCLUDED.last_used_at, scopes = EXCLUDED.scopes
         RETURNING id",
    )
    .bind(grant.id)
    .bind(tx.tenant())
    .bind(grant.agent)
    .bind(grant.client)
    .bind(&grant.resource)
    .bind(&grant.toolset)
    .bind(scopes_to(&grant.scopes))
    .bind(grant.created_at)
    .bind(grant.expires_at)
    .bind(kind)
    .bind(subject)
    .fetch_optional(tx.connection())
    .await?;
    id.ok_or_else(|| Error::internal("a grant was neither there nor made"))
}

pub(super) async fn kind(tx: &mut TenantTx, grant: GrantId) -> Result<Option<String>> {
    Ok(sqlx::query_scalar("SELECT kind FROM app.grants WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(grant)
        .fetch_optional(tx.connection())
        .await?)
}

pub(super) async fn live_of_issuer(tx: &mut TenantTx, issuer: &str) -> Result<Vec<GrantId>> {
    Ok(sqlx::query_scalar(
        "SELECT id FROM app.grants WHERE tenant_id = $1 AND kind = 'assertion' AND revoked_at IS NULL AND starts_with(subject, $2)",
    )
    .bind(tx.tenant())
    .bind(format!("{issuer} "))
    .fetch_all(tx.connection())
    .await?)
}

pub(super) async fn bind(tx: &mut TenantTx, grant: GrantId, key: &str) -> Result<()> {
    sqlx::query("UPDATE app.grants SET key_thumbprint = $3 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(grant)
        .bind(key)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(super) async fn key(tx: &mut TenantTx, grant: GrantId) -> Result<Option<String>> {
    let found: Option<Option<String>> =
        sqlx::query_scalar("SELECT key_thumbprint FROM app.grants WHERE tenant_id = $1 AND id = $2")
            .bind(tx.tenant())
            .bind(grant)
            .fetch_optional(tx.connection())
            .await?;
    Ok(found.flatten())
}
