//! SQL of probes. When they are due, what they found and whom they are about have files of their own.

mod due;
mod runs;
mod subjects;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::types::Json;

use super::probe::{Health, Probe, Subject, Terms};
use crate::{
    db::TenantTx,
    error::{Error, Result},
    ids::{ProbeId, SourceId, ToolId, UserId},
};

pub(super) use due::{lease_due, release, schedule, unschedule};
pub(super) use runs::{NewRun, bars, gate_run, insert_run, prune, runs};
pub(super) use subjects::{about, addresses, has_source, names, waits_for_gate};

#[derive(sqlx::FromRow)]
#[expect(clippy::struct_excessive_bools, reason = "the columns")]
struct ProbeRow {
    id: ProbeId,
    tool_id: Option<ToolId>,
    source_id: Option<SourceId>,
    called: String,
    arguments: Option<Json<Map<String, Value>>>,
    sample: Option<Vec<u8>>,
    confirmed: bool,
    repeats: bool,
    expected: String,
    within_ms: i32,
    may_echo: bool,
    set_by: Option<UserId>,
    every_s: Option<i32>,
    hides: bool,
    state: String,
    since: Option<DateTime<Utc>>,
    against: i32,
    failed: String,
    problem: String,
    checked_at: Option<DateTime<Utc>>,
}

impl TryFrom<ProbeRow> for Probe {
    type Error = Error;

    fn try_from(row: ProbeRow) -> Result<Self> {
        let subject = match (row.tool_id, row.source_id) {
            (Some(tool), None) => Subject::Tool(tool),
            (None, Some(source)) => Subject::Source(source),
            _ => return Err(Error::internal("a stored probe has not one subject")),
        };
        Ok(Self {
            id: row.id,
            subject,
            terms: Terms {
                called: row.called,
                arguments: row.arguments.map(|json| json.0),
                confirmed: row.confirmed,
                repeats: row.repeats,
                expected: row.expected,
                within_ms: u32::try_from(row.within_ms).map_err(Error::internal)?,
                may_echo: row.may_echo,
                every_s: row.every_s.map(u32::try_from).transpose().map_err(Error::internal)?,
                hides: row.hides,
            },
            sealed: row.sample,
            set_by: row.set_by,
            health: Health::find(&row.state)?,
            since: row.since,
            against: row.against,
            failed: row.failed,
            problem: row.problem,
            checked_at: row.checked_at,
        })
    }
}

fn ids(subject: Subject) -> (Option<ToolId>, Option<SourceId>) {
    match subject {
        Subject::Tool(tool) => (Some(tool), None),
        Subject::Source(source) => (None, Some(source)),
    }
}

/// The subject's, if it has one.
pub(super) async fn of(tx: &mut TenantTx, subject: Subject) -> Result<Option<Probe>> {
    let (tool, source) = ids(subject);
    let row: Option<ProbeRow> = sqlx::query_as(
        "SELECT id, tool_id, source_id, called, arguments, sample, confirmed, repeats, expected, within_ms, may_echo, set_by, every_s, hides, state, since,
                against, failed, problem, checked_at
         FROM app.probes WHERE tenant_id = $1 AND (tool_id = $2 OR source_id = $3)",
    )
    .bind(tx.tenant())
    .bind(tool)
    .bind(source)
    .fetch_optional(tx.connection())
    .await?;
    row.map(Probe::try_from).transpose()
}

/// One, held until the end of the transaction.
pub(super) async fn lock(tx: &mut TenantTx, id: ProbeId) -> Result<Option<Probe>> {
    let row: Option<ProbeRow> = sqlx::query_as(
        "SELECT id, tool_id, source_id, called, arguments, sample, confirmed, repeats, expected, within_ms, may_echo, set_by, every_s, hides, state, since,
                against, failed, problem, checked_at
         FROM app.probes WHERE tenant_id = $1 AND id = $2 FOR UPDATE",
    )
    .bind(tx.tenant())
    .bind(id)
    .fetch_optional(tx.connection())
    .await?;
    row.map(Probe::try_from).transpose()
}

/// All of the tenant; at most that many, those that fail first.
pub(super) async fn all(tx: &mut TenantTx, most: i64) -> Result<Vec<Probe>> {
    let rows: Vec<ProbeRow> = sqlx::query_as(
        "SELECT id, tool_id, source_id, called, arguments, sample, confirmed, repeats, expected, within_ms, may_echo, set_by, every_s, hides, state, since,
                against, failed, problem, checked_at
         FROM app.probes WHERE tenant_id = $1 ORDER BY (state = 'failing') DESC, id LIMIT $2",
    )
    .bind(tx.tenant())
    .bind(most)
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(Probe::try_from).collect()
}

/// Makes sure that there is one; nothing changes if there is.
pub(super) async fn ensure(tx: &mut TenantTx, id: ProbeId, subject: Subject) -> Result<()> {
    let (tool, source) = ids(subject);
    sqlx::query("INSERT INTO app.probes (id, tenant_id, tool_id, source_id) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
        .bind(id)
        .bind(tx.tenant())
        .bind(tool)
        .bind(source)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// `sample`: its arguments, sealed.
pub(super) async fn set_terms(tx: &mut TenantTx, id: ProbeId, terms: &Terms, sample: Option<&[u8]>, by: UserId) -> Result<()> {
    sqlx::query(
        "UPDATE app.probes SET called = $3, arguments = NULL, sample = $4, confirmed = $5, repeats = $6, expected = $7, within_ms = $8, may_echo = $9,
                every_s = $10, hides = $11, set_by = $12
         WHERE tenant_id = $1 AND id = $2",
    )
    .bind(tx.tenant())
    .bind(id)
    .bind(&terms.called)
    .bind(sample)
    .bind(terms.confirmed)
    .bind(terms.repeats)
    .bind(&terms.expected)
    .bind(i32::try_from(terms.within_ms).map_err(Error::internal)?)
    .bind(terms.may_echo)
    .bind(terms.every_s.map(i32::try_from).transpose().map_err(Error::internal)?)
    .bind(terms.hides)
    .bind(by)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Keeps the sealed arguments only.
pub(super) async fn set_sample(tx: &mut TenantTx, id: ProbeId, sealed: &[u8]) -> Result<()> {
    sqlx::query("UPDATE app.probes SET arguments = NULL, sample = $3 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .bind(sealed)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Arguments that another key than that one has sealed.
pub(super) async fn samples_under_others(tx: &mut TenantTx, key: &[u8], most: i64) -> Result<Vec<(ProbeId, Vec<u8>)>> {
    // After the version comes the id of the key.
    Ok(sqlx::query_as(
        "SELECT id, sample FROM app.probes
         WHERE tenant_id = $1 AND substring(sample FROM 2 FOR 8) <> $2 ORDER BY id LIMIT $3 FOR UPDATE",
    )
    .bind(tx.tenant())
    .bind(key)
    .bind(most)
    .fetch_all(tx.connection())
    .await?)
}

/// Arguments that none has sealed.
pub(super) async fn plain_samples(tx: &mut TenantTx, most: i64) -> Result<Vec<(ProbeId, String)>> {
    Ok(sqlx::query_as(
        "SELECT id, arguments::text FROM app.probes WHERE tenant_id = $1 AND arguments IS NOT NULL ORDER BY id LIMIT $2 FOR UPDATE",
    )
    .bind(tx.tenant())
    .bind(most)
    .fetch_all(tx.connection())
    .await?)
}

pub(super) async fn set_state(tx: &mut TenantTx, probe: &Probe) -> Result<()> {
    sqlx::query(
        "UPDATE app.probes SET state = $3, since = $4, against = $5, failed = $6, problem = $7, checked_at = $8
         WHERE tenant_id = $1 AND id = $2",
    )
    .bind(tx.tenant())
    .bind(probe.id)
    .bind(probe.health.as_str())
    .bind(probe.since)
    .bind(probe.against)
    .bind(&probe.failed)
    .bind(&probe.problem)
    .bind(probe.checked_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// What is known of some tools, and whether they are kept from callers for it.
pub(super) async fn health_of(tx: &mut TenantTx, tools: &[ToolId]) -> Result<Vec<(ToolId, Health, bool)>> {
    let rows: Vec<(ToolId, String, bool)> = sqlx::query_as(
        "SELECT t.id, CASE WHEN p.state = 'failing' THEN p.state ELSE COALESCE(o.state, 'unknown') END,
                COALESCE(p.state = 'failing' AND p.hides OR o.state = 'failing' AND o.hides, false)
         FROM app.tools t
         LEFT JOIN app.probes o ON o.tenant_id = t.tenant_id AND o.tool_id = t.id
         LEFT JOIN app.definitions d ON d.tenant_id = t.tenant_id AND d.tool_id = t.id
         LEFT JOIN app.probes p ON p.tenant_id = d.tenant_id AND p.source_id = d.source_id
         WHERE t.tenant_id = $1 AND t.id = ANY ($2)",
    )
    .bind(tx.tenant())
    .bind(tools)
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(|(tool, state, is_hidden)| Ok((tool, Health::find(&state)?, is_hidden))).collect()
}
