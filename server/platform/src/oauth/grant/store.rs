//! SQL of grants, codes, refresh tokens and consents.

use chrono::{DateTime, Utc};
use trunkline_protocol::oauth::{
    error::{ErrorCode, OAuthError},
    scope::ScopeSet,
};

use super::{Grant, ListedGrant, NewCode};
use crate::{
    actor::{Permission, Role},
    db::TenantTx,
    error::{Error, Result},
    ids::{AgentId, ClientId, GrantId, TicketId, TokenId, UserId},
    oauth::Failure,
    secret::Digest,
};

type Time = DateTime<Utc>;

pub(in crate::oauth) fn scopes(stored: &[String]) -> Result<ScopeSet> {
    ScopeSet::parse(&stored.join(" ")).map_err(Error::internal)
}

pub(in crate::oauth) fn scopes_to(scopes: &ScopeSet) -> Vec<String> {
    scopes.iter().map(ToString::to_string).collect()
}

// Grants

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

// Codes

#[derive(sqlx::FromRow)]
pub(super) struct CodeRow {
    pub(super) id: TicketId,
    pub(super) user_id: UserId,
    pub(super) agent_id: AgentId,
    pub(super) client_id: ClientId,
    pub(super) client_text: String,
    pub(super) redirect_uri: String,
    pub(super) redirect_named: bool,
    pub(super) code_challenge: String,
    pub(super) resource: String,
    pub(super) toolset: Option<String>,
    pub(super) scopes: Vec<String>,
    pub(super) grant_expires_at: Time,
    pub(super) expires_at: Time,
    pub(super) failures: i32,
    pub(super) grant_id: Option<GrantId>,
}

pub(super) async fn insert_code(
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
pub(super) async fn lock_code(tx: &mut TenantTx, digest: Digest) -> Result<Option<CodeRow>> {
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

pub(super) async fn count_failure(tx: &mut TenantTx, id: TicketId) -> Result<()> {
    sqlx::query("UPDATE app.authorization_codes SET failures = failures + 1 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(super) async fn use_code(tx: &mut TenantTx, id: TicketId, grant: GrantId, now: Time) -> Result<()> {
    sqlx::query("UPDATE app.authorization_codes SET used_at = $4, grant_id = $3 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .bind(grant)
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(())
}

// Refresh tokens

#[derive(sqlx::FromRow)]
pub(in crate::oauth) struct RefreshRow {
    pub(super) id: TicketId,
    pub(in crate::oauth) expires_at: Time,
    pub(in crate::oauth) used_at: Option<Time>,
    pub(super) successor_id: Option<TicketId>,
    pub(super) successor_used: bool,
    pub(super) forgiven_at: Option<Time>,
}

pub(super) async fn insert_refresh(
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
pub(super) async fn use_refresh(tx: &mut TenantTx, id: TicketId, successor: TicketId, now: Time) -> Result<()> {
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
pub(super) async fn withdraw_refresh(tx: &mut TenantTx, id: TicketId, now: Time) -> Result<()> {
    sqlx::query("UPDATE app.refresh_tokens SET used_at = $3, successor_id = NULL WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(())
}

// Access tokens

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

// Consents

/// What somebody said when last asked.
#[derive(sqlx::FromRow)]
pub(in crate::oauth) struct ConsentRow {
    pub(in crate::oauth) agent_id: AgentId,
    pub(in crate::oauth) scopes: Vec<String>,
    pub(in crate::oauth) hours: i32,
}

/// What a consent is about.
pub(in crate::oauth) struct Subject<'a> {
    pub(in crate::oauth) user: UserId,
    pub(in crate::oauth) client: ClientId,
    pub(in crate::oauth) redirect_uri: &'a str,
    pub(in crate::oauth) resource: &'a str,
}

pub(in crate::oauth) async fn find_consent(tx: &mut TenantTx, about: &Subject<'_>) -> Result<Option<ConsentRow>> {
    Ok(sqlx::query_as(
        "SELECT agent_id, scopes, hours FROM app.consents
         WHERE tenant_id = $1 AND user_id = $2 AND client_id = $3 AND redirect_uri = $4 AND resource = $5",
    )
    .bind(tx.tenant())
    .bind(about.user)
    .bind(about.client)
    .bind(about.redirect_uri)
    .bind(about.resource)
    .fetch_optional(tx.connection())
    .await?)
}

pub(in crate::oauth) async fn keep_consent(
    tx: &mut TenantTx,
    about: &Subject<'_>,
    agent: AgentId,
    scopes: &ScopeSet,
    hours: i32,
    now: Time,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.consents (id, tenant_id, user_id, client_id, redirect_uri, resource, agent_id, scopes, hours, given_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (tenant_id, user_id, client_id, redirect_uri, resource)
         DO UPDATE SET agent_id = EXCLUDED.agent_id, scopes = EXCLUDED.scopes, hours = EXCLUDED.hours, given_at = EXCLUDED.given_at",
    )
    .bind(TicketId::new(now))
    .bind(tx.tenant())
    .bind(about.user)
    .bind(about.client)
    .bind(about.redirect_uri)
    .bind(about.resource)
    .bind(agent)
    .bind(scopes_to(scopes))
    .bind(hours)
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(super) async fn delete_consent_of(tx: &mut TenantTx, grant: GrantId) -> Result<()> {
    sqlx::query(
        "DELETE FROM app.consents c USING app.grants g
         WHERE c.tenant_id = $1 AND g.tenant_id = $1 AND g.id = $2
           AND c.user_id = g.user_id AND c.client_id = g.client_id AND c.resource = g.resource",
    )
    .bind(tx.tenant())
    .bind(grant)
    .execute(tx.connection())
    .await?;
    Ok(())
}
