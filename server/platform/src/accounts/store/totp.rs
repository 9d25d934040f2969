//! SQL of second factors that are codes: global, by person.

use super::Time;
use crate::{db::SystemTx, error::Result, ids::UserId, secret::Digest};

#[derive(sqlx::FromRow)]
pub(in crate::accounts) struct TotpRow {
    pub(in crate::accounts) kek_id: String,
    pub(in crate::accounts) wrapped: Vec<u8>,
    pub(in crate::accounts) sealed: Vec<u8>,
    pub(in crate::accounts) is_confirmed: bool,
    pub(in crate::accounts) last_step: i64,
}

/// Begins anew, unless one is confirmed already: false then.
pub(in crate::accounts) async fn upsert_totp(
    tx: &mut SystemTx,
    user: UserId,
    kek_id: &str,
    wrapped: &[u8],
    sealed: &[u8],
    now: Time,
) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO app.totp_secrets (user_id, kek_id, wrapped, sealed, created_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (user_id) DO UPDATE
         SET kek_id = excluded.kek_id, wrapped = excluded.wrapped, sealed = excluded.sealed, created_at = excluded.created_at
         WHERE totp_secrets.confirmed_at IS NULL",
    )
    .bind(user)
    .bind(kek_id)
    .bind(wrapped)
    .bind(sealed)
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Locked, so that one code is not taken twice at the same time.
pub(in crate::accounts) async fn lock_totp(tx: &mut SystemTx, user: UserId) -> Result<Option<TotpRow>> {
    let row = sqlx::query_as(
        "SELECT kek_id, wrapped, sealed, confirmed_at IS NOT NULL AS is_confirmed, last_step FROM app.totp_secrets
         WHERE user_id = $1 FOR UPDATE",
    )
    .bind(user)
    .fetch_optional(tx.connection())
    .await?;
    Ok(row)
}

/// Some whose keys another key of the installation than that one has wrapped, locked.
pub(in crate::accounts) async fn totp_wrapped_by_others(
    tx: &mut SystemTx,
    kek_id: &str,
    most: i64,
) -> Result<Vec<(UserId, Vec<u8>)>> {
    let rows =
        sqlx::query_as("SELECT user_id, wrapped FROM app.totp_secrets WHERE kek_id <> $1 ORDER BY user_id LIMIT $2 FOR UPDATE")
            .bind(kek_id)
            .bind(most)
            .fetch_all(tx.connection())
            .await?;
    Ok(rows)
}

pub(in crate::accounts) async fn update_totp_key(tx: &mut SystemTx, user: UserId, kek_id: &str, wrapped: &[u8]) -> Result<()> {
    sqlx::query("UPDATE app.totp_secrets SET kek_id = $2, wrapped = $3 WHERE user_id = $1")
        .bind(user)
        .bind(kek_id)
        .bind(wrapped)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(in crate::accounts) async fn count_totp_by_key(tx: &mut SystemTx) -> Result<Vec<(String, i64)>> {
    Ok(sqlx::query_as("SELECT kek_id, count(*) FROM app.totp_secrets GROUP BY kek_id").fetch_all(tx.connection()).await?)
}

/// A code of that step was taken.
pub(in crate::accounts) async fn update_totp_step(tx: &mut SystemTx, user: UserId, step: i64, now: Time) -> Result<()> {
    sqlx::query("UPDATE app.totp_secrets SET last_step = $2, confirmed_at = coalesce(confirmed_at, $3) WHERE user_id = $1")
        .bind(user)
        .bind(step)
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// False if there was none that counted.
pub(in crate::accounts) async fn delete_totp(tx: &mut SystemTx, user: UserId) -> Result<bool> {
    let done = sqlx::query("DELETE FROM app.totp_secrets WHERE user_id = $1 AND confirmed_at IS NOT NULL")
        .bind(user)
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Confirmed or not.
pub(in crate::accounts) async fn erase_totp(tx: &mut SystemTx, user: UserId) -> Result<()> {
    sqlx::query("DELETE FROM app.totp_secrets WHERE user_id = $1").bind(user).execute(tx.connection()).await?;
    Ok(())
}

pub(in crate::accounts) async fn replace_recovery_codes(
    tx: &mut SystemTx,
    user: UserId,
    digests: &[Digest],
    now: Time,
) -> Result<()> {
    delete_recovery_codes(tx, user).await?;
    let digests: Vec<&[u8]> = digests.iter().map(Digest::as_bytes).collect();
    sqlx::query("INSERT INTO app.recovery_codes (digest, user_id, created_at) SELECT d, $1, $3 FROM UNNEST($2::bytea[]) AS d")
        .bind(user)
        .bind(digests)
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(in crate::accounts) async fn delete_recovery_codes(tx: &mut SystemTx, user: UserId) -> Result<()> {
    sqlx::query("DELETE FROM app.recovery_codes WHERE user_id = $1").bind(user).execute(tx.connection()).await?;
    Ok(())
}

/// Uses a code up; false if there is no such code.
pub(in crate::accounts) async fn take_recovery_code(tx: &mut SystemTx, user: UserId, digest: Digest) -> Result<bool> {
    let done = sqlx::query("DELETE FROM app.recovery_codes WHERE user_id = $1 AND digest = $2")
        .bind(user)
        .bind(digest.as_bytes())
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(in crate::accounts) async fn count_recovery_codes(tx: &mut SystemTx, user: UserId) -> Result<i64> {
    let count = sqlx::query_scalar("SELECT count(*) FROM app.recovery_codes WHERE user_id = $1")
        .bind(user)
        .fetch_one(tx.connection())
        .await?;
    Ok(count)
}
