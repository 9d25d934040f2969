//! SQL of what probes and gates found.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::types::Json;

use crate::{
    db::TenantTx,
    error::Result,
    ids::{ProbeId, ProbeRunId, ToolVersionId},
    publishing::probe::{Kind, RunReport, StoredCheck},
};

/// What is to be stored of a run.
pub(in crate::publishing) struct NewRun<'a> {
    pub(in crate::publishing) id: ProbeRunId,
    pub(in crate::publishing) probe: ProbeId,
    pub(in crate::publishing) version: Option<ToolVersionId>,
    pub(in crate::publishing) kind: Kind,
    pub(in crate::publishing) passed: bool,
    pub(in crate::publishing) took_ms: i32,
    pub(in crate::publishing) report: &'a RawValue,
    pub(in crate::publishing) at: DateTime<Utc>,
}

pub(in crate::publishing) async fn insert_run(tx: &mut TenantTx, run: &NewRun<'_>) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.probe_runs (id, tenant_id, probe_id, version_id, kind, passed, took_ms, report, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::json, $9)",
    )
    .bind(run.id)
    .bind(tx.tenant())
    .bind(run.probe)
    .bind(run.version)
    .bind(run.kind.as_str())
    .bind(run.passed)
    .bind(run.took_ms)
    .bind(run.report.get())
    .bind(run.at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Drops what is older than that, and what is beyond the newest so many.
pub(in crate::publishing) async fn prune(tx: &mut TenantTx, probe: ProbeId, before: DateTime<Utc>, most: i64) -> Result<()> {
    sqlx::query(
        "DELETE FROM app.probe_runs
         WHERE tenant_id = $1 AND probe_id = $2
           AND (at < $3 OR id IN (SELECT id FROM app.probe_runs WHERE tenant_id = $1 AND probe_id = $2
                                  ORDER BY at DESC, id DESC OFFSET $4))",
    )
    .bind(tx.tenant())
    .bind(probe)
    .bind(before)
    .bind(most)
    .execute(tx.connection())
    .await?;
    Ok(())
}

#[derive(sqlx::FromRow)]
struct RunRow {
    id: ProbeRunId,
    kind: String,
    number: Option<i32>,
    passed: bool,
    took_ms: i32,
    at: DateTime<Utc>,
    report: Json<StoredReport>,
}

#[derive(serde::Deserialize)]
struct StoredReport {
    #[serde(default)]
    checks: Vec<StoredCheck>,
}

/// The newest runs of a probe.
pub(in crate::publishing) async fn runs(tx: &mut TenantTx, probe: ProbeId, most: i64) -> Result<Vec<RunReport>> {
    let rows: Vec<RunRow> = sqlx::query_as(
        "SELECT r.id, r.kind, v.number, r.passed, r.took_ms, r.at, r.report FROM app.probe_runs r
         LEFT JOIN app.tool_versions v ON v.tenant_id = r.tenant_id AND v.id = r.version_id
         WHERE r.tenant_id = $1 AND r.probe_id = $2 ORDER BY r.at DESC, r.id DESC LIMIT $3",
    )
    .bind(tx.tenant())
    .bind(probe)
    .bind(most)
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(read_run).collect()
}

/// The newest run of the gate on a version.
pub(in crate::publishing) async fn gate_run(tx: &mut TenantTx, version: ToolVersionId) -> Result<Option<RunReport>> {
    let row: Option<RunRow> = sqlx::query_as(
        "SELECT r.id, r.kind, v.number, r.passed, r.took_ms, r.at, r.report FROM app.probe_runs r
         JOIN app.tool_versions v ON v.tenant_id = r.tenant_id AND v.id = r.version_id
         WHERE r.tenant_id = $1 AND r.version_id = $2 AND r.kind = 'gate' ORDER BY r.at DESC, r.id DESC LIMIT 1",
    )
    .bind(tx.tenant())
    .bind(version)
    .fetch_optional(tx.connection())
    .await?;
    row.map(read_run).transpose()
}

fn read_run(row: RunRow) -> Result<RunReport> {
    Ok(RunReport {
        id: row.id,
        kind: Kind::find(&row.kind)?,
        version: row.number,
        passed: row.passed,
        took_ms: row.took_ms,
        at: row.at,
        checks: row.report.0.checks,
    })
}

/// Of each probe of the tenant and each piece of the time since then, how many runs passed and failed. Pieces count from 0.
pub(in crate::publishing) async fn bars(
    tx: &mut TenantTx,
    since: DateTime<Utc>,
    piece_s: i32,
) -> Result<Vec<(ProbeId, i32, i64, i64)>> {
    Ok(sqlx::query_as(
        "SELECT probe_id, floor(extract(epoch FROM at - $2) / $3)::int AS piece,
                count(*) FILTER (WHERE passed), count(*) FILTER (WHERE NOT passed)
         FROM app.probe_runs WHERE tenant_id = $1 AND at >= $2 AND kind <> 'gate'
         GROUP BY probe_id, piece ORDER BY probe_id, piece",
    )
    .bind(tx.tenant())
    .bind(since)
    .bind(piece_s)
    .fetch_all(tx.connection())
    .await?)
}
