//! SQL of grants. Codes, tokens and consents have files of their own.

mod codes;
mod consents;
mod tokens;

use chrono::{DateTime, Utc};
use trunkline_protocol::oauth::{
    error::{ErrorCode, OAuthError},
    scope::ScopeSet,
};

use super::{Grant, ListedGrant};
use crate::{
    actor::{Permission, Role},
    db::TenantTx,
    error::{Error, Result},
    ids::{AgentId, ClientId, GrantId, UserId},
    oauth::Failure,
};

pub(super) use codes::{CodeRow, count_failure, insert_code, lock_code, use_code};
pub(super) use consents::delete_consent_of;
pub(in crate::oauth) use consents::{Subject, find_consent, keep_consent};
pub(in crate::oauth) use tokens::{RefreshRow, find_refresh, is_revoked, lock_of_refresh, revoke_token};
pub(super) use tokens::{insert_refresh, use_refresh, withdraw_refresh};

type Time = DateTime<Utc>;

pub(in crate::oauth) fn scopes(stored: &[String]) -> Result<ScopeSet> {
    ScopeSet::parse(&stored.join(" ")).map_err(Error::internal)
}

pub(in crate::oauth) fn scopes_to(scopes: &ScopeSet) -> Vec<String> {
    scopes.iter().map(ToString::to_string).collect()
}

#[derive(sqlx::FromRow)]
struct GrantRow {
    id: GrantId,
    user_id: Option<UserId>,
    agent_id: AgentId,
    client: ClientId,
    client_id: String,
    resource: String,
    toolset: Option<String>,
    scopes: Vec<String>,
    redirect_uri: String,
    created_at: Time,
    expires_at: Time,
    revoked_at: Option<Time>,
}

fn grant(tx: &TenantTx, row: GrantRow) -> Result<Grant> {
    Ok(Grant {
        id: row.id,
        tenant: tx.tenant(),
        user: row.user_id,
        agent: row.agent_id,
        client: row.client,
        client_id: row.client_id,
        resource: row.resource,
        toolset: row.toolset,
        scopes: scopes(&row.scopes)?,
        redirect_uri: row.redirect_uri,
        created_at: row.created_at,
        expires_at: row.expires_at,
        revoked_at: row.revoked_at,
    })
}

pub(in crate::oauth) async fn insert(tx: &mut TenantTx, grant: &Grant) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.grants
           (id, tenant_id, user_id, agent_id, client_id, resource, toolset, scopes, redirect_uri, created_at, expires_at, last_used_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $10)",
    )
    .bind(grant.id)
    .bind(tx.tenant())
    .bind(grant.user)
    .bind(grant.agent)
    .bind(grant.client)
    .bind(&grant.resource)
    .bind(&grant.toolset)
    .bind(scopes_to(&grant.scopes))
    .bind(&grant.redirect_uri)
    .bind(grant.created_at)
    .bind(grant.expires_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(in crate::oauth) async fn find(tx: &mut TenantTx, id: GrantId) -> Result<Option<Grant>> {
    let row: Option<GrantRow> = sqlx::query_as(
        "SELECT g.id, g.user_id, g.agent_id, g.client_id AS client, c.client_id, g.resource, g.toolset, g.scopes, g.redirect_uri,
                g.created_at, g.expires_at, g.revoked_at
         FROM app.grants g JOIN app.clients c ON c.tenant_id = g.tenant_id AND c.id = g.client_id
         WHERE g.tenant_id = $1 AND g.id = $2",
    )
    .bind(tx.tenant())
    .bind(id)
    .fetch_optional(tx.connection())
    .await?;
    row.map(|row| grant(tx, row)).transpose()
}

pub(super) async fn list(tx: &mut TenantTx, agent: AgentId, now: Time) -> Result<Vec<ListedGrant>> {
    #[derive(sqlx::FromRow)]
    struct Row {
        id: GrantId,
        name: String,
        client_id: String,
        email: String,
        scopes: Vec<String>,
        toolset: Option<String>,
        created_at: Time,
        last_used_at: Time,
        expires_at: Time,
    }
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT g.id, c.name, c.client_id, COALESCE(u.email, g.subject) AS email, g.scopes, g.toolset, g.created_at, g.last_used_at, g.expires_at
         FROM app.grants g
         JOIN app.clients c ON c.tenant_id = g.tenant_id AND c.id = g.client_id
         LEFT JOIN app.users u ON u.id = g.user_id
         WHERE g.tenant_id = $1 AND g.agent_id = $2 AND g.revoked_at IS NULL AND g.expires_at > $3
         ORDER BY g.created_at DESC, g.id LIMIT 200",
    )
    .bind(tx.tenant())
    .bind(agent)
    .bind(now)
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(ListedGrant {
                id: row.id,
                client_name: row.name,
                client_id: row.client_id,
                user_email: row.email,
                scopes: scopes(&row.scopes)?,
                toolset: row.toolset,
                created_at: row.created_at,
                last_used_at: row.last_used_at,
                expires_at: row.expires_at,
            })
        })
        .collect()
}

/// False if it had ended before.
pub(super) async fn revoke(tx: &mut TenantTx, id: GrantId, now: Time, why: &str) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE app.grants SET revoked_at = $3, revoked_why = $4 WHERE tenant_id = $1 AND id = $2 AND revoked_at IS NULL",
    )
    .bind(tx.tenant())
    .bind(id)
    .bind(now)
    .bind(why)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(in crate::oauth) async fn live_of_client(tx: &mut TenantTx, client: ClientId) -> Result<Vec<GrantId>> {
    Ok(sqlx::query_scalar("SELECT id FROM app.grants WHERE tenant_id = $1 AND client_id = $2 AND revoked_at IS NULL")
        .bind(tx.tenant())
        .bind(client)
        .fetch_all(tx.connection())
        .await?)
}

pub(super) async fn touch(tx: &mut TenantTx, id: GrantId, now: Time) -> Result<()> {
    sqlx::query("UPDATE app.grants SET last_used_at = $3 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Who gave it is still a member who may, and the client is not blocked.
pub(super) async fn check_parties(tx: &mut TenantTx, user: UserId, client: ClientId) -> Result<(), Failure> {
    let role: Option<String> = sqlx::query_scalar("SELECT role FROM app.memberships WHERE tenant_id = $1 AND user_id = $2")
        .bind(tx.tenant())
        .bind(user)
        .fetch_optional(tx.connection())
        .await
        .map_err(Error::from)?;
    let role = role.and_then(|role| role.parse::<Role>().ok());
    let state: Option<String> = sqlx::query_scalar("SELECT state FROM app.clients WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(client)
        .fetch_optional(tx.connection())
        .await
        .map_err(Error::from)?;
    if role.is_some_and(|role| role.may(Permission::ManageKeys)) && state.as_deref() == Some("approved") {
        return Ok(());
    }
    Err(OAuthError::new(ErrorCode::InvalidGrant, "whoever granted this may not any more, or the client is blocked").into())
}

/// Codes, families and revocations that ended before that time.
pub(in crate::oauth) async fn delete_expired(tx: &mut TenantTx, before: Time) -> Result<u64> {
    let codes = sqlx::query("DELETE FROM app.authorization_codes WHERE tenant_id = $1 AND expires_at < $2")
        .bind(tx.tenant())
        .bind(before)
        .execute(tx.connection())
        .await?;
    let refresh = sqlx::query(
        "DELETE FROM app.refresh_tokens r USING app.grants g
         WHERE r.tenant_id = $1 AND g.tenant_id = $1 AND g.id = r.grant_id AND (g.revoked_at < $2 OR g.expires_at < $2)",
    )
    .bind(tx.tenant())
    .bind(before)
    .execute(tx.connection())
    .await?;
    let revoked = sqlx::query("DELETE FROM app.revoked_tokens WHERE tenant_id = $1 AND revoked_at < $2")
        .bind(tx.tenant())
        .bind(before)
        .execute(tx.connection())
        .await?;
    Ok(codes.rows_affected() + refresh.rows_affected() + revoked.rows_affected())
}
