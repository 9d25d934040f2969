//! SQL of what was changed in the time of a chart.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    db::TenantTx,
    error::{Error, Result},
    ids::EntryId,
    usage::markers::Marker,
};

/// Most changes that are looked at: an imported API has some thousands at one moment.
const LOOKED_AT: i64 = 5_000;

/// Changes since then of those things (of all, if none is named), put together by moment and kind, newest first; and whether that are all.
pub(in crate::usage) async fn markers(
    tx: &mut TenantTx,
    from: DateTime<Utc>,
    subjects: &[String],
    most: usize,
) -> Result<(Vec<Marker>, bool)> {
    let rows: Vec<Marker> = sqlx::query_as(
        "SELECT at, action, min(subject) AS subject, max(version) AS version, count(*) AS count
         FROM (SELECT e.at, e.action, e.subject, (e.details ->> 'version')::int AS version
               FROM app.audit_entries e
               WHERE e.tenant_id = $1 AND e.action <> 'tools/call' AND e.id >= $2 AND e.at >= $3
               AND (e.action IN ('tool.published', 'tool.rolled_back', 'tool.limits_changed', 'tenant.limits_changed', 'budget.set', 'budget.removed')
                    OR e.action = 'agent.changed' AND e.details -> 'after' ?| ARRAY ['per_minute', 'burst', 'per_day', 'at_once',
                                                                                     'each_tool_per_minute', 'each_tool_burst'])
               AND ($4::text[] = '{}' OR e.subject = ANY ($4))
               ORDER BY e.id DESC LIMIT $5) AS found
         GROUP BY at, action
         ORDER BY at DESC, action
         LIMIT $6",
    )
    .bind(tx.tenant())
    .bind(EntryId::first_at(from))
    .bind(from)
    .bind(subjects)
    .bind(LOOKED_AT)
    .bind(i64::try_from(most).map_err(Error::internal)?)
    .fetch_all(tx.connection())
    .await?;
    let is_all = rows.iter().map(|marker| marker.count).sum::<i64>() < LOOKED_AT;
    Ok((rows, is_all))
}

/// What tools and agents are called now.
pub(in crate::usage) async fn marked_names(tx: &mut TenantTx, ids: &[Uuid]) -> Result<Vec<(Uuid, String)>> {
    Ok(sqlx::query_as(
        "SELECT id, name FROM app.tools WHERE tenant_id = $1 AND id = ANY ($2)
         UNION ALL SELECT id, name FROM app.agents WHERE tenant_id = $1 AND id = ANY ($2)",
    )
    .bind(tx.tenant())
    .bind(ids)
    .fetch_all(tx.connection())
    .await?)
}
