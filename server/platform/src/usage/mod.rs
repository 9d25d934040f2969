//! Usage: sums over calls for the dashboard, and the calls themselves. Sums are added in the transaction that records the calls, per minute,
//! hour and day, with histograms that merge by addition; and they are held against the record afterwards.

mod costs;
pub mod histogram;
mod live;
mod markers;
mod parts;
mod recount;
mod rollup;
mod runs;
mod series;
mod store;

pub use costs::{Breakdown, CostRow, Costs, Dimension, Spent, costs};
pub use live::{Lookers, newest_calls};
pub use markers::{MOST_MARKERS, Marker, Markers, markers};
pub use recount::{Days, Recount, Wrong, check_due, find_tenant, recount};
pub(crate) use rollup::add;
pub use runs::{MOST_CALLS_OF_RUNS, Run, Runs, runs};
pub use series::{Point, Range, Ranking, Rankings, Ranks, Subject, Summary, Totals, compared, rankings, series, summary};
pub use store::{Call, CallFilter, FilterNames, LimitedAgent, Narrow};

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use rollup::Kind;
use uuid::Uuid;

use crate::{
    Platform,
    actor::{Member, Permission},
    error::{Error, Result},
    ids::{AgentId, EntryId, ToolId},
};

/// The id of a tool, a version, an agent, a client or a user: what it is of says what sums are by.
pub type AnyId = Uuid;

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
    let filter = store::within_version(&mut tx, filter).await?;
    let mut calls = store::calls(&mut tx, &filter, PAGE + 1).await?;
    let older = (calls.len() > PAGE).then(|| calls[PAGE - 1].id);
    calls.truncate(PAGE);
    Ok(CallPage { calls, older })
}

/// What the ids of a filter are called here.
pub async fn filter_names(platform: &Platform, actor: &Member, filter: &CallFilter) -> Result<FilterNames> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::filter_names(&mut tx, filter).await
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
    let read = range.read(Kind::Tool, platform.clock.now());
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let ids: Vec<Uuid> = tools.iter().map(|tool| tool.uuid()).collect();
    Ok(store::of(&mut tx, &read, &ids).await?.into_iter().map(|(id, totals)| (id.into(), totals)).collect())
}

/// Sums of some agents over a range; those that did not call are missing.
pub async fn of_agents(
    platform: &Platform,
    actor: &Member,
    range: Range,
    agents: &[AgentId],
) -> Result<HashMap<AgentId, Totals>> {
    actor.require(Permission::View)?;
    let read = range.read(Kind::Agent, platform.clock.now());
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let ids: Vec<Uuid> = agents.iter().map(|agent| agent.uuid()).collect();
    Ok(store::of(&mut tx, &read, &ids).await?.into_iter().map(|(id, totals)| (id.into(), totals)).collect())
}

/// The agents that were over a limit most often in the last 24 hours, at most ten.
pub async fn most_limited(platform: &Platform, actor: &Member) -> Result<Vec<LimitedAgent>> {
    actor.require(Permission::View)?;
    let read = Range::Day.read(Kind::Agent, platform.clock.now());
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::most_limited(&mut tx, &read, 10).await
}

/// When some agents called last; those that never did are missing.
pub async fn last_calls(platform: &Platform, actor: &Member, agents: &[AgentId]) -> Result<HashMap<AgentId, DateTime<Utc>>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::last_calls(&mut tx, agents).await
}
