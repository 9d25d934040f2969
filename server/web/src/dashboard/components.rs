//! Shapes that the components in `templates/components` expect.

use chrono::{DateTime, Utc};
use trunkline_platform::{
    call::Outcome,
    db::page::Found,
    usage::{Call, Totals},
};

use super::{context, format};
use crate::urls;

/// One of several to choose from.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// What the form sends.
    pub value: String,
    /// What is shown.
    pub label: String,
    /// What it means.
    pub hint: String,
    /// Is it chosen?
    pub chosen: bool,
}

/// A part of what a list is narrowed to.
#[derive(Debug, Clone)]
pub struct Chip {
    /// What it is.
    pub text: String,
    /// The list without it.
    pub without_url: String,
}

/// One of several views of a page.
#[derive(Debug, Clone)]
pub struct Tab {
    /// Where it leads.
    pub url: String,
    /// What is shown.
    pub label: String,
    /// Is it the one at hand?
    pub current: bool,
}

/// A point in time, for machines and for browsers without scripts.
#[derive(Debug, Clone)]
pub struct Moment {
    /// As RFC 3339.
    pub iso: String,
    /// In words, in UTC.
    pub text: String,
}

impl Moment {
    /// A day.
    pub fn day(at: DateTime<Utc>) -> Self {
        Self { iso: at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true), text: at.format("%-d %b %Y").to_string() }
    }

    /// A minute of a day whose year is known.
    pub fn minute(at: DateTime<Utc>) -> Self {
        Self { text: at.format("%-d %b %H:%M UTC").to_string(), ..Self::day(at) }
    }

    /// A second.
    pub fn second(at: DateTime<Utc>) -> Self {
        Self { text: at.format("%-d %b %Y, %H:%M:%S UTC").to_string(), ..Self::day(at) }
    }
}

/// A number that stands out.
#[derive(Debug, Clone, Default)]
pub struct Stat {
    /// What it counts.
    pub label: &'static str,
    /// The number.
    pub value: String,
    /// Its unit.
    pub unit: &'static str,
    /// Its change.
    pub delta: &'static str,
    /// What the change means: `plain`, `good` or `bad`.
    pub tone: &'static str,
    /// What else is worth knowing.
    pub hint: String,
    /// Where the details are.
    pub url: String,
}

impl Stat {
    /// A number without more.
    pub fn new(label: &'static str, value: impl Into<String>) -> Self {
        Self { label, value: value.into(), ..Self::default() }
    }

    /// A latency in milliseconds.
    pub fn latency(label: &'static str, ms: Option<f64>) -> Self {
        let (value, unit) = ms.map_or(("–".to_owned(), ""), format::latency);
        Self { unit, ..Self::new(label, value) }
    }

    /// What sums say at one glance.
    pub fn of_totals(totals: &Totals, currency: &str, logs_url: String) -> Vec<Self> {
        let refused = totals.denied + totals.limited;
        let ran = totals.calls - refused;
        let (value, unit) = if ran == 0 { ("–".to_owned(), "") } else { (format::percent(totals.error_rate()), "%") };
        let mut stats = vec![
            Self {
                hint: if refused == 0 { String::new() } else { format!("{} refused", format::count(refused)) },
                url: logs_url,
                ..Self::new("Calls", format::count(totals.calls))
            },
            Self { unit, ..Self::new("Error rate", value) },
            Self::latency("p50", totals.p50_ms),
            Self::latency("p95", totals.p95_ms),
            Self::latency("p99", totals.p99_ms),
            Self::new("Cost", format::cost(totals.cost_micro, currency)),
        ];
        stats.extend(context::of_totals(totals, currency));
        stats
    }
}

/// A part of a whole, such as of a call's latency.
#[derive(Debug, Clone)]
pub struct Part {
    /// `auth`, `admission`, `upstream` or `rest`: its colour.
    pub name: &'static str,
    /// How much, in words.
    pub text: String,
    /// Where it begins, in percent.
    pub offset: f64,
    /// How much, in percent.
    pub percent: f64,
}

/// A page of a long list: what was looked for and how to leaf.
#[derive(Debug, Clone)]
pub struct Listing {
    /// What was looked for.
    pub q: String,
    /// Which part of how many stands here, such as `51–100 of 1,000`.
    pub words: String,
    /// Is there more than one page, or was something looked for?
    pub is_long: bool,
    /// The page before.
    pub previous: Option<String>,
    /// The page after.
    pub next: Option<String>,
}

impl Listing {
    /// The list at `path`, whose other query fields stay while leafing.
    pub fn new<T>(found: &Found<T>, path: &str, q: &str, others: &[(&str, &str)]) -> Self {
        let page_url = |page: u32| {
            let page = page.to_string();
            urls::with_query(path, &[others, &[("q", q), ("page", page.as_str())]].concat())
        };
        let first = i64::from(found.page - 1) * i64::from(found.size) + 1;
        let last = first + i64::try_from(found.items.len()).unwrap_or(0) - 1;
        let total = format::count(found.total);
        let words = if last < first {
            format!("0 of {total}")
        } else {
            format!("{}–{} of {total}", format::count(first), format::count(last))
        };
        Self {
            q: q.to_owned(),
            words,
            is_long: found.page > 1 || found.has_next() || !q.is_empty(),
            previous: (found.page > 1).then(|| page_url(found.page - 1)),
            next: found.has_next().then(|| page_url(found.page + 1)),
        }
    }
}

/// A call in a list.
#[derive(Debug, Clone)]
pub struct CallRow {
    /// Its id.
    pub id: String,
    /// Its page.
    pub url: String,
    /// When it came.
    pub at: Moment,
    /// What was called.
    pub tool: String,
    /// Who called.
    pub agent: String,
    /// How it ended.
    pub outcome: &'static str,
    /// Class of the failure.
    pub error: String,
    /// Whole time.
    pub latency: String,
    /// What it cost.
    pub cost: String,
    /// Id of the request.
    pub request_id: String,
}

impl CallRow {
    /// A call as a list shows it.
    pub fn new(slug: &str, currency: &str, call: Call) -> Self {
        Self {
            id: call.id.to_string(),
            url: urls::call(slug, call.id),
            at: Moment::second(call.at),
            tool: call.tool_name,
            agent: call.agent_name.unwrap_or_else(|| call.agent_id.to_string()),
            outcome: Outcome::find(&call.outcome).unwrap_or(Outcome::Unknown).as_str(),
            error: call.error.unwrap_or_default(),
            latency: format::micros(call.latency_us),
            cost: format::cost_or_none(call.cost_micro, currency),
            request_id: call.request_id,
        }
    }
}
