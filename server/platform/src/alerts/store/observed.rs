//! SQL of what rounds look at: recent calls, what is usual, and what fails.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use crate::{
    alerts::judge::{Recent, Usual},
    db::TenantTx,
    error::Result,
    ids::{AgentId, SourceId, ToolId},
    usage::histogram,
};

/// Tools and agents of one look, the busiest first.
const MOST_SUBJECTS: i64 = 1_000;

/// Since when sums of usage are wrong, if they are.
pub(in crate::alerts) async fn wrong_sums(tx: &mut TenantTx) -> Result<Option<DateTime<Utc>>> {
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
pub(in crate::alerts) async fn tools(tx: &mut TenantTx, since: DateTime<Utc>) -> Result<Vec<(ToolId, String, Recent)>> {
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
pub(in crate::alerts) async fn agents(tx: &mut TenantTx, since: DateTime<Utc>) -> Result<Vec<(AgentId, String, Recent)>> {
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
pub(in crate::alerts) async fn learnt(
    tx: &mut TenantTx,
    hour: DateTime<Utc>,
    tools: &[ToolId],
) -> Result<HashMap<ToolId, Usual>> {
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
pub(in crate::alerts) async fn learn(
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
pub(in crate::alerts) async fn failing(tx: &mut TenantTx) -> Result<Vec<(Option<ToolId>, Option<SourceId>, String)>> {
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
