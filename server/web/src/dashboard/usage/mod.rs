//! Usage of a tenant, of a tool and of an agent: what was called, how it ended, how long it took and what it cost, beside the same time before.
//! Every number of calls leads to them in the log.

mod cost;
mod heat;
mod marks;
mod runs;

use actix_web::web;
use askama::Template;
use chrono::{DateTime, Utc};
use trunkline_platform::{
    actor::Permission,
    agents, catalog,
    ids::{AgentId, ClientId, ToolId, ToolVersionId, UserId},
    usage::{self, AnyId, Breakdown, CostRow, Dimension, Range, Ranking, Ranks, Spent, Subject, Totals},
};

use super::{
    Page,
    components::{Stat, Tab},
    format,
    home::{self, CallsPoint, LatencyPoint},
    layout::Layout,
    logs::filter::{NONE, moment_text as moment},
    page,
};
use crate::{
    Access, Route, WebState,
    extract::{InTenant, Path, Query},
    urls,
};
use heat::Heat;
use marks::Mark;

pub(super) fn routes() -> Vec<Route> {
    let view = Access::Member(Permission::View);
    vec![
        Route::get("/t/{tenant}/usage", view, show),
        Route::get("/t/{tenant}/usage/cost", view, cost::show),
        Route::get("/t/{tenant}/usage/cost.csv", view, cost::download),
        Route::get("/t/{tenant}/tools/{tool}/usage", view, of_tool),
        Route::get("/t/{tenant}/agents/{agent}/usage", view, of_agent),
    ]
}

/// Rows of each table: a page is to stay under 100 KB, links and all. What follows is together in one more.
const ROWS: usize = 15;

#[derive(Template)]
#[template(path = "dashboard/usage.html")]
struct UsagePage {
    layout: Layout,
    title: String,
    back: (String, &'static str),
    views: Vec<Tab>,
    ranges: Vec<Tab>,
    range_words: &'static str,
    since: String,
    is_empty: bool,
    stats: Vec<Stat>,
    classes: Vec<ClassRow>,
    calls: Vec<CallsPoint>,
    latency: Vec<LatencyPoint>,
    marks: Vec<Mark>,
    marks_lead: String,
    heat: Option<Heat>,
    tables: Vec<Table>,
}

/// How calls ended.
struct ClassRow {
    label: &'static str,
    hint: &'static str,
    calls: String,
    share: String,
    before: String,
    url: String,
}

/// Calls by what made or took them.
struct Table {
    title: &'static str,
    noun: &'static str,
    lead: String,
    /// Are there latencies?
    has_p95: bool,
    rows: Vec<Row>,
}

struct Row {
    url: String,
    name: String,
    share: f64,
    share_words: String,
    calls: String,
    calls_url: String,
    errors: String,
    errors_url: String,
    p95: String,
    cost: String,
}

/// A field of the log's address, and what it is narrowed to.
type Narrowed = (&'static str, String);

/// Which calls of the log a page is about.
#[derive(Clone)]
struct Log<'s> {
    slug: &'s str,
    /// Those of the page's tool or agent, if it is of one.
    of: Option<Narrowed>,
    from: String,
}

impl Log<'_> {
    /// Those of them that ended so, and that fit all of that too. What a page is of gives way to the same of a row.
    fn url(&self, outcome: &str, narrower: &[&Narrowed]) -> String {
        let of = self.of.iter().filter(|(field, _)| narrower.iter().all(|(other, _)| other != field));
        let mut fields = vec![("outcome", outcome)];
        for (field, value) in of.chain(narrower.iter().copied()) {
            // Two dimensions may say the same, such as tools that do not exist and their versions.
            if !fields.contains(&(*field, value)) {
                fields.push((*field, value));
            }
        }
        fields.push(("from", &self.from));
        urls::with_query(&urls::logs(self.slug), &fields)
    }
}

/// What leads to the calls of one of a dimension.
fn narrowed(dimension: Dimension, (id, name): &(Option<AnyId>, String)) -> Narrowed {
    let none = || NONE.to_owned();
    match (dimension, id) {
        (Dimension::Tool, None) => ("version", none()),
        (Dimension::Tool | Dimension::Agent, _) if !name.is_empty() => (dimension.as_str(), name.clone()),
        (Dimension::Tool, Some(id)) => ("tool", ToolId::from(*id).to_string()),
        (Dimension::Agent, id) => ("agent", id.map_or_else(none, |id| AgentId::from(id).to_string())),
        (Dimension::Version, id) => ("version", id.map_or_else(none, |id| ToolVersionId::from(id).to_string())),
        (Dimension::Client, id) => ("client", id.map_or_else(none, |id| ClientId::from(id).to_string())),
        (Dimension::User, id) => ("user", id.map_or_else(none, |id| UserId::from(id).to_string())),
    }
}

/// The range that a page's address asks for.
fn range(query: &Query, usual: Range) -> Result<Range, trunkline_platform::Error> {
    match query.get("range") {
        "" => Ok(usual),
        word => Range::parse(word),
    }
}

async fn show(state: web::Data<WebState>, member: InTenant, query: Query) -> Page {
    let about = About { title: "Usage".to_owned(), part: "usage", back: (String::new(), ""), subject: Subject::Everything };
    render(&state, &member, range(&query, Range::Day)?, about, None).await
}

async fn of_tool(state: web::Data<WebState>, member: InTenant, id: Path<ToolId>, query: Query) -> Page {
    let tool = catalog::get(&state.platform, &member.actor, id.0).await?;
    let back = (urls::tool(member.slug(), tool.id), "Tool");
    let about = About { title: format!("Usage of {}", tool.name), part: "tools", back, subject: Subject::Tool(tool.id) };
    render(&state, &member, range(&query, Range::Day)?, about, Some(("tool", tool.name.to_string()))).await
}

async fn of_agent(state: web::Data<WebState>, member: InTenant, id: Path<AgentId>, query: Query) -> Page {
    let agent = agents::get(&state.platform, &member.actor, id.0).await?;
    let back = (urls::agent(member.slug(), agent.id), "Agent");
    let about = About { title: format!("Usage of {}", agent.name), part: "agents", back, subject: Subject::Agent(agent.id) };
    render(&state, &member, range(&query, Range::Day)?, about, Some(("agent", agent.name.to_string()))).await
}

/// Whose page it is.
struct About {
    title: String,
    part: &'static str,
    back: (String, &'static str),
    subject: Subject,
}

async fn render(state: &WebState, member: &InTenant, range: Range, about: About, of: Option<Narrowed>) -> Page {
    let (platform, actor, slug) = (&state.platform, &member.actor, member.slug());
    let from = range.start(platform.clock.now());
    let log = Log { slug, of, from: moment(from) };
    let (totals, before) = usage::compared(platform, actor, range, about.subject).await?;
    let path = match about.subject {
        Subject::Everything => urls::usage(slug),
        Subject::Tool(tool) => urls::tool_usage(slug, tool),
        Subject::Agent(agent) => urls::agent_usage(slug, agent),
    };
    let frame = UsagePage {
        layout: member.layout(about.title.clone(), about.part),
        title: about.title,
        back: about.back,
        views: if about.subject == Subject::Everything { views(slug, range, true) } else { Vec::new() },
        ranges: Range::ALL.map(|one| tab(&path, one, one == range, &[])).into(),
        range_words: home::words(range),
        since: from.format("%-d %b %Y, %H:%M UTC").to_string(),
        is_empty: totals.calls == 0,
        stats: stats(&totals, &before, &member.tenant.currency, log.url("", &[])),
        classes: classes(&totals, &before, &log),
        calls: Vec::new(),
        latency: Vec::new(),
        marks: Vec::new(),
        marks_lead: String::new(),
        heat: None,
        tables: Vec::new(),
    };
    if frame.is_empty {
        return page(&frame);
    }
    let points = usage::series(platform, actor, range, about.subject).await?;
    let markers = usage::markers(platform, actor, range, about.subject).await?;
    page(&UsagePage {
        calls: points.iter().map(|point| home::calls_point(point, range)).collect(),
        latency: points.iter().map(|point| home::latency_point(point, range)).collect(),
        marks: marks::marks(member, &markers),
        marks_lead: marks::lead(&markers),
        heat: Heat::of(&points, range.step_minutes(about.subject), &log),
        tables: tables(state, member, range, about.subject, &log, &totals).await?,
        ..frame
    })
}

fn tab(path: &str, range: Range, current: bool, others: &[(&str, &str)]) -> Tab {
    let fields = [&[("range", range.as_str())], others].concat();
    Tab { url: urls::with_query(path, &fields), label: range.as_str().to_owned(), current }
}

/// The two views of usage.
fn views(slug: &str, range: Range, is_usage: bool) -> Vec<Tab> {
    let view = |path: String, label: &str, current| Tab {
        url: urls::with_query(&path, &[("range", range.as_str())]),
        label: label.to_owned(),
        current,
    };
    vec![view(urls::usage(slug), "Calls", is_usage), view(urls::cost(slug), "Cost", !is_usage)]
}

/// The numbers at the top, each with what it was before.
fn stats(totals: &Totals, before: &Totals, currency: &str, logs_url: String) -> Vec<Stat> {
    let was = |words: String| format!("{words} before");
    let hints = [
        was(format::count(before.calls)),
        was(home::error_words(before)),
        was(format::millis(before.p50_ms)),
        was(format::millis(before.p95_ms)),
        was(format::millis(before.p99_ms)),
        was(format::cost(before.cost_micro, currency)),
    ];
    let mut stats = Stat::of_totals(totals, currency, logs_url);
    for (stat, hint) in stats.iter_mut().zip(hints) {
        stat.hint = hint;
    }
    stats
}

fn classes(totals: &Totals, before: &Totals, log: &Log<'_>) -> Vec<ClassRow> {
    let ok = |of: &Totals| of.calls - of.errors - of.denied - of.limited - of.cancelled;
    let rows: [(&str, &str, &str, i64, i64); 8] = [
        ("Succeeded", "The tool did what it should.", "ok", ok(totals), ok(before)),
        ("Policy", "Not allowed: no such tool for this agent, a scope, a condition.", "denied", totals.denied, before.denied),
        ("Limit", "Over a rate, a budget, or too many at the same time.", "limited", totals.limited, before.limited),
        (
            "Tool",
            "The tool said that it failed, or its arguments did not fit.",
            "tool_error",
            totals.tool_errors,
            before.tool_errors,
        ),
        (
            "Upstream",
            "The tool’s server failed, or could not be reached.",
            "upstream_error",
            totals.upstream_errors,
            before.upstream_errors,
        ),
        ("Timeout", "The tool’s server was too slow.", "timeout", totals.timeouts, before.timeouts),
        ("Cancelled", "The agent went away.", "cancelled", totals.cancelled, before.cancelled),
        ("Unknown", "Begun, and its end is not known: a process was killed.", "unknown", totals.unknown, before.unknown),
    ];
    let row = |(label, hint, outcome, calls, before): (&'static str, &'static str, &str, i64, i64)| ClassRow {
        label,
        hint,
        calls: format::count(calls),
        share: format!("{}\u{a0}%", format::percent(share(calls, totals.calls))),
        before: format::count(before),
        url: if calls == 0 { String::new() } else { log.url(outcome, &[]) },
    };
    rows.into_iter().map(row).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^52")]
fn share(part: i64, all: i64) -> f64 {
    part as f64 / all.max(1) as f64
}

async fn tables(
    state: &WebState,
    member: &InTenant,
    range: Range,
    subject: Subject,
    log: &Log<'_>,
    totals: &Totals,
) -> Result<Vec<Table>, trunkline_platform::Error> {
    let (platform, actor) = (&state.platform, &member.actor);
    let currency = &member.tenant.currency;
    let (agent, tool) = match subject {
        Subject::Everything => {
            let first = usage::rankings(platform, actor, range, ROWS).await?;
            return Ok(vec![
                ranking(("By tool", "Tool"), &first.tools, totals, log, currency, range),
                ranking(("By agent", "Agent"), &first.agents, totals, log, currency, range),
            ]);
        }
        Subject::Tool(tool) => (None, Some(tool)),
        Subject::Agent(agent) => (Some(agent), None),
    };
    let other = if tool.is_some() { ("By agent", "Agent", Dimension::Agent) } else { ("By tool", "Tool", Dimension::Tool) };
    let mut tables = Vec::new();
    for (title, noun, first) in [other, ("By version", "Version", Dimension::Version), ("By client", "Client", Dimension::Client)]
    {
        let found = usage::costs(platform, actor, range, Breakdown { first, second: None, agent, tool, most: ROWS }).await?;
        let most = found.rows.iter().map(|row| row.spent.calls).max().unwrap_or(1);
        let lead = days_words(found.from, found.is_cut, found.rows.len() == ROWS);
        let log = Log { from: moment(found.from), ..log.clone() };
        let rows = found.rows.iter().map(|row| part(row, first, most, range, &log, currency)).collect();
        tables.push(Table { title, noun, lead, has_p95: false, rows });
    }
    Ok(tables)
}

/// Which days a break-down is of.
fn days_words(from: DateTime<Utc>, is_cut: bool, is_full: bool) -> String {
    let days = format!("Whole days (UTC) since {}.", from.format("%-d %b %Y"));
    let cut = if is_cut { " There are too many sums for more days than that; choose a shorter range." } else { "" };
    let first = if is_full { format!(" The first {ROWS} by cost.") } else { String::new() };
    format!("{days}{cut}{first}")
}

fn ranking(
    (title, noun): (&'static str, &'static str),
    ranks: &Ranks,
    totals: &Totals,
    log: &Log<'_>,
    currency: &str,
    range: Range,
) -> Table {
    let is_tool = noun == "Tool";
    let lead = if ranks.is_cut {
        let since = ranks.from.format("%-d %b %Y, %H:%M UTC");
        format!(
            "Ranked by calls since {since}: there are too many {}s for more than that. Choose a shorter range.",
            noun.to_lowercase()
        )
    } else {
        String::new()
    };
    let mut rows: Vec<Row> = ranks.rows.iter().map(|one| ranked(one, is_tool, totals.calls, log, currency, range)).collect();
    let listed = |of: fn(&Totals) -> i64| ranks.rows.iter().map(|one| of(&one.totals)).sum::<i64>();
    let (calls, errors, cost) = (listed(|t| t.calls), listed(|t| t.errors), listed(|t| t.cost_micro));
    if !ranks.is_cut && totals.calls > calls {
        let others = Totals {
            calls: totals.calls - calls,
            errors: totals.errors - errors,
            cost_micro: totals.cost_micro - cost,
            denied: totals.denied - listed(|t| t.denied),
            limited: totals.limited - listed(|t| t.limited),
            ..Totals::default()
        };
        let name = format!("All other {}s", noun.to_lowercase());
        rows.push(row(name, String::new(), &others, totals.calls, (String::new(), String::new()), currency));
    }
    Table { title, noun, lead, has_p95: true, rows }
}

fn ranked(one: &Ranking, is_tool: bool, all: i64, log: &Log<'_>, currency: &str, range: Range) -> Row {
    let dimension = if is_tool { Dimension::Tool } else { Dimension::Agent };
    let of = (Some(one.id).filter(|id| !id.is_nil()), one.name.clone());
    counted(dimension, &of, &one.totals, (all, range), log, currency)
}

/// A row of one of a dimension: its page where there is one, and its calls.
fn counted(
    dimension: Dimension,
    of: &(Option<AnyId>, String),
    totals: &Totals,
    (all, range): (i64, Range),
    log: &Log<'_>,
    currency: &str,
) -> Row {
    let path = match (dimension, of.0.filter(|_| !of.1.is_empty())) {
        (Dimension::Tool, Some(id)) => urls::tool_usage(log.slug, id.into()),
        (Dimension::Agent, Some(id)) => urls::agent_usage(log.slug, id.into()),
        _ => String::new(),
    };
    let url = if path.is_empty() { path } else { urls::with_query(&path, &[("range", range.as_str())]) };
    let narrowed = narrowed(dimension, of);
    let urls = (log.url("", &[&narrowed]), log.url("failed", &[&narrowed]));
    row(cost::label(dimension, of), url, totals, all, urls, currency)
}

fn row(name: String, url: String, totals: &Totals, all: i64, (calls_url, errors_url): (String, String), currency: &str) -> Row {
    let of = share(totals.calls, all);
    Row {
        url,
        name,
        share: (of * 1000.0).round() / 10.0,
        share_words: format!("{} % of calls", format::percent(of)),
        calls: format::count(totals.calls),
        calls_url,
        errors: home::error_words(totals),
        errors_url: if totals.errors == 0 { String::new() } else { errors_url },
        p95: format::millis(totals.p95_ms),
        cost: format::cost_or_none(totals.cost_micro, currency),
    }
}

/// A row of a break-down.
fn part(one: &CostRow, first: Dimension, most: i64, range: Range, log: &Log<'_>, currency: &str) -> Row {
    let Spent { calls, errors, cost_micro, .. } = one.spent;
    let totals = Totals { calls, errors, cost_micro, ..Totals::default() };
    counted(first, &one.first, &totals, (most, range), log, currency)
}
