//! The form for an agent, new or not.

use actix_web::{http::StatusCode, web};
use askama::Template;
use trunkline_platform::{
    actor::Permission,
    agents::{self, Agent, AgentName, NewAgent},
    catalog::parse_price,
    context::{ENCODING, Model},
    ids::AgentId,
    quota::{
        AgentLimits, Limit, Rate,
        limits::{parse_at_once, parse_per_day, parse_rate},
    },
};
use trunkline_protocol::oauth::scope::{Effect, Scope};

use super::{
    Page,
    components::Choice,
    format,
    layout::Layout,
    limits::what_if::{self, WhatIf},
    page_with, see_other,
};
use crate::{
    Access, Route, WebState,
    error::HtmlError,
    extract::{Allowed, FieldErrors, Fields, Form, ManageAgents, Path},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let manage = Access::Member(Permission::ManageAgents);
    vec![
        Route::get("/t/{tenant}/agents/new", manage, show_new),
        Route::post("/t/{tenant}/agents/new", manage, create),
        Route::get("/t/{tenant}/agents/{agent}/edit", manage, show_edit),
        Route::post("/t/{tenant}/agents/{agent}/edit", manage, change),
    ]
}

/// What the radio buttons say: the widest effect, or none.
const CEILINGS: [(&str, &str, &str); 4] = [
    ("read", "Read", "Look, change nothing."),
    ("write", "Read and write", "Also change what can be undone."),
    ("destructive", "Everything", "Also what cannot be undone."),
    ("none", "Only those below", "Nothing by its effect."),
];

#[derive(Template)]
#[template(path = "dashboard/agent_edit.html")]
struct AgentEditPage {
    layout: Layout,
    currency: String,
    encoding: &'static str,
    is_new: bool,
    action: String,
    cancel_url: String,
    back_label: String,
    submit_label: &'static str,
    fields: AgentFields,
    what_if: Option<WhatIf>,
    errors: FieldErrors,
}

struct AgentFields {
    name: String,
    description: String,
    ceilings: Vec<Choice>,
    tools: String,
    per_minute: String,
    burst: String,
    each_per_minute: String,
    each_burst: String,
    per_day: String,
    at_once: String,
    limits_as_results: bool,
    model_name: String,
    model_price: String,
}

async fn show_new(member: Allowed<ManageAgents>) -> Page {
    let fields = fields("", "", "read", "", AgentLimits::default());
    render(&member, None, StatusCode::OK, (fields, None), FieldErrors::default())
}

async fn create(state: web::Data<WebState>, member: Allowed<ManageAgents>, form: Form<Fields>) -> Page {
    let mut errors = FieldErrors::default();
    if let Some(new) = parse(&form.0, &mut errors)?
        && let Some(agent) = errors.take(agents::create(&state.platform, &member.actor, new).await)?
    {
        member.visitor.leave_flash("success", "The agent is created. Give it a key.");
        return Ok(see_other(&format!("{}#new-key", urls::agent(member.slug(), agent.id))));
    }
    render(&member, None, StatusCode::UNPROCESSABLE_ENTITY, (sent(&form.0), None), errors)
}

async fn show_edit(state: web::Data<WebState>, member: Allowed<ManageAgents>, agent: Path<AgentId>) -> Page {
    let agent = agents::get(&state.platform, &member.actor, agent.0).await?;
    let limits = agents::limits(&state.platform, &member.actor, agent.id).await?;
    let (ceiling, tools) = split(&agent);
    let fields = AgentFields {
        limits_as_results: agent.limits_as_results,
        model_name: agent.model.as_ref().map(|model| model.name.clone()).unwrap_or_default(),
        model_price: agent.model.as_ref().map(|model| format::price_input(model.input_micro)).unwrap_or_default(),
        ..fields(agent.name.as_str(), &agent.description, ceiling, &tools, limits)
    };
    render(&member, Some(&agent), StatusCode::OK, (fields, None), FieldErrors::default())
}

async fn change(state: web::Data<WebState>, member: Allowed<ManageAgents>, agent: Path<AgentId>, form: Form<Fields>) -> Page {
    let agent = agents::get(&state.platform, &member.actor, agent.0).await?;
    let mut errors = FieldErrors::default();
    if form.0.get("then") == "check" {
        let limits = parse_limits(&form.0, &mut errors)?;
        let Some(limits) = limits else {
            return render(&member, Some(&agent), StatusCode::UNPROCESSABLE_ENTITY, (sent(&form.0), None), errors);
        };
        let found = what_if::ask(&state, &member, &limits.scopes(agent.id)).await?;
        return render(&member, Some(&agent), StatusCode::OK, (sent(&form.0), Some(found)), errors);
    }
    if let Some(new) = parse(&form.0, &mut errors)?
        && let Some(()) = errors.take(agents::update(&state.platform, &member.actor, agent.id, new).await)?
    {
        member.visitor.leave_flash("success", "The agent is saved. What changed holds from the next request on.");
        return Ok(see_other(&urls::agent(member.slug(), agent.id)));
    }
    render(&member, Some(&agent), StatusCode::UNPROCESSABLE_ENTITY, (sent(&form.0), None), errors)
}

/// Reads the form; what does not fit goes to the errors, all at once.
fn parse(form: &Fields, errors: &mut FieldErrors) -> Result<Option<NewAgent>, HtmlError> {
    let ceiling = form.get("ceiling");
    if !CEILINGS.iter().any(|(value, ..)| *value == ceiling) {
        errors.add("ceiling", "choose one");
    }
    let by_effect = Some(ceiling).filter(|ceiling| *ceiling != "none").map(|effect| format!("tools:{effect}"));
    let by_name = form.get("tools").split_whitespace().map(|name| format!("tool:{}", name.trim_end_matches(',')));
    let scopes: Vec<String> = by_effect.into_iter().chain(by_name).collect();
    let limits = parse_limits(form, errors)?;
    let model = parse_model(form, errors)?;
    let scopes = scopes.join(" ");
    // Each by itself first, so that all of them are told at once.
    errors.take(AgentName::parse(form.get("name")))?;
    errors.take(agents::parse_scopes(&scopes))?;
    let Some(limits) = limits.filter(|_| errors.is_empty()) else { return Ok(None) };
    let Some(new) = errors.take(NewAgent::parse(form.get("name"), form.get("description"), &scopes))? else { return Ok(None) };
    Ok(Some(NewAgent { limits, limits_as_results: form.get("limits_as_results") == "yes", model, ..new }))
}

fn parse_model(form: &Fields, errors: &mut FieldErrors) -> Result<Option<Model>, HtmlError> {
    let price = form.get("model_price").trim();
    let price = (!price.is_empty()).then(|| parse_price("model_price", price)).transpose();
    let Some(price) = errors.take(price)? else { return Ok(None) };
    Ok(errors.take(Model::parse(form.get("model_name"), price))?.flatten())
}

fn parse_limits(form: &Fields, errors: &mut FieldErrors) -> Result<Option<AgentLimits>, HtmlError> {
    let total = errors.take(parse_rate("", form.get("per_minute"), form.get("burst")))?;
    let per_day = errors.take(parse_per_day("per_day", form.get("per_day")))?;
    let at_once = errors.take(parse_at_once("at_once", form.get("at_once")))?;
    let each_tool = errors.take(parse_rate("each_", form.get("each_per_minute"), form.get("each_burst")))?;
    let (Some(rate), Some(per_day), Some(at_once), Some(each_tool)) = (total, per_day, at_once, each_tool) else {
        return Ok(None);
    };
    Ok(Some(AgentLimits { total: Limit { rate, per_day, at_once }, each_tool }))
}

/// An agent's scopes as the form shows them: the widest effect, and tools by name.
fn split(agent: &Agent) -> (&'static str, String) {
    let widest =
        agent.scopes.iter().filter_map(|scope| if let Scope::Tools(effect) = scope { Some(*effect) } else { None }).max();
    let tools = agent.scopes.iter().filter_map(|scope| if let Scope::Tool(name) = scope { Some(name.as_str()) } else { None });
    (widest.map_or("none", Effect::as_str), tools.collect::<Vec<_>>().join("\n"))
}

fn fields(name: &str, description: &str, ceiling: &str, tools: &str, limits: AgentLimits) -> AgentFields {
    let number = |rate: Option<Rate>, of: fn(Rate) -> u32| rate.map(|rate| of(rate).to_string()).unwrap_or_default();
    AgentFields {
        name: name.to_owned(),
        description: description.to_owned(),
        ceilings: ceilings(ceiling),
        tools: tools.to_owned(),
        per_minute: number(limits.total.rate, |rate| rate.per_minute),
        burst: number(limits.total.rate, |rate| rate.burst),
        each_per_minute: number(limits.each_tool, |rate| rate.per_minute),
        each_burst: number(limits.each_tool, |rate| rate.burst),
        per_day: limits.total.per_day.map(|most| most.to_string()).unwrap_or_default(),
        at_once: limits.total.at_once.map(|most| most.to_string()).unwrap_or_default(),
        limits_as_results: false,
        model_name: String::new(),
        model_price: String::new(),
    }
}

/// What was sent, to be shown again.
fn sent(form: &Fields) -> AgentFields {
    AgentFields {
        per_minute: form.get("per_minute").to_owned(),
        burst: form.get("burst").to_owned(),
        each_per_minute: form.get("each_per_minute").to_owned(),
        each_burst: form.get("each_burst").to_owned(),
        per_day: form.get("per_day").to_owned(),
        at_once: form.get("at_once").to_owned(),
        limits_as_results: form.get("limits_as_results") == "yes",
        model_name: form.get("model_name").to_owned(),
        model_price: form.get("model_price").to_owned(),
        ..fields(form.get("name"), form.get("description"), form.get("ceiling"), form.get("tools"), AgentLimits::default())
    }
}

fn ceilings(chosen: &str) -> Vec<Choice> {
    let choice = |(value, label, hint): (&str, &str, &str)| Choice {
        value: value.to_owned(),
        label: label.to_owned(),
        hint: hint.to_owned(),
        chosen: value == chosen,
    };
    CEILINGS.into_iter().map(choice).collect()
}

fn render(
    member: &Allowed<ManageAgents>,
    agent: Option<&Agent>,
    status: StatusCode,
    (fields, what_if): (AgentFields, Option<WhatIf>),
    errors: FieldErrors,
) -> Page {
    let (slug, currency) = (member.slug(), member.tenant.currency.clone());
    let page = match agent {
        None => AgentEditPage {
            layout: member.layout("New agent", "agents"),
            currency,
            encoding: ENCODING,
            is_new: true,
            action: urls::agent_new(slug),
            cancel_url: urls::agents(slug),
            back_label: "Agents".to_owned(),
            submit_label: "Create agent",
            fields,
            what_if,
            errors,
        },
        Some(agent) => AgentEditPage {
            layout: member.layout(format!("Edit {}", agent.name), "agents"),
            currency,
            encoding: ENCODING,
            is_new: false,
            action: urls::agent_edit(slug, agent.id),
            cancel_url: urls::agent(slug, agent.id),
            back_label: agent.name.to_string(),
            submit_label: "Save",
            fields,
            what_if,
            errors,
        },
    };
    page_with(status, &page)
}
