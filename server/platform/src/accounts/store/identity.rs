//! SQL of who somebody is at an identity provider: global, by issuer and subject.

use super::Time;
use crate::{db::SystemTx, error::Result, ids::UserId};

pub(in crate::accounts) async fn find_identity(tx: &mut SystemTx, issuer: &str, subject: &str) -> Result<Option<UserId>> {
    let user = sqlx::query_scalar("SELECT user_id FROM app.identities WHERE issuer = $1 AND subject = $2")
        .bind(issuer)
        .bind(subject)
        .fetch_optional(tx.connection())
        .await?;
    Ok(user)
}

/// False if it is somebody's already.
pub(in crate::accounts) async fn insert_identity(
    tx: &mut SystemTx,
    issuer: &str,
    subject: &str,
    user: UserId,
    now: Time,
) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO app.identities (issuer, subject, user_id, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (issuer, subject) DO NOTHING",
    )
    .bind(issuer)
    .bind(subject)
    .bind(user)
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(in crate::accounts) async fn delete_identities(tx: &mut SystemTx, user: UserId) -> Result<()> {
    sqlx::query("DELETE FROM app.identities WHERE user_id = $1").bind(user).execute(tx.connection()).await?;
    Ok(())
}
