//! What would have become of the last seven days of calls under other limits, as a card above the form that wants them.

use trunkline_platform::{
    ErrorKind,
    quota::{
        Limit, LimitScope, Of, Scope,
        what_if::{self, AgentForecast, Forecast},
    },
};

use crate::{
    WebState,
    dashboard::{components::Moment, format},
    error::HtmlError,
    extract::Allowed,
    urls,
};

/// Agents that are shown: those that would have been refused most often.
const SHOWN: usize = 20;

/// The card.
pub(in crate::dashboard) struct WhatIf {
    /// Why nothing is known; empty if something is.
    pub(in crate::dashboard) problem: String,
    /// `success`, `warning` or `info`.
    pub(in crate::dashboard) kind: &'static str,
    pub(in crate::dashboard) verdict: String,
    pub(in crate::dashboard) words: String,
    pub(in crate::dashboard) rows: Vec<WhatIfRow>,
    pub(in crate::dashboard) more: String,
}

/// An agent that would have been refused.
pub(in crate::dashboard) struct WhatIfRow {
    pub(in crate::dashboard) url: String,
    pub(in crate::dashboard) name: String,
    pub(in crate::dashboard) asked: String,
    pub(in crate::dashboard) were_refused: String,
    pub(in crate::dashboard) refused: String,
    pub(in crate::dashboard) percent: f64,
    pub(in crate::dashboard) share: String,
    pub(in crate::dashboard) first: Moment,
    pub(in crate::dashboard) by: &'static str,
}

/// Replays the calls under those limits. Nothing is saved.
pub(in crate::dashboard) async fn ask<P>(
    state: &WebState,
    member: &Allowed<P>,
    changed: &[(LimitScope, Limit)],
) -> Result<WhatIf, HtmlError> {
    match what_if::what_if(&state.platform, &member.actor, changed).await {
        Ok(forecast) => Ok(WhatIf::of(member.slug(), &forecast)),
        Err(error) if matches!(error.kind(), ErrorKind::Exhausted { .. }) => Ok(WhatIf {
            problem: "Others are checking limits at this moment. Try again in a few seconds; nothing is saved yet.".to_owned(),
            kind: "info",
            verdict: String::new(),
            words: String::new(),
            rows: Vec::new(),
            more: String::new(),
        }),
        Err(error) => Err(error.into()),
    }
}

impl WhatIf {
    fn of(slug: &str, forecast: &Forecast) -> Self {
        let (asked, refused, were) = (forecast.asked(), forecast.refused(), forecast.were_refused());
        let (kind, verdict) = match (asked, refused) {
            (0, _) => ("info", "No calls to check against.".to_owned()),
            (_, 0) => ("success", "No call would have been refused.".to_owned()),
            _ => {
                let share = format!("{}\u{a0}%", format::percent(ratio(refused, asked)));
                ("warning", format!("{} of {} calls would have been refused ({share}).", count(refused), count(asked)))
            }
        };
        let since = forecast.since.format("%-d %b");
        let span = if forecast.is_whole {
            format!("Checked: the calls since {since}, in their order, against all limits with these in place.")
        } else {
            let until = forecast.until.format("%-d %b, %H:%M UTC");
            format!("There were too many calls to check all of them: this is what would have been from {since} to {until}.")
        };
        let then = if asked == 0 { String::new() } else { format!(" At that time, {} were refused.", count(were)) };
        let touched: Vec<_> = forecast.agents.iter().filter(|agent| agent.refused > 0).collect();
        let more = touched.len().saturating_sub(SHOWN);
        Self {
            problem: String::new(),
            kind,
            verdict,
            words: format!("{span}{then} Nothing is saved yet."),
            rows: touched.into_iter().take(SHOWN).filter_map(|agent| WhatIfRow::of(slug, agent)).collect(),
            more: if more == 0 { String::new() } else { format!("and {more} more agents") },
        }
    }
}

impl WhatIfRow {
    fn of(slug: &str, agent: &AgentForecast) -> Option<Self> {
        let (first, by) = agent.first?;
        let share = ratio(agent.refused, agent.asked);
        Some(Self {
            url: urls::agent(slug, agent.agent),
            name: agent.name.clone(),
            asked: count(agent.asked),
            were_refused: count(agent.were_refused),
            refused: count(agent.refused),
            percent: (share * 1000.0).round() / 10.0,
            share: format!("{}\u{a0}%", format::percent(share)),
            first: Moment::second(first),
            by: words(by),
        })
    }
}

/// A limit, in words.
fn words(scope: Scope) -> &'static str {
    match scope {
        Scope::AgentTool => "its rate on one tool",
        Scope::Agent => "its own rate",
        Scope::Tool => "a tool’s rate",
        Scope::Tenant => "the organisation’s rate",
        Scope::Day(Of::Agent) => "its own day",
        Scope::Day(Of::Tool) => "a tool’s day",
        Scope::Day(Of::Tenant) => "the organisation’s day",
        Scope::Concurrency(Of::Agent) => "its calls at the same time",
        Scope::Concurrency(Of::Tool) => "a tool’s calls at the same time",
        Scope::Concurrency(Of::Tenant) => "the organisation’s calls at the same time",
        Scope::Concurrency(Of::Upstream) => "an upstream’s calls at the same time",
        other => other.as_str(),
    }
}

fn count(number: u64) -> String {
    format::count(i64::try_from(number).unwrap_or(i64::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^52")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
