//! One tool: its definition, its versions, its calls, and trying it out.

use actix_web::{http::StatusCode, web};
use askama::Template;
use serde_json::Value;
use trunkline_platform::{
    Error, ErrorKind,
    actor::{Member, Permission},
    catalog::{
        self, Executor, Origin, Tool,
        drafts::{self, VersionLife},
    },
    execution,
    gateway::{self, Trial},
    ids::ToolId,
    publishing::Subject,
    quota::{BudgetScope, Limit, ToolLimits, breakers::Standing, resilience::Resilience},
    usage::{self, CallFilter, Range},
};

use super::{
    kind, price,
    publish::{self, DraftCard, PinCard},
    state_word,
    trial::{self, TryField},
};
use crate::{
    Access, Route, WebState,
    dashboard::{
        Page,
        agents::{RECENT, day},
        budgets::{self, BudgetRow},
        components::{CallRow, Moment, Stat, Tab},
        context, format,
        layout::Layout,
        limits::standing_words,
        page_with,
        probes::{self, ProbeCard},
        see_other,
    },
    extract::{Allowed, FieldErrors, Fields, Form, InTenant, ManageTools, Path, Query},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let manage = Access::Member(Permission::ManageTools);
    vec![
        Route::get("/t/{tenant}/tools/{tool}", Access::Member(Permission::View), show),
        Route::post("/t/{tenant}/tools/{tool}/disable", manage, disable),
        Route::post("/t/{tenant}/tools/{tool}/enable", manage, enable),
        Route::post("/t/{tenant}/tools/{tool}/try", manage, try_out),
    ]
}

/// Bytes of a result that are shown.
const SHOWN: usize = 64 * 1024;
/// Versions that are shown.
const VERSIONS: usize = 20;

#[derive(Template)]
#[template(path = "dashboard/tool.html")]
struct ToolPage {
    layout: Layout,
    base: String,
    can_manage: bool,
    tool: ToolDetail,
    stats: Vec<Stat>,
    versions: Vec<VersionRow>,
    more_versions: String,
    try_out: TryOut,
    errors: FieldErrors,
    problem: String,
    result: Option<TryResult>,
    recent: Vec<CallRow>,
    budgets: Vec<BudgetRow>,
    budgets_url: String,
    logs_url: String,
    /// What its code logs; empty if it has none, or nobody may see it who looks.
    function_logs_url: String,
    draft: Option<DraftCard>,
    /// `None`: it is tried with its server.
    probe: Option<ProbeCard>,
    roll_back_url: String,
    compare_url: String,
    pins: PinCard,
}

struct ToolDetail {
    url: String,
    /// Where its definition comes from; empty if it is ours.
    source_url: String,
    name: String,
    title: String,
    description: String,
    effect: &'static str,
    kind: &'static str,
    state: &'static str,
    version: i32,
    /// Why its calls are refused for a moment; empty if they are not.
    left_alone: String,
    request: String,
    secret: String,
    /// Where it is exchanged.
    credential_url: String,
    timeout: String,
    /// How its upstream is treated; empty if it has none.
    upstream_url: String,
    price: String,
    context: String,
    limit: String,
    schema: String,
}

struct VersionRow {
    number: i32,
    current: bool,
    is_draft: bool,
    /// Can the tool be pointed at it again?
    can_return: bool,
    /// Why it was published without a real call; empty if it was tried.
    untried: String,
    at: Moment,
    digest: String,
}

struct TryOut {
    url: String,
    mode: &'static str,
    modes: Vec<Tab>,
    fields: Vec<TryField>,
    arguments: String,
}

struct TryResult {
    outcome: &'static str,
    error: String,
    latency: String,
    size: String,
    body: String,
    /// Says that the end is missing; empty if it is not.
    cut: String,
}

/// What the page says beside the tool.
#[derive(Default)]
struct Said {
    mode: Option<&'static str>,
    sent: Option<Fields>,
    errors: FieldErrors,
    problem: String,
    result: Option<TryResult>,
}

async fn show(state: web::Data<WebState>, member: InTenant, tool: Path<ToolId>, query: Query) -> Page {
    let said = Said { mode: Some(mode(query.get("mode"))?), ..Said::default() };
    let tool = catalog::get(&state.platform, &member.actor, tool.0).await?;
    render(&state, &member, tool, StatusCode::OK, said).await
}

async fn disable(state: web::Data<WebState>, member: Allowed<ManageTools>, tool: Path<ToolId>, _: Form<Fields>) -> Page {
    catalog::set_enabled(&state.platform, &member.actor, tool.0, false).await?;
    member.visitor.leave_flash("success", "The tool is disabled: no agent sees it from the next request on.");
    Ok(see_other(&urls::tool(member.slug(), tool.0)))
}

async fn enable(state: web::Data<WebState>, member: Allowed<ManageTools>, tool: Path<ToolId>, _: Form<Fields>) -> Page {
    catalog::set_enabled(&state.platform, &member.actor, tool.0, true).await?;
    member.visitor.leave_flash("success", "The tool is enabled again.");
    Ok(see_other(&urls::tool(member.slug(), tool.0)))
}

async fn try_out(state: web::Data<WebState>, member: Allowed<ManageTools>, tool: Path<ToolId>, form: Form<Fields>) -> Page {
    let form = form.0;
    let mode = mode(form.get("mode"))?;
    let tool = catalog::get(&state.platform, &member.actor, tool.0).await?;
    let mut errors = FieldErrors::default();
    let arguments = match mode {
        "json" => trial::read(form.get("arguments"), &mut errors),
        _ => Some(trial::collect(&trial::fields(&tool, Some(&form))?, &mut errors)?),
    };
    let mut said = Said { mode: Some(mode), sent: Some(form), errors, ..Said::default() };
    let Some(arguments) = arguments.filter(|_| said.errors.is_empty()) else {
        return render(&state, &member, tool, StatusCode::UNPROCESSABLE_ENTITY, said).await;
    };
    match gateway::try_out(&state.platform, &member.actor, tool.id, &arguments).await {
        Ok(trial) => {
            said.result = Some(result(&trial));
            render(&state, &member, tool, StatusCode::OK, said).await
        }
        Err(error) if matches!(error.kind(), ErrorKind::Exhausted { .. }) => {
            said.problem = error.to_string();
            render(&state, &member, tool, StatusCode::TOO_MANY_REQUESTS, said).await
        }
        Err(error) => Err(error.into()),
    }
}

fn mode(word: &str) -> Result<&'static str, Error> {
    match word {
        "" | "form" => Ok("form"),
        "json" => Ok("json"),
        _ => Err(Error::invalid("mode", "expected form or json")),
    }
}

fn result(trial: &Trial) -> TryResult {
    let (body, is_cut) = format::beginning(&trial.text, SHOWN);
    let (value, unit) = format::size(i64::try_from(trial.text.len()).unwrap_or(i64::MAX));
    let size = format!("{value}\u{a0}{unit}");
    TryResult {
        outcome: trial.outcome.as_str(),
        error: trial.error.as_deref().unwrap_or_default().to_owned(),
        latency: format::duration(trial.took),
        body: body.to_owned(),
        cut: if is_cut { format!("Only the first 64 KiB of {size} are shown. An agent gets all of it.") } else { String::new() },
        size,
    }
}

async fn render<P>(state: &WebState, member: &Allowed<P>, tool: Tool, status: StatusCode, said: Said) -> Page {
    let (platform, actor, slug) = (&state.platform, &member.actor, member.slug());
    let currency = &member.tenant.currency;
    let id = tool.id;
    let totals = usage::of_tools(platform, actor, Range::Day, &[id]).await?.remove(&id).unwrap_or_default();
    let limits = catalog::limits(platform, actor, id).await?;
    let versions = drafts::lives(platform, actor, id).await?;
    let calls = usage::calls(platform, actor, &CallFilter { tool: Some(id), ..CallFilter::default() }).await?.calls;
    let logs_url = urls::with_query(&urls::logs(slug), &[("tool", tool.name.as_str())]);
    let context = context::definition_words(catalog::definition_tokens(&tool).await?);
    let mode = said.mode.unwrap_or("form");
    let tab = |word: &str, label: &str| Tab {
        url: format!("{}#try", urls::with_query(&urls::tool(slug, id), &[("mode", word)])),
        label: label.to_owned(),
        current: word == mode,
    };
    let more = versions.len().saturating_sub(VERSIONS);
    let page = ToolPage {
        layout: member.layout(tool.name.as_str(), "tools"),
        base: urls::tenant(slug),
        can_manage: member.may(Permission::ManageTools),
        stats: day(&totals, currency, &logs_url),
        versions: versions.iter().take(VERSIONS).map(|version| version_row(version, &tool)).collect(),
        more_versions: if more == 0 { String::new() } else { format!("and {more} older") },
        try_out: TryOut {
            url: urls::tool_try(slug, id),
            mode,
            modes: vec![tab("form", "Form"), tab("json", "JSON")],
            fields: trial::fields(&tool, said.sent.as_ref())?,
            arguments: said.sent.as_ref().map_or("{}", |form| form.get("arguments")).to_owned(),
        },
        errors: said.errors,
        problem: said.problem,
        result: said.result,
        recent: calls.into_iter().take(RECENT).map(|call| CallRow::new(slug, currency, call)).collect(),
        logs_url,
        function_logs_url: match &tool.version.executor {
            Executor::Function(_) if member.may(Permission::ManageTools) => urls::tool_logs(slug, id),
            _ => String::new(),
        },
        budgets: budgets::rows(state, member, BudgetScope::Tool(id)).await?,
        budgets_url: urls::tool_budgets(slug, id),
        draft: publish::draft_card(state, member, &tool).await?,
        probe: if publish::is_tried(&tool) {
            let subject = (Subject::Tool(id), urls::tool_probe(slug, id));
            Some(probes::card(state, member, subject, publish::changes_something(&tool)).await?)
        } else {
            None
        },
        pins: publish::pin_card(state, member, &tool, &versions).await?,
        roll_back_url: urls::tool_roll_back(slug, id),
        compare_url: urls::tool_compare(slug, id),
        tool: ToolDetail { context, ..detail(state, actor, (slug, currency), &tool, limits)? },
    };
    page_with(status, &page)
}

fn version_row(life: &VersionLife, tool: &Tool) -> VersionRow {
    let version = &life.version;
    let is_current = version.id == tool.version.id;
    VersionRow {
        number: version.number,
        current: is_current && !tool.is_draft,
        is_draft: !life.was_published,
        can_return: life.was_published && !is_current && publish::is_tried(tool),
        untried: life.untried.clone(),
        at: Moment::second(version.created_at),
        digest: version.digest.iter().take(6).fold(String::new(), |text, byte| format!("{text}{byte:02x}")),
    }
}

fn detail(
    state: &WebState,
    actor: &Member,
    (slug, currency): (&str, &str),
    tool: &Tool,
    limits: ToolLimits,
) -> Result<ToolDetail, Error> {
    let version = &tool.version;
    let schema: Value = serde_json::from_str(version.input_schema.get()).map_err(Error::internal)?;
    let (request, secret) = match &version.executor {
        Executor::Builtin { name } => (format!("built-in {}", name.as_str()), String::new()),
        Executor::Http(http) => {
            let secret = http.secret_header.as_ref().map(|header| format!("{header}, sent to {} only", http.url.origin()));
            (format!("{} {}", http.method.as_str(), http.url.as_str()), secret.unwrap_or_default())
        }
        Executor::Operation(operation) => {
            let places: Vec<&str> = operation.security.iter().map(|proof| proof.scheme.as_str()).collect();
            let secret = if version.credential.is_some() {
                format!("{}, sent to {} only", places.join(", "), operation.origin)
            } else {
                String::new()
            };
            (format!("{} {}{}", operation.method.as_str(), operation.origin, operation.display_path()), secret)
        }
        Executor::Function(function) => {
            let hosts: Vec<&str> = function.hosts.iter().map(Origin::brief).collect();
            let reach = if hosts.is_empty() { "calls no host".to_owned() } else { format!("may call {}", hosts.join(", ")) };
            let secret = version.executor.secret_use().map(|(header, origin)| format!("{header}, sent to {origin} only"));
            (format!("{} lines of JavaScript; {reach}", function.code.lines().count()), secret.unwrap_or_default())
        }
        Executor::Upstream { name, .. } => (name.clone(), String::new()),
    };
    Ok(ToolDetail {
        url: urls::tool(slug, tool.id),
        source_url: match &version.executor {
            Executor::Upstream { source, .. } => urls::source(slug, *source),
            _ => String::new(),
        },
        name: tool.name.to_string(),
        title: version.title.clone(),
        description: version.description.clone(),
        effect: version.effect.as_str(),
        kind: kind(&version.executor),
        state: state_word(tool),
        version: version.number,
        upstream_url: execution::upstream(&version.executor)
            .map(|_| urls::resilience(&urls::tool(slug, tool.id)))
            .unwrap_or_default(),
        left_alone: match gateway::standing(&state.platform, actor, tool) {
            Standing::Closed => String::new(),
            standing => standing_words(standing),
        },
        request,
        secret,
        credential_url: version.credential.map(|id| urls::credential(slug, id)).unwrap_or_default(),
        timeout: match &version.executor {
            // Its source has one for all of its tools.
            Executor::Upstream { .. } => String::new(),
            executor => timeout_words(executor),
        },
        price: price(&version.price, currency),
        context: String::new(),
        limit: limit_words(state, tool, limits),
        schema: serde_json::to_string_pretty(&schema).map_err(Error::internal)?,
    })
}

/// The deadline as somebody set it: whole seconds, or milliseconds.
fn timeout_words(executor: &Executor) -> String {
    match execution::deadline(executor, Resilience::default()).as_millis() {
        ms if ms.is_multiple_of(1000) => format!("{}\u{a0}s", ms / 1000),
        ms => format!("{ms}\u{a0}ms"),
    }
}

fn limit_words(state: &WebState, tool: &Tool, limits: ToolLimits) -> String {
    let default = state.platform.settings.quota.of_effect(tool.version.effect);
    let each = format!("{} for each agent", format::rate(limits.each_agent.unwrap_or(default)));
    let Limit { rate, per_day, at_once } = limits.total;
    let more = [
        rate.map(|rate| format!("{} for all together", format::rate(rate))),
        per_day.map(|most| format!("{} a day", format::count(most.into()))),
        at_once.map(|most| format!("{} running at the same time", format::count(most.into()))),
    ];
    [each].into_iter().chain(more.into_iter().flatten()).collect::<Vec<_>>().join("; ")
}
