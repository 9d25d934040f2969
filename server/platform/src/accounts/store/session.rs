//! SQL of browser sessions: global, by the digest of their cookie.

use super::Time;
use crate::{
    db::SystemTx,
    error::Result,
    ids::{SessionId, TenantId, UserId},
    secret::Digest,
};

/// What a session is made of, beside who proved it how.
pub(in crate::accounts) struct NewSession<'a> {
    pub(in crate::accounts) digest: Digest,
    pub(in crate::accounts) id: SessionId,
    pub(in crate::accounts) user: UserId,
    pub(in crate::accounts) method: &'static str,
    pub(in crate::accounts) limited_to: Option<TenantId>,
    pub(in crate::accounts) signed_on: &'a [TenantId],
    pub(in crate::accounts) user_agent: &'a str,
    pub(in crate::accounts) address: &'a str,
    pub(in crate::accounts) expires_at: Time,
}

#[derive(sqlx::FromRow)]
pub(in crate::accounts) struct SessionRow {
    pub(in crate::accounts) id: SessionId,
    pub(in crate::accounts) user_id: UserId,
    pub(in crate::accounts) email: String,
    pub(in crate::accounts) last_seen_at: Time,
    pub(in crate::accounts) proved_at: Time,
    pub(in crate::accounts) limited_to: Option<TenantId>,
    pub(in crate::accounts) signed_on: Vec<TenantId>,
    pub(in crate::accounts) has_second_factor: bool,
}

/// A session whose second factor has not been shown yet.
#[derive(sqlx::FromRow)]
pub(in crate::accounts) struct PendingRow {
    pub(in crate::accounts) user_id: UserId,
    pub(in crate::accounts) email: String,
    pub(in crate::accounts) has_totp: bool,
    pub(in crate::accounts) has_passkeys: bool,
}

/// One of somebody's sessions.
#[derive(sqlx::FromRow)]
pub(in crate::accounts) struct OwnSessionRow {
    pub(in crate::accounts) id: SessionId,
    pub(in crate::accounts) method: String,
    pub(in crate::accounts) user_agent: String,
    pub(in crate::accounts) address: String,
    pub(in crate::accounts) created_at: Time,
    pub(in crate::accounts) last_seen_at: Time,
}

/// Begun by a password: it waits for the second factor of who has one, until `second_until`. `None` if the password is not the verified
/// one any more. `FOR SHARE`: a reset waits for this, then ends this session too.
pub(in crate::accounts) async fn insert_session_by_password(
    tx: &mut SystemTx,
    session: &NewSession<'_>,
    verified_against: &str,
    second_until: Time,
    now: Time,
) -> Result<Option<String>> {
    let state = sqlx::query_scalar(
        "INSERT INTO app.user_sessions (digest, id, user_id, user_agent, address, created_at, last_seen_at, state, expires_at)
         SELECT $1, $2, u.id, $4, $5, $7, $7, f.state, CASE f.state WHEN 'second' THEN $9::timestamptz ELSE $8::timestamptz END
         FROM app.users u, LATERAL (SELECT CASE
             WHEN EXISTS (SELECT FROM app.totp_secrets t WHERE t.user_id = u.id AND t.confirmed_at IS NOT NULL)
               OR EXISTS (SELECT FROM app.passkeys p WHERE p.user_id = u.id) THEN 'second' ELSE 'full' END) f (state)
         WHERE u.id = $3 AND u.password_hash = $6
         FOR SHARE OF u
         RETURNING state",
    )
    .bind(session.digest.as_bytes())
    .bind(session.id)
    .bind(session.user)
    .bind(session.user_agent)
    .bind(session.address)
    .bind(verified_against)
    .bind(now)
    .bind(session.expires_at)
    .bind(second_until)
    .fetch_optional(tx.connection())
    .await?;
    Ok(state)
}

/// Begun by something that needs no second factor. False if the account is gone.
pub(in crate::accounts) async fn insert_session(tx: &mut SystemTx, session: &NewSession<'_>, now: Time) -> Result<bool> {
    let signed_on: Vec<_> = session.signed_on.iter().map(|tenant| tenant.uuid()).collect();
    let done = sqlx::query(
        "INSERT INTO app.user_sessions
           (digest, id, user_id, method, limited_to, signed_on, user_agent, address, created_at, last_seen_at, expires_at)
         SELECT $1, $2, id, $4, $5, $6, $7, $8, $9, $9, $10 FROM app.users WHERE id = $3 AND deleted_at IS NULL FOR SHARE",
    )
    .bind(session.digest.as_bytes())
    .bind(session.id)
    .bind(session.user)
    .bind(session.method)
    .bind(session.limited_to)
    .bind(signed_on)
    .bind(session.user_agent)
    .bind(session.address)
    .bind(now)
    .bind(session.expires_at)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A session that is fully proven.
pub(in crate::accounts) async fn find_session(
    tx: &mut SystemTx,
    digest: Digest,
    now: Time,
    seen_since: Time,
) -> Result<Option<SessionRow>> {
    let session = sqlx::query_as(
        "SELECT s.id, s.user_id, u.email, s.last_seen_at, coalesce(s.proved_at, s.created_at) AS proved_at, s.limited_to, s.signed_on,
                EXISTS (SELECT FROM app.totp_secrets t WHERE t.user_id = u.id AND t.confirmed_at IS NOT NULL)
                  OR EXISTS (SELECT FROM app.passkeys p WHERE p.user_id = u.id) AS has_second_factor
         FROM app.user_sessions s JOIN app.users u ON u.id = s.user_id
         WHERE s.digest = $1 AND s.state = 'full' AND s.expires_at > $2 AND s.last_seen_at > $3",
    )
    .bind(digest.as_bytes())
    .bind(now)
    .bind(seen_since)
    .fetch_optional(tx.connection())
    .await?;
    Ok(session)
}

/// A session that waits for the second factor. Locked: two answers at once are one after the other.
pub(in crate::accounts) async fn find_pending(tx: &mut SystemTx, digest: Digest, now: Time) -> Result<Option<PendingRow>> {
    let session = sqlx::query_as(
        "SELECT s.user_id, u.email,
                EXISTS (SELECT FROM app.totp_secrets t WHERE t.user_id = u.id AND t.confirmed_at IS NOT NULL) AS has_totp,
                EXISTS (SELECT FROM app.passkeys p WHERE p.user_id = u.id) AS has_passkeys
         FROM app.user_sessions s JOIN app.users u ON u.id = s.user_id
         WHERE s.digest = $1 AND s.state = 'second' AND s.expires_at > $2
         FOR UPDATE OF s",
    )
    .bind(digest.as_bytes())
    .bind(now)
    .fetch_optional(tx.connection())
    .await?;
    Ok(session)
}

/// Newest visit first.
pub(in crate::accounts) async fn list_sessions(
    tx: &mut SystemTx,
    user: UserId,
    now: Time,
    seen_since: Time,
) -> Result<Vec<OwnSessionRow>> {
    let sessions = sqlx::query_as(
        "SELECT id, method, user_agent, address, created_at, last_seen_at FROM app.user_sessions
         WHERE user_id = $1 AND state = 'full' AND expires_at > $2 AND last_seen_at > $3
         ORDER BY last_seen_at DESC, id
         LIMIT 200",
    )
    .bind(user)
    .bind(now)
    .bind(seen_since)
    .fetch_all(tx.connection())
    .await?;
    Ok(sessions)
}

/// The person has proven again that they are there.
pub(in crate::accounts) async fn update_proved(tx: &mut SystemTx, digest: Digest, now: Time) -> Result<()> {
    sqlx::query("UPDATE app.user_sessions SET proved_at = $2 WHERE digest = $1")
        .bind(digest.as_bytes())
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Gives a session another secret. False if there is no such session.
pub(in crate::accounts) async fn rotate_session(tx: &mut SystemTx, old: Digest, new: Digest) -> Result<bool> {
    let done = sqlx::query("UPDATE app.user_sessions SET digest = $2 WHERE digest = $1")
        .bind(old.as_bytes())
        .bind(new.as_bytes())
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected() == 1)
}

/// False if the user has no such session.
pub(in crate::accounts) async fn delete_session_of(tx: &mut SystemTx, user: UserId, id: SessionId) -> Result<bool> {
    let done = sqlx::query("DELETE FROM app.user_sessions WHERE user_id = $1 AND id = $2")
        .bind(user)
        .bind(id)
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(in crate::accounts) async fn delete_other_sessions(tx: &mut SystemTx, user: UserId, but: SessionId) -> Result<u64> {
    let done = sqlx::query("DELETE FROM app.user_sessions WHERE user_id = $1 AND id <> $2")
        .bind(user)
        .bind(but)
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected())
}

pub(in crate::accounts) async fn touch_session(tx: &mut SystemTx, digest: Digest, now: Time) -> Result<()> {
    sqlx::query("UPDATE app.user_sessions SET last_seen_at = $2 WHERE digest = $1")
        .bind(digest.as_bytes())
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(in crate::accounts) async fn delete_session(tx: &mut SystemTx, digest: Digest) -> Result<()> {
    sqlx::query("DELETE FROM app.user_sessions WHERE digest = $1").bind(digest.as_bytes()).execute(tx.connection()).await?;
    Ok(())
}

pub(in crate::accounts) async fn delete_sessions(tx: &mut SystemTx, user: UserId) -> Result<()> {
    sqlx::query("DELETE FROM app.user_sessions WHERE user_id = $1").bind(user).execute(tx.connection()).await?;
    Ok(())
}

/// Invitations stay: their tenant sees that they ran out.
pub(in crate::accounts) async fn delete_expired(tx: &mut SystemTx, now: Time, seen_since: Time) -> Result<u64> {
    let sessions = sqlx::query("DELETE FROM app.user_sessions WHERE expires_at <= $1 OR last_seen_at <= $2")
        .bind(now)
        .bind(seen_since)
        .execute(tx.connection())
        .await?;
    let signups = sqlx::query("DELETE FROM app.signups WHERE expires_at <= $1").bind(now).execute(tx.connection()).await?;
    let resets = sqlx::query("DELETE FROM app.password_resets WHERE expires_at <= $1").bind(now).execute(tx.connection()).await?;
    let changes = sqlx::query("DELETE FROM app.email_changes WHERE expires_at <= $1").bind(now).execute(tx.connection()).await?;
    let attempts =
        sqlx::query("DELETE FROM app.sign_in_attempts WHERE expires_at <= $1").bind(now).execute(tx.connection()).await?;
    let links = signups.rows_affected() + resets.rows_affected() + changes.rows_affected();
    Ok(sessions.rows_affected() + links + attempts.rows_affected())
}

/// The session goes on under another secret, vouched for by that tenant's provider too.
pub(in crate::accounts) async fn sign_session_on(tx: &mut SystemTx, old: Digest, new: Digest, tenant: TenantId) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE app.user_sessions SET digest = $2, signed_on = array_append(array_remove(signed_on, $3), $3)
         WHERE digest = $1 AND state = 'full'",
    )
    .bind(old.as_bytes())
    .bind(new.as_bytes())
    .bind(tenant)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}
