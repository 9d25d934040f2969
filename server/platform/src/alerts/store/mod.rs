//! SQL of alerts. The rounds that find them, what these look at, and whom alerts are told to have files of their own.

mod observed;
mod rounds;
mod targets;

use chrono::{DateTime, Utc};

use super::alert::{Alert, Kind};
use crate::{
    db::TenantTx,
    error::Result,
    ids::{AlertId, UserId},
};

pub(super) use observed::{agents, failing, learn, learnt, tools, wrong_sums};
pub(super) use rounds::{lease_due, lock_round, release};
pub(super) use targets::{TargetsRow, addresses, emails, organisation, put_targets, targets};

#[derive(sqlx::FromRow)]
struct AlertRow {
    id: AlertId,
    kind: String,
    subject: String,
    name: String,
    state: String,
    bad: i32,
    good: i32,
    usual: f64,
    message: String,
    since: DateTime<Utc>,
    last_bad_at: DateTime<Utc>,
    resolved_at: Option<DateTime<Utc>>,
    told: bool,
    acknowledged_by: Option<UserId>,
    acknowledged_at: Option<DateTime<Utc>>,
    silenced_until: Option<DateTime<Utc>>,
}

impl TryFrom<AlertRow> for Alert {
    type Error = crate::Error;

    fn try_from(row: AlertRow) -> Result<Self> {
        Ok(Self {
            id: row.id,
            kind: row.kind.parse()?,
            subject: row.subject,
            name: row.name,
            state: row.state.parse()?,
            bad: row.bad,
            good: row.good,
            usual: row.usual,
            message: row.message,
            since: row.since,
            last_bad_at: row.last_bad_at,
            resolved_at: row.resolved_at,
            is_told: row.told,
            acknowledged: row.acknowledged_by.zip(row.acknowledged_at),
            silenced_until: row.silenced_until,
        })
    }
}

/// What is watched or firing.
pub(super) async fn open(tx: &mut TenantTx) -> Result<Vec<Alert>> {
    let rows: Vec<AlertRow> = sqlx::query_as(
        "SELECT id, kind, subject, name, state, bad, good, usual, message, since, last_bad_at, resolved_at, told, acknowledged_by,
                acknowledged_at, silenced_until
         FROM app.alerts WHERE tenant_id = $1 AND state <> 'resolved' ORDER BY since, id FOR UPDATE",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(Alert::try_from).collect()
}

/// What fires, the newest first, and what was over, the last first.
pub(super) async fn list(tx: &mut TenantTx, is_firing: bool, most: i64) -> Result<Vec<Alert>> {
    let rows: Vec<AlertRow> = sqlx::query_as(
        "SELECT id, kind, subject, name, state, bad, good, usual, message, since, last_bad_at, resolved_at, told, acknowledged_by,
                acknowledged_at, silenced_until
         FROM app.alerts WHERE tenant_id = $1 AND state = CASE WHEN $2 THEN 'firing' ELSE 'resolved' END
         ORDER BY COALESCE(resolved_at, since) DESC, id LIMIT $3",
    )
    .bind(tx.tenant())
    .bind(is_firing)
    .bind(most)
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(Alert::try_from).collect()
}

pub(super) async fn put(tx: &mut TenantTx, alert: &Alert) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.alerts
           (id, tenant_id, kind, subject, name, state, bad, good, usual, message, since, last_bad_at, resolved_at, told, silenced_until)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
         ON CONFLICT (id) DO UPDATE SET state = EXCLUDED.state, bad = EXCLUDED.bad, good = EXCLUDED.good, message = EXCLUDED.message,
           last_bad_at = EXCLUDED.last_bad_at, resolved_at = EXCLUDED.resolved_at, told = EXCLUDED.told",
    )
    .bind(alert.id)
    .bind(tx.tenant())
    .bind(alert.kind.as_str())
    .bind(&alert.subject)
    .bind(&alert.name)
    .bind(alert.state.as_str())
    .bind(alert.bad)
    .bind(alert.good)
    .bind(alert.usual)
    .bind(&alert.message)
    .bind(alert.since)
    .bind(alert.last_bad_at)
    .bind(alert.resolved_at)
    .bind(alert.is_told)
    .bind(alert.silenced_until)
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(super) async fn delete(tx: &mut TenantTx, id: AlertId) -> Result<()> {
    sqlx::query("DELETE FROM app.alerts WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Drops what was over before that.
pub(super) async fn prune(tx: &mut TenantTx, before: DateTime<Utc>) -> Result<()> {
    sqlx::query("DELETE FROM app.alerts WHERE tenant_id = $1 AND state = 'resolved' AND resolved_at < $2")
        .bind(tx.tenant())
        .bind(before)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// How often the same was over since then, and until when it is silenced.
pub(super) async fn past(
    tx: &mut TenantTx,
    (kind, subject): (Kind, &str),
    since: DateTime<Utc>,
) -> Result<(i64, Option<DateTime<Utc>>)> {
    Ok(sqlx::query_as(
        "SELECT count(*) FILTER (WHERE resolved_at >= $4), max(silenced_until) FROM app.alerts
         WHERE tenant_id = $1 AND kind = $2 AND subject = $3 AND state = 'resolved'",
    )
    .bind(tx.tenant())
    .bind(kind.as_str())
    .bind(subject)
    .bind(since)
    .fetch_one(tx.connection())
    .await?)
}

/// False: there is no such alert.
pub(super) async fn acknowledge(tx: &mut TenantTx, id: AlertId, by: UserId, now: DateTime<Utc>) -> Result<bool> {
    let updated = sqlx::query(
        "UPDATE app.alerts SET acknowledged_at = $4, acknowledged_by = $3 WHERE tenant_id = $1 AND id = $2 AND state <> 'watched'",
    )
    .bind(tx.tenant())
    .bind(id)
    .bind(by)
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(updated.rows_affected() > 0)
}

/// False: there is no such alert.
pub(super) async fn silence(tx: &mut TenantTx, id: AlertId, until: DateTime<Utc>) -> Result<bool> {
    let updated =
        sqlx::query("UPDATE app.alerts SET silenced_until = $3 WHERE tenant_id = $1 AND id = $2 AND state <> 'watched'")
            .bind(tx.tenant())
            .bind(id)
            .bind(until)
            .execute(tx.connection())
            .await?;
    Ok(updated.rows_affected() > 0)
}
