//! SQL that breaks costs down.

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, FromRow};
use uuid::Uuid;

use super::totals::{Read, only_those, within};
use crate::{
    db::TenantTx,
    error::Result,
    ids::{AgentId, ToolId},
    usage::{
        costs::{CostRow, Dimension, Spent},
        rollup::Kind,
    },
};

/// Most sums that are broken down. Beyond, it is done for the end of the range only.
const MOST_SUMS: i64 = 300_000;

/// What is broken down by what.
#[derive(Debug, Clone, Copy)]
pub(in crate::usage) struct Groups {
    pub(in crate::usage) first: Dimension,
    pub(in crate::usage) second: Option<Dimension>,
    /// Only of these.
    pub(in crate::usage) agent: Option<AgentId>,
    pub(in crate::usage) tool: Option<ToolId>,
    pub(in crate::usage) most: i64,
}

impl Groups {
    /// The sums with the fewest rows that know the answer.
    pub(in crate::usage) fn kind(self) -> Kind {
        if self.second.is_some() || self.agent.is_some() || self.tool.is_some() {
            return Kind::Each;
        }
        match self.first {
            Dimension::Tool => Kind::Tool,
            Dimension::Version => Kind::Version,
            Dimension::Agent => Kind::Agent,
            Dimension::Client | Dimension::User => Kind::Each,
        }
    }
}

impl Dimension {
    fn column(self) -> &'static str {
        match self {
            Self::Tool => "u.tool_id",
            Self::Version => "u.version_id",
            Self::Agent => "u.agent_id",
            Self::Client => "g.client_id",
            Self::User => "u.user_id",
        }
    }

    /// The name of the one with the id in that column.
    fn name(self, column: &str) -> String {
        match self {
            Self::Tool => format!("(SELECT n.name FROM app.tools n WHERE n.tenant_id = $1 AND n.id = {column})"),
            Self::Version => format!(
                "(SELECT n.name || ' v' || v.number FROM app.tool_versions v JOIN app.tools n ON n.tenant_id = v.tenant_id AND n.id = v.tool_id
                  WHERE v.tenant_id = $1 AND v.id = {column})"
            ),
            Self::Agent => format!("(SELECT n.name FROM app.agents n WHERE n.tenant_id = $1 AND n.id = {column})"),
            Self::Client => format!("(SELECT n.name FROM app.clients n WHERE n.tenant_id = $1 AND n.id = {column})"),
            // Whoever is in these sums has called for this tenant.
            Self::User => format!("(SELECT n.email FROM app.users n WHERE n.id = {column})"),
        }
    }
}

#[derive(FromRow)]
struct Row {
    first_id: Option<Uuid>,
    first_name: Option<String>,
    second_id: Option<Uuid>,
    second_name: Option<String>,
    #[sqlx(flatten)]
    spent: Spent,
}

/// What costs most, and from when on: later than asked for where that are too many sums.
pub(in crate::usage) async fn costs(tx: &mut TenantTx, groups: Groups, read: &Read) -> Result<(Vec<CostRow>, DateTime<Utc>)> {
    let Groups { first, second, agent, tool, most } = groups;
    let read = within(tx, read, (agent, tool), MOST_SUMS).await?;
    let second_column = second.map_or("NULL::uuid", Dimension::column);
    let second_name = second.map_or_else(|| "NULL::text".to_owned(), |second| second.name("s.second_id"));
    let has_client = first == Dimension::Client || second == Some(Dimension::Client);
    let grants = if has_client { "LEFT JOIN app.grants g ON g.tenant_id = u.tenant_id AND g.id = u.grant_id" } else { "" };
    let sql = format!(
        "SELECT s.*, {} AS first_name, {second_name} AS second_name
         FROM (SELECT {} AS first_id, {second_column} AS second_id,
                      sum(u.ok + u.tool_error + u.upstream_error + u.timeout + u.denied + u.limited + u.cancelled + u.unknown)::bigint AS calls,
                      sum(u.tool_error + u.upstream_error + u.timeout + u.unknown)::bigint AS errors, sum(u.cost_micro)::bigint AS cost_micro,
                      sum(u.tokens_definition + u.tokens_out)::bigint AS tokens, sum(u.context_micro)::bigint AS context_micro,
                      sum(u.counted)::bigint AS counted
               FROM {} {grants}
               {}
               GROUP BY 1, 2 ORDER BY sum(u.cost_micro) DESC, calls DESC, 1, 2 LIMIT $7) AS s
         ORDER BY s.cost_micro DESC, s.calls DESC, s.first_id, s.second_id",
        first.name("s.first_id"),
        first.column(),
        read.source(),
        only_those((agent, tool)),
    );
    let query = read.bind(sqlx::query_as::<_, Row>(AssertSqlSafe(sql)), tx);
    let rows = query.bind(agent).bind(tool).bind(most).fetch_all(tx.connection()).await?;
    let some = |id: Option<Uuid>| id.filter(|id| !id.is_nil());
    let row = |row: Row| CostRow {
        first: (some(row.first_id), row.first_name.unwrap_or_default()),
        second: (some(row.second_id), row.second_name.unwrap_or_default()),
        spent: row.spent,
    };
    Ok((rows.into_iter().map(row).collect(), read.from()))
}
