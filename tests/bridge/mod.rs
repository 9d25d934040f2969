//! Upstream MCP servers of every revision and both ways of answering, as `upstream` reaches them.

mod changes;
mod eras;
mod faults;
mod lossless;
mod sent;
mod sessions;
mod table;

use std::{sync::Arc, time::Duration};

use chrono::DateTime;
use serde_json::{Value, json, value::RawValue};
use tokio_util::sync::CancellationToken;
use trunkline_platform::{
    dialogue::{Dialogue, Heard, Listener},
    ids::{SourceId, TenantId},
    secret::Plaintext,
    upstream::{ItemKind, Reply, Retry, Server, Target, TraceContext, UpstreamError, UpstreamRequest},
};
use trunkline_protocol::mcp::{LogLevel, Revision, capabilities::ClientCapabilities, mirrored::Mirrored, object::RawObject};

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

/// What is asked of an upstream.
#[derive(Debug, Clone, Default)]
struct Ask {
    method: &'static str,
    params: String,
    input: Option<Retry>,
    mirrored: Vec<Mirrored>,
    trace: Option<TraceContext>,
    cancelled: CancellationToken,
}

impl Ask {
    /// A call with those parameters in JSON.
    fn call(params: &impl ToString) -> Self {
        Self { method: "tools/call", params: params.to_string(), ..Self::default() }
    }

    /// The exchange, where the installation runs.
    async fn send(self, app: &TestApp, target: &Target, dialogue: &Dialogue) -> Result<Reply, UpstreamError> {
        let (target, dialogue) = (target.clone(), dialogue.clone());
        app.act(|platform| async move {
            let params = RawObject::parse(&self.params).expect("an object");
            let request = UpstreamRequest {
                method: self.method,
                params: &params,
                input: self.input.as_ref(),
                mirrored: &self.mirrored,
                trace: self.trace.as_ref(),
            };
            platform.upstreams.exchange(&platform.egress, &target, request, &dialogue, self.cancelled).await
        })
        .await
    }
}

/// One exchange with parameters as JSON.
async fn exchange(
    app: &TestApp,
    target: &Target,
    method: &'static str,
    params: &Value,
    dialogue: &Dialogue,
) -> Result<Reply, UpstreamError> {
    Ask { method, params: params.to_string(), ..Ask::default() }.send(app, target, dialogue).await
}

async fn probe(app: &TestApp, target: &Target) -> Result<Arc<Server>, UpstreamError> {
    let target = target.clone();
    app.act(|platform| async move { platform.upstreams.probe(&platform.egress, &target).await }).await
}

async fn list(app: &TestApp, target: &Target, kind: ItemKind) -> Result<Vec<Box<RawValue>>, UpstreamError> {
    let target = target.clone();
    app.act(|platform| async move { platform.upstreams.list(&platform.egress, &target, kind).await }).await
}

/// One round of the background tick, for what is idle for so long.
async fn sweep(app: &TestApp, idle: Duration) {
    app.act(|platform| async move { platform.upstreams.sweep(idle).await }).await;
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
