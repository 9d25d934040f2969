//! SQL of calls in their order.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use trunkline_protocol::oauth::scope::Effect;

use super::replay::Asked;
use crate::{
    db::TenantTx,
    error::{Error, Result},
    ids::{AgentId, EntryId, ToolId},
};

/// No statement of this transaction takes longer.
pub(super) async fn bound(tx: &mut TenantTx, longest: Duration) -> Result<()> {
    sqlx::query("SELECT set_config('statement_timeout', $1, true)")
        .bind(longest.as_millis().to_string())
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// What each tool does to the world now.
pub(super) async fn effects(tx: &mut TenantTx) -> Result<HashMap<ToolId, Effect>> {
    let rows: Vec<(ToolId, String)> = sqlx::query_as(
        "SELECT t.id, v.effect FROM app.tools t JOIN app.tool_versions v ON v.tenant_id = t.tenant_id AND v.id = t.version_id
         WHERE t.tenant_id = $1",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(|(tool, effect)| Ok((tool, effect.parse().map_err(Error::internal)?))).collect()
}

/// What each agent is called.
pub(super) async fn names(tx: &mut TenantTx) -> Result<HashMap<AgentId, String>> {
    let rows: Vec<(AgentId, String)> = sqlx::query_as("SELECT id, name FROM app.agents WHERE tenant_id = $1")
        .bind(tx.tenant())
        .fetch_all(tx.connection())
        .await?;
    Ok(rows.into_iter().collect())
}

/// Calls that were asked of their limits, page by page, in the order of their time. Read in the order of their ids, which is that of their
/// milliseconds and has an index; within a millisecond, put into order here.
pub(super) struct Pages {
    since: DateTime<Utc>,
    after: EntryId,
    /// Calls of the last millisecond of the page before: more of them may come.
    kept: Vec<Asked>,
    is_at_end: bool,
}

impl Pages {
    /// From that moment on.
    pub(super) fn since(since: DateTime<Utc>) -> Self {
        // Nothing has this id: what comes after it is all there is.
        Self { since, after: EntryId::first_at(since), kept: Vec::new(), is_at_end: false }
    }

    /// Were all of them read?
    pub(super) fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// The next page; `None` after the last.
    pub(super) async fn next(&mut self, tx: &mut TenantTx, size: usize) -> Result<Option<Vec<Asked>>> {
        if self.is_at_end {
            return Ok(None);
        }
        let fresh = self.read(tx, size).await?;
        self.is_at_end = fresh.len() < size;
        let last_ms = fresh.last().map(|call| call.at.timestamp_millis());
        if let Some(last) = fresh.last() {
            self.after = last.id;
        }
        let mut page = std::mem::take(&mut self.kept);
        page.extend(fresh);
        if !self.is_at_end {
            (page, self.kept) = page.into_iter().partition(|call| Some(call.at.timestamp_millis()) != last_ms);
        }
        page.sort_by_key(|call| (call.at, call.id));
        Ok(Some(page))
    }

    /// Admitted, or refused by a limit. Not: what was not allowed, had arguments that do not fit, or was answered from what was kept, for which
    /// no limit was asked; and what goes on in the background after a call was answered, which is the one without a request.
    async fn read(&self, tx: &mut TenantTx, size: usize) -> Result<Vec<Asked>> {
        Ok(sqlx::query_as(
            "SELECT at, id, agent_id, tool_id, outcome, error, latency_us FROM app.calls
             WHERE tenant_id = $1 AND at >= $2 AND id > $3 AND tool_id IS NOT NULL AND bytes_in > 0
               AND (outcome <> 'denied' OR error = 'never') AND (error IS NULL OR error NOT IN ('invalid_arguments', 'replayed'))
             ORDER BY id LIMIT $4",
        )
        .bind(tx.tenant())
        .bind(self.since)
        .bind(self.after)
        .bind(i64::try_from(size).map_err(Error::internal)?)
        .fetch_all(tx.connection())
        .await?)
    }
}
