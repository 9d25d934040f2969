//! How to connect: a snippet for each client, with this tenant's URL and never with a key; and whether a call has come.

use actix_web::{HttpResponse, web};
use askama::Template;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use trunkline_platform::{
    Error, Platform, Result,
    actor::Permission,
    agents,
    catalog::{Builtin, Executor},
    db::page::Search,
    usage,
};
use trunkline_protocol::oauth::scope::{Effect, ScopeSet};

use super::{
    Page,
    attempts::{self, AttemptView},
    components::Tab,
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
    vec![
        Route::get("/t/{tenant}/connect", Access::Member(Permission::View), show),
        Route::get("/t/{tenant}/connect/status", Access::Member(Permission::View), status),
    ]
}

const CLIENTS: [(&str, &str); 7] = [
    ("claude-code", "Claude Code"),
    ("cursor", "Cursor"),
    ("vscode", "VS Code"),
    ("codex", "Codex"),
    ("inspector", "Inspector"),
    ("stdio", "stdio only"),
    ("curl", "curl"),
];

#[derive(Template)]
#[template(path = "dashboard/connect.html")]
struct ConnectPage {
    layout: Layout,
    base: String,
    mcp_url: String,
    server_name: String,
    clients: Vec<Tab>,
    client: &'static str,
    cursor_link: String,
    vscode_link: String,
    example: Example,
    has_key: bool,
    can_make_key: bool,
    new_key_url: String,
    poll_url: String,
    received: bool,
    attempts: Option<Vec<AttemptView>>,
}

/// A call that works, for snippets.
pub(super) struct Example {
    pub(super) tool: String,
    pub(super) arguments: String,
}

impl Example {
    /// A harmless tool that these scopes open, with arguments that fit; the echo tool if there is none.
    pub(super) async fn find(platform: &Platform, slug: &str, scopes: Option<&ScopeSet>) -> Result<Self> {
        let snapshot = platform.snapshots.get(platform, slug).await?;
        let tools = snapshot.as_ref().map_or(&[][..], |snapshot| snapshot.tools());
        let open = tools
            .iter()
            .map(|loaded| &loaded.tool)
            .filter(|tool| scopes.is_none_or(|scopes| scopes.permits_tool(tool.name.as_str(), tool.version.effect)));
        let best = open.min_by_key(|tool| match (&tool.version.executor, tool.version.effect) {
            (Executor::Builtin { name: Builtin::Echo }, _) => 0,
            (Executor::Builtin { .. }, _) => 1,
            (_, effect) => 2 + Effect::ALL.iter().position(|other| *other == effect).unwrap_or_default(),
        });
        let echo = Executor::Builtin { name: Builtin::Echo }.input_schema();
        Ok(match best {
            Some(tool) => Self {
                tool: tool.name.to_string(),
                arguments: arguments(&serde_json::from_str(tool.version.input_schema.get()).map_err(Error::internal)?),
            },
            None => Self { tool: "echo".to_owned(), arguments: arguments(&echo) },
        })
    }
}

/// Something that fits, for each parameter that must be there.
pub(super) fn arguments(schema: &Value) -> String {
    let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(Value::as_str);
    let example = |name: &str| match schema["properties"][name]["type"].as_str() {
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => json!("hello"),
    };
    Value::Object(required.map(|name| (name.to_owned(), example(name))).collect()).to_string()
}

/// The tenant's endpoint, as clients write it.
pub(super) fn mcp_url(state: &WebState, slug: &str) -> String {
    format!("{}{}", state.settings.origin(), urls::mcp(slug))
}

async fn show(state: web::Data<WebState>, member: InTenant, query: Query) -> Page {
    let (platform, actor, slug) = (&state.platform, &member.actor, member.slug());
    let wanted = match query.get("client") {
        "" => CLIENTS[0].0,
        other => other,
    };
    let client = CLIENTS.iter().map(|(client, _)| *client).find(|client| *client == wanted);
    let client = client.ok_or_else(|| HtmlError::not_found("client"))?;
    let first = agents::search(platform, actor, &Search::new("", 1)).await?.items.into_iter().next();
    let mcp_url = mcp_url(&state, slug);
    page(&ConnectPage {
        layout: member.layout("Connect", "connect"),
        base: urls::tenant(slug),
        server_name: slug.to_owned(),
        clients: tabs(slug, client),
        client,
        cursor_link: cursor_link(slug, &mcp_url),
        vscode_link: vscode_link(slug, &mcp_url),
        example: Example::find(platform, slug, None).await?,
        has_key: agents::count_keys(platform, actor).await?.live > 0,
        can_make_key: member.may(Permission::ManageKeys) && member.may(Permission::ManageAgents),
        new_key_url: first
            .map_or_else(|| urls::agent_new(slug), |first| format!("{}#new-key", urls::agent(slug, first.agent.id))),
        poll_url: urls::connect_status(slug),
        attempts: attempts::latest(platform, actor).await,
        received: usage::has_calls(platform, actor).await?,
        mcp_url,
    })
}

async fn status(state: web::Data<WebState>, member: InTenant) -> Page {
    let first_call = usage::has_calls(&state.platform, &member.actor).await?;
    Ok(HttpResponse::Ok().json(json!({ "first_call": first_call })))
}

fn tabs(slug: &str, chosen: &str) -> Vec<Tab> {
    let tab = |(client, label): (&str, &str)| Tab {
        url: urls::with_query(&urls::connect(slug), &[("client", client)]),
        label: label.to_owned(),
        current: client == chosen,
    };
    CLIENTS.into_iter().map(tab).collect()
}

/// Opens Cursor with the server filled in. It logs in.
fn cursor_link(name: &str, url: &str) -> String {
    let config = json!({ "url": url });
    urls::with_query(
        "cursor://anysphere.cursor-deeplink/mcp/install",
        &[("name", name), ("config", &BASE64.encode(config.to_string()))],
    )
}

/// Opens VS Code with the server filled in. It logs in.
fn vscode_link(name: &str, url: &str) -> String {
    let config = json!({ "name": name, "type": "http", "url": url });
    // Percent-encoded without plus signs for spaces: VS Code does not read those.
    let query = urls::with_query("vscode:mcp/install", &[("config", &config.to_string())]).replace('+', "%20");
    query.replacen("config=", "", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_arguments_fit_what_is_required() {
        let schema =
            json!({ "properties": { "a": { "type": "integer" }, "b": { "type": "string" }, "c": {} }, "required": ["a", "b"] });
        assert_eq!(arguments(&schema), r#"{"a":1,"b":"hello"}"#);
        assert_eq!(arguments(&json!({})), "{}");
    }

    #[test]
    fn links_can_be_read_back() {
        let link = vscode_link("acme", "https://x.example/t/acme/mcp");
        let json = link.strip_prefix("vscode:mcp/install?").unwrap();
        let (json, _) = url::form_urlencoded::parse(json.as_bytes()).next().unwrap();
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["url"], "https://x.example/t/acme/mcp");
        assert!(!link.contains('+'));
    }
}
