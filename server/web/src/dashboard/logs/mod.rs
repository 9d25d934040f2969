//! The call log, and one call.

mod call;
mod explain;

use actix_web::{http::StatusCode, web};
use askama::Template;
use chrono::{DateTime, Datelike as _, Utc};
use trunkline_platform::{
    Error,
    actor::Permission,
    agents,
    call::Outcome,
    catalog,
    usage::{self, CallFilter, CallPage},
};

use super::{
    Page,
    components::{CallRow, Choice},
    layout::Layout,
    page_with,
};
use crate::{
    Access, Route, WebState,
    extract::{FieldErrors, InTenant, Query},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/t/{tenant}/logs", Access::Member(Permission::View), list),
        Route::get("/t/{tenant}/logs/{call}", Access::Member(Permission::View), call::show),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/logs.html")]
struct LogsPage {
    layout: Layout,
    base: String,
    outcomes: Vec<Choice>,
    tool: String,
    agent: String,
    errors: FieldErrors,
    filtered: bool,
    /// The span of time, as it stands in the address and in words; empty without one.
    from: String,
    to: String,
    span: String,
    rows: Vec<CallRow>,
    newer_url: Option<String>,
    older_url: Option<String>,
}

async fn list(state: web::Data<WebState>, member: InTenant, query: Query) -> Page {
    let (platform, actor, slug) = (&state.platform, &member.actor, member.slug());
    let (outcome, tool, agent, before) = (query.get("outcome"), query.get("tool"), query.get("agent"), query.get("before"));
    let mut errors = FieldErrors::default();
    let mut filter = CallFilter { outcomes: wanted(outcome), ..CallFilter::default() };
    if !outcome.is_empty() && filter.outcomes.is_empty() {
        errors.add("outcome", "There is no such outcome.");
    }
    if !tool.is_empty() {
        filter.tool = catalog::find_by_name(platform, actor, tool).await?;
        if filter.tool.is_none() {
            errors.add("tool", "There is no tool with exactly this name.");
        }
    }
    if !agent.is_empty() {
        filter.agent = agents::find_by_name(platform, actor, agent).await?;
        if filter.agent.is_none() {
            errors.add("agent", "There is no agent with exactly this name.");
        }
    }
    let (from, to) = (query.get("from"), query.get("to"));
    filter.from = moment("from", from)?;
    filter.to = moment("to", to)?;
    if !before.is_empty() {
        let before = before.parse().map_err(|_| Error::invalid("before", "expected the id of a call, such as ent_…"))?;
        filter.before = Some(before);
    }
    // A filter that means nothing finds nothing, instead of everything.
    let found = if errors.is_empty() {
        usage::calls(platform, actor, &filter).await?
    } else {
        CallPage { calls: Vec::new(), older: None }
    };
    let url = |before: &str| {
        urls::with_query(
            &urls::logs(slug),
            &[("outcome", outcome), ("tool", tool), ("agent", agent), ("from", from), ("to", to), ("before", before)],
        )
    };
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let currency = &member.tenant.currency;
    let page = LogsPage {
        layout: member.layout("Logs", "logs"),
        base: urls::tenant(slug),
        outcomes: outcomes(outcome),
        tool: tool.to_owned(),
        agent: agent.to_owned(),
        errors,
        filtered: !(outcome.is_empty() && tool.is_empty() && agent.is_empty() && from.is_empty() && to.is_empty()),
        from: from.to_owned(),
        to: to.to_owned(),
        span: span_words(filter.from, filter.to),
        rows: found.calls.into_iter().map(|call| CallRow::new(slug, currency, call)).collect(),
        newer_url: (!before.is_empty()).then(|| url("")),
        older_url: found.older.map(|id| url(&id.to_string())),
    };
    page_with(status, &page)
}

/// What stands for all outcomes that count as errors.
const FAILED: &str = "failed";

/// The outcomes that a word stands for; none for no word, and for a word without a meaning.
fn wanted(word: &str) -> Vec<Outcome> {
    match word {
        FAILED => Outcome::ALL.into_iter().filter(|outcome| outcome.is_error()).collect(),
        word => Outcome::find(word).into_iter().collect(),
    }
}

/// A moment of the address: what pages of usage link to.
fn moment(field: &'static str, text: &str) -> Result<Option<DateTime<Utc>>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let moment = DateTime::parse_from_rfc3339(text).map(|at| at.with_timezone(&Utc)).ok();
    // What a database can say of years is more than calls have.
    let moment = moment.filter(|at| (1970..=9999).contains(&at.year()));
    moment.map(Some).ok_or_else(|| Error::invalid(field, "expected a moment such as 2026-11-22T10:00:00Z"))
}

fn span_words(from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>) -> String {
    let words = |at: DateTime<Utc>| at.format("%-d %b %Y, %H:%M UTC").to_string();
    match (from.map(words), to.map(words)) {
        (None, None) => String::new(),
        (Some(from), None) => format!("Since {from}"),
        (None, Some(to)) => format!("Before {to}"),
        (Some(from), Some(to)) => format!("From {from} until {to}"),
    }
}

fn outcomes(chosen: &str) -> Vec<Choice> {
    let choice = |value: &str, label: &str| Choice {
        value: value.to_owned(),
        label: label.to_owned(),
        hint: String::new(),
        chosen: value == chosen,
    };
    let label = |outcome: Outcome| match outcome {
        Outcome::Ok => "OK",
        Outcome::ToolError => "Tool error",
        Outcome::UpstreamError => "Upstream error",
        Outcome::Timeout => "Timeout",
        Outcome::Denied => "Denied",
        Outcome::Limited => "Limited",
        Outcome::Cancelled => "Cancelled",
        Outcome::Unknown => "Unknown",
    };
    let all = Outcome::ALL.into_iter().map(|outcome| choice(outcome.as_str(), label(outcome)));
    [choice("", "Any"), choice(FAILED, "Any failure")].into_iter().chain(all).collect()
}
