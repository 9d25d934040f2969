//! The context meter: what an agent, or whoever connects to a toolset, reads before it calls anything, what of it clients stumble over, and the
//! switch to search mode.

use actix_web::web;
use askama::Template;
use trunkline_platform::{
    actor::Permission,
    agents,
    catalog::toolset,
    gateway::{self, MANY_TOKENS, MANY_TOOLS, Offer, Reader, search},
    ids::{AgentId, ToolId, ToolsetId},
};

use super::{Page, format, layout::Layout, page, see_other};
use crate::{
    Access, Route, WebState,
    extract::{Allowed, Fields, Form, InTenant, ManageAgents, ManageTools, Path},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let view = Access::Member(Permission::View);
    vec![
        Route::get("/t/{tenant}/agents/{agent}/context", view, of_agent),
        Route::post("/t/{tenant}/agents/{agent}/context", Access::Member(Permission::ManageAgents), switch_agent),
        Route::get("/t/{tenant}/toolsets/{toolset}/context", view, of_toolset),
        Route::post("/t/{tenant}/toolsets/{toolset}/context", Access::Member(Permission::ManageTools), switch_toolset),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/meter.html")]
struct MeterPage {
    layout: Layout,
    name: String,
    url: String,
    tools: String,
    tokens: String,
    /// What it would read, or reads, in search mode.
    search_tokens: String,
    searches: bool,
    is_long: bool,
    many_tools: usize,
    many_tokens: String,
    find: &'static str,
    call: &'static str,
    can_manage: bool,
    rows: Vec<Row>,
    more_rows: usize,
    stumbles: Vec<StumbleRow>,
    more_stumbles: usize,
}

struct Row {
    url: String,
    name: String,
    tokens: String,
    /// Of the heaviest, in percent.
    share: i64,
}

struct StumbleRow {
    url: String,
    name: String,
    words: &'static str,
}

/// Whose page it is.
struct Subject {
    /// The part of the navigation.
    part: &'static str,
    name: String,
    url: String,
    searches: bool,
    can_manage: bool,
}

async fn of_agent(state: web::Data<WebState>, member: InTenant, agent: Path<AgentId>) -> Page {
    let agent = agents::get(&state.platform, &member.actor, agent.0).await?;
    let offer = gateway::offer(&state.platform, &member.actor, Reader::Agent(&agent)).await?;
    let subject = Subject {
        part: "agents",
        name: agent.name.to_string(),
        url: urls::agent(member.slug(), agent.id),
        searches: agent.search_mode,
        can_manage: member.may(Permission::ManageAgents),
    };
    render(&member, subject, offer).await
}

async fn of_toolset(state: web::Data<WebState>, member: InTenant, id: Path<ToolsetId>) -> Page {
    let toolset = toolset::get(&state.platform, &member.actor, id.0).await?;
    let offer = gateway::offer(&state.platform, &member.actor, Reader::Toolset(&toolset)).await?;
    let subject = Subject {
        part: "toolsets",
        name: toolset.name.to_string(),
        url: urls::toolset(member.slug(), toolset.id),
        searches: toolset.search_mode,
        can_manage: member.may(Permission::ManageTools),
    };
    render(&member, subject, offer).await
}

async fn render(member: &InTenant, subject: Subject, offer: Offer) -> Page {
    let slug = member.slug();
    let most = offer.heaviest.first().map_or(1, |(_, _, count)| count.tokens.max(1));
    let row = |(id, name, count): &(ToolId, String, _)| {
        let count: &trunkline_platform::context::Count = count;
        Row {
            url: urls::tool(slug, *id),
            name: name.clone(),
            tokens: format::count(count.tokens),
            share: (count.tokens * 100 / most).max(1),
        }
    };
    page(&MeterPage {
        layout: member.layout(format!("Context of {}", subject.name), subject.part),
        tools: format::count(i64::try_from(offer.tools).unwrap_or(i64::MAX)),
        tokens: format::count(offer.count.tokens),
        search_tokens: format::count(gateway::search_cost().await?.tokens),
        is_long: offer.is_long(),
        many_tools: MANY_TOOLS,
        many_tokens: format::count(MANY_TOKENS),
        find: search::FIND,
        call: search::CALL,
        more_rows: offer.tools - offer.heaviest.len(),
        rows: offer.heaviest.iter().map(row).collect(),
        more_stumbles: offer.all_stumbles - offer.stumbles.len(),
        stumbles: offer
            .stumbles
            .into_iter()
            .map(|(id, name, stumble)| StumbleRow { url: urls::tool(slug, id), name, words: stumble.words() })
            .collect(),
        name: subject.name,
        url: subject.url,
        searches: subject.searches,
        can_manage: subject.can_manage,
    })
}

/// What is left to say after the switch.
fn said(on: bool) -> &'static str {
    if on {
        "Search mode is on: from the next list on, two tools stand for all of them."
    } else {
        "Search mode is off: from the next list on, all tools are shown."
    }
}

async fn switch_agent(state: web::Data<WebState>, member: Allowed<ManageAgents>, id: Path<AgentId>, form: Form<Fields>) -> Page {
    let on = form.0.get("search_mode") == "on";
    agents::set_search_mode(&state.platform, &member.actor, id.0, on).await?;
    member.visitor.leave_flash("success", said(on));
    Ok(see_other(&urls::context(&urls::agent(member.slug(), id.0))))
}

async fn switch_toolset(
    state: web::Data<WebState>,
    member: Allowed<ManageTools>,
    id: Path<ToolsetId>,
    form: Form<Fields>,
) -> Page {
    let on = form.0.get("search_mode") == "on";
    toolset::set_search_mode(&state.platform, &member.actor, id.0, on).await?;
    member.visitor.leave_flash("success", said(on));
    Ok(see_other(&urls::context(&urls::toolset(member.slug(), id.0))))
}
