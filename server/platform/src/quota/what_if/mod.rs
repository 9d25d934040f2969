//! What if a limit were another one? The calls of the last seven days, asked again in their order of all limits as they would be, by the same
//! arithmetic as admission's. Nothing is charged, nothing is changed.
//!
//! Not replayed are the ladder, the bucket of the installation, and what happened without Redis: each call is asked as if Redis had been there.

mod replay;
mod store;

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, TimeDelta, TimeZone as _, Utc};
use tokio::time::Instant;

use super::{Limit, LimitScope, LimitTable, Scope};
use crate::{
    Platform,
    actor::{Member, Permission},
    error::{Error, ErrorKind, Result},
    ids::AgentId,
};
use replay::Replay;

/// Days that are replayed before the one that has begun.
const DAYS: i64 = 7;
/// Calls that are replayed at most.
const MOST_CALLS: usize = 2_000_000;
/// Calls that are read at once.
const PAGE: usize = 20_000;
/// Longest time for all of it.
const DEADLINE: Duration = Duration::from_secs(10);
/// How many are made at the same time in one process.
pub(crate) const MOST_AT_ONCE: usize = 2;
/// When to ask again while as many are being made.
const SOON_MS: u64 = 3_000;

/// What would have become of the calls.
#[derive(Debug, Clone)]
pub struct Forecast {
    /// From when on: the beginning of a day (UTC), so that days are whole.
    pub since: DateTime<Utc>,
    /// Up to when.
    pub until: DateTime<Utc>,
    /// Is that all there is? Else there were too many calls, or it took too long.
    pub is_whole: bool,
    /// Agents that called, those that would have been refused most often first.
    pub agents: Vec<AgentForecast>,
}

/// What would have become of one agent's calls.
#[derive(Debug, Clone)]
pub struct AgentForecast {
    /// Which.
    pub agent: AgentId,
    /// Its name.
    pub name: String,
    /// Calls that were asked of its limits.
    pub asked: u64,
    /// Those of them that were over a limit then.
    pub were_refused: u64,
    /// Those of them that would have been over a limit.
    pub refused: u64,
    /// When that would have been the first time, and by which limit.
    pub first: Option<(DateTime<Utc>, Scope)>,
}

impl Forecast {
    /// Calls of all agents together.
    pub fn asked(&self) -> u64 {
        self.agents.iter().map(|agent| agent.asked).sum()
    }

    /// Those of them that would have been over a limit.
    pub fn refused(&self) -> u64 {
        self.agents.iter().map(|agent| agent.refused).sum()
    }

    /// Those of them that were over a limit then.
    pub fn were_refused(&self) -> u64 {
        self.agents.iter().map(|agent| agent.were_refused).sum()
    }
}

/// Replays the last seven days and today with those limits in the place of what is set.
pub async fn what_if(platform: &Platform, actor: &Member, changed: &[(LimitScope, Limit)]) -> Result<Forecast> {
    actor.require(Permission::View)?;
    changed.iter().try_for_each(|(_, limit)| limit.check())?;
    let exhausted = |_| Error::new(ErrorKind::Exhausted { retry_after_ms: SOON_MS });
    let _one_of_few = platform.what_ifs.try_acquire().map_err(exhausted)?;
    let (began, now) = (Instant::now(), platform.clock.now());
    let first_day = (now - TimeDelta::days(DAYS)).date_naive().and_hms_opt(0, 0, 0).unwrap_or_default();
    let since = Utc.from_utc_datetime(&first_day);
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::bound(&mut tx, DEADLINE).await?;
    let table = LimitTable::load(&mut tx).await?.with(changed);
    let effects = store::effects(&mut tx).await?;
    let mut replay = Replay::new(&platform.settings.quota, actor.tenant, table, effects, since);
    let mut pages = store::Pages::since(since);
    let (mut calls, mut is_whole) = (0, true);
    while let Some(page) = pages.next(&mut tx, PAGE).await? {
        calls += page.len();
        for call in &page {
            replay.ask(call);
        }
        if calls >= MOST_CALLS || began.elapsed() >= DEADLINE {
            is_whole = pages.is_at_end();
            break;
        }
        // So that others on this thread are served in between.
        tokio::task::yield_now().await;
    }
    let until = if is_whole { now } else { replay.reached() };
    let names = store::names(&mut tx).await?;
    tx.commit().await?;
    Ok(Forecast { since, until, is_whole, agents: agents(&replay, &names) })
}

fn agents(replay: &Replay<'_>, names: &HashMap<AgentId, String>) -> Vec<AgentForecast> {
    let forecast = |(agent, tally): (&AgentId, &replay::Tally)| AgentForecast {
        agent: *agent,
        name: names.get(agent).cloned().unwrap_or_else(|| agent.to_string()),
        asked: tally.asked,
        were_refused: tally.were_refused,
        refused: tally.refused,
        first: tally.first,
    };
    let mut agents: Vec<_> = replay.tallies().map(forecast).collect();
    agents.sort_by(|a, b| (b.refused, b.asked, &a.name).cmp(&(a.refused, a.asked, &b.name)));
    agents
}
