//! Tools: the list. One tool and its try-out stand in `show`, the form in `edit`.

mod code;
mod draft;
mod edit;
mod logs;
mod publish;
mod show;
mod trial;

use actix_web::web;
use askama::Template;
use trunkline_platform::{
    actor::Permission,
    catalog::{self, Executor, Price, Tool},
    db::page::Search,
    ids::ToolId,
    publishing::{self, Health},
    usage::{self, Range},
};

use super::{
    Page,
    components::Listing,
    format,
    home::{ALARMING, error_words},
    keys::page_number,
    layout::Layout,
    page,
};
use crate::{
    Access, Route, WebState,
    extract::{InTenant, Query},
    urls,
};

pub(super) fn routes() -> Vec<Route> {
    let list = Route::get("/t/{tenant}/tools", Access::Member(Permission::View), list);
    // `new` before `{tool}`: the first that fits is taken.
    std::iter::once(list).chain(edit::routes()).chain(publish::routes()).chain(logs::routes()).chain(show::routes()).collect()
}

/// Characters of a description in the list.
const BRIEF: usize = 160;

#[derive(Template)]
#[template(path = "dashboard/tools.html")]
struct ToolsPage {
    layout: Layout,
    base: String,
    can_manage: bool,
    url: String,
    listing: Listing,
    tools: Vec<ToolRow>,
}

struct ToolRow {
    url: String,
    name: String,
    description: String,
    effect: &'static str,
    kind: &'static str,
    version: i32,
    state: &'static str,
    /// Does it fail what it is tried by?
    is_failing: bool,
    calls: String,
    errors: String,
    alarming: bool,
    p95: String,
    price: String,
}

async fn list(state: web::Data<WebState>, member: InTenant, query: Query) -> Page {
    let (platform, actor, slug) = (&state.platform, &member.actor, member.slug());
    let q = query.get("q");
    let found = catalog::search(platform, actor, &Search::new(q, page_number(&query))).await?;
    let ids: Vec<ToolId> = found.items.iter().map(|tool| tool.id).collect();
    let totals = usage::of_tools(platform, actor, Range::Day, &ids);
    let (mut totals, health) = tokio::try_join!(totals, publishing::health(platform, actor, &ids))?;
    let url = urls::tools(slug);
    let listing = Listing::new(&found, &url, q, &[]);
    let mut row = |tool: Tool| {
        let totals = totals.remove(&tool.id).unwrap_or_default();
        ToolRow {
            url: urls::tool(slug, tool.id),
            name: tool.name.to_string(),
            description: brief(&tool.version.description),
            effect: tool.version.effect.as_str(),
            kind: kind(&tool.version.executor),
            version: tool.version.number,
            state: state_word(&tool),
            is_failing: tool.enabled && health.get(&tool.id).is_some_and(|(health, _)| *health == Health::Failing),
            calls: format::count(totals.calls),
            errors: error_words(&totals),
            alarming: totals.error_rate() >= ALARMING,
            p95: format::millis(totals.p95_ms),
            price: price(&tool.version.price, &member.tenant.currency),
        }
    };
    page(&ToolsPage {
        layout: member.layout("Tools", "tools"),
        base: urls::tenant(slug),
        can_manage: member.may(Permission::ManageTools),
        url,
        listing,
        tools: found.items.into_iter().map(&mut row).collect(),
    })
}

fn kind(executor: &Executor) -> &'static str {
    match executor {
        Executor::Builtin { .. } => "Built-in",
        Executor::Http(_) => "HTTP",
        Executor::Operation(_) => "OpenAPI",
        Executor::Function(_) => "Function",
        Executor::Upstream { .. } => "MCP",
    }
}

pub(super) fn state_word(tool: &Tool) -> &'static str {
    match (tool.enabled, tool.withheld) {
        _ if tool.is_draft => "draft",
        (false, _) => "disabled",
        (true, true) => "withheld",
        (true, false) => "published",
    }
}

fn price(price: &Price, currency: &str) -> String {
    let part = |micro: i64, unit: &str| (micro > 0).then(|| format!("{}{unit}", format::price(micro, currency)));
    let reported = (price.reported_micro > 0)
        .then(|| format!("up to {} as the tool reports", format::price(price.reported_micro, currency)));
    let parts =
        [part(price.call_micro, ""), part(price.kib_micro, " per KiB"), part(price.second_micro, " per second"), reported];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "free".to_owned() } else { parts.join(" + ") }
}

/// The beginning of a description, in one line.
fn brief(description: &str) -> String {
    let mut characters = description.chars();
    let start: String = characters.by_ref().take(BRIEF).map(|c| if c == '\n' { ' ' } else { c }).collect();
    if characters.next().is_some() { format!("{}…", start.trim_end()) } else { start }
}
