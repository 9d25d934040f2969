//! SQL of browser sessions: global, by the digest of their cookie.

use super::Time;
use crate::{
    db::SystemTx,
    error::Result,
    ids::{SessionId, UserId},
    secret::Digest,
};

pub(in crate::accounts) struct NewSession<'a> {
    pub(in crate::accounts) digest: Digest,
    pub(in crate::accounts) id: SessionId,
    pub(in crate::accounts) user: UserId,
    pub(in crate::accounts) verified_against: &'a str,
    pub(in crate::accounts) user_agent: &'a str,
    pub(in crate::accounts) expires_at: Time,
}

#[derive(sqlx::FromRow)]
pub(in crate::accounts) struct SessionRow {
    pub(in crate::accounts) id: SessionId,
    pub(in crate::accounts) user_id: UserId,
    pub(in crate::accounts) email: String,
    pub(in crate::accounts) last_seen_at: Time,
}

/// False if the password is not the verified one any more. `FOR SHARE`: a reset waits for this, then ends this session too.
pub(in crate::accounts) async fn insert_session(tx: &mut SystemTx, session: &NewSession<'_>, now: Time) -> Result<bool> {
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

pub(in crate::accounts) async fn find_session(
    tx: &mut SystemTx,
    digest: Digest,
    now: Time,
    seen_since: Time,
) -> Result<Option<SessionRow>> {
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
    Ok(sessions.rows_affected() + signups.rows_affected() + resets.rows_affected())
}
