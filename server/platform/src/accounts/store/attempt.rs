//! SQL of challenges that wait for their answer: global, by the digest of their secret.

use super::Time;
use crate::{db::SystemTx, error::Result, secret::Digest};

pub(in crate::accounts) async fn insert_attempt(
    tx: &mut SystemTx,
    digest: Digest,
    browser: Digest,
    kind: &str,
    sealed: &[u8],
    expires_at: Time,
) -> Result<()> {
    sqlx::query("INSERT INTO app.sign_in_attempts (digest, browser, kind, sealed, expires_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(digest.as_bytes())
        .bind(browser.as_bytes())
        .bind(kind)
        .bind(sealed)
        .bind(expires_at)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Uses it up, if it was begun in that browser. In another it stays as it is: who guesses or forwards a link ends nobody's attempt.
pub(in crate::accounts) async fn take_attempt(
    tx: &mut SystemTx,
    digest: Digest,
    browser: Digest,
    kind: &str,
    now: Time,
) -> Result<Option<Vec<u8>>> {
    let sealed = sqlx::query_scalar(
        "DELETE FROM app.sign_in_attempts WHERE digest = $1 AND browser = $2 AND kind = $3 AND expires_at > $4 RETURNING sealed",
    )
    .bind(digest.as_bytes())
    .bind(browser.as_bytes())
    .bind(kind)
    .bind(now)
    .fetch_optional(tx.connection())
    .await?;
    Ok(sealed)
}
