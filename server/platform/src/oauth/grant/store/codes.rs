//! SQL of authorization codes.

use super::{Time, scopes_to};
use crate::{
    db::TenantTx,
    error::Result,
    ids::{AgentId, ClientId, GrantId, TicketId, UserId},
    oauth::grant::NewCode,
    secret::Digest,
};

#[derive(sqlx::FromRow)]
pub(in crate::oauth::grant) struct CodeRow {
    pub(in crate::oauth::grant) id: TicketId,
    pub(in crate::oauth::grant) user_id: UserId,
    pub(in crate::oauth::grant) agent_id: AgentId,
    pub(in crate::oauth::grant) client_id: ClientId,
    pub(in crate::oauth::grant) client_text: String,
    pub(in crate::oauth::grant) redirect_uri: String,
    pub(in crate::oauth::grant) redirect_named: bool,
    pub(in crate::oauth::grant) code_challenge: String,
    pub(in crate::oauth::grant) resource: String,
    pub(in crate::oauth::grant) toolset: Option<String>,
    pub(in crate::oauth::grant) scopes: Vec<String>,
    pub(in crate::oauth::grant) grant_expires_at: Time,
    pub(in crate::oauth::grant) expires_at: Time,
    pub(in crate::oauth::grant) failures: i32,
    pub(in crate::oauth::grant) grant_id: Option<GrantId>,
}

pub(in crate::oauth::grant) async fn insert_code(
    tx: &mut TenantTx,
    id: TicketId,
    digest: Digest,
    new: &NewCode<'_>,
    now: Time,
    expires_at: Time,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.authorization_codes
           (id, tenant_id, digest, user_id, agent_id, client_id, redirect_uri, redirect_named, code_challenge, resource, toolset, scopes,
            grant_expires_at, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    )
    .bind(id)
    .bind(tx.tenant())
    .bind(digest.as_bytes())
    .bind(new.user)
    .bind(new.agent)
    .bind(new.client)
    .bind(new.redirect_uri)
    .bind(new.redirect_named)
    .bind(new.challenge.as_str())
    .bind(new.resource)
    .bind(new.toolset)
    .bind(scopes_to(new.scopes))
    .bind(new.grant_expires_at)
    .bind(now)
    .bind(expires_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// The code, held until the transaction ends: of two who bring it, one is the second.
pub(in crate::oauth::grant) async fn lock_code(tx: &mut TenantTx, digest: Digest) -> Result<Option<CodeRow>> {
    Ok(sqlx::query_as(
        "SELECT o.id, o.user_id, o.agent_id, o.client_id, c.client_id AS client_text, o.redirect_uri, o.redirect_named, o.code_challenge,
                o.resource, o.toolset, o.scopes, o.grant_expires_at, o.expires_at, o.failures, o.grant_id
         FROM app.authorization_codes o JOIN app.clients c ON c.tenant_id = o.tenant_id AND c.id = o.client_id
         WHERE o.tenant_id = $1 AND o.digest = $2 FOR UPDATE OF o",
    )
    .bind(tx.tenant())
    .bind(digest.as_bytes())
    .fetch_optional(tx.connection())
    .await?)
}

pub(in crate::oauth::grant) async fn count_failure(tx: &mut TenantTx, id: TicketId) -> Result<()> {
    sqlx::query("UPDATE app.authorization_codes SET failures = failures + 1 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(in crate::oauth::grant) async fn use_code(tx: &mut TenantTx, id: TicketId, grant: GrantId, now: Time) -> Result<()> {
    sqlx::query("UPDATE app.authorization_codes SET used_at = $4, grant_id = $3 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .bind(grant)
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(())
}
