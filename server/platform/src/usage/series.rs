//! The numbers behind the home page.

use chrono::{DateTime, TimeDelta, Utc};

use super::{histogram, store};
use crate::{
    Platform,
    actor::{Member, Permission},
    error::{Error, Result},
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
}

impl Range {
    /// All ranges, shortest first.
    pub const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::Month];

    /// As in the page's address.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
            Self::Month => "30d",
        }
    }

    /// The range of that word.
    pub fn parse(word: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|range| range.as_str() == word)
            .ok_or_else(|| Error::invalid("range", "expected 1h, 24h, 7d or 30d"))
    }

    /// Its length.
    pub fn length(self) -> TimeDelta {
        match self {
            Self::Hour => TimeDelta::hours(1),
            Self::Day => TimeDelta::days(1),
            Self::Week => TimeDelta::days(7),
            Self::Month => TimeDelta::days(30),
        }
    }

    /// Length of one point, in minutes.
    pub fn step_minutes(self) -> i64 {
        match self {
            Self::Hour => 1,
            Self::Day => 10,
            Self::Week => 60,
            Self::Month => 360,
        }
    }

    /// The stored interval it is read from, in minutes.
    pub(super) fn stored_step(self) -> i16 {
        if self.step_minutes() < 60 { 1 } else { 60 }
    }

    /// The stored interval for sums of many things at once: a day by the hour has a sixtieth of the rows, and its first hour may be missing.
    pub(super) fn coarse_step(self) -> i16 {
        if self == Self::Hour { 1 } else { 60 }
    }

    /// Start of the first whole point.
    pub(super) fn start(self, now: DateTime<Utc>) -> DateTime<Utc> {
        let step = self.step_minutes() * 60;
        let start = (now - self.length()).timestamp();
        DateTime::from_timestamp(start - start.rem_euclid(step) + step, 0).unwrap_or(now)
    }
}

/// Sums of some calls.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// All calls, refused ones too.
    pub calls: i64,
    /// Calls that failed.
    pub errors: i64,
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
}

/// A tool or an agent and its sums.
#[derive(Debug, Clone)]
pub struct Ranking {
    /// Its id as text; empty for calls to tools that do not exist.
    pub id: String,
    /// Its name; empty for calls to tools that do not exist.
    pub name: String,
    /// Its sums.
    pub totals: Totals,
}

/// What the home page says about a range.
#[derive(Debug, Clone)]
pub struct Summary {
    /// All together.
    pub totals: Totals,
    /// The most called tools, at most ten.
    pub tools: Vec<Ranking>,
    /// The busiest agents, at most ten.
    pub agents: Vec<Ranking>,
}

/// Totals and rankings of a range.
pub async fn summary(platform: &Platform, actor: &Member, range: Range) -> Result<Summary> {
    actor.require(Permission::View)?;
    let since = range.start(platform.clock.now());
    let mut tx = platform.db.tenant(actor.tenant).await?;
    Ok(Summary {
        totals: store::totals(&mut tx, range, since).await?,
        tools: store::top_tools(&mut tx, range, since).await?,
        agents: store::top_agents(&mut tx, range, since).await?,
    })
}

/// One point per step of the range, empty ones too, oldest first.
pub async fn series(platform: &Platform, actor: &Member, range: Range) -> Result<Vec<Point>> {
    actor.require(Permission::View)?;
    let now = platform.clock.now();
    let since = range.start(now);
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let mut found = store::points(&mut tx, range, since).await?.into_iter().peekable();
    let mut points = Vec::new();
    let mut at = since;
    while at <= now {
        let totals = found.next_if(|point| point.at == at).map(|point| point.totals).unwrap_or_default();
        points.push(Point { at, totals });
        at += TimeDelta::minutes(range.step_minutes());
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_start_on_a_whole_step() {
        let now = DateTime::from_timestamp(1_800_000_123, 0).expect("time");
        for range in Range::ALL {
            let start = range.start(now);
            assert_eq!(start.timestamp() % (range.step_minutes() * 60), 0);
            assert!(start > now - range.length() && start <= now - range.length() + TimeDelta::minutes(range.step_minutes()));
        }
    }
}
