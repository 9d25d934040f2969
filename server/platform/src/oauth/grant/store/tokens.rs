//! SQL of refresh tokens, and of access tokens that were revoked.

use super::{GrantRow, Time, grant};
use crate::{
    db::TenantTx,
    error::Result,
    ids::{GrantId, TicketId, TokenId},
    oauth::grant::Grant,
    secret::Digest,
};

#[derive(sqlx::FromRow)]
pub(in crate::oauth) struct RefreshRow {
    pub(in crate::oauth::grant) id: TicketId,
    pub(in crate::oauth) expires_at: Time,
    pub(in crate::oauth) used_at: Option<Time>,
    pub(in crate::oauth::grant) successor_id: Option<TicketId>,
    pub(in crate::oauth::grant) successor_used: bool,
    pub(in crate::oauth::grant) forgiven_at: Option<Time>,
}

pub(in crate::oauth::grant) async fn insert_refresh(
    tx: &mut TenantTx,
    id: TicketId,
    digest: Digest,
    grant: GrantId,
    parent: Option<TicketId>,
    now: Time,
    expires_at: Time,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.refresh_tokens (id, tenant_id, digest, grant_id, parent_id, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(id)
    .bind(tx.tenant())
    .bind(digest.as_bytes())
    .bind(grant)
    .bind(parent)
    .bind(now)
    .bind(expires_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// The grant of that token, held until the transaction ends.
pub(in crate::oauth) async fn lock_of_refresh(tx: &mut TenantTx, digest: Digest) -> Result<Option<Grant>> {
    let row: Option<GrantRow> = sqlx::query_as(
        "SELECT g.id, g.user_id, g.agent_id, g.client_id AS client, c.client_id, g.resource, g.toolset, g.scopes, g.redirect_uri,
                g.created_at, g.expires_at, g.revoked_at
         FROM app.grants g
         JOIN app.clients c ON c.tenant_id = g.tenant_id AND c.id = g.client_id
         JOIN app.refresh_tokens r ON r.tenant_id = g.tenant_id AND r.grant_id = g.id
         WHERE g.tenant_id = $1 AND r.digest = $2 FOR UPDATE OF g",
    )
    .bind(tx.tenant())
    .bind(digest.as_bytes())
    .fetch_optional(tx.connection())
    .await?;
    row.map(|row| grant(tx, row)).transpose()
}

pub(in crate::oauth) async fn find_refresh(tx: &mut TenantTx, digest: Digest) -> Result<Option<RefreshRow>> {
    Ok(sqlx::query_as(
        "SELECT r.id, r.expires_at, r.used_at, r.successor_id, r.forgiven_at, s.used_at IS NOT NULL AS successor_used
         FROM app.refresh_tokens r
         LEFT JOIN app.refresh_tokens s ON s.tenant_id = r.tenant_id AND s.id = r.successor_id
         WHERE r.tenant_id = $1 AND r.digest = $2",
    )
    .bind(tx.tenant())
    .bind(digest.as_bytes())
    .fetch_optional(tx.connection())
    .await?)
}

/// Marks it used; the first time notes when, the second that it was forgiven.
pub(in crate::oauth::grant) async fn use_refresh(tx: &mut TenantTx, id: TicketId, successor: TicketId, now: Time) -> Result<()> {
    sqlx::query(
        "UPDATE app.refresh_tokens
         SET successor_id = $3, forgiven_at = CASE WHEN used_at IS NULL THEN NULL ELSE $4::timestamptz END, used_at = COALESCE(used_at, $4::timestamptz)
         WHERE tenant_id = $1 AND id = $2",
    )
    .bind(tx.tenant())
    .bind(id)
    .bind(successor)
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// A token whose answer was lost: whoever brings it has what he should not.
pub(in crate::oauth::grant) async fn withdraw_refresh(tx: &mut TenantTx, id: TicketId, now: Time) -> Result<()> {
    sqlx::query("UPDATE app.refresh_tokens SET used_at = $3, successor_id = NULL WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(in crate::oauth) async fn revoke_token(tx: &mut TenantTx, token: TokenId, now: Time) -> Result<bool> {
    let done =
        sqlx::query("INSERT INTO app.revoked_tokens (tenant_id, jti, revoked_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(tx.tenant())
            .bind(token)
            .bind(now)
            .execute(tx.connection())
            .await?;
    Ok(done.rows_affected() == 1)
}

pub(in crate::oauth) async fn is_revoked(tx: &mut TenantTx, token: TokenId) -> Result<bool> {
    Ok(sqlx::query_scalar("SELECT EXISTS (SELECT FROM app.revoked_tokens WHERE tenant_id = $1 AND jti = $2)")
        .bind(tx.tenant())
        .bind(token)
        .fetch_one(tx.connection())
        .await?)
}
