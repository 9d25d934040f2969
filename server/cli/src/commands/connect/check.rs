//! `--check`: is the endpoint there, does the key work, which tools does it show?

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use trunkline_protocol::mcp::{Revision, SERVER_INFO};

use super::{
    ask::{ask, tell},
    endpoint::Endpoint,
    failure::Failure,
    session::{Session, settled},
};
use crate::terminal;

/// Pages of the list that are read.
const MOST_PAGES: usize = 100;

/// What was found.
struct Found {
    server: Value,
    revisions: Vec<String>,
    tools: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    tools: Vec<Named>,
    #[serde(default)]
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

pub(super) async fn run(endpoint: &Endpoint) -> ExitCode {
    let found = match stateless(endpoint).await {
        // Not for a server that knows no such thing, but for any other reason a handshake would fail as well.
        Err(Failure::Answered(_) | Failure::Broken) => with_handshake(endpoint).await,
        Err(Failure::Refused(refused)) if matches!(refused.status, 400 | 404..=406) => with_handshake(endpoint).await,
        other => other,
    };
    match found {
        Ok(found) => {
            terminal::say(report(endpoint, &found));
            ExitCode::SUCCESS
        }
        Err(failure) => {
            terminal::complain(format!("error: {}: {}", endpoint.url(), failure.line()));
            ExitCode::FAILURE
        }
    }
}

fn report(endpoint: &Endpoint, found: &Found) -> String {
    let text = |key: &str| found.server[key].as_str().unwrap_or("?").to_owned();
    let tools = match found.tools.len() {
        0 => "no tools: the key's scopes open none".to_owned(),
        1 => format!("1 tool: {}", found.tools[0]),
        many => format!("{many} tools: {}", found.tools.join(", ")),
    };
    let (name, version) = (text("name"), text("version"));
    format!("{}\n  {name} {version}, MCP {}\n  {tools}", endpoint.url(), found.revisions.join(", "))
}

async fn stateless(endpoint: &Endpoint) -> Result<Found, Failure> {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": Revision::V2026_07_28.as_str(),
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": client_info(),
    });
    let asked = ask(endpoint, None, "server/discover", &json!({ "_meta": meta }).to_string()).await?;
    let discovered: Value = read(&asked.result)?;
    let revisions = discovered["supportedVersions"].as_array().ok_or(Failure::Broken)?;
    Ok(Found {
        server: discovered["_meta"][SERVER_INFO].clone(),
        revisions: revisions.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        tools: tools(endpoint, None, &json!({ "_meta": meta })).await?,
    })
}

async fn with_handshake(endpoint: &Endpoint) -> Result<Found, Failure> {
    let revision = Revision::LATEST_WITH_HANDSHAKE.as_str();
    let params = json!({ "protocolVersion": revision, "capabilities": {}, "clientInfo": client_info() });
    let asked = ask(endpoint, None, "initialize", &params.to_string()).await?;
    let session = settled(asked.session, &asked.result).ok_or(Failure::Broken)?;
    let initialized: Value = read(&asked.result)?;
    tell(endpoint, &session, "notifications/initialized").await?;
    let tools = tools(endpoint, Some(&session), &json!({})).await;
    // One that is not ended expires.
    let _ = endpoint.delete(session.headers()).await;
    Ok(Found {
        server: initialized["serverInfo"].clone(),
        revisions: initialized["protocolVersion"].as_str().map(str::to_owned).into_iter().collect(),
        tools: tools?,
    })
}

async fn tools(endpoint: &Endpoint, session: Option<&Session>, params: &Value) -> Result<Vec<String>, Failure> {
    let (mut params, mut names) = (params.clone(), Vec::new());
    for _ in 0..MOST_PAGES {
        let asked = ask(endpoint, session, "tools/list", &params.to_string()).await?;
        let page: Page = read(&asked.result)?;
        names.extend(page.tools.into_iter().map(|tool| tool.name));
        match page.next_cursor {
            Some(cursor) => params["cursor"] = json!(cursor),
            None => break,
        }
    }
    Ok(names)
}

fn client_info() -> Value {
    json!({ "name": "trunkline-connect", "version": env!("CARGO_PKG_VERSION") })
}

fn read<T: serde::de::DeserializeOwned>(result: &RawValue) -> Result<T, Failure> {
    serde_json::from_str(result.get()).map_err(|_| Failure::Broken)
}
