//! SQL of the queue.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::worker::Lane;
use crate::{db::SystemTx, error::Result, ids::JobId};

/// A job that this worker may do until its lease ends.
#[derive(sqlx::FromRow)]
pub(super) struct Leased {
    pub(super) id: JobId,
    pub(super) kind: String,
    pub(super) payload: serde_json::Value,
    pub(super) attempts: i32,
}

pub(super) async fn insert(
    connection: &mut PgConnection,
    id: JobId,
    kind: &'static str,
    payload: &serde_json::Value,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query("INSERT INTO app.jobs (id, kind, payload, run_at, created_at) VALUES ($1, $2, $3, $4, $4)")
        .bind(id)
        .bind(kind)
        .bind(payload)
        .bind(now)
        .execute(connection)
        .await?;
    Ok(())
}

/// Leases the job of that lane that is due longest: of hooks, or of all others. `SKIP LOCKED`: workers do not wait for each other.
pub(super) async fn lease(tx: &mut SystemTx, lane: Lane, now: DateTime<Utc>, until: DateTime<Utc>) -> Result<Option<Leased>> {
    let leased = sqlx::query_as(
        "UPDATE app.jobs SET attempts = attempts + 1, leased_until = $2
         WHERE id = (SELECT id FROM app.jobs
                     WHERE dead_at IS NULL AND run_at <= $1 AND (leased_until IS NULL OR leased_until <= $1) AND (kind = 'post_hook') = $3
                     ORDER BY run_at, id
                     LIMIT 1
                     FOR UPDATE SKIP LOCKED)
         RETURNING id, kind, payload, attempts",
    )
    .bind(now)
    .bind(until)
    .bind(lane == Lane::Hooks)
    .fetch_optional(tx.connection())
    .await?;
    Ok(leased)
}

pub(super) async fn delete(tx: &mut SystemTx, id: JobId) -> Result<()> {
    sqlx::query("DELETE FROM app.jobs WHERE id = $1").bind(id).execute(tx.connection()).await?;
    Ok(())
}

pub(super) async fn postpone(tx: &mut SystemTx, id: JobId, run_at: DateTime<Utc>, error: &str) -> Result<()> {
    sqlx::query("UPDATE app.jobs SET leased_until = NULL, run_at = $2, last_error = $3 WHERE id = $1")
        .bind(id)
        .bind(run_at)
        .bind(error)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(super) async fn bury(tx: &mut SystemTx, id: JobId, now: DateTime<Utc>, error: &str) -> Result<()> {
    sqlx::query("UPDATE app.jobs SET leased_until = NULL, dead_at = $2, last_error = $3 WHERE id = $1")
        .bind(id)
        .bind(now)
        .bind(error)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Jobs after that one, locked.
pub(super) async fn page(tx: &mut SystemTx, after: Option<JobId>, most: i64) -> Result<Vec<(JobId, serde_json::Value)>> {
    Ok(sqlx::query_as("SELECT id, payload FROM app.jobs WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2 FOR UPDATE")
        .bind(after)
        .bind(most)
        .fetch_all(tx.connection())
        .await?)
}

pub(super) async fn reseal(tx: &mut SystemTx, id: JobId, payload: &serde_json::Value) -> Result<()> {
    sqlx::query("UPDATE app.jobs SET payload = $2 WHERE id = $1").bind(id).bind(payload).execute(tx.connection()).await?;
    Ok(())
}

/// The wrapped keys of all jobs, in base64.
pub(super) async fn wrapped_keys(tx: &mut SystemTx) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar("SELECT payload ->> 'key' FROM app.jobs WHERE payload ? 'key'").fetch_all(tx.connection()).await?)
}
