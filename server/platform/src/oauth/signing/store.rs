//! SQL of signing keys.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;

use crate::{db::SystemTx, error::Result};

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    pub(super) kid: String,
    pub(super) public_jwk: Json<Value>,
    pub(super) sealed: Vec<u8>,
    pub(super) kek_id: String,
    pub(super) active_from: DateTime<Utc>,
    pub(super) removed_at: Option<DateTime<Utc>>,
}

/// Two replicas do not make a key at the same time.
pub(super) async fn lock(tx: &mut SystemTx) -> Result<()> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('trunkline signing keys'))").execute(tx.connection()).await?;
    Ok(())
}

/// All of them, in the order in which they sign.
pub(super) async fn list(tx: &mut SystemTx) -> Result<Vec<Row>> {
    Ok(sqlx::query_as(
        "SELECT kid, public_jwk, sealed, kek_id, active_from, removed_at FROM app.signing_keys ORDER BY active_from, kid",
    )
    .fetch_all(tx.connection())
    .await?)
}

pub(super) async fn insert(tx: &mut SystemTx, row: &Row, now: DateTime<Utc>) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.signing_keys (kid, algorithm, public_jwk, sealed, kek_id, created_at, active_from)
         VALUES ($1, 'EdDSA', $2, $3, $4, $5, $6)",
    )
    .bind(&row.kid)
    .bind(&row.public_jwk)
    .bind(&row.sealed)
    .bind(&row.kek_id)
    .bind(now)
    .bind(row.active_from)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// False if there is no such key, or it was removed before.
pub(super) async fn remove(tx: &mut SystemTx, kid: &str, now: DateTime<Utc>) -> Result<bool> {
    let done = sqlx::query("UPDATE app.signing_keys SET removed_at = $2 WHERE kid = $1 AND removed_at IS NULL")
        .bind(kid)
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn delete(tx: &mut SystemTx, kid: &str) -> Result<()> {
    sqlx::query("DELETE FROM app.signing_keys WHERE kid = $1").bind(kid).execute(tx.connection()).await?;
    Ok(())
}

pub(super) async fn reseal(tx: &mut SystemTx, kid: &str, sealed: &[u8], kek_id: &str) -> Result<()> {
    sqlx::query("UPDATE app.signing_keys SET sealed = $2, kek_id = $3 WHERE kid = $1")
        .bind(kid)
        .bind(sealed)
        .bind(kek_id)
        .execute(tx.connection())
        .await?;
    Ok(())
}
