//! SQL of changes of address: global, by the digest of their link.

use super::Time;
use crate::{accounts::EmailAddress, db::SystemTx, error::Result, ids::UserId, secret::Digest};

pub(in crate::accounts) async fn insert_email_change(
    tx: &mut SystemTx,
    digest: Digest,
    user: UserId,
    email: &EmailAddress,
    now: Time,
    expires_at: Time,
) -> Result<()> {
    sqlx::query("INSERT INTO app.email_changes (digest, user_id, email, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(digest.as_bytes())
        .bind(user)
        .bind(email.as_str())
        .bind(now)
        .bind(expires_at)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// The new address.
pub(in crate::accounts) async fn find_email_change(tx: &mut SystemTx, digest: Digest, now: Time) -> Result<Option<String>> {
    let email = sqlx::query_scalar("SELECT email FROM app.email_changes WHERE digest = $1 AND expires_at > $2")
        .bind(digest.as_bytes())
        .bind(now)
        .fetch_optional(tx.connection())
        .await?;
    Ok(email)
}

/// Uses the link up; tells whose address becomes which.
pub(in crate::accounts) async fn take_email_change(
    tx: &mut SystemTx,
    digest: Digest,
    now: Time,
) -> Result<Option<(UserId, String)>> {
    let change = sqlx::query_as("DELETE FROM app.email_changes WHERE digest = $1 AND expires_at > $2 RETURNING user_id, email")
        .bind(digest.as_bytes())
        .bind(now)
        .fetch_optional(tx.connection())
        .await?;
    Ok(change)
}

pub(in crate::accounts) async fn delete_email_changes(tx: &mut SystemTx, user: UserId) -> Result<()> {
    sqlx::query("DELETE FROM app.email_changes WHERE user_id = $1").bind(user).execute(tx.connection()).await?;
    Ok(())
}

/// False if another account has the address.
pub(in crate::accounts) async fn update_email(tx: &mut SystemTx, user: UserId, email: &str, now: Time) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE app.users SET email = $2, email_verified_at = $3
         WHERE id = $1 AND deleted_at IS NULL AND NOT EXISTS (SELECT FROM app.users other WHERE other.email = $2)",
    )
    .bind(user)
    .bind(email)
    .bind(now)
    .execute(tx.connection())
    .await;
    match done {
        Ok(done) => Ok(done.rows_affected() == 1),
        // Both looked at the same time.
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(false),
        Err(error) => Err(error.into()),
    }
}
