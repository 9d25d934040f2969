//! The call log, and one call.

mod again;
mod call;
mod explain;
pub(super) mod filter;
mod tail;
mod waterfall;

use actix_web::{http::StatusCode, web};
use askama::Template;
use trunkline_platform::{
    Error,
    actor::Permission,
    call::Outcome,
    usage::{self, CallPage},
};

use super::{
    Page,
    components::{CallRow, Chip, Choice},
    layout::Layout,
    page_with,
};
use crate::{
    Access, Route, WebState,
    extract::{FieldErrors, InTenant, Query},
    urls,
};
use filter::{Asked, FAILED, FIELDS};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/t/{tenant}/logs", Access::Member(Permission::View), list),
        // Before `{call}`: the first that fits is taken.
        Route::get("/t/{tenant}/logs/tail", Access::Member(Permission::View), tail::show),
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
    is_filtered: bool,
    /// What is not typed, to take away and to hand on.
    chips: Vec<Chip>,
    hidden: Vec<(&'static str, String)>,
    /// Why nothing was found, where that can be said.
    unknown: Vec<&'static str>,
    rows: Vec<CallRow>,
    newer_url: Option<String>,
    older_url: Option<String>,
    /// Where a script asks for what is new, and where a page without one leads; empty where nothing new belongs.
    tail_url: String,
    refresh_url: String,
}

async fn list(state: web::Data<WebState>, member: InTenant, query: Query) -> Page {
    let slug = member.slug();
    let before = query.get("before");
    let mut asked = Asked::read(&state, &member, &query).await?;
    if !before.is_empty() {
        let before = before.parse().map_err(|_| Error::invalid("before", "expected the id of a call, such as ent_…"))?;
        asked.filter.before = Some(before);
    }
    // A filter that means nothing finds nothing, instead of everything.
    let found = if asked.errors.is_empty() {
        usage::calls(&state.platform, &member.actor, &asked.filter).await?
    } else {
        CallPage { calls: Vec::new(), older: None }
    };
    let url = |before: &str| {
        let fields: Vec<(&str, &str)> = FIELDS.into_iter().map(|name| (name, query.get(name))).collect();
        urls::with_query(&urls::logs(slug), &[&fields[..], &[("before", before)]].concat())
    };
    // What is over, or further back, gets nothing new.
    let has_newest = before.is_empty() && asked.filter.to.is_none() && asked.errors.is_empty();
    let status = if asked.errors.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let currency = &member.tenant.currency;
    let page = LogsPage {
        layout: member.layout("Logs", "logs"),
        base: urls::tenant(slug),
        outcomes: outcomes(query.get("outcome")),
        tool: query.get("tool").to_owned(),
        agent: query.get("agent").to_owned(),
        is_filtered: filter::is_any(&query),
        chips: asked.chips(slug, &query),
        hidden: filter::hidden(&query),
        unknown: asked.unknown(),
        rows: found.calls.into_iter().map(|call| CallRow::new(slug, currency, call)).collect(),
        newer_url: (!before.is_empty()).then(|| url("")),
        older_url: found.older.map(|id| url(&id.to_string())),
        tail_url: if has_newest { tail::url(slug, &query) } else { String::new() },
        refresh_url: url(""),
        errors: asked.errors,
    };
    page_with(status, &page)
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
