//! SQL of who has called lately.

use chrono::{DateTime, Utc};

use super::Pair;
use crate::{db::TenantTx, error::Result};

/// Who has called what since that moment, as often as that; or earlier in the same hour.
pub(super) async fn lately(tx: &mut TenantTx, since: DateTime<Utc>, now: DateTime<Utc>, most: i64) -> Result<Vec<Pair>> {
    Ok(sqlx::query_as(
        "SELECT u.agent_id, a.name AS agent_name, (a.state = 'throttled' AND a.state_until > $3) AS is_throttled,
                u.tool_id, t.name AS tool_name, v.effect
         FROM (SELECT agent_id, tool_id, sum(ok + tool_error + upstream_error + timeout + limited + cancelled + unknown) AS calls
               FROM app.usage_rollups WHERE tenant_id = $1 AND step = 60 AND start > $2::timestamptz - interval '1 hour' GROUP BY agent_id, tool_id
               ORDER BY calls DESC, agent_id, tool_id LIMIT $4) AS u
         JOIN app.agents a ON a.tenant_id = $1 AND a.id = u.agent_id
         JOIN app.tools t ON t.tenant_id = $1 AND t.id = u.tool_id
         JOIN app.tool_versions v ON v.tenant_id = $1 AND v.id = t.version_id
         ORDER BY u.calls DESC, u.agent_id, u.tool_id",
    )
    .bind(tx.tenant())
    .bind(since)
    .bind(now)
    .bind(most)
    .fetch_all(tx.connection())
    .await?)
}
