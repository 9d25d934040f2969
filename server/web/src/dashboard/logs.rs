//! The call log, and one call.

use actix_web::{http::StatusCode, web};
use askama::Template;
use chrono::{DateTime, Datelike as _, Utc};
use trunkline_platform::{
    Error,
    actor::Permission,
    agents,
    call::Outcome,
    catalog,
    ids::EntryId,
    usage::{self, Call, CallFilter, CallPage},
};

use super::{
    Page,
    components::{CallRow, Choice, Moment, Part, Stat},
    context,
    downstream::{self, RequestRow},
    format,
    layout::Layout,
    page, page_with,
};
use crate::{
    Access, Route, WebState,
    extract::{FieldErrors, InTenant, Path, Query},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/t/{tenant}/logs", Access::Member(Permission::View), list),
        Route::get("/t/{tenant}/logs/{call}", Access::Member(Permission::View), show),
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

#[derive(Template)]
#[template(path = "dashboard/call.html")]
struct CallDetailPage {
    layout: Layout,
    base: String,
    call: CallDetail,
    stats: Vec<Stat>,
    requests: Vec<RequestRow>,
    more_requests: String,
}

struct CallDetail {
    id: String,
    at: Moment,
    outcome: &'static str,
    tone: &'static str,
    error: String,
    explanation: &'static str,
    agent: String,
    agent_url: String,
    key: String,
    tool: String,
    tool_url: String,
    version: String,
    client: String,
    decided: &'static str,
    revision: String,
    request_id: String,
    tokens_definition: String,
    tokens_out: String,
    tokens_note: &'static str,
    network: String,
    region: String,
    arguments_digest: String,
    definition_digest: String,
    upstream_status: String,
    parts: Vec<Part>,
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

async fn show(state: web::Data<WebState>, member: InTenant, call: Path<EntryId>) -> Page {
    let call = usage::call(&state.platform, &member.actor, call.0).await?;
    let (slug, currency) = (member.slug(), &member.tenant.currency);
    let size = |label, bytes: i64| {
        let (value, unit) = format::size(bytes);
        Stat { unit, ..Stat::new(label, value) }
    };
    let stats = vec![
        Stat::new("Latency", format::micros(call.latency_us)),
        Stat::new("Cost", format::price(call.cost_micro, currency)),
        context::of_call(&call, currency),
        size("In", call.bytes_in),
        size("Out", call.bytes_out),
    ];
    let (requests, more_requests) = downstream::rows(&call);
    page(&CallDetailPage {
        layout: member.layout(format!("Call of {}", call.tool_name), "logs"),
        base: urls::tenant(slug),
        call: detail(slug, call),
        stats,
        requests,
        more_requests,
    })
}

fn detail(slug: &str, call: Call) -> CallDetail {
    let outcome = Outcome::find(&call.outcome).unwrap_or(Outcome::Unknown);
    let error = call.error.clone().unwrap_or_default();
    CallDetail {
        id: call.id.to_string(),
        at: Moment::second(call.at),
        outcome: outcome.as_str(),
        tone: if outcome.is_error() { "error" } else { "warning" },
        explanation: explain(&error),
        parts: parts(&call),
        agent: call.agent_name.unwrap_or_else(|| call.agent_id.to_string()),
        agent_url: urls::agent(slug, call.agent_id),
        key: call.key_name.or(call.key_id.map(|id| id.to_string())).unwrap_or_else(|| "–".to_owned()),
        tool_url: call.tool_id.map(|id| urls::tool(slug, id)).unwrap_or_default(),
        tool: call.tool_name,
        version: call.tool_version.map_or_else(|| "–".to_owned(), |number| format!("v{number}")),
        client: if call.client_name.is_empty() { "not told".to_owned() } else { call.client_name },
        decided: if call.degraded { "without Redis, on this server’s share" } else { "with Redis" },
        revision: call.revision,
        request_id: call.request_id,
        network: call.network.unwrap_or_else(|| "–".to_owned()),
        region: call.region.unwrap_or_default(),
        arguments_digest: call.arguments_digest.unwrap_or_default(),
        definition_digest: call.definition_digest.unwrap_or_default(),
        upstream_status: call.upstream_status.map(|class| format!("{class}xx")).unwrap_or_default(),
        tokens_definition: context::of_part(call.tokens_definition),
        tokens_out: context::of_part(call.tokens_out),
        tokens_note: if call.tokens_estimated == Some(true) { "estimated" } else { "" },
        error,
    }
}

/// Where the time went. What is none of the known steps is the rest.
#[expect(clippy::cast_precision_loss, reason = "microseconds of one call")]
fn parts(call: &Call) -> Vec<Part> {
    let rest = call.latency_us - call.auth_us - call.admission_us - call.upstream_us;
    let steps = [
        ("auth", "Authentication", call.auth_us),
        ("admission", "Admission", call.admission_us),
        ("upstream", "Tool", call.upstream_us),
        ("rest", "Everything else", rest.max(0)),
    ];
    let whole = steps.iter().map(|(.., us)| *us).sum::<i64>().max(1) as f64;
    let mut offset = 0.0;
    let mut part = |(name, label, us): (&'static str, &'static str, i64)| {
        let percent = us as f64 / whole * 100.0;
        let part = Part { name, label, text: format::micros(us), offset, percent };
        offset += percent;
        part
    };
    steps.map(&mut part).into()
}

/// What the class of a failure means for who looks into it.
fn explain(error: &str) -> &'static str {
    match error {
        "invalid_arguments" => {
            "The arguments did not fit the tool’s schema. The agent was told what would; the tool did not run."
        }
        "upstream_status" => "The tool’s server answered with an error status.",
        "upstream_timeout" => "The tool’s server did not answer within the tool’s timeout.",
        "upstream_unreachable" => "The tool’s server could not be reached.",
        "upstream_too_large" => "The tool’s server answered with more than is allowed.",
        "upstream_content" => "The tool’s server answered with something that is not text.",
        "upstream_protocol" => "The tool’s server answered with something that is not HTTP, or not UTF-8.",
        "egress_refused" => "The tool’s address leads to a private network, or to another place that tools may not reach.",
        "secret_integrity" => "The tool’s stored secret cannot be read. Enter it again.",
        "tool_crashed" => {
            "The tool’s definition is broken, or the process of its function ended. Publish it again if it stays so."
        }
        "tool_threw" => "The function threw an error, or is no JavaScript. Its message was told to the agent.",
        "tool_timeout" => "The function did not end within its timeout.",
        "tool_memory" => "The function wanted more memory than a call has.",
        "tool_output" => "The function gave more than is passed on, or something that is no JSON.",
        "tool_busy" => "Too many functions ran at the same time. This one did not begin, and cost nothing.",
        "tool_unavailable" => {
            "No process for functions could be started. The function did not begin; `trunkline doctor` says why."
        }
        "unknown_tool" => {
            "There is no tool of this name for this agent: it does not exist, is disabled, or its key has no scope for it."
        }
        "limits_unavailable" => {
            "Redis was away, and a tool that is destructive or has a price does not run while nobody can count."
        }
        "agent_tool" => "The agent’s limit for this tool was used up. The call cost nothing.",
        "agent" => "The agent’s limit for all tools together was used up. The call cost nothing.",
        "tool" => "The tool’s limit for all agents together was used up. The call cost nothing.",
        "tenant" => "The organisation’s limit was used up. The call cost nothing.",
        "day" => "The calls of the day (UTC) were used up. The call cost nothing.",
        "concurrency" => "As many calls ran as may run at the same time. The call cost nothing.",
        "installation" => "The limit of the whole installation was used up. The call cost nothing.",
        "never" => "A limit of 0 calls per day allows no such call.",
        "breaker_open" => "The tool’s server failed most of its calls and was left alone for a moment. The call cost nothing.",
        "idempotency_key_reused" => "The idempotency key had been used for another tool or other arguments.",
        "still_running" => "The first call with this idempotency key was still running.",
        "result_not_kept" => "The call with this idempotency key had been made; its result was too large to be kept.",
        "replayed" => "The result is that of an earlier call with the same idempotency key. The tool did not run again.",
        "upstream_lost" => "The tool’s server could not be reached any more in the middle of the call.",
        "cancelled" => "The agent went away before the tool was done.",
        _ => "",
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
