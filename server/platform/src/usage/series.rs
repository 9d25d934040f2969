//! The numbers behind the home page and the pages of usage.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{
    histogram,
    parts::{Part, parts, parts_until_now},
    rollup::{DAY, HOUR, Kind, MINUTE},
    store::{self, Read},
};
use crate::{
    Platform,
    actor::{Member, Permission},
    error::{Error, Result},
    ids::{AgentId, TenantId, ToolId},
};

/// A span of time up to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// One hour, by the minute.
    Hour,
    /// One day, by ten minutes.
    Day,
    /// One week, by the hour.
    Week,
    /// Thirty days, by six hours.
    Month,
    /// Ninety days, by the day.
    Quarter,
}

impl Range {
    /// All ranges, shortest first.
    pub const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Quarter];

    /// As in the page's address.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
            Self::Month => "30d",
            Self::Quarter => "90d",
        }
    }

    /// The range of that word.
    pub fn parse(word: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|range| range.as_str() == word)
            .ok_or_else(|| Error::invalid("range", "expected 1h, 24h, 7d, 30d or 90d"))
    }

    /// Its length.
    pub fn length(self) -> TimeDelta {
        match self {
            Self::Hour => TimeDelta::hours(1),
            Self::Day => TimeDelta::days(1),
            Self::Week => TimeDelta::days(7),
            Self::Month => TimeDelta::days(30),
            Self::Quarter => TimeDelta::days(90),
        }
    }

    /// Length of one point, in minutes; a tool or an agent has no sums that are shorter than those of rankings.
    pub fn step_minutes(self, subject: Subject) -> i64 {
        let step = match self {
            Self::Hour => 1,
            Self::Day => 10,
            Self::Week => 60,
            Self::Month => 360,
            Self::Quarter => 1_440,
        };
        if subject == Subject::Everything { step } else { step.max(self.coarse_step().into()) }
    }

    /// The stored interval that points of everything are read from, in minutes.
    fn stored_step(self) -> i16 {
        match self {
            Self::Hour | Self::Day => MINUTE,
            Self::Week | Self::Month => HOUR,
            Self::Quarter => DAY,
        }
    }

    /// The stored interval for points of a tool or an agent; and the shortest for sums of the whole.
    fn coarse_step(self) -> i16 {
        match self {
            Self::Hour => MINUTE,
            Self::Day | Self::Week => HOUR,
            Self::Month | Self::Quarter => DAY,
        }
    }

    /// Start of the first whole interval of all that is read for it, so that all numbers of a page are of the same calls.
    pub fn start(self, now: DateTime<Utc>) -> DateTime<Utc> {
        let step = self.step_minutes(Subject::Everything).max(self.coarse_step().into()) * 60;
        let start = (now - self.length()).timestamp();
        DateTime::from_timestamp(start - start.rem_euclid(step) + step, 0).unwrap_or(now)
    }

    /// What is read of it.
    pub(super) fn read(self, kind: Kind, now: DateTime<Utc>) -> Read {
        Read { kind, parts: parts_until_now(kind, self.coarse_step(), self.start(now), now) }
    }

    /// What is read of the same time before it: to the minute for as long as minutes are kept for sure.
    fn read_before(self, kind: Kind, now: DateTime<Utc>) -> Read {
        let finest = if self.length() <= TimeDelta::days(1) { MINUTE } else { HOUR };
        Read { kind, parts: parts(kind, finest, self.start(now) - self.length(), now - self.length()) }
    }

    /// What is read of it for points.
    fn read_points(self, kind: Kind, now: DateTime<Utc>) -> Read {
        let step = if kind == Kind::All { self.stored_step() } else { self.coarse_step() };
        Read { kind, parts: vec![Part { step, from: self.start(now), to: now + TimeDelta::hours(1) }] }
    }
}

/// What numbers are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// All calls of the tenant.
    Everything,
    /// Those of a tool.
    Tool(ToolId),
    /// Those of an agent.
    Agent(AgentId),
}

impl Subject {
    fn parts(self) -> (Kind, Option<Uuid>) {
        match self {
            Self::Everything => (Kind::All, None),
            Self::Tool(tool) => (Kind::Tool, Some(tool.uuid())),
            Self::Agent(agent) => (Kind::Agent, Some(agent.uuid())),
        }
    }
}

/// Sums of some calls.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// All calls, refused ones too.
    pub calls: i64,
    /// Calls that failed: those of the next three and those whose end is not known.
    pub errors: i64,
    /// Calls whose tool said that it failed, or whose arguments did not fit.
    pub tool_errors: i64,
    /// Calls whose upstream failed.
    pub upstream_errors: i64,
    /// Calls whose upstream was too slow.
    pub timeouts: i64,
    /// Calls whose end is not known.
    pub unknown: i64,
    /// Calls whose caller went away.
    pub cancelled: i64,
    /// Calls that were not allowed.
    pub denied: i64,
    /// Calls over a limit.
    pub limited: i64,
    /// What they cost, in micro-units.
    pub cost_micro: i64,
    /// Calls whose tokens were counted; the next three are sums of those.
    pub counted: i64,
    /// Tokens of definitions.
    pub tokens_definition: i64,
    /// Tokens of what tools gave back.
    pub tokens_out: i64,
    /// What these cost in the callers' models, in micro-units.
    pub context_micro: i64,
    /// Median latency in milliseconds.
    pub p50_ms: Option<f64>,
    /// 95th percentile.
    pub p95_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
}

impl Totals {
    pub(super) fn with_latency(mut self, counts: &[i64]) -> Self {
        self.p50_ms = histogram::quantile_ms(counts, 0.50);
        self.p95_ms = histogram::quantile_ms(counts, 0.95);
        self.p99_ms = histogram::quantile_ms(counts, 0.99);
        self
    }

    /// Failed calls among those that were let through, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^52")]
    pub fn error_rate(&self) -> f64 {
        let ran = self.calls - self.denied - self.limited;
        if ran == 0 { 0.0 } else { self.errors as f64 / ran as f64 }
    }
}

/// Sums of one point in time.
#[derive(Debug, Clone)]
pub struct Point {
    /// Its start.
    pub at: DateTime<Utc>,
    /// Its sums.
    pub totals: Totals,
    /// Calls that ran, by bucket of their latency.
    pub latency: Vec<i64>,
}

/// A tool or an agent and its sums.
#[derive(Debug, Clone)]
pub struct Ranking {
    /// Its id; nil for calls to tools that do not exist.
    pub id: Uuid,
    /// Its name; empty if it is not there any more, or never was.
    pub name: String,
    /// Its sums.
    pub totals: Totals,
}

/// The tools or agents that were called most, or called most.
#[derive(Debug, Clone)]
pub struct Ranks {
    /// The first of them.
    pub rows: Vec<Ranking>,
    /// What they were ranked by begins here.
    pub from: DateTime<Utc>,
    /// Are there so many sums that this is later than asked for?
    pub is_cut: bool,
}

/// Who was called most, and who called most.
#[derive(Debug, Clone)]
pub struct Rankings {
    /// The most called tools.
    pub tools: Ranks,
    /// The busiest agents.
    pub agents: Ranks,
}

/// What the home page says about a range.
#[derive(Debug, Clone)]
pub struct Summary {
    /// All together.
    pub totals: Totals,
    /// The first of them.
    pub first: Rankings,
}

/// Totals of a range, and its first so many tools and agents.
pub async fn summary(platform: &Platform, actor: &Member, range: Range, most: usize) -> Result<Summary> {
    actor.require(Permission::View)?;
    let all = totals(platform, actor.tenant, range.read(Kind::All, platform.clock.now()), None).await?;
    Ok(Summary { totals: all, first: rankings(platform, actor, range, most).await? })
}

/// The first so many tools and agents of a range.
pub async fn rankings(platform: &Platform, actor: &Member, range: Range, most: usize) -> Result<Rankings> {
    actor.require(Permission::View)?;
    let now = platform.clock.now();
    Ok(Rankings {
        tools: ranks(platform, actor.tenant, range.read(Kind::Tool, now), most).await?,
        agents: ranks(platform, actor.tenant, range.read(Kind::Agent, now), most).await?,
    })
}

/// Totals of a range, and of the same time before it.
pub async fn compared(platform: &Platform, actor: &Member, range: Range, subject: Subject) -> Result<(Totals, Totals)> {
    actor.require(Permission::View)?;
    let (now, (kind, only)) = (platform.clock.now(), subject.parts());
    let of_now = totals(platform, actor.tenant, range.read(kind, now), only).await?;
    Ok((of_now, totals(platform, actor.tenant, range.read_before(kind, now), only).await?))
}

async fn totals(platform: &Platform, tenant: TenantId, read: Read, only: Option<Uuid>) -> Result<Totals> {
    let mut tx = platform.db.tenant(tenant).await?;
    store::totals(&mut tx, &read, only).await
}

async fn ranks(platform: &Platform, tenant: TenantId, read: Read, most: usize) -> Result<Ranks> {
    let mut tx = platform.db.tenant(tenant).await?;
    let (rows, from) = store::top(&mut tx, &read, i64::try_from(most).map_err(Error::internal)?).await?;
    Ok(Ranks { rows, from, is_cut: from > read.from() })
}

/// One point per step of the range, empty ones too, oldest first.
pub async fn series(platform: &Platform, actor: &Member, range: Range, subject: Subject) -> Result<Vec<Point>> {
    actor.require(Permission::View)?;
    let (now, (kind, only)) = (platform.clock.now(), subject.parts());
    let (read, step) = (range.read_points(kind, now), range.step_minutes(subject));
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let mut found = store::points(&mut tx, &read, step, only).await?.into_iter().peekable();
    let mut points = Vec::new();
    let mut at = read.from();
    while at <= now {
        let empty = || Point { at, totals: Totals::default(), latency: vec![0; histogram::BUCKETS] };
        points.push(found.next_if(|point| point.at == at).unwrap_or_else(empty));
        at += TimeDelta::minutes(step);
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_start_on_a_whole_interval_of_all_that_is_read() {
        let now = DateTime::from_timestamp(1_800_000_123, 0).expect("time");
        for range in Range::ALL {
            let start = range.start(now);
            for step in [range.step_minutes(Subject::Everything), range.coarse_step().into(), range.stored_step().into()] {
                assert_eq!(start.timestamp() % (step * 60), 0, "{range:?}");
            }
            let longest = TimeDelta::minutes(range.step_minutes(Subject::Everything).max(range.coarse_step().into()));
            assert!(start > now - range.length() && start <= now - range.length() + longest, "{range:?}");
        }
    }
}
