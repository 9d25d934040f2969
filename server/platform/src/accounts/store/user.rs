//! SQL of users: global, by address.

use super::Time;
use crate::{accounts::EmailAddress, db::SystemTx, error::Result, ids::UserId};

#[derive(sqlx::FromRow)]
pub(in crate::accounts) struct UserRow {
    pub(in crate::accounts) id: UserId,
    pub(in crate::accounts) password_hash: String,
}

pub(in crate::accounts) async fn find_user(tx: &mut SystemTx, email: &EmailAddress) -> Result<Option<UserRow>> {
    let user = sqlx::query_as("SELECT id, password_hash FROM app.users WHERE email = $1")
        .bind(email.as_str())
        .fetch_optional(tx.connection())
        .await?;
    Ok(user)
}

/// False if the address has an account.
pub(in crate::accounts) async fn insert_user(tx: &mut SystemTx, id: UserId, email: &str, hash: &str, now: Time) -> Result<bool> {
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

pub(in crate::accounts) async fn update_password(tx: &mut SystemTx, user: UserId, hash: &str) -> Result<()> {
    sqlx::query("UPDATE app.users SET password_hash = $2 WHERE id = $1").bind(user).bind(hash).execute(tx.connection()).await?;
    Ok(())
}

/// The address and the hash of an account that is not deleted.
pub(in crate::accounts) async fn get_user(tx: &mut SystemTx, user: UserId) -> Result<(String, String)> {
    let row =
        sqlx::query_as("SELECT email, password_hash FROM app.users WHERE id = $1").bind(user).fetch_one(tx.connection()).await?;
    Ok(row)
}

/// Takes away what says who it was; the row stays, because agents, tools and decisions refer to it.
pub(in crate::accounts) async fn erase_user(tx: &mut SystemTx, user: UserId, no_password: &str, now: Time) -> Result<()> {
    sqlx::query(
        "UPDATE app.users SET email = 'deleted+' || id || '@deleted.invalid', name = '', password_hash = $2, deleted_at = $3 WHERE id = $1",
    )
    .bind(user)
    .bind(no_password)
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(())
}
