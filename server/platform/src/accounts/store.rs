//! SQL of accounts. Global tables (users, sessions, mailed links) by unguessable digest or by address; the rest inside its tenant.

use chrono::{DateTime, Utc};

use super::{EmailAddress, Invitation, MemberRow, Membership, OpenInvitation, TenantSlug};
use crate::{
    actor::Role,
    db::{SystemTx, TenantTx},
    error::{Error, Result},
    ids::{GrantId, InvitationId, SessionId, TenantId, UserId},
    secret::Digest,
};

type Time = DateTime<Utc>;

fn role(text: &str) -> Result<Role> {
    text.parse().map_err(Error::internal)
}

// Users

#[derive(sqlx::FromRow)]
pub(super) struct UserRow {
    pub(super) id: UserId,
    pub(super) password_hash: String,
}

pub(super) async fn find_user(tx: &mut SystemTx, email: &EmailAddress) -> Result<Option<UserRow>> {
    let user = sqlx::query_as("SELECT id, password_hash FROM app.users WHERE email = $1")
        .bind(email.as_str())
        .fetch_optional(tx.connection())
        .await?;
    Ok(user)
}

/// False if the address has an account.
pub(super) async fn insert_user(tx: &mut SystemTx, id: UserId, email: &str, hash: &str, now: Time) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO app.users (id, email, password_hash, email_verified_at, created_at)
         VALUES ($1, $2, $3, $4, $4)
         ON CONFLICT (email) DO NOTHING",
    )
    .bind(id)
    .bind(email)
    .bind(hash)
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn update_password(tx: &mut SystemTx, user: UserId, hash: &str) -> Result<()> {
    sqlx::query("UPDATE app.users SET password_hash = $2 WHERE id = $1").bind(user).bind(hash).execute(tx.connection()).await?;
    Ok(())
}

// Sign-ups

pub(super) struct NewSignup<'a> {
    pub(super) digest: Digest,
    pub(super) email: &'a EmailAddress,
    pub(super) hash: &'a str,
    pub(super) tenant_name: Option<&'a str>,
}

#[derive(sqlx::FromRow)]
pub(super) struct SignupRow {
    pub(super) email: String,
    pub(super) password_hash: String,
    pub(super) tenant_name: Option<String>,
}

pub(super) async fn insert_signup(tx: &mut SystemTx, signup: &NewSignup<'_>, now: Time, expires_at: Time) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.signups (digest, email, password_hash, tenant_name, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(signup.digest.as_bytes())
    .bind(signup.email.as_str())
    .bind(signup.hash)
    .bind(signup.tenant_name)
    .bind(now)
    .bind(expires_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(super) async fn find_signup(tx: &mut SystemTx, digest: Digest, now: Time) -> Result<Option<SignupRow>> {
    let signup = sqlx::query_as(
        "SELECT email, password_hash, tenant_name FROM app.signups
         WHERE digest = $1 AND expires_at > $2 AND NOT EXISTS (SELECT FROM app.users WHERE users.email = signups.email)",
    )
    .bind(digest.as_bytes())
    .bind(now)
    .fetch_optional(tx.connection())
    .await?;
    Ok(signup)
}

pub(super) async fn take_signup(tx: &mut SystemTx, digest: Digest, now: Time) -> Result<Option<SignupRow>> {
    let signup = sqlx::query_as(
        "DELETE FROM app.signups WHERE digest = $1 AND expires_at > $2 RETURNING email, password_hash, tenant_name",
    )
    .bind(digest.as_bytes())
    .bind(now)
    .fetch_optional(tx.connection())
    .await?;
    Ok(signup)
}

pub(super) async fn delete_signups(tx: &mut SystemTx, email: &str) -> Result<()> {
    sqlx::query("DELETE FROM app.signups WHERE email = $1").bind(email).execute(tx.connection()).await?;
    Ok(())
}

// Password resets

/// False if the address has no account.
pub(super) async fn insert_reset(
    tx: &mut SystemTx,
    digest: Digest,
    email: &EmailAddress,
    now: Time,
    expires_at: Time,
) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO app.password_resets (digest, user_id, created_at, expires_at)
         SELECT $1, id, $3, $4 FROM app.users WHERE email = $2",
    )
    .bind(digest.as_bytes())
    .bind(email.as_str())
    .bind(now)
    .bind(expires_at)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The address whose password the link sets.
pub(super) async fn find_reset(tx: &mut SystemTx, digest: Digest, now: Time) -> Result<Option<String>> {
    let email = sqlx::query_scalar(
        "SELECT u.email FROM app.password_resets r JOIN app.users u ON u.id = r.user_id WHERE r.digest = $1 AND r.expires_at > $2",
    )
    .bind(digest.as_bytes())
    .bind(now)
    .fetch_optional(tx.connection())
    .await?;
    Ok(email)
}

pub(super) async fn take_reset(tx: &mut SystemTx, digest: Digest, now: Time) -> Result<Option<UserId>> {
    let user = sqlx::query_scalar("DELETE FROM app.password_resets WHERE digest = $1 AND expires_at > $2 RETURNING user_id")
        .bind(digest.as_bytes())
        .bind(now)
        .fetch_optional(tx.connection())
        .await?;
    Ok(user)
}

pub(super) async fn delete_resets(tx: &mut SystemTx, user: UserId) -> Result<()> {
    sqlx::query("DELETE FROM app.password_resets WHERE user_id = $1").bind(user).execute(tx.connection()).await?;
    Ok(())
}

// Sessions

pub(super) struct NewSession<'a> {
    pub(super) digest: Digest,
    pub(super) id: SessionId,
    pub(super) user: UserId,
    pub(super) verified_against: &'a str,
    pub(super) user_agent: &'a str,
    pub(super) expires_at: Time,
}

#[derive(sqlx::FromRow)]
pub(super) struct SessionRow {
    pub(super) id: SessionId,
    pub(super) user_id: UserId,
    pub(super) email: String,
    pub(super) last_seen_at: Time,
}

/// False if the password is not the verified one any more. `FOR SHARE`: a reset waits for this, then ends this session too.
pub(super) async fn insert_session(tx: &mut SystemTx, session: &NewSession<'_>, now: Time) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO app.user_sessions (digest, id, user_id, user_agent, created_at, last_seen_at, expires_at)
         SELECT $1, $2, id, $4, $6, $6, $7 FROM app.users WHERE id = $3 AND password_hash = $5 FOR SHARE",
    )
    .bind(session.digest.as_bytes())
    .bind(session.id)
    .bind(session.user)
    .bind(session.user_agent)
    .bind(session.verified_against)
    .bind(now)
    .bind(session.expires_at)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn find_session(tx: &mut SystemTx, digest: Digest, now: Time, seen_since: Time) -> Result<Option<SessionRow>> {
    let session = sqlx::query_as(
        "SELECT s.id, s.user_id, u.email, s.last_seen_at
         FROM app.user_sessions s JOIN app.users u ON u.id = s.user_id
         WHERE s.digest = $1 AND s.expires_at > $2 AND s.last_seen_at > $3",
    )
    .bind(digest.as_bytes())
    .bind(now)
    .bind(seen_since)
    .fetch_optional(tx.connection())
    .await?;
    Ok(session)
}

pub(super) async fn touch_session(tx: &mut SystemTx, digest: Digest, now: Time) -> Result<()> {
    sqlx::query("UPDATE app.user_sessions SET last_seen_at = $2 WHERE digest = $1")
        .bind(digest.as_bytes())
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(super) async fn delete_session(tx: &mut SystemTx, digest: Digest) -> Result<()> {
    sqlx::query("DELETE FROM app.user_sessions WHERE digest = $1").bind(digest.as_bytes()).execute(tx.connection()).await?;
    Ok(())
}

pub(super) async fn delete_sessions(tx: &mut SystemTx, user: UserId) -> Result<()> {
    sqlx::query("DELETE FROM app.user_sessions WHERE user_id = $1").bind(user).execute(tx.connection()).await?;
    Ok(())
}

/// Invitations stay: their tenant sees that they ran out.
pub(super) async fn delete_expired(tx: &mut SystemTx, now: Time, seen_since: Time) -> Result<u64> {
    let sessions = sqlx::query("DELETE FROM app.user_sessions WHERE expires_at <= $1 OR last_seen_at <= $2")
        .bind(now)
        .bind(seen_since)
        .execute(tx.connection())
        .await?;
    let signups = sqlx::query("DELETE FROM app.signups WHERE expires_at <= $1").bind(now).execute(tx.connection()).await?;
    let resets = sqlx::query("DELETE FROM app.password_resets WHERE expires_at <= $1").bind(now).execute(tx.connection()).await?;
    Ok(sessions.rows_affected() + signups.rows_affected() + resets.rows_affected())
}

// Tenants

pub(super) async fn list_taken_slugs(tx: &mut SystemTx, slugs: &[&str]) -> Result<Vec<String>> {
    let taken =
        sqlx::query_scalar("SELECT slug FROM app.tenants WHERE slug = ANY ($1)").bind(slugs).fetch_all(tx.connection()).await?;
    Ok(taken)
}

/// False if the slug is taken.
pub(super) async fn insert_tenant(tx: &mut SystemTx, id: TenantId, slug: &TenantSlug, name: &str, now: Time) -> Result<bool> {
    let done =
        sqlx::query("INSERT INTO app.tenants (id, slug, name, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (slug) DO NOTHING")
            .bind(id)
            .bind(slug.as_str())
            .bind(name)
            .bind(now)
            .execute(tx.connection())
            .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn update_tenant(tx: &mut TenantTx, name: &str, currency: &str) -> Result<()> {
    sqlx::query("UPDATE app.tenants SET name = $2, currency = $3 WHERE id = $1")
        .bind(tx.tenant())
        .bind(name)
        .bind(currency)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(super) async fn get_slug(tx: &mut TenantTx) -> Result<TenantSlug> {
    let slug: String =
        sqlx::query_scalar("SELECT slug FROM app.tenants WHERE id = $1").bind(tx.tenant()).fetch_one(tx.connection()).await?;
    slug.parse().map_err(Error::internal)
}

/// The tenant's name, and the address of that user.
pub(super) async fn get_names(tx: &mut TenantTx, user: UserId) -> Result<(String, String)> {
    let names = sqlx::query_as("SELECT t.name, u.email FROM app.tenants t, app.users u WHERE t.id = $1 AND u.id = $2")
        .bind(tx.tenant())
        .bind(user)
        .fetch_one(tx.connection())
        .await?;
    Ok(names)
}

// Memberships

/// The user's own memberships, across tenants: the policy `own` of the table. The tenant of that slug is among them even if there are many.
pub(super) async fn list_memberships(tx: &mut SystemTx, user: UserId, slug: &str) -> Result<Vec<Membership>> {
    let rows: Vec<(TenantId, String, String, String, String)> = sqlx::query_as(
        "SELECT m.tenant_id, t.slug, t.name, t.currency, m.role
         FROM app.memberships m JOIN app.tenants t ON t.id = m.tenant_id
         WHERE m.user_id = $1
         ORDER BY t.slug = $2 DESC, lower(t.name), t.slug
         LIMIT 200",
    )
    .bind(user)
    .bind(slug)
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter()
        .map(|(tenant, slug, name, currency, text)| {
            let slug = slug.parse().map_err(Error::internal)?;
            Ok(Membership { tenant, slug, name, currency, role: role(&text)? })
        })
        .collect()
}

pub(super) async fn list_members(tx: &mut TenantTx) -> Result<Vec<MemberRow>> {
    let rows: Vec<(UserId, String, String, Time)> = sqlx::query_as(
        "SELECT m.user_id, u.email, m.role, m.created_at
         FROM app.memberships m JOIN app.users u ON u.id = m.user_id
         WHERE m.tenant_id = $1
         ORDER BY array_position(ARRAY['owner', 'admin', 'developer', 'viewer', 'auditor'], m.role), u.email
         LIMIT 1000",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter()
        .map(|(user, email, text, since)| Ok(MemberRow { user, email: EmailAddress::parse(&email)?, role: role(&text)?, since }))
        .collect()
}

/// The owners' roles and those of the users, locked in one order, so that two changes wait for each other instead of failing.
pub(super) async fn lock_roles(tx: &mut TenantTx, users: &[UserId]) -> Result<Vec<(UserId, Role)>> {
    let users: Vec<_> = users.iter().map(|user| user.uuid()).collect();
    let rows: Vec<(UserId, String)> = sqlx::query_as(
        "SELECT user_id, role FROM app.memberships
         WHERE tenant_id = $1 AND (role = 'owner' OR user_id = ANY ($2))
         ORDER BY user_id
         FOR UPDATE",
    )
    .bind(tx.tenant())
    .bind(users)
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(|(user, text)| Ok((user, role(&text)?))).collect()
}

pub(super) async fn is_member(tx: &mut TenantTx, email: &EmailAddress) -> Result<bool> {
    let is_member = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM app.memberships m JOIN app.users u ON u.id = m.user_id WHERE m.tenant_id = $1 AND u.email = $2)",
    )
    .bind(tx.tenant())
    .bind(email.as_str())
    .fetch_one(tx.connection())
    .await?;
    Ok(is_member)
}

/// False if the user is a member already.
pub(super) async fn insert_membership(tx: &mut TenantTx, user: UserId, role: Role, now: Time) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO app.memberships (tenant_id, user_id, role, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (tenant_id, user_id) DO NOTHING",
    )
    .bind(tx.tenant())
    .bind(user)
    .bind(role.as_str())
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn update_membership(tx: &mut TenantTx, user: UserId, role: Role) -> Result<()> {
    sqlx::query("UPDATE app.memberships SET role = $3 WHERE tenant_id = $1 AND user_id = $2")
        .bind(tx.tenant())
        .bind(user)
        .bind(role.as_str())
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(super) async fn delete_membership(tx: &mut TenantTx, user: UserId) -> Result<()> {
    sqlx::query("DELETE FROM app.memberships WHERE tenant_id = $1 AND user_id = $2")
        .bind(tx.tenant())
        .bind(user)
        .execute(tx.connection())
        .await?;
    Ok(())
}

// Invitations

pub(super) struct NewInvitation<'a> {
    pub(super) id: InvitationId,
    pub(super) email: &'a EmailAddress,
    pub(super) role: Role,
    pub(super) digest: Digest,
    pub(super) invited_by: UserId,
    pub(super) expires_at: Time,
}

/// One invitation per address: a new one replaces the old with its secret.
pub(super) async fn upsert_invitation(tx: &mut TenantTx, invitation: &NewInvitation<'_>, now: Time) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.invitations (id, tenant_id, email, role, digest, invited_by, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (tenant_id, email) DO UPDATE
         SET id = excluded.id, role = excluded.role, digest = excluded.digest, invited_by = excluded.invited_by,
             created_at = excluded.created_at, expires_at = excluded.expires_at",
    )
    .bind(invitation.id)
    .bind(tx.tenant())
    .bind(invitation.email.as_str())
    .bind(invitation.role.as_str())
    .bind(invitation.digest.as_bytes())
    .bind(invitation.invited_by)
    .bind(now)
    .bind(invitation.expires_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(super) async fn list_invitations(tx: &mut TenantTx, now: Time) -> Result<Vec<OpenInvitation>> {
    let rows: Vec<(InvitationId, String, String, Time)> = sqlx::query_as(
        "SELECT id, email, role, expires_at FROM app.invitations WHERE tenant_id = $1 ORDER BY created_at DESC LIMIT 1000",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter()
        .map(|(id, email, text, expires_at)| {
            let email = EmailAddress::parse(&email)?;
            Ok(OpenInvitation { id, email, role: role(&text)?, expires_at, is_expired: expires_at <= now })
        })
        .collect()
}

pub(super) async fn find_invitation(tx: &mut TenantTx, digest: Digest, now: Time) -> Result<Option<Invitation>> {
    let row: Option<(String, String, String, bool)> = sqlx::query_as(
        "SELECT i.email, i.role, t.name, EXISTS (SELECT FROM app.users u WHERE u.email = i.email)
         FROM app.invitations i JOIN app.tenants t ON t.id = i.tenant_id
         WHERE i.tenant_id = $1 AND i.digest = $2 AND i.expires_at > $3",
    )
    .bind(tx.tenant())
    .bind(digest.as_bytes())
    .bind(now)
    .fetch_optional(tx.connection())
    .await?;
    row.map(|(email, text, organisation, has_account)| {
        Ok(Invitation { email: EmailAddress::parse(&email)?, role: role(&text)?, organisation, has_account })
    })
    .transpose()
}

/// Uses the invitation up, if it is for that address; tells its role.
pub(super) async fn take_invitation(tx: &mut TenantTx, digest: Digest, email: &EmailAddress, now: Time) -> Result<Option<Role>> {
    let text: Option<String> = sqlx::query_scalar(
        "DELETE FROM app.invitations WHERE tenant_id = $1 AND digest = $2 AND email = $3 AND expires_at > $4 RETURNING role",
    )
    .bind(tx.tenant())
    .bind(digest.as_bytes())
    .bind(email.as_str())
    .bind(now)
    .fetch_optional(tx.connection())
    .await?;
    text.map(|text| role(&text)).transpose()
}

/// False if there is no such invitation in the tenant.
pub(super) async fn delete_invitation(tx: &mut TenantTx, id: InvitationId) -> Result<bool> {
    let done = sqlx::query("DELETE FROM app.invitations WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Whoever loses a role loses what they handed out with it.
pub(super) async fn delete_invitations_by(tx: &mut TenantTx, user: UserId) -> Result<()> {
    sqlx::query("DELETE FROM app.invitations WHERE tenant_id = $1 AND invited_by = $2")
        .bind(tx.tenant())
        .bind(user)
        .execute(tx.connection())
        .await?;
    Ok(())
}

// Grants of members; everything else of them is written by oauth

/// Ends everything that somebody let clients do in this tenant; tells what.
pub(super) async fn revoke_grants_of(tx: &mut TenantTx, user: UserId, now: Time, why: &str) -> Result<Vec<GrantId>> {
    sqlx::query("DELETE FROM app.consents WHERE tenant_id = $1 AND user_id = $2")
        .bind(tx.tenant())
        .bind(user)
        .execute(tx.connection())
        .await?;
    Ok(sqlx::query_scalar(
        "UPDATE app.grants SET revoked_at = $3, revoked_why = $4
         WHERE tenant_id = $1 AND user_id = $2 AND revoked_at IS NULL RETURNING id",
    )
    .bind(tx.tenant())
    .bind(user)
    .bind(now)
    .bind(why)
    .fetch_all(tx.connection())
    .await?)
}
