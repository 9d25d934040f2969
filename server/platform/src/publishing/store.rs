//! SQL of probes, of when they are due, and of what they found.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, value::RawValue};
use sqlx::types::Json;

use super::probe::{Health, Kind, Probe, RunReport, StoredCheck, Subject, Terms};
use crate::{
    db::{SystemTx, TenantTx},
    error::{Error, Result},
    ids::{ProbeId, ProbeRunId, SourceId, TenantId, ToolId, ToolVersionId, UserId},
};

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

// When they are due

pub(super) async fn schedule(tx: &mut TenantTx, id: ProbeId, due_at: DateTime<Utc>) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.probe_rounds (probe_id, tenant, due_at) VALUES ($1, $2, $3)
         ON CONFLICT (probe_id) DO UPDATE SET due_at = EXCLUDED.due_at, leased_until = NULL",
    )
    .bind(id)
    .bind(tx.tenant())
    .bind(due_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(super) async fn unschedule(tx: &mut TenantTx, id: ProbeId) -> Result<()> {
    sqlx::query("DELETE FROM app.probe_rounds WHERE tenant = $1 AND probe_id = $2")
        .bind(tx.tenant())
        .bind(id)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Leases the probe that is due longest, of any tenant but these. `SKIP LOCKED`: replicas do not wait for each other.
pub(super) async fn lease_due(
    tx: &mut SystemTx,
    but: &[TenantId],
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Option<(TenantId, ProbeId)>> {
    Ok(sqlx::query_as(
        "UPDATE app.probe_rounds SET leased_until = $2
         WHERE probe_id = (SELECT probe_id FROM app.probe_rounds
                           WHERE due_at <= $1 AND (leased_until IS NULL OR leased_until <= $1) AND tenant <> ALL ($3)
                           ORDER BY due_at, probe_id
                           LIMIT 1
                           FOR UPDATE SKIP LOCKED)
         RETURNING tenant, probe_id",
    )
    .bind(now)
    .bind(until)
    .bind(but)
    .fetch_optional(tx.connection())
    .await?)
}

/// Ends a lease. What is not scheduled any more stays so.
pub(super) async fn release(tx: &mut TenantTx, id: ProbeId, due_at: DateTime<Utc>) -> Result<()> {
    sqlx::query("UPDATE app.probe_rounds SET leased_until = NULL, due_at = $3 WHERE tenant = $1 AND probe_id = $2")
        .bind(tx.tenant())
        .bind(id)
        .bind(due_at)
        .execute(tx.connection())
        .await?;
    Ok(())
}

// What they found

/// What is to be stored of a run.
pub(super) struct NewRun<'a> {
    pub(super) id: ProbeRunId,
    pub(super) probe: ProbeId,
    pub(super) version: Option<ToolVersionId>,
    pub(super) kind: Kind,
    pub(super) passed: bool,
    pub(super) took_ms: i32,
    pub(super) report: &'a RawValue,
    pub(super) at: DateTime<Utc>,
}

pub(super) async fn insert_run(tx: &mut TenantTx, run: &NewRun<'_>) -> Result<()> {
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
pub(super) async fn prune(tx: &mut TenantTx, probe: ProbeId, before: DateTime<Utc>, most: i64) -> Result<()> {
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
pub(super) async fn runs(tx: &mut TenantTx, probe: ProbeId, most: i64) -> Result<Vec<RunReport>> {
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
pub(super) async fn gate_run(tx: &mut TenantTx, version: ToolVersionId) -> Result<Option<RunReport>> {
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
pub(super) async fn bars(tx: &mut TenantTx, since: DateTime<Utc>, piece_s: i32) -> Result<Vec<(ProbeId, i32, i64, i64)>> {
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

// Whom it is about

/// Names of the tools and sources that are probed.
pub(super) async fn names(tx: &mut TenantTx) -> Result<Vec<(ProbeId, String, bool)>> {
    Ok(sqlx::query_as(
        "SELECT p.id, COALESCE(t.name, s.name, ''), COALESCE(t.state = 'published', s.enabled, false)
         FROM app.probes p
         LEFT JOIN app.tools t ON t.tenant_id = p.tenant_id AND t.id = p.tool_id
         LEFT JOIN app.sources s ON s.tenant_id = p.tenant_id AND s.id = p.source_id
         WHERE p.tenant_id = $1",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?)
}

/// What a letter says of the subject: the organisation, its name in URLs, the subject's name.
pub(super) async fn about(tx: &mut TenantTx, probe: ProbeId) -> Result<(String, String, String)> {
    Ok(sqlx::query_as(
        "SELECT o.name, o.slug, COALESCE(t.name, s.name, '')
         FROM app.probes p
         JOIN app.tenants o ON o.id = p.tenant_id
         LEFT JOIN app.tools t ON t.tenant_id = p.tenant_id AND t.id = p.tool_id
         LEFT JOIN app.sources s ON s.tenant_id = p.tenant_id AND s.id = p.source_id
         WHERE p.tenant_id = $1 AND p.id = $2",
    )
    .bind(tx.tenant())
    .bind(probe)
    .fetch_one(tx.connection())
    .await?)
}

/// Addresses of members with those roles, at most fifty.
pub(super) async fn addresses(tx: &mut TenantTx, roles: &[&str]) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar(
        "SELECT u.email FROM app.memberships m JOIN app.users u ON u.id = m.user_id
         WHERE m.tenant_id = $1 AND m.role = ANY ($2) ORDER BY u.email LIMIT 50",
    )
    .bind(tx.tenant())
    .bind(roles)
    .fetch_all(tx.connection())
    .await?)
}

/// Has the source tools, none of which was ever let in?
pub(super) async fn waits_for_gate(tx: &mut TenantTx, source: SourceId) -> Result<bool> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM app.definitions WHERE tenant_id = $1 AND source_id = $2 AND kind = 'tool')
                AND NOT EXISTS (SELECT FROM app.definitions WHERE tenant_id = $1 AND source_id = $2 AND tool_id IS NOT NULL)",
    )
    .bind(tx.tenant())
    .bind(source)
    .fetch_one(tx.connection())
    .await?)
}

pub(super) async fn has_source(tx: &mut TenantTx, source: SourceId) -> Result<bool> {
    Ok(sqlx::query_scalar("SELECT EXISTS (SELECT FROM app.sources WHERE tenant_id = $1 AND id = $2)")
        .bind(tx.tenant())
        .bind(source)
        .fetch_one(tx.connection())
        .await?)
}
