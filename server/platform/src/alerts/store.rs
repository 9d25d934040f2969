//! SQL of alerts, of what is usual, and of whom they are told.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::{
    alert::{Alert, Kind},
    judge::{Recent, Usual},
};
use crate::{
    db::{SystemTx, TenantTx},
    error::Result,
    ids::{AgentId, AlertId, SourceId, TenantId, ToolId, UserId},
    usage::histogram,
};

/// Tools and agents of one look, the busiest first.
const MOST_SUBJECTS: i64 = 1_000;
/// Members that get a letter.
const MOST_LETTERS: i64 = 50;

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

pub(super) async fn lease_due(
    tx: &mut SystemTx,
    but: &[TenantId],
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Option<TenantId>> {
    Ok(sqlx::query_scalar(
        "UPDATE app.alert_rounds SET leased_until = $2
         WHERE tenant = (SELECT tenant FROM app.alert_rounds
                         WHERE due_at <= $1 AND (leased_until IS NULL OR leased_until <= $1) AND tenant <> ALL ($3)
                         ORDER BY due_at, tenant
                         LIMIT 1
                         FOR UPDATE SKIP LOCKED)
         RETURNING tenant",
    )
    .bind(now)
    .bind(until)
    .bind(but)
    .fetch_optional(tx.connection())
    .await?)
}

pub(super) async fn release(tx: &mut TenantTx, due_at: DateTime<Utc>) -> Result<()> {
    sqlx::query(
        "UPDATE app.alert_rounds SET leased_until = NULL, due_at = $2,
                firing = (SELECT count(*) FROM app.alerts WHERE tenant_id = $1 AND state = 'firing')
         WHERE tenant = $1",
    )
    .bind(tx.tenant())
    .bind(due_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Holds the tenant's round until the end of the transaction. False: another replica has made it.
pub(super) async fn lock_round(tx: &mut TenantTx, now: DateTime<Utc>) -> Result<bool> {
    let is_due: Option<bool> = sqlx::query_scalar("SELECT due_at <= $2 FROM app.alert_rounds WHERE tenant = $1 FOR UPDATE")
        .bind(tx.tenant())
        .bind(now)
        .fetch_optional(tx.connection())
        .await?;
    Ok(is_due.unwrap_or(false))
}

/// Since when sums of usage are wrong, if they are.
pub(super) async fn wrong_sums(tx: &mut TenantTx) -> Result<Option<DateTime<Utc>>> {
    let found: Option<Option<DateTime<Utc>>> = sqlx::query_scalar("SELECT wrong_from FROM app.usage_checks WHERE tenant = $1")
        .bind(tx.tenant())
        .fetch_optional(tx.connection())
        .await?;
    Ok(found.flatten())
}

#[derive(sqlx::FromRow)]
struct RecentRow<T> {
    id: T,
    name: String,
    ran: i64,
    failed: i64,
    calls: i64,
    limited: i64,
}

impl<T> RecentRow<T> {
    fn split(self) -> (T, String, Recent) {
        let Self { ran, failed, calls, limited, .. } = self;
        (self.id, self.name, Recent { ran, failed, calls, limited, p99_ms: None })
    }
}

/// What tools were called since then.
pub(super) async fn tools(tx: &mut TenantTx, since: DateTime<Utc>) -> Result<Vec<(ToolId, String, Recent)>> {
    let rows: Vec<RecentRow<ToolId>> = sqlx::query_as(
        "SELECT u.tool_id AS id, t.name, sum(u.ok + u.tool_error + u.upstream_error + u.timeout + u.unknown)::bigint AS ran,
                sum(u.tool_error + u.upstream_error + u.timeout + u.unknown)::bigint AS failed,
                sum(u.ok + u.tool_error + u.upstream_error + u.timeout + u.denied + u.limited + u.cancelled + u.unknown)::bigint AS calls,
                sum(u.limited)::bigint AS limited
         FROM app.usage_sums u JOIN app.tools t ON t.tenant_id = u.tenant_id AND t.id = u.tool_id
         WHERE u.tenant_id = $1 AND u.kind = 'tool' AND u.step = 1 AND u.start >= $2
         GROUP BY u.tool_id, t.name ORDER BY calls DESC, u.tool_id LIMIT $3",
    )
    .bind(tx.tenant())
    .bind(since)
    .bind(MOST_SUBJECTS)
    .fetch_all(tx.connection())
    .await?;
    let times = percentiles(tx, 1, (since, DateTime::<Utc>::MAX_UTC), None).await?;
    let with_time = |row: RecentRow<ToolId>| {
        let (id, name, recent) = row.split();
        (id, name, Recent { p99_ms: times.get(&id).copied(), ..recent })
    };
    Ok(rows.into_iter().map(with_time).collect())
}

/// What agents called since then.
pub(super) async fn agents(tx: &mut TenantTx, since: DateTime<Utc>) -> Result<Vec<(AgentId, String, Recent)>> {
    let rows: Vec<RecentRow<AgentId>> = sqlx::query_as(
        "SELECT u.agent_id AS id, a.name, 0::bigint AS ran, 0::bigint AS failed,
                sum(u.ok + u.tool_error + u.upstream_error + u.timeout + u.denied + u.limited + u.cancelled + u.unknown)::bigint AS calls,
                sum(u.limited)::bigint AS limited
         FROM app.usage_sums u JOIN app.agents a ON a.tenant_id = u.tenant_id AND a.id = u.agent_id
         WHERE u.tenant_id = $1 AND u.kind = 'agent' AND u.step = 1 AND u.start >= $2
         GROUP BY u.agent_id, a.name ORDER BY calls DESC, u.agent_id LIMIT $3",
    )
    .bind(tx.tenant())
    .bind(since)
    .bind(MOST_SUBJECTS)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().map(RecentRow::split).collect())
}

/// The 99th percentile of each tool, or of those, in milliseconds.
async fn percentiles(
    tx: &mut TenantTx,
    step: i16,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    tools: Option<&[ToolId]>,
) -> Result<HashMap<ToolId, f64>> {
    let rows: Vec<(ToolId, i64, i64)> = sqlx::query_as(
        "SELECT u.tool_id, array_lower(u.histogram, 1) - 1 + l.place AS bucket, sum(l.count)::bigint
         FROM app.usage_sums u, unnest(u.histogram) WITH ORDINALITY AS l (count, place)
         WHERE u.tenant_id = $1 AND u.kind = 'tool' AND u.step = $2 AND u.start >= $3 AND ($4::timestamptz IS NULL OR u.start < $4)
           AND ($5::uuid[] IS NULL OR u.tool_id = ANY ($5)) AND l.count > 0
         GROUP BY 1, 2",
    )
    .bind(tx.tenant())
    .bind(step)
    .bind(from)
    .bind((to != DateTime::<Utc>::MAX_UTC).then_some(to))
    .bind(tools.map(|tools| tools.iter().map(|tool| tool.uuid()).collect::<Vec<_>>()))
    .fetch_all(tx.connection())
    .await?;
    let mut histograms: HashMap<ToolId, Vec<i64>> = HashMap::new();
    for (tool, bucket, count) in rows {
        let counts = histograms.entry(tool).or_insert_with(|| vec![0; histogram::BUCKETS]);
        if let Some(slot) = usize::try_from(bucket - 1).ok().and_then(|bucket| counts.get_mut(bucket)) {
            *slot += count;
        }
    }
    Ok(histograms.into_iter().filter_map(|(tool, counts)| Some((tool, histogram::quantile_ms(&counts, 0.99)?))).collect())
}

/// What was learnt of those tools before that hour.
pub(super) async fn learnt(tx: &mut TenantTx, hour: DateTime<Utc>, tools: &[ToolId]) -> Result<HashMap<ToolId, Usual>> {
    #[derive(sqlx::FromRow)]
    struct Row {
        tool_id: ToolId,
        #[sqlx(flatten)]
        usual: Usual,
    }
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT tool_id, ran, failed, p99_ms FROM app.alert_baselines WHERE tenant_id = $1 AND hour = $2 AND tool_id = ANY ($3)",
    )
    .bind(tx.tenant())
    .bind(hour)
    .bind(tools.iter().map(|tool| tool.uuid()).collect::<Vec<_>>())
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().map(|row| (row.tool_id, row.usual)).collect())
}

/// Learns what is usual for those tools from the sums of those hours, and keeps it for `hour`.
pub(super) async fn learn(
    tx: &mut TenantTx,
    hour: DateTime<Utc>,
    hours: (DateTime<Utc>, DateTime<Utc>),
    tools: &[ToolId],
) -> Result<HashMap<ToolId, Usual>> {
    let sums: Vec<(ToolId, i64, i64)> = sqlx::query_as(
        "SELECT tool_id, sum(ok + tool_error + upstream_error + timeout + unknown)::bigint,
                sum(tool_error + upstream_error + timeout + unknown)::bigint
         FROM app.usage_sums WHERE tenant_id = $1 AND kind = 'tool' AND step = 60 AND start >= $2 AND start < $3 AND tool_id = ANY ($4) GROUP BY tool_id",
    )
    .bind(tx.tenant())
    .bind(hours.0)
    .bind(hours.1)
    .bind(tools.iter().map(|tool| tool.uuid()).collect::<Vec<_>>())
    .fetch_all(tx.connection())
    .await?;
    let times = percentiles(tx, 60, hours, Some(tools)).await?;
    let sums: HashMap<ToolId, (i64, i64)> = sums.into_iter().map(|(tool, ran, failed)| (tool, (ran, failed))).collect();
    let mut learnt = HashMap::new();
    for tool in tools {
        let (ran, failed) = sums.get(tool).copied().unwrap_or_default();
        let usual = Usual { ran, failed, p99_ms: times.get(tool).copied() };
        sqlx::query(
            "INSERT INTO app.alert_baselines (tenant_id, tool_id, hour, ran, failed, p99_ms) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (tenant_id, tool_id) DO UPDATE SET hour = $3, ran = $4, failed = $5, p99_ms = $6",
        )
        .bind(tx.tenant())
        .bind(*tool)
        .bind(hour)
        .bind(ran)
        .bind(failed)
        .bind(usual.p99_ms)
        .execute(tx.connection())
        .await?;
        learnt.insert(*tool, usual);
    }
    Ok(learnt)
}

/// What fails its probes: a tool or a source, and what that is called.
pub(super) async fn failing(tx: &mut TenantTx) -> Result<Vec<(Option<ToolId>, Option<SourceId>, String)>> {
    Ok(sqlx::query_as(
        "SELECT p.tool_id, p.source_id, COALESCE(t.name, s.name)
         FROM app.probes p
         LEFT JOIN app.tools t ON t.tenant_id = p.tenant_id AND t.id = p.tool_id
         LEFT JOIN app.sources s ON s.tenant_id = p.tenant_id AND s.id = p.source_id
         WHERE p.tenant_id = $1 AND p.state = 'failing' AND COALESCE(t.state = 'published', true) ORDER BY p.id LIMIT $2",
    )
    .bind(tx.tenant())
    .bind(MOST_SUBJECTS)
    .fetch_all(tx.connection())
    .await?)
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

/// Whom alerts are told, as stored.
#[derive(sqlx::FromRow)]
pub(super) struct TargetsRow {
    pub(super) mail_roles: Vec<String>,
    pub(super) webhook_url: Option<String>,
    pub(super) webhook_secret: Option<Vec<u8>>,
    pub(super) chat_url: Option<Vec<u8>>,
}

pub(super) async fn targets(tx: &mut TenantTx) -> Result<Option<TargetsRow>> {
    Ok(sqlx::query_as("SELECT mail_roles, webhook_url, webhook_secret, chat_url FROM app.alert_targets WHERE tenant_id = $1")
        .bind(tx.tenant())
        .fetch_optional(tx.connection())
        .await?)
}

pub(super) async fn put_targets(tx: &mut TenantTx, row: &TargetsRow, now: DateTime<Utc>) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.alert_targets (tenant_id, mail_roles, webhook_url, webhook_secret, chat_url, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (tenant_id) DO UPDATE SET mail_roles = $2, webhook_url = $3, webhook_secret = $4, chat_url = $5, updated_at = $6",
    )
    .bind(tx.tenant())
    .bind(&row.mail_roles)
    .bind(&row.webhook_url)
    .bind(&row.webhook_secret)
    .bind(&row.chat_url)
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Addresses of members with one of those roles.
pub(super) async fn addresses(tx: &mut TenantTx, roles: &[String]) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar(
        "SELECT u.email FROM app.memberships m JOIN app.users u ON u.id = m.user_id
         WHERE m.tenant_id = $1 AND m.role = ANY ($2) ORDER BY u.email LIMIT $3",
    )
    .bind(tx.tenant())
    .bind(roles)
    .bind(MOST_LETTERS)
    .fetch_all(tx.connection())
    .await?)
}

/// The tenant's name, and the same in URLs.
pub(super) async fn organisation(tx: &mut TenantTx) -> Result<(String, String)> {
    Ok(sqlx::query_as("SELECT name, slug FROM app.tenants WHERE id = $1").bind(tx.tenant()).fetch_one(tx.connection()).await?)
}

/// Addresses of members, by their ids.
pub(super) async fn emails(tx: &mut TenantTx, users: &[UserId]) -> Result<HashMap<UserId, String>> {
    let rows: Vec<(UserId, String)> = sqlx::query_as(
        "SELECT u.id, u.email FROM app.memberships m JOIN app.users u ON u.id = m.user_id WHERE m.tenant_id = $1 AND u.id = ANY ($2)",
    )
    .bind(tx.tenant())
    .bind(users)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().collect())
}
