//! Toolsets: the list, one with its URL and who may use it, and the form.

use std::collections::HashSet;

use actix_web::{http::StatusCode, web};
use askama::Template;
use trunkline_platform::{
    ErrorKind,
    actor::Permission,
    agents::{self, Agent, AgentState},
    catalog::{
        self, Tool,
        toolset::{self, NewToolset, Toolset, ToolsetName},
    },
    ids::{ToolId, ToolsetId},
};
use trunkline_protocol::oauth::scope::Scope;

use super::{Page, format, layout::Layout, page, page_with, see_other};
use crate::{
    Access, Route, WebState,
    extract::{Allowed, FieldErrors, Fields, Form, InTenant, ManageTools, Path},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let (view, manage) = (Access::Member(Permission::View), Access::Member(Permission::ManageTools));
    vec![
        Route::get("/t/{tenant}/toolsets", view, list),
        // `new` before `{toolset}`: the first that fits is taken.
        Route::get("/t/{tenant}/toolsets/new", manage, show_new),
        Route::post("/t/{tenant}/toolsets/new", manage, create),
        Route::get("/t/{tenant}/toolsets/{toolset}", view, show),
        Route::get("/t/{tenant}/toolsets/{toolset}/edit", manage, show_edit),
        Route::post("/t/{tenant}/toolsets/{toolset}/edit", manage, change),
        // Last: what is deleted cannot be looked at.
        Route::post("/t/{tenant}/toolsets/{toolset}/delete", manage, delete),
    ]
}

/// Agents that are named on a toolset's page.
const AGENTS: usize = 50;
/// Tools that are shown on a toolset's page.
const TOOLS: usize = 100;
/// Tools that get a box each in the form; more stand in a list.
const BOXES: usize = 250;

#[derive(Template)]
#[template(path = "dashboard/toolsets.html")]
struct ToolsetsPage {
    layout: Layout,
    base: String,
    can_manage: bool,
    toolsets: Vec<ToolsetRow>,
}

struct ToolsetRow {
    url: String,
    name: String,
    title: String,
    tools: String,
    mcp_url: String,
}

#[derive(Template)]
#[template(path = "dashboard/toolset.html")]
struct ToolsetPage {
    layout: Layout,
    base: String,
    can_manage: bool,
    url: String,
    name: String,
    subtitle: String,
    description: String,
    mcp_url: String,
    scope: String,
    tools: Vec<ToolRow>,
    more_tools: String,
    agents: Vec<AgentRow>,
    more_agents: String,
}

struct ToolRow {
    url: String,
    name: String,
    effect: &'static str,
    state: &'static str,
}

struct AgentRow {
    url: String,
    name: String,
    tools: String,
    scopes: String,
}

#[derive(Template)]
#[template(path = "dashboard/toolset_edit.html")]
struct ToolsetEditPage {
    layout: Layout,
    is_new: bool,
    action: String,
    cancel_url: String,
    back_label: String,
    submit_label: &'static str,
    new_name: String,
    title: String,
    description: String,
    tools: Vec<ToolChoice>,
    /// Too many for a box each?
    is_long: bool,
    errors: FieldErrors,
}

/// A tool to choose.
struct ToolChoice {
    name: String,
    chosen: bool,
}

async fn list(state: web::Data<WebState>, member: InTenant) -> Page {
    let slug = member.slug();
    let toolsets = toolset::list(&state.platform, &member.actor).await?;
    let row = |toolset: &Toolset| ToolsetRow {
        url: urls::toolset(slug, toolset.id),
        name: toolset.name.to_string(),
        title: toolset.title.clone(),
        tools: format::count(i64::try_from(toolset.tools.len()).unwrap_or(i64::MAX)),
        mcp_url: mcp_url(&state, slug, toolset.name.as_str()),
    };
    page(&ToolsetsPage {
        layout: member.layout("Toolsets", "toolsets"),
        base: urls::tenant(slug),
        can_manage: member.may(Permission::ManageTools),
        toolsets: toolsets.iter().map(row).collect(),
    })
}

fn mcp_url(state: &WebState, slug: &str, name: &str) -> String {
    format!("{}{}", state.settings.origin(), urls::toolset_mcp(slug, name))
}

async fn show(state: web::Data<WebState>, member: InTenant, id: Path<ToolsetId>) -> Page {
    let (platform, actor, slug) = (&state.platform, &member.actor, member.slug());
    let toolset = toolset::get(platform, actor, id.0).await?;
    let tools: Vec<Tool> =
        catalog::list(platform, actor).await?.into_iter().filter(|tool| toolset.tools.contains(&tool.id)).collect();
    let agents = agents::list(platform, actor).await?;
    let users: Vec<_> = agents.iter().filter_map(|agent| agent_row(slug, agent, &toolset, &tools)).collect();
    let more = |count: usize, shown: usize, what: &str| match count.saturating_sub(shown) {
        0 => String::new(),
        more => format!("and {more} more {what}"),
    };
    page(&ToolsetPage {
        layout: member.layout(toolset.name.as_str(), "toolsets"),
        base: urls::tenant(slug),
        can_manage: member.may(Permission::ManageTools),
        url: urls::toolset(slug, toolset.id),
        mcp_url: mcp_url(&state, slug, toolset.name.as_str()),
        scope: Scope::Toolset(toolset.name.to_string()).to_string(),
        name: toolset.name.to_string(),
        subtitle: toolset.title.clone(),
        description: toolset.description.clone(),
        more_tools: more(tools.len(), TOOLS, "tools"),
        tools: tools.iter().take(TOOLS).map(|tool| tool_row(slug, tool)).collect(),
        more_agents: more(users.len(), AGENTS, "agents"),
        agents: users.into_iter().take(AGENTS).collect(),
    })
}

fn tool_row(slug: &str, tool: &Tool) -> ToolRow {
    ToolRow {
        url: urls::tool(slug, tool.id),
        name: tool.name.to_string(),
        effect: tool.version.effect.as_str(),
        state: super::tools::state_word(tool),
    }
}

/// An agent that reaches any of the tools, and how many.
fn agent_row(slug: &str, agent: &Agent, toolset: &Toolset, tools: &[Tool]) -> Option<AgentRow> {
    if agent.state != AgentState::Active {
        return None;
    }
    let has_scope = agent.scopes.iter().any(|scope| *scope == Scope::Toolset(toolset.name.to_string()));
    let permits = |tool: &&Tool| agent.scopes.permits_tool(tool.name.as_str(), tool.version.effect);
    let reached = if has_scope { tools.len() } else { tools.iter().filter(permits).count() };
    (reached > 0 || has_scope).then(|| AgentRow {
        url: urls::agent(slug, agent.id),
        name: agent.name.to_string(),
        tools: format!("{reached} of {}", tools.len()),
        scopes: agent.scopes.to_string(),
    })
}

/// What stands in the fields.
#[derive(Default)]
struct Draft {
    name: String,
    title: String,
    description: String,
    /// By name.
    tools: HashSet<String>,
}

impl Draft {
    fn read(form: &Fields) -> Self {
        Self {
            name: form.get("name").to_owned(),
            title: form.get("title").to_owned(),
            description: form.get("description").replace("\r\n", "\n"),
            tools: form.all("tool").map(str::to_owned).collect(),
        }
    }

    fn parse(&self, all: &[Tool], errors: &mut FieldErrors) -> Option<NewToolset> {
        let id = |name: &String| all.iter().find(|tool| tool.name.as_str() == name).map(|tool| tool.id);
        if let Some(unknown) = self.tools.iter().find(|name| id(name).is_none()) {
            errors.add("tools", format!("there is no tool named `{unknown}`"));
            return None;
        }
        let tools: HashSet<ToolId> = self.tools.iter().filter_map(id).collect();
        Some(NewToolset { title: self.title.clone(), description: self.description.clone(), tools })
    }
}

async fn show_new(state: web::Data<WebState>, member: Allowed<ManageTools>) -> Page {
    let tools = catalog::list(&state.platform, &member.actor).await?;
    render(&member, StatusCode::OK, None, Draft::default(), tools, FieldErrors::default())
}

async fn create(state: web::Data<WebState>, member: Allowed<ManageTools>, form: Form<Fields>) -> Page {
    let mut errors = FieldErrors::default();
    let draft = Draft::read(&form.0);
    let tools = catalog::list(&state.platform, &member.actor).await?;
    let name = errors.take(ToolsetName::parse(&draft.name))?;
    if let (Some(name), Some(new)) = (name, draft.parse(&tools, &mut errors)) {
        let created = match toolset::create(&state.platform, &member.actor, name, new).await {
            Err(error) if matches!(error.kind(), ErrorKind::Conflict(_)) => {
                errors.add("form", error.to_string());
                return render(&member, StatusCode::CONFLICT, None, draft, tools, errors);
            }
            other => errors.take(other)?,
        };
        if let Some(toolset) = created {
            member.visitor.leave_flash("success", "The toolset is there: its URL works from now on.");
            return Ok(see_other(&urls::toolset(member.slug(), toolset.id)));
        }
    }
    render(&member, StatusCode::UNPROCESSABLE_ENTITY, None, draft, tools, errors)
}

async fn show_edit(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<ToolsetId>) -> Page {
    let toolset = toolset::get(&state.platform, &member.actor, id.0).await?;
    let tools = catalog::list(&state.platform, &member.actor).await?;
    let draft = Draft {
        name: toolset.name.to_string(),
        title: toolset.title.clone(),
        description: toolset.description.clone(),
        tools: tools.iter().filter(|tool| toolset.tools.contains(&tool.id)).map(|tool| tool.name.to_string()).collect(),
    };
    render(&member, StatusCode::OK, Some(&toolset), draft, tools, FieldErrors::default())
}

async fn change(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<ToolsetId>, form: Form<Fields>) -> Page {
    let mut errors = FieldErrors::default();
    let toolset = toolset::get(&state.platform, &member.actor, id.0).await?;
    let tools = catalog::list(&state.platform, &member.actor).await?;
    let draft = Draft { name: toolset.name.to_string(), ..Draft::read(&form.0) };
    if let Some(new) = draft.parse(&tools, &mut errors)
        && errors.take(toolset::update(&state.platform, &member.actor, toolset.id, new).await)?.is_some()
    {
        member.visitor.leave_flash("success", "Saved. Callers see the change from the next request on.");
        return Ok(see_other(&urls::toolset(member.slug(), toolset.id)));
    }
    render(&member, StatusCode::UNPROCESSABLE_ENTITY, Some(&toolset), draft, tools, errors)
}

async fn delete(state: web::Data<WebState>, member: Allowed<ManageTools>, id: Path<ToolsetId>, _: Form<Fields>) -> Page {
    toolset::delete(&state.platform, &member.actor, id.0).await?;
    member.visitor.leave_flash("success", "The toolset is deleted. Its tools stay.");
    Ok(see_other(&urls::toolsets(member.slug())))
}

fn render(
    member: &Allowed<ManageTools>,
    status: StatusCode,
    toolset: Option<&Toolset>,
    draft: Draft,
    tools: Vec<Tool>,
    errors: FieldErrors,
) -> Page {
    let slug = member.slug();
    let choice = |tool: Tool| ToolChoice { chosen: draft.tools.contains(tool.name.as_str()), name: tool.name.to_string() };
    let tools: Vec<_> = tools.into_iter().map(choice).collect();
    let url = toolset.map_or_else(|| urls::toolsets(slug), |toolset| urls::toolset(slug, toolset.id));
    let page = ToolsetEditPage {
        layout: member.layout(toolset.map_or("New toolset".to_owned(), |toolset| format!("Edit {}", toolset.name)), "toolsets"),
        is_new: toolset.is_none(),
        action: toolset.map_or_else(|| urls::toolset_new(slug), |_| format!("{url}/edit")),
        cancel_url: url,
        back_label: toolset.map_or("Toolsets".to_owned(), |toolset| toolset.name.to_string()),
        submit_label: if toolset.is_none() { "Create toolset" } else { "Save" },
        new_name: draft.name,
        title: draft.title,
        description: draft.description,
        is_long: tools.len() > BOXES,
        tools,
        errors,
    };
    page_with(status, &page)
}
