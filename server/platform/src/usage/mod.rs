//! Usage: sums over calls for the dashboard, and the calls themselves. Sums are added in the transaction that records the calls, per minute
//! and per hour, with histograms that merge by addition.

pub mod histogram;
mod rollup;
mod series;
mod store;

pub(crate) use rollup::add;
pub use series::{Point, Range, Ranking, Summary, Totals, series, summary};
pub use store::{Call, CallFilter, LimitedAgent};

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use crate::{
    Platform,
    actor::{Member, Permission},
    error::{Error, Result},
    ids::{AgentId, EntryId, ToolId},
};

/// One page of the call log, newest first.
#[derive(Debug)]
pub struct CallPage {
    /// The calls.
    pub calls: Vec<Call>,
    /// Where the next page begins, if there is one.
    pub older: Option<EntryId>,
}

/// Calls of one page.
pub const PAGE: usize = 50;

/// A page of the call log.
pub async fn calls(platform: &Platform, actor: &Member, filter: &CallFilter) -> Result<CallPage> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let mut calls = store::calls(&mut tx, filter, PAGE + 1).await?;
    let older = (calls.len() > PAGE).then(|| calls[PAGE - 1].id);
    calls.truncate(PAGE);
    Ok(CallPage { calls, older })
}

/// One call.
pub async fn call(platform: &Platform, actor: &Member, id: EntryId) -> Result<Call> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::call(&mut tx, id).await?.ok_or(Error::not_found("call"))
}

/// Has any agent of the tenant ever called a tool?
pub async fn has_calls(platform: &Platform, actor: &Member) -> Result<bool> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::has_calls(&mut tx).await
}

/// Sums of some tools over a range; those that were not called are missing.
pub async fn of_tools(platform: &Platform, actor: &Member, range: Range, tools: &[ToolId]) -> Result<HashMap<ToolId, Totals>> {
    actor.require(Permission::View)?;
    let since = range.start(platform.clock.now());
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::of_tools(&mut tx, range, since, tools).await
}

/// Sums of some agents over a range; those that did not call are missing.
pub async fn of_agents(
    platform: &Platform,
    actor: &Member,
    range: Range,
    agents: &[AgentId],
) -> Result<HashMap<AgentId, Totals>> {
    actor.require(Permission::View)?;
    let since = range.start(platform.clock.now());
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::of_agents(&mut tx, range, since, agents).await
}

/// The agents that were over a limit most often in a range, at most ten.
pub async fn most_limited(platform: &Platform, actor: &Member, range: Range) -> Result<Vec<LimitedAgent>> {
    actor.require(Permission::View)?;
    let since = range.start(platform.clock.now());
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::most_limited(&mut tx, range, since, 10).await
}

/// When some agents called last; those that never did are missing.
pub async fn last_calls(platform: &Platform, actor: &Member, agents: &[AgentId]) -> Result<HashMap<AgentId, DateTime<Utc>>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::last_calls(&mut tx, agents).await
}
