//! What calls have cost, by any two of what they have in common. From sums of days (UTC).

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{
    parts::parts_until_now,
    rollup::{DAY, Kind, start_of},
    series::{Range, Totals},
    store::{self, Groups, Read},
};
use crate::{
    Platform,
    actor::{Member, Permission},
    error::{Error, Result},
    ids::{AgentId, ToolId},
};

/// What costs are broken down by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dimension {
    /// The tool that was called.
    Tool,
    /// The version of it that ran.
    Version,
    /// Who called.
    Agent,
    /// The OAuth client that it called by.
    Client,
    /// The person that it called for.
    User,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Tool, Self::Version, Self::Agent, Self::Client, Self::User];

    /// As in the page's address.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Version => "version",
            Self::Agent => "agent",
            Self::Client => "client",
            Self::User => "user",
        }
    }

    /// The dimension of that word; `field` is what the word was given for.
    pub fn parse(field: &'static str, word: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|one| one.as_str() == word)
            .ok_or_else(|| Error::invalid(field, "expected tool, version, agent, client or user"))
    }
}

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Breakdown {
    /// By what.
    pub first: Dimension,
    /// And by what, if not by that alone.
    pub second: Option<Dimension>,
    /// Only of that agent.
    pub agent: Option<AgentId>,
    /// Only of that tool.
    pub tool: Option<ToolId>,
    /// Most rows.
    pub most: usize,
}

/// What some calls have cost.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub struct Spent {
    /// All calls, refused ones too.
    pub calls: i64,
    /// Calls that failed.
    pub errors: i64,
    /// What they cost, in micro-units.
    pub cost_micro: i64,
    /// Tokens of definitions and of what tools gave back.
    pub tokens: i64,
    /// What these cost in the callers' models, in micro-units.
    pub context_micro: i64,
    /// Calls whose tokens were counted.
    pub counted: i64,
}

impl Spent {
    /// What is left of all calls beside those that are listed, if there are others.
    pub fn rest<'a>(all: &Totals, listed: impl Iterator<Item = &'a Self>) -> Option<Self> {
        let Totals { calls, errors, cost_micro, context_micro, counted, .. } = *all;
        let mut rest = Self {
            calls,
            errors,
            cost_micro,
            tokens: all.tokens_definition.saturating_add(all.tokens_out),
            context_micro,
            counted,
        };
        for one in listed {
            rest.calls -= one.calls;
            rest.errors -= one.errors;
            rest.cost_micro -= one.cost_micro;
            rest.tokens -= one.tokens;
            rest.context_micro -= one.context_micro;
            rest.counted -= one.counted;
        }
        (rest.calls > 0).then_some(rest)
    }
}

/// One row: ids and names are missing where calls have none, such as calls with a key, which have no client.
#[derive(Debug, Clone)]
pub struct CostRow {
    /// Of the first dimension.
    pub first: (Option<Uuid>, String),
    /// Of the second.
    pub second: (Option<Uuid>, String),
    /// What its calls have cost.
    pub spent: Spent,
}

/// Costs, broken down.
#[derive(Debug, Clone)]
pub struct Costs {
    /// What costs most, first.
    pub rows: Vec<CostRow>,
    /// Everything, rows that have no place too. Nothing where it is of one agent or tool.
    pub totals: Totals,
    /// The first day.
    pub from: DateTime<Utc>,
    /// Are there so many sums that this is later than asked for?
    pub is_cut: bool,
}

/// The first day of a range: all its days are whole, but for today.
fn first_day(range: Range, now: DateTime<Utc>) -> DateTime<Utc> {
    start_of(now, DAY) - TimeDelta::days((range.length().num_days() - 1).max(0))
}

/// Breaks the costs of a range down.
pub async fn costs(platform: &Platform, actor: &Member, range: Range, by: Breakdown) -> Result<Costs> {
    actor.require(Permission::View)?;
    let now = platform.clock.now();
    let asked = first_day(range, now);
    let Breakdown { first, second, agent, tool, most } = by;
    let second = second.filter(|second| *second != first);
    let most = i64::try_from(most).map_err(Error::internal)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let groups = Groups { first, second, agent, tool, most };
    let read = Read { kind: groups.kind(), parts: parts_until_now(groups.kind(), DAY, asked, now) };
    let (rows, from) = store::costs(&mut tx, groups, &read).await?;
    let totals = if agent.is_some() || tool.is_some() {
        Totals::default()
    } else {
        store::totals(&mut tx, &Read { kind: Kind::All, parts: parts_until_now(Kind::All, DAY, from, now) }, None).await?
    };
    Ok(Costs { rows, totals, from, is_cut: from > asked })
}
