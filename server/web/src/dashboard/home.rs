//! A tenant's home: what its agents called, how well it went and what it cost; before the first call, the way to it.

use actix_web::web;
use askama::Template;
use trunkline_platform::{
    actor::Permission,
    agents, catalog,
    db::page::Search,
    usage::{self, Point, Range, Ranking, Subject, Totals},
};

use super::{
    Page,
    components::{Stat, Tab},
    context, format,
    layout::Layout,
    page,
};
use crate::{
    Access, Route, WebState,
    error::HtmlError,
    extract::{InTenant, Query},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    vec![Route::get("/t/{tenant}", Access::Member(Permission::View), show)]
}

/// An error rate from which on a row stands out.
pub(super) const ALARMING: f64 = 0.05;

/// Tools and agents of each ranking.
const TOP: usize = 10;

/// What is said while Redis is away.
pub(super) const DEGRADED: &str = "Redis is not reachable. Read tools run on this server’s share of their limits; destructive tools and tools with \
                        a price are refused. It heals by itself within two seconds of Redis coming back.";

#[derive(Template)]
#[template(path = "dashboard/home.html")]
struct HomePage {
    layout: Layout,
    base: String,
    ranges: Vec<Tab>,
    range_words: &'static str,
    degraded: &'static str,
    ever_called: bool,
    stats: Vec<Stat>,
    calls: Vec<CallsPoint>,
    latency: Vec<LatencyPoint>,
    top_tools: Vec<Ranked>,
    top_agents: Vec<Ranked>,
    /// Were any tokens counted?
    has_contexts: bool,
    steps: Vec<Step>,
}

pub(super) struct CallsPoint {
    pub(super) at: i64,
    pub(super) label: String,
    pub(super) ok: i64,
    pub(super) failed: i64,
    pub(super) denied: i64,
    pub(super) limited: i64,
}

pub(super) struct LatencyPoint {
    pub(super) at: i64,
    pub(super) label: String,
    pub(super) p50: String,
    pub(super) p95: String,
    pub(super) p99: String,
}

struct Ranked {
    url: String,
    name: String,
    share: f64,
    share_words: String,
    calls: String,
    errors: String,
    alarming: bool,
    p95: String,
    cost: String,
    context: String,
}

struct Step {
    title: &'static str,
    text: &'static str,
    url: String,
    action: &'static str,
    variant: &'static str,
    done: bool,
}

async fn show(state: web::Data<WebState>, member: InTenant, query: Query) -> Page {
    let (platform, actor, slug) = (&state.platform, &member.actor, member.slug());
    let range = match query.get("range") {
        "" => Range::Day,
        word => Range::parse(word)?,
    };
    let ever_called = usage::has_calls(platform, actor).await?;
    // Asked, not remembered: without calls nobody else would notice that it went away, or came back.
    let degraded = if platform.redis.ping().await.is_err() { DEGRADED } else { "" };
    let frame = HomePage {
        layout: member.layout("Home", "home"),
        base: urls::tenant(slug),
        ranges: Range::ALL.map(|one| tab(slug, one, range)).into(),
        range_words: words(range),
        degraded,
        ever_called,
        stats: Vec::new(),
        calls: Vec::new(),
        latency: Vec::new(),
        top_tools: Vec::new(),
        top_agents: Vec::new(),
        has_contexts: false,
        steps: Vec::new(),
    };
    if !ever_called {
        return page(&HomePage { steps: steps(&state, &member).await?, ..frame });
    }
    let summary = usage::summary(platform, actor, range, TOP).await?;
    let empty = summary.totals.calls == 0;
    let points = if empty { Vec::new() } else { usage::series(platform, actor, range, Subject::Everything).await? };
    let currency = &member.tenant.currency;
    let all = summary.totals.calls;
    let tool_url = |one: &Ranking| (!one.name.is_empty()).then(|| urls::tool(slug, one.id.into()));
    let agent_url = |one: &Ranking| (!one.name.is_empty()).then(|| urls::agent(slug, one.id.into()));
    page(&HomePage {
        stats: Stat::of_totals(&summary.totals, currency, urls::logs(slug)),
        has_contexts: summary.totals.counted > 0,
        calls: points.iter().map(|point| calls_point(point, range)).collect(),
        latency: points.iter().map(|point| latency_point(point, range)).collect(),
        top_tools: summary.first.tools.rows.into_iter().map(|one| ranked(tool_url(&one), one, all, currency)).collect(),
        top_agents: summary.first.agents.rows.into_iter().map(|one| ranked(agent_url(&one), one, all, currency)).collect(),
        ..frame
    })
}

fn tab(slug: &str, range: Range, chosen: Range) -> Tab {
    Tab {
        url: urls::with_query(&urls::tenant(slug), &[("range", range.as_str())]),
        label: range.as_str().to_owned(),
        current: range == chosen,
    }
}

pub(super) fn words(range: Range) -> &'static str {
    match range {
        Range::Hour => "the last hour",
        Range::Day => "the last 24 hours",
        Range::Week => "the last 7 days",
        Range::Month => "the last 30 days",
        Range::Quarter => "the last 90 days",
    }
}

/// A point's time for the table beside the chart.
pub(super) fn label(point: &Point, range: Range) -> String {
    let pattern = match range {
        Range::Hour => "%H:%M",
        Range::Quarter => "%-d %b",
        _ => "%-d %b %H:%M",
    };
    point.at.format(pattern).to_string()
}

pub(super) fn calls_point(point: &Point, range: Range) -> CallsPoint {
    let Totals { calls, errors, denied, limited, .. } = point.totals;
    CallsPoint {
        at: point.at.timestamp(),
        label: label(point, range),
        ok: calls - errors - denied - limited,
        failed: errors,
        denied,
        limited,
    }
}

pub(super) fn latency_point(point: &Point, range: Range) -> LatencyPoint {
    let number = |ms: Option<f64>| ms.map(|ms| format!("{ms:.2}")).unwrap_or_default();
    let totals = &point.totals;
    LatencyPoint {
        at: point.at.timestamp(),
        label: label(point, range),
        p50: number(totals.p50_ms),
        p95: number(totals.p95_ms),
        p99: number(totals.p99_ms),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^52")]
fn ranked(url: Option<String>, one: Ranking, all: i64, currency: &str) -> Ranked {
    let Ranking { id, name, totals } = one;
    let share = totals.calls as f64 / all.max(1) as f64;
    let name = match (name.is_empty(), id.is_nil()) {
        (false, _) => name,
        (true, false) => id.to_string(),
        (true, true) => "unknown tools".to_owned(),
    };
    Ranked {
        url: url.unwrap_or_default(),
        name,
        share: share * 100.0,
        share_words: format!("{} % of calls", format::percent(share)),
        calls: format::count(totals.calls),
        errors: error_words(&totals),
        alarming: totals.error_rate() >= ALARMING,
        p95: format::millis(totals.p95_ms),
        cost: format::cost_or_none(totals.cost_micro, currency),
        context: context::cell(&totals, currency),
    }
}

/// The error rate in a cell of a table.
pub(super) fn error_words(totals: &Totals) -> String {
    match totals.calls - totals.denied - totals.limited {
        0 => "–".to_owned(),
        _ => format!("{}\u{a0}%", format::percent(totals.error_rate())),
    }
}

/// The way to the first call. The first step that is not done is the one to take.
async fn steps(state: &WebState, member: &InTenant) -> Result<Vec<Step>, HtmlError> {
    let (platform, actor, slug) = (&state.platform, &member.actor, member.slug());
    let has_tools = catalog::search(platform, actor, &Search::new("", 1)).await?.total > 0;
    let first_agent = agents::search(platform, actor, &Search::new("", 1)).await?.items.into_iter().next();
    let has_key = agents::count_keys(platform, actor).await?.live > 0;
    let step = |title, text, url, action, done| Step { title, text, url, action, variant: "secondary", done };
    let mut steps = vec![
        if has_tools {
            step("Create a tool", "There is one already.", urls::tools(slug), "View tools", true)
        } else {
            let text = "One endpoint of an HTTP API, or a built-in one.";
            step("Create a tool", text, urls::tool_new(slug), "Create a tool", false)
        },
        match first_agent {
            None => {
                let text = "The identity that calls, and its secret.";
                step("Create an agent and its key", text, urls::agent_new(slug), "Create an agent", false)
            }
            Some(first) => step(
                "Create an agent and its key",
                if has_key { "There is one already." } else { "The agent is there; give it a key." },
                format!("{}#new-key", urls::agent(slug, first.agent.id)),
                if has_key { "View the agent" } else { "Create a key" },
                has_key,
            ),
        },
        step(
            "Connect",
            "Paste one snippet into Claude Code, Cursor or your program.",
            urls::connect(slug),
            "Open Connect",
            false,
        ),
    ];
    if let Some(next) = steps.iter_mut().find(|step| !step.done) {
        next.variant = "primary";
    }
    Ok(steps)
}
