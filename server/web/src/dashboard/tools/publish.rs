//! From a draft to what agents call, and back: publishing through the gate, rolling back, comparing versions, how the tool is tried.

use actix_web::web;
use askama::Template;
use trunkline_platform::{
    Error,
    actor::Permission,
    catalog::{
        self, Executor, ToolVersion,
        definition::pretty,
        drafts::{self, VersionLife},
    },
    ids::{AgentId, ToolId},
    publishing::{self, Impact, Names, Publication, Subject},
};
use trunkline_protocol::oauth::scope::Effect;

use crate::{
    Access, Route, WebState,
    dashboard::{
        Page,
        components::Choice,
        layout::Layout,
        page,
        probes::{self, CheckRow},
        see_other,
        sources::diff::{self, Line, Piece},
    },
    extract::{Allowed, Fields, Form, InTenant, ManageTools, Path, Query},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let manage = Access::Member(Permission::ManageTools);
    vec![
        Route::post("/t/{tenant}/tools/{tool}/publish", manage, publish),
        Route::post("/t/{tenant}/tools/{tool}/roll-back", manage, roll_back),
        Route::post("/t/{tenant}/tools/{tool}/probe", manage, change_probe),
        Route::post("/t/{tenant}/tools/{tool}/probe/now", manage, try_now),
        Route::post("/t/{tenant}/tools/{tool}/pins", manage, pin),
        Route::post("/t/{tenant}/tools/{tool}/pins/{agent}/remove", manage, unpin),
        Route::get("/t/{tenant}/tools/{tool}/compare", Access::Member(Permission::View), compare),
    ]
}

/// A draft that waits to be published.
pub(super) struct DraftCard {
    pub(super) number: i32,
    pub(super) edit_url: String,
    pub(super) publish_url: String,
    /// Empty for a tool that was never published.
    pub(super) compare_url: String,
    /// What the gate said of it; empty if it was not asked.
    pub(super) checks: Vec<CheckRow>,
    pub(super) differs: Vec<(&'static str, String, String)>,
    pub(super) keep: String,
    pub(super) gain: String,
    pub(super) lose: String,
}

/// The newest version of a tool, if it was never published.
pub(super) async fn draft_card<P>(
    state: &WebState,
    member: &Allowed<P>,
    tool: &catalog::Tool,
) -> Result<Option<DraftCard>, Error> {
    let (platform, actor, slug) = (&state.platform, &member.actor, member.slug());
    let (Some(version), _) = drafts::pending(platform, actor, tool.id).await? else { return Ok(None) };
    let Impact { keep, gain, lose, differs } = publishing::impact(platform, actor, tool.id, version.number).await?;
    let report = publishing::gate_report(platform, actor, version.id).await?;
    let numbers = [("from", tool.version.number.to_string()), ("to", version.number.to_string())];
    let numbers: Vec<_> = numbers.iter().map(|(name, number)| (*name, number.as_str())).collect();
    Ok(Some(DraftCard {
        number: version.number,
        edit_url: urls::tool_edit(slug, tool.id),
        publish_url: urls::tool_publish(slug, tool.id),
        compare_url: if tool.is_draft { String::new() } else { urls::with_query(&urls::tool_compare(slug, tool.id), &numbers) },
        checks: report.as_ref().map(probes::check_rows).unwrap_or_default(),
        differs,
        keep: words(&keep),
        gain: words(&gain),
        lose: words(&lose),
    }))
}

/// Names as far as they fit.
fn words(names: &Names) -> String {
    let more = names.total - names.first.len();
    let words = names.first.join(", ");
    if more > 0 { format!("{words}, and {more} more") } else { words }
}

/// Publishes a version that was saved, and leads to its tool with what came of it.
pub(super) async fn go_through(
    state: &WebState,
    member: &Allowed<ManageTools>,
    (tool, number): (ToolId, i32),
    reason: &str,
) -> Page {
    let untried = Some(reason.trim()).filter(|reason| !reason.is_empty());
    match publishing::publish(&state.platform, &member.actor, tool, number, untried).await {
        Ok(Publication::Live(1)) => {
            let text = "The tool is published: agents whose scopes cover it see it from now on.";
            member.visitor.leave_flash("success", text);
        }
        Ok(Publication::Live(number)) => {
            member.visitor.leave_flash("success", format!("Version {number} is published. Calls use it from now on."));
        }
        Ok(Publication::Stopped(_)) => {
            let text = format!("Version {number} is not published: the gate stopped it. It is saved as a draft.");
            member.visitor.leave_flash("error", text);
        }
        Err(error) => match probes::told(&error) {
            Some(text) => member.visitor.leave_flash("error", text),
            None => return Err(error.into()),
        },
    }
    Ok(see_other(&urls::tool(member.slug(), tool)))
}

async fn publish(state: web::Data<WebState>, member: Allowed<ManageTools>, tool: Path<ToolId>, form: Form<Fields>) -> Page {
    let form = form.0;
    let number = form.get("version").parse().unwrap_or_default();
    go_through(&state, &member, (tool.0, number), form.get("untried_reason")).await
}

async fn roll_back(state: web::Data<WebState>, member: Allowed<ManageTools>, tool: Path<ToolId>, form: Form<Fields>) -> Page {
    let form = form.0;
    let number = |field: &str| form.get(field).parse().unwrap_or_default();
    let (to, seen) = (number("version"), number("seen"));
    match publishing::roll_back(&state.platform, &member.actor, tool.0, to, seen).await {
        Ok(()) => {
            let text = format!("The tool points at version {to} again. Calls use it from now on.");
            member.visitor.leave_flash("success", text);
        }
        Err(error) => match probes::told(&error) {
            Some(text) => member.visitor.leave_flash("error", text),
            None => return Err(error.into()),
        },
    }
    Ok(see_other(&urls::tool(member.slug(), tool.0)))
}

async fn pin(state: web::Data<WebState>, member: Allowed<ManageTools>, tool: Path<ToolId>, form: Form<Fields>) -> Page {
    let form = form.0;
    let (agent, number) = (form.get("agent"), form.get("version").parse().unwrap_or_default());
    match drafts::pin(&state.platform, &member.actor, tool.0, agent, number).await {
        Ok(()) => member.visitor.leave_flash("success", format!("{agent} is given version {number} from now on.")),
        Err(error) => match probes::told(&error) {
            Some(text) => member.visitor.leave_flash("error", text),
            None => return Err(error.into()),
        },
    }
    Ok(see_other(&urls::tool(member.slug(), tool.0)))
}

async fn unpin(
    state: web::Data<WebState>,
    member: Allowed<ManageTools>,
    path: (Path<ToolId>, Path<AgentId>),
    _: Form<Fields>,
) -> Page {
    let (tool, agent) = (path.0.0, path.1.0);
    drafts::unpin(&state.platform, &member.actor, tool, agent).await?;
    member.visitor.leave_flash("success", "The agent is given what the tool points at again.");
    Ok(see_other(&urls::tool(member.slug(), tool)))
}

async fn change_probe(state: web::Data<WebState>, member: Allowed<ManageTools>, tool: Path<ToolId>, form: Form<Fields>) -> Page {
    let back = urls::tool(member.slug(), tool.0);
    probes::change(&state, &member, Subject::Tool(tool.0), &form.0, &back).await
}

async fn try_now(state: web::Data<WebState>, member: Allowed<ManageTools>, tool: Path<ToolId>, _: Form<Fields>) -> Page {
    let back = urls::tool(member.slug(), tool.0);
    probes::try_now(&state, &member, Subject::Tool(tool.0), &back).await
}

#[derive(Template)]
#[template(path = "dashboard/tool_compare.html")]
struct ComparePage {
    layout: Layout,
    url: String,
    back_url: String,
    back_label: String,
    from: Vec<Choice>,
    to: Vec<Choice>,
    description: Vec<Piece>,
    members: Vec<MemberLines>,
}

struct MemberLines {
    name: &'static str,
    lines: Vec<Line>,
}

async fn compare(state: web::Data<WebState>, member: InTenant, tool: Path<ToolId>, query: Query) -> Page {
    let (platform, actor, slug) = (&state.platform, &member.actor, member.slug());
    let tool = catalog::get(platform, actor, tool.0).await?;
    let lives = drafts::lives(platform, actor, tool.id).await?;
    let newest = lives.first().map_or(tool.version.number, |life| life.version.number);
    let number = |field: &str, otherwise: i32| match query.get(field) {
        "" => Ok(otherwise),
        text => text.parse().map_err(|_| Error::invalid(field, "expected the number of a version")),
    };
    let (from, to) = (number("from", tool.version.number)?, number("to", newest)?);
    let (before, after) = drafts::pair(platform, actor, tool.id, (from, to)).await?;
    page(&ComparePage {
        layout: member.layout(format!("{}: version {from} and {to}", tool.name), "tools"),
        url: urls::tool_compare(slug, tool.id),
        back_url: urls::tool(slug, tool.id),
        back_label: tool.name.to_string(),
        from: choices(&lives, from),
        to: choices(&lives, to),
        description: if before.description == after.description {
            Vec::new()
        } else {
            diff::words(&before.description, &after.description)
        },
        members: members(&before, &after)?,
    })
}

fn choices(lives: &[VersionLife], chosen: i32) -> Vec<Choice> {
    let choice = |life: &VersionLife| {
        let number = life.version.number;
        let label = if life.was_published { format!("v{number}") } else { format!("v{number} (draft)") };
        Choice { value: number.to_string(), label, hint: String::new(), chosen: number == chosen }
    };
    lives.iter().map(choice).collect()
}

/// Members of two versions that differ, line by line.
fn members(before: &ToolVersion, after: &ToolVersion) -> Result<Vec<MemberLines>, Error> {
    let (one, other) = (texts(before)?, texts(after)?);
    let mut members: Vec<MemberLines> = one
        .into_iter()
        .zip(other)
        .filter(|((_, one), (_, other))| one != other)
        .map(|((name, one), (_, other))| MemberLines { name, lines: diff::lines(&one, &other) })
        .collect();
    if before.credential.is_some() && after.credential.is_some() && before.credential != after.credential {
        members.push(MemberLines { name: "Secret", lines: diff::lines("one secret", "another secret") });
    }
    Ok(members)
}

fn texts(version: &ToolVersion) -> Result<Vec<(&'static str, String)>, Error> {
    let schema: serde_json::Value = serde_json::from_str(version.input_schema.get()).map_err(Error::internal)?;
    let executor = serde_json::to_value(&version.executor).map_err(Error::internal)?;
    let price = version.price;
    Ok(vec![
        ("Title", version.title.clone()),
        ("Effect", version.effect.as_str().to_owned()),
        ("Arguments", pretty(&schema)),
        ("How it runs", pretty(&executor)),
        ("Secret", if version.credential.is_some() { "a secret".to_owned() } else { "no secret".to_owned() }),
        (
            "Price in micro-units",
            format!(
                "per call {}\nper KiB {}\nper second {}\nreported, at most {}",
                price.call_micro, price.kib_micro, price.second_micro, price.reported_micro
            ),
        ),
    ])
}

/// An agent that is given one version.
pub(super) struct PinRow {
    pub(super) agent: String,
    pub(super) agent_url: String,
    pub(super) number: i32,
    pub(super) remove_url: String,
}

/// Agents that are given a version of the tool, and versions that agents can be given.
pub(super) struct PinCard {
    pub(super) url: String,
    pub(super) rows: Vec<PinRow>,
    pub(super) versions: Vec<Choice>,
}

pub(super) async fn pin_card<P>(
    state: &WebState,
    member: &Allowed<P>,
    tool: &catalog::Tool,
    lives: &[VersionLife],
) -> Result<PinCard, Error> {
    let slug = member.slug();
    let url = urls::tool_pins(slug, tool.id);
    let pins = drafts::pins(&state.platform, &member.actor, tool.id).await?;
    let published: Vec<VersionLife> = lives.iter().filter(|life| life.was_published).cloned().collect();
    let row = |pin: drafts::Pin| PinRow {
        agent: pin.name,
        agent_url: urls::agent(slug, pin.agent),
        number: pin.number,
        remove_url: format!("{url}/{}/remove", pin.agent),
    };
    let rows = pins.into_iter().map(row).collect();
    Ok(PinCard { rows, versions: choices(&published, tool.version.number), url })
}

/// May a call of it change something?
pub(super) fn changes_something(tool: &catalog::Tool) -> bool {
    tool.version.effect != Effect::Read
}

/// Is it tried by itself? Tools of an MCP server are tried with their server.
pub(super) fn is_tried(tool: &catalog::Tool) -> bool {
    !matches!(tool.version.executor, Executor::Upstream { .. })
}
