//! SQL about what the log is narrowed to.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use super::{CallFilter, Narrow};
use crate::{db::TenantTx, error::Result, ids::ToolId};

/// What the ids of a filter are called; nothing for those that are not of this tenant.
#[derive(Debug, Clone, Default, FromRow)]
pub struct FilterNames {
    /// The tool and its version.
    pub version: Option<String>,
    /// The client.
    pub client: Option<String>,
    /// The person's address.
    pub user: Option<String>,
}

/// A person is named if they are a member, or somebody has called for them here.
pub(in crate::usage) async fn filter_names(tx: &mut TenantTx, filter: &CallFilter) -> Result<FilterNames> {
    Ok(sqlx::query_as(
        "SELECT (SELECT t.name || ' v' || v.number FROM app.tool_versions v JOIN app.tools t ON t.tenant_id = v.tenant_id AND t.id = v.tool_id
                 WHERE v.tenant_id = $1 AND v.id = $2) AS version,
                (SELECT name FROM app.clients WHERE tenant_id = $1 AND id = $3) AS client,
                (SELECT u.email FROM app.users u WHERE u.id = $4
                 AND (EXISTS (SELECT FROM app.memberships m WHERE m.tenant_id = $1 AND m.user_id = $4)
                      OR EXISTS (SELECT FROM app.calls c WHERE c.tenant_id = $1 AND c.user_id = $4))) AS \"user\"",
    )
    .bind(tx.tenant())
    .bind(filter.version.and_then(Narrow::id))
    .bind(filter.client.and_then(Narrow::id))
    .bind(filter.user.and_then(Narrow::id))
    .fetch_one(tx.connection())
    .await?)
}

/// How much clocks of replicas may differ.
const SKEW: TimeDelta = TimeDelta::hours(1);

/// A filter by version, within what its calls can be: of its tool, later than the version, and no later than the last day that has sums of it. There is
/// no index by version, and so none is needed: whoever looks for an old one does not read what its successors were called.
pub(in crate::usage) async fn within_version(tx: &mut TenantTx, filter: &CallFilter) -> Result<CallFilter> {
    let Some(version) = filter.version.and_then(Narrow::id) else { return Ok(filter.clone()) };
    let (tool, last): (Option<ToolId>, Option<DateTime<Utc>>) = sqlx::query_as(
        "SELECT (SELECT tool_id FROM app.tool_versions WHERE tenant_id = $1 AND id = $2),
                (SELECT max(start) FROM app.usage_sums WHERE tenant_id = $1 AND kind = 'version' AND step = 1440 AND version_id = $2)",
    )
    .bind(tx.tenant())
    .bind(version)
    .fetch_one(tx.connection())
    .await?;
    let after = last.map(|day| day + TimeDelta::days(1) + SKEW);
    Ok(CallFilter {
        tool: filter.tool.or(tool),
        from: filter.from.max(made_at(version.uuid()).map(|at| at - SKEW)),
        to: [filter.to, after].into_iter().flatten().min(),
        ..filter.clone()
    })
}

/// When an id was made, if it says so.
fn made_at(id: Uuid) -> Option<DateTime<Utc>> {
    let (seconds, _) = id.get_timestamp()?.to_unix();
    i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0))
}
