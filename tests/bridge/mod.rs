//! Upstream MCP servers of every revision and both ways of answering, as `upstream` reaches them.

mod changes;
mod eras;
mod faults;
mod lossless;
mod sent;
mod sessions;

use std::time::Duration;

use chrono::DateTime;
use serde_json::{Value, json, value::RawValue};
use tokio_util::sync::CancellationToken;
use trunkline_platform::{
    dialogue::{Dialogue, Heard, Listener},
    ids::{SourceId, TenantId},
    secret::Plaintext,
    upstream::{Reply, Target, UpstreamError, UpstreamRequest},
};
use trunkline_protocol::mcp::{LogLevel, Revision, capabilities::ClientCapabilities, object::RawObject};

use crate::support::{
    TestApp,
    mcp_upstream::{McpUpstream, Speaks, Way},
};

/// Every revision and both ways of answering.
fn cells() -> impl Iterator<Item = (Speaks, Way)> {
    let speaks = Revision::ALL.into_iter().map(Speaks::Only).chain([Speaks::Both]);
    speaks.flat_map(|speaks| [(speaks, Way::Json), (speaks, Way::Events)])
}

fn revision_of(speaks: Speaks) -> Revision {
    match speaks {
        Speaks::Only(revision) => revision,
        Speaks::Both => Revision::V2026_07_28,
    }
}

/// A target of a source of its own.
fn target(upstream: &McpUpstream) -> Target {
    Target {
        tenant: TenantId::new(DateTime::UNIX_EPOCH),
        source: SourceId::new(DateTime::UNIX_EPOCH),
        url: upstream.url().parse().expect("a URL"),
        header: None,
        deadline: Duration::from_secs(10),
    }
}

fn with_secret(mut target: Target, secret: &str) -> Target {
    target.header = Some(("x-api-key".parse().expect("a name"), Plaintext::new(secret.to_owned())));
    target
}

/// A caller that can be asked everything and listens to everything.
fn talkative() -> (Dialogue, Heard) {
    Dialogue::open(listener(r#"{"elicitation":{},"sampling":{},"roots":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#))
}

fn listener(capabilities: &str) -> Listener {
    Listener {
        capabilities: ClientCapabilities::parse(capabilities).expect("capabilities"),
        wants_progress: true,
        log_level: Some(LogLevel::Debug),
        asks_inline: true,
    }
}

/// One exchange with parameters as JSON.
async fn exchange(
    app: &TestApp,
    target: &Target,
    method: &str,
    params: &Value,
    dialogue: &Dialogue,
) -> Result<Reply, UpstreamError> {
    let params = params.to_string();
    let params = RawObject::parse(&params).expect("an object");
    let request = UpstreamRequest { method, params: &params, input: None, schema: None, trace: None };
    let cancelled = CancellationToken::new();
    app.platform.upstreams.exchange(&app.platform, target, request, dialogue, cancelled).await
}

/// One call by somebody who neither listens nor can be asked.
async fn call(app: &TestApp, target: &Target, tool: &str, arguments: Value) -> Result<Reply, UpstreamError> {
    exchange(app, target, "tools/call", &json!({ "name": tool, "arguments": arguments }), &Dialogue::silent()).await
}

/// The result of a reply.
#[track_caller]
fn result(reply: Result<Reply, UpstreamError>) -> Box<RawValue> {
    match reply {
        Ok(Reply::Result(result)) => result,
        other => panic!("not a result: {other:?}"),
    }
}

/// The text of a tool's result.
#[track_caller]
fn text(reply: Result<Reply, UpstreamError>) -> String {
    let result: Value = serde_json::from_str(result(reply).get()).expect("JSON");
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {result}")).to_owned()
}
