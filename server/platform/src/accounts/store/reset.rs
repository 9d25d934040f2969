//! SQL of password resets: global, by the digest of their link.

use super::Time;
use crate::{accounts::EmailAddress, db::SystemTx, error::Result, ids::UserId, secret::Digest};

/// False if the address has no account.
pub(in crate::accounts) async fn insert_reset(
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
pub(in crate::accounts) async fn find_reset(tx: &mut SystemTx, digest: Digest, now: Time) -> Result<Option<String>> {
    let email = sqlx::query_scalar(
        "SELECT u.email FROM app.password_resets r JOIN app.users u ON u.id = r.user_id WHERE r.digest = $1 AND r.expires_at > $2",
    )
    .bind(digest.as_bytes())
    .bind(now)
    .fetch_optional(tx.connection())
    .await?;
    Ok(email)
}

pub(in crate::accounts) async fn take_reset(tx: &mut SystemTx, digest: Digest, now: Time) -> Result<Option<UserId>> {
    let user = sqlx::query_scalar("DELETE FROM app.password_resets WHERE digest = $1 AND expires_at > $2 RETURNING user_id")
        .bind(digest.as_bytes())
        .bind(now)
        .fetch_optional(tx.connection())
        .await?;
    Ok(user)
}

pub(in crate::accounts) async fn delete_resets(tx: &mut SystemTx, user: UserId) -> Result<()> {
    sqlx::query("DELETE FROM app.password_resets WHERE user_id = $1").bind(user).execute(tx.connection()).await?;
    Ok(())
}
