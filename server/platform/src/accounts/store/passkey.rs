//! SQL of passkeys: global, by person or by credential.

use serde_json::Value;

use super::Time;
use crate::{
    db::SystemTx,
    error::Result,
    ids::{PasskeyId, UserId},
};

#[derive(sqlx::FromRow)]
pub(in crate::accounts) struct PasskeyRow {
    pub(in crate::accounts) id: PasskeyId,
    pub(in crate::accounts) name: String,
    pub(in crate::accounts) credential: Value,
    pub(in crate::accounts) created_at: Time,
    pub(in crate::accounts) last_used_at: Option<Time>,
}

/// False if the credential belongs to an account already.
pub(in crate::accounts) async fn insert_passkey(
    tx: &mut SystemTx,
    user: UserId,
    credential_id: &[u8],
    passkey: &PasskeyRow,
) -> Result<bool> {
    let done = sqlx::query(
        "INSERT INTO app.passkeys (id, user_id, credential_id, name, credential, created_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (credential_id) DO NOTHING",
    )
    .bind(passkey.id)
    .bind(user)
    .bind(credential_id)
    .bind(&passkey.name)
    .bind(&passkey.credential)
    .bind(passkey.created_at)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Oldest first. Locked, so that a counter is compared and raised by one at a time.
pub(in crate::accounts) async fn lock_passkeys(tx: &mut SystemTx, user: UserId) -> Result<Vec<PasskeyRow>> {
    let passkeys = sqlx::query_as(
        "SELECT id, name, credential, created_at, last_used_at FROM app.passkeys
         WHERE user_id = $1 ORDER BY created_at, id LIMIT 50 FOR UPDATE",
    )
    .bind(user)
    .fetch_all(tx.connection())
    .await?;
    Ok(passkeys)
}

/// It was used.
pub(in crate::accounts) async fn update_passkey(tx: &mut SystemTx, id: PasskeyId, credential: &Value, now: Time) -> Result<()> {
    sqlx::query("UPDATE app.passkeys SET credential = $2, last_used_at = $3 WHERE id = $1")
        .bind(id)
        .bind(credential)
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// False if the user has no such passkey.
pub(in crate::accounts) async fn delete_passkey(tx: &mut SystemTx, user: UserId, id: PasskeyId) -> Result<bool> {
    let done = sqlx::query("DELETE FROM app.passkeys WHERE user_id = $1 AND id = $2")
        .bind(user)
        .bind(id)
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(in crate::accounts) async fn delete_passkeys(tx: &mut SystemTx, user: UserId) -> Result<()> {
    sqlx::query("DELETE FROM app.passkeys WHERE user_id = $1").bind(user).execute(tx.connection()).await?;
    Ok(())
}
