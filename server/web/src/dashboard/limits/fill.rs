//! How full limits are, as rows of a table.

use trunkline_platform::quota::{
    Remaining,
    fill::{Filled, Whose},
};

use crate::{dashboard::format, urls};

/// Limits that are shown: the fullest.
const SHOWN: usize = 25;
/// The part from which on a limit is as good as used up.
const FULL: f64 = 0.95;
/// The part from which on it stands out.
const NEARLY: f64 = 0.75;

/// A limit, and how full it is.
pub(super) struct FillRow {
    pub(super) agent: String,
    pub(super) agent_url: String,
    pub(super) tool: String,
    pub(super) tool_url: String,
    pub(super) what: String,
    pub(super) percent: f64,
    pub(super) tone: &'static str,
    pub(super) words: String,
    pub(super) left: String,
    pub(super) full_again: String,
}

/// The fullest, and in words how many more there are.
pub(super) fn rows(slug: &str, mut filled: Vec<Filled>) -> (Vec<FillRow>, String) {
    // What has room for everything says nothing, but of the whole organisation.
    filled.retain(|one| one.share() > 0.0 || one.whose == Whose::default());
    let more = filled.len().saturating_sub(SHOWN);
    let words = if more == 0 { String::new() } else { format!("{more} more are less used up than these.") };
    (filled.into_iter().take(SHOWN).map(|one| row(slug, one)).collect(), words)
}

fn row(slug: &str, one: Filled) -> FillRow {
    let (share, left) = (one.share(), one.left);
    let (agent, tool) = (one.whose.agent, one.whose.tool);
    let used = left.burst.saturating_sub(left.remaining);
    FillRow {
        agent_url: agent.as_ref().map(|(id, _)| urls::agent(slug, *id)).unwrap_or_default(),
        agent: agent.map(|(_, name)| name).unwrap_or_default(),
        tool_url: tool.as_ref().map(|(id, _)| urls::tool(slug, *id)).unwrap_or_default(),
        tool: tool.map(|(_, name)| name).unwrap_or_default(),
        what: what(&left),
        percent: (share * 1000.0).round() / 10.0,
        tone: match share {
            share if share >= FULL => "bad",
            share if share >= NEARLY => "warn",
            _ => "accent",
        },
        words: format!("{} of {} used", number(used), number(left.burst)),
        left: number(left.remaining),
        full_again: full_again(&left),
    }
}

/// What is counted, in words.
fn what(left: &Remaining) -> String {
    match left.window_s {
        0 => format!("{} running at the same time", number(left.burst)),
        60 if left.burst == left.limit => format!("{} a minute", number(left.limit)),
        60 => format!("{} a minute, {} at once", number(left.limit), number(left.burst)),
        86_400 => format!("{} a day (UTC)", number(left.limit)),
        seconds => format!("{} in {seconds}\u{a0}s", number(left.limit)),
    }
}

/// When all of it is there again.
fn full_again(left: &Remaining) -> String {
    let seconds = left.reset_ms.div_ceil(1000);
    match (left.window_s, seconds) {
        (0, _) if left.remaining == left.burst => "now".to_owned(),
        (0, _) => "when they end".to_owned(),
        (_, _) if left.remaining == left.burst => "now".to_owned(),
        (_, 0..120) => format!("in {seconds}\u{a0}s"),
        (_, 120..7_200) => format!("in {}\u{a0}min", seconds.div_ceil(60)),
        _ => format!("in {}\u{a0}h", seconds.div_ceil(3_600)),
    }
}

fn number(number: u64) -> String {
    format::count(i64::try_from(number).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use trunkline_platform::quota::{Of, Rate, Scope};

    use super::*;

    #[test]
    fn limits_are_said_in_words() {
        let rate = Remaining {
            remaining: 2,
            reset_ms: 61_000,
            ..Remaining::of_rate(Scope::Agent, Rate { per_minute: 1_200, burst: 10 })
        };
        assert_eq!((what(&rate).as_str(), full_again(&rate).as_str()), ("1,200 a minute, 10 at once", "in 61\u{a0}s"));
        let day = Remaining { reset_ms: 7_200_000, ..Remaining::of_day(Scope::Day(Of::Tenant), 1_000) };
        assert_eq!((what(&day).as_str(), full_again(&day).as_str()), ("1,000 a day (UTC)", "in 2\u{a0}h"));
        let seats = Remaining::at_once(Scope::Concurrency(Of::Tool), 3);
        assert_eq!((what(&seats).as_str(), full_again(&seats).as_str()), ("3 running at the same time", "when they end"));
    }
}
