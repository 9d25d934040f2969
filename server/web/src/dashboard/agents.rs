//! Agents: the list, and one with its keys, limits and calls.

use actix_web::{http::StatusCode, web};
use askama::Template;
use trunkline_platform::{
    ErrorKind,
    actor::Permission,
    agents::{self, Agent, AgentState, KeyFilter, ListedAgent, MAX_KEY_DAYS, NewKey},
    db::page::Search,
    gateway::{self, Reader},
    ids::AgentId,
    oauth,
    quota::{AgentLimits, BudgetScope, Rate},
    usage::{self, CallFilter, Range, Totals},
};
use trunkline_protocol::oauth::scope::{Effect, Scope, ScopeSet};

use super::{
    Page,
    budgets::{self, BudgetRow},
    clients::{self, GrantRow},
    components::{CallRow, Choice, Listing, Moment, Stat},
    context, format,
    keys::{self, KeyRow},
    layout::Layout,
    page, page_with, see_other,
};
use crate::{
    Access, Route, WebState,
    extract::{Allowed, FieldErrors, Fields, Form, InTenant, ManageAgents, ManageKeys, Path, Query},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let manage = Access::Member(Permission::ManageAgents);
    vec![
        Route::get("/t/{tenant}/agents", Access::Member(Permission::View), list),
        Route::get("/t/{tenant}/agents/{agent}", Access::Member(Permission::View), show),
        Route::post("/t/{tenant}/agents/{agent}/suspend", manage, suspend),
        Route::post("/t/{tenant}/agents/{agent}/resume", manage, resume),
        Route::post("/t/{tenant}/agents/{agent}/keys", Access::Member(Permission::ManageKeys), create_key),
    ]
}

/// Lives of a key that are offered, in days and in words.
const LIVES: [(i64, &str); 5] = [(7, "7 days"), (30, "30 days"), (90, "90 days"), (180, "180 days"), (365, "1 year")];
/// Calls on an agent's or a tool's page.
pub(super) const RECENT: usize = 10;

#[derive(Template)]
#[template(path = "dashboard/agents.html")]
struct AgentsPage {
    layout: Layout,
    base: String,
    can_manage: bool,
    url: String,
    listing: Listing,
    agents: Vec<AgentRow>,
}

struct AgentRow {
    url: String,
    name: String,
    description: String,
    state: &'static str,
    scopes: String,
    keys: String,
    calls: String,
    last_call: Option<Moment>,
}

#[derive(Template)]
#[template(path = "dashboard/agent.html")]
struct AgentPage {
    layout: Layout,
    base: String,
    problem: String,
    can_manage_agents: bool,
    can_manage_keys: bool,
    agent: AgentDetail,
    stats: Vec<Stat>,
    agent_keys: Vec<KeyRow>,
    more_keys: String,
    grants: Vec<GrantRow>,
    overlaps: Vec<Choice>,
    key_form: KeyForm,
    limits: Vec<LimitRow>,
    budgets: Vec<BudgetRow>,
    budgets_url: String,
    recent: Vec<CallRow>,
    logs_url: String,
}

struct AgentDetail {
    id: String,
    url: String,
    name: String,
    description: String,
    state: &'static str,
    was_refused: bool,
    throttled_until: Option<Moment>,
    scopes: Vec<String>,
    /// In words; empty if its contexts are not counted.
    model: String,
    /// What its list of tools costs.
    offer: String,
    /// Does it find tools instead of reading them?
    searches: bool,
    created: Moment,
}

struct LimitRow {
    what: &'static str,
    words: String,
    origin: &'static str,
}

struct KeyForm {
    name: String,
    lifetimes: Vec<Choice>,
    scopes: Vec<Choice>,
    errors: FieldErrors,
}

/// What the page says beside the agent.
#[derive(Default)]
struct Said {
    problem: String,
    errors: FieldErrors,
    form: Option<Fields>,
}

async fn list(state: web::Data<WebState>, member: InTenant, query: Query) -> Page {
    let (platform, actor, slug) = (&state.platform, &member.actor, member.slug());
    let q = query.get("q");
    let found = agents::search(platform, actor, &Search::new(q, keys::page_number(&query))).await?;
    let ids: Vec<AgentId> = found.items.iter().map(|listed| listed.agent.id).collect();
    let totals = usage::of_agents(platform, actor, Range::Day, &ids);
    let (totals, last_calls) = tokio::try_join!(totals, usage::last_calls(platform, actor, &ids))?;
    let url = urls::agents(slug);
    let listing = Listing::new(&found, &url, q, &[]);
    let row = |ListedAgent { agent, live_keys }: ListedAgent| AgentRow {
        url: urls::agent(slug, agent.id),
        name: agent.name.to_string(),
        description: agent.description,
        state: agent.state.as_str(),
        scopes: brief(&agent.scopes),
        keys: format::count(live_keys),
        calls: format::count(totals.get(&agent.id).map_or(0, |totals| totals.calls)),
        last_call: last_calls.get(&agent.id).copied().map(Moment::second),
    };
    page(&AgentsPage {
        layout: member.layout("Agents", "agents"),
        base: urls::tenant(slug),
        can_manage: member.may(Permission::ManageAgents),
        url,
        listing,
        agents: found.items.into_iter().map(row).collect(),
    })
}

async fn show(state: web::Data<WebState>, member: InTenant, agent: Path<AgentId>) -> Page {
    render(&state, &member, agent.0, StatusCode::OK, Said::default()).await
}

async fn suspend(state: web::Data<WebState>, member: Allowed<ManageAgents>, agent: Path<AgentId>, _: Form<Fields>) -> Page {
    agents::set_state(&state.platform, &member.actor, agent.0, AgentState::Suspended).await?;
    member.visitor.leave_flash("success", "The agent is suspended: its calls are refused from the next one on.");
    Ok(see_other(&urls::agent(member.slug(), agent.0)))
}

async fn resume(state: web::Data<WebState>, member: Allowed<ManageAgents>, agent: Path<AgentId>, form: Form<Fields>) -> Page {
    agents::set_state(&state.platform, &member.actor, agent.0, AgentState::Active).await?;
    member.visitor.leave_flash("success", "The agent may call again.");
    let slug = member.slug();
    Ok(see_other(&if form.0.get("from") == "limits" { urls::limits(slug) } else { urls::agent(slug, agent.0) }))
}

async fn create_key(state: web::Data<WebState>, member: Allowed<ManageKeys>, agent: Path<AgentId>, form: Form<Fields>) -> Page {
    let fields = form.0;
    let scopes = fields.all("scopes").collect::<Vec<_>>().join(" ");
    let created = match NewKey::parse(fields.get("name"), &scopes, fields.get("days").parse().unwrap_or_default()) {
        Ok(new) => agents::create_key(&state.platform, &member.actor, agent.0, new).await,
        Err(error) => Err(error),
    };
    let error = match created {
        Ok(created) => {
            let agent = agents::get(&state.platform, &member.actor, agent.0).await?;
            return keys::show_created(&state, &member, &agent, &created, None).await;
        }
        Err(error) => error,
    };
    let (status, said) = if matches!(error.kind(), ErrorKind::Conflict(_)) {
        (StatusCode::CONFLICT, Said { problem: error.to_string(), form: Some(fields), ..Said::default() })
    } else {
        let errors = FieldErrors::from_failure(error)?;
        (StatusCode::UNPROCESSABLE_ENTITY, Said { errors, form: Some(fields), ..Said::default() })
    };
    render(&state, &member, agent.0, status, said).await
}

async fn render<P>(state: &WebState, member: &Allowed<P>, id: AgentId, status: StatusCode, said: Said) -> Page {
    let (platform, actor, slug) = (&state.platform, &member.actor, member.slug());
    let agent = agents::get(platform, actor, id).await?;
    let totals = usage::of_agents(platform, actor, Range::Day, &[id]).await?.remove(&id).unwrap_or_default();
    let limits = agents::limits(platform, actor, id).await?;
    let found = agents::search_keys(platform, actor, KeyFilter { agent: Some(id), live: false }, &Search::new("", 1)).await?;
    let more_keys =
        if found.has_next() { format!("The first {} of {} keys.", found.items.len(), found.total) } else { String::new() };
    let calls = usage::calls(platform, actor, &CallFilter { agent: Some(id), ..CallFilter::default() }).await?.calls;
    let currency = &member.tenant.currency;
    let offer = match &agent.model {
        Some(model) => context::offer_words(&gateway::offer(platform, actor, Reader::Agent(&agent)).await?, model, currency),
        None => String::new(),
    };
    let logs_url = urls::with_query(&urls::logs(slug), &[("agent", agent.name.as_str())]);
    let page = AgentPage {
        layout: member.layout(agent.name.as_str(), "agents"),
        base: urls::tenant(slug),
        problem: said.problem,
        can_manage_agents: member.may(Permission::ManageAgents),
        can_manage_keys: member.may(Permission::ManageKeys),
        stats: day(&totals, currency, &logs_url),
        agent_keys: found.items.into_iter().map(|key| keys::key_row(slug, platform.clock.now(), key)).collect(),
        more_keys,
        grants: clients::grant_rows(slug, actor, oauth::list_grants(platform, actor, id).await?),
        overlaps: keys::overlaps(),
        key_form: key_form(&agent, said.form.as_ref(), said.errors),
        limits: limit_rows(state, limits),
        budgets: budgets::rows(state, member, BudgetScope::Agent(id)).await?,
        budgets_url: urls::agent_budgets(slug, id),
        recent: calls.into_iter().take(RECENT).map(|call| CallRow::new(slug, currency, call)).collect(),
        logs_url,
        agent: AgentDetail {
            id: id.to_string(),
            url: urls::agent(slug, id),
            name: agent.name.to_string(),
            description: agent.description,
            state: agent.state.as_str(),
            was_refused: agent.was_refused,
            throttled_until: agent.throttled_until.filter(|until| platform.clock.now() < *until).map(Moment::second),
            scopes: agent.scopes.iter().map(ToString::to_string).collect(),
            model: agent.model.as_ref().map(|model| context::model_words(model, currency)).unwrap_or_default(),
            offer,
            searches: agent.search_mode,
            created: Moment::second(agent.created_at),
        },
    };
    page_with(status, &page)
}

/// Sums of a day, as numbers that stand out.
pub(super) fn day(totals: &Totals, currency: &str, logs_url: &str) -> Vec<Stat> {
    let mut stats = Stat::of_totals(totals, currency, logs_url.to_owned());
    stats[0].label = "Calls, 24 h";
    stats
}

/// The scopes in one line of a table.
fn brief(scopes: &ScopeSet) -> String {
    let mut texts = scopes.iter().map(ToString::to_string);
    let shown: Vec<String> = texts.by_ref().take(3).collect();
    match texts.count() {
        0 => shown.join(" "),
        more => format!("{} and {more} more", shown.join(" ")),
    }
}

/// The form for a key: everything that the agent may is offered, and chosen unless somebody chose otherwise.
fn key_form(agent: &Agent, sent: Option<&Fields>, errors: FieldErrors) -> KeyForm {
    let days = sent.map_or("90", |fields| fields.get("days"));
    let life = |(value, label): (i64, &str)| Choice {
        value: value.min(MAX_KEY_DAYS).to_string(),
        label: label.to_owned(),
        hint: String::new(),
        chosen: value.to_string() == days,
    };
    let scope = |scope: Scope| {
        let value = scope.to_string();
        let is_ceiling = agent.scopes.iter().any(|own| *own == scope);
        let chosen = sent.map_or(is_ceiling, |fields| fields.all("scopes").any(|sent| sent == value));
        Choice { label: value.clone(), hint: hint(&scope).to_owned(), value, chosen }
    };
    KeyForm {
        name: sent.map_or("", |fields| fields.get("name")).to_owned(),
        lifetimes: LIVES.into_iter().map(life).collect(),
        scopes: within(&agent.scopes).into_iter().map(scope).collect(),
        errors,
    }
}

/// All scopes that a ceiling names or, for effects, implies.
fn within(ceiling: &ScopeSet) -> Vec<Scope> {
    let implied = Effect::ALL.into_iter().map(Scope::Tools).filter(|scope| ceiling.covers(&ScopeSet::new([scope.clone()])));
    ScopeSet::new(implied.chain(ceiling.iter().cloned())).iter().cloned().collect()
}

fn hint(scope: &Scope) -> &'static str {
    match scope {
        Scope::Tools(Effect::Read) => "All tools that change nothing.",
        Scope::Tools(Effect::Write) => "Also tools that change what can be undone.",
        Scope::Tools(Effect::Destructive) => "All tools.",
        Scope::Tool(_) => "This tool.",
        _ => "",
    }
}

fn limit_rows(state: &WebState, limits: AgentLimits) -> Vec<LimitRow> {
    const OWN: &str = "this agent";
    let settings = &state.platform.settings.quota;
    let row = |what, rate: Rate, origin| LimitRow { what, words: format::rate(rate), origin };
    let total = match limits.total.rate {
        Some(rate) => row("All tools together", rate, OWN),
        None => row("All tools together", settings.agent, "default"),
    };
    let each = match limits.each_tool {
        Some(rate) => vec![row("Each tool", rate, OWN)],
        None => vec![
            row("Each read tool", settings.read, "default"),
            row("Each write tool", settings.write, "default"),
            row("Each destructive tool", settings.destructive, "default"),
        ],
    };
    let per_day = limits.total.per_day.map(|most| format!("{} a day (UTC)", format::count(most.into())));
    let per_day = per_day.map(|words| LimitRow { what: "All tools together", words, origin: OWN });
    let at_once = limits.total.at_once.unwrap_or(settings.at_once.agent);
    let at_once = LimitRow {
        what: "Running at the same time",
        words: format::count(at_once.into()),
        origin: if limits.total.at_once.is_some() { OWN } else { "default" },
    };
    each.into_iter().chain([total]).chain(per_day).chain([at_once]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_offered_what_the_ceiling_opens() {
        let offered = |ceiling: &str| {
            let scopes = within(&ScopeSet::parse(ceiling).unwrap());
            scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(offered("tools:write tool:drop"), "tools:read tools:write tool:drop");
        assert_eq!(offered("tool:drop"), "tool:drop");
    }

    #[test]
    fn many_scopes_are_counted() {
        let scopes = ScopeSet::parse("tool:a tool:b tool:c tool:d tools:read").unwrap();
        assert_eq!(brief(&scopes), "tools:read tool:a tool:b and 2 more");
    }
}
