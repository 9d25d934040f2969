//! SQL of sign-ups: global, by the digest of their link.

use super::Time;
use crate::{accounts::EmailAddress, db::SystemTx, error::Result, secret::Digest};

pub(in crate::accounts) struct NewSignup<'a> {
    pub(in crate::accounts) digest: Digest,
    pub(in crate::accounts) email: &'a EmailAddress,
    pub(in crate::accounts) hash: &'a str,
    pub(in crate::accounts) tenant_name: Option<&'a str>,
}

#[derive(sqlx::FromRow)]
pub(in crate::accounts) struct SignupRow {
    pub(in crate::accounts) email: String,
    pub(in crate::accounts) password_hash: String,
    pub(in crate::accounts) tenant_name: Option<String>,
}

pub(in crate::accounts) async fn insert_signup(
    tx: &mut SystemTx,
    signup: &NewSignup<'_>,
    now: Time,
    expires_at: Time,
) -> Result<()> {
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

pub(in crate::accounts) async fn find_signup(tx: &mut SystemTx, digest: Digest, now: Time) -> Result<Option<SignupRow>> {
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

pub(in crate::accounts) async fn take_signup(tx: &mut SystemTx, digest: Digest, now: Time) -> Result<Option<SignupRow>> {
    let signup = sqlx::query_as(
        "DELETE FROM app.signups WHERE digest = $1 AND expires_at > $2 RETURNING email, password_hash, tenant_name",
    )
    .bind(digest.as_bytes())
    .bind(now)
    .fetch_optional(tx.connection())
    .await?;
    Ok(signup)
}

pub(in crate::accounts) async fn delete_signups(tx: &mut SystemTx, email: &str) -> Result<()> {
    sqlx::query("DELETE FROM app.signups WHERE email = $1").bind(email).execute(tx.connection()).await?;
    Ok(())
}
