//! Below an independent client: rmcp, which starts it as any MCP server on standard input and output.

use std::process::Stdio;

use rmcp::{
    ClientServiceExt as _, ServiceExt as _,
    model::{CallToolRequestParams, ProtocolVersion},
    service::{ClientLifecycleMode, RoleClient, RunningService},
    transport::TokioChildProcess,
};
use serde_json::json;

use crate::support::{Agent, TestApp, process::command, tools};

fn transport(agent: &Agent) -> TokioChildProcess {
    let mut starting = tokio::process::Command::from(command(&["connect", &agent.url]));
    starting.env("TRUNKLINE_KEY", &agent.key);
    let (transport, _) = TokioChildProcess::builder(starting).stderr(Stdio::null()).spawn().expect("it starts");
    transport
}

/// In each way a client of that library can begin.
async fn clients(agent: &Agent) -> Vec<(&'static str, RunningService<RoleClient, ()>)> {
    let newest = vec![ProtocolVersion::LATEST];
    let discover = ClientLifecycleMode::Discover { preferred_versions: newest.clone() };
    let auto = ClientLifecycleMode::Auto { preferred_versions: newest, legacy_version: None };
    vec![
        ("initialize", ().serve(transport(agent)).await.expect("a handshake")),
        ("discover", ().serve_with_lifecycle(transport(agent), discover).await.expect("discovery")),
        ("auto", ().serve_with_lifecycle(transport(agent), auto).await.expect("either")),
    ]
}

#[tokio::test]
async fn rmcp_lists_and_calls_through_the_bridge_however_it_begins() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    acme.tool("time", tools::time()).await;
    let agent = acme.agent("agent", "tools:read").await;
    for (how, client) in clients(&agent).await {
        let listed = client.list_all_tools().await.unwrap_or_else(|error| panic!("{how}: {error}"));
        assert_eq!(listed.iter().map(|tool| tool.name.to_string()).collect::<Vec<_>>(), ["echo", "time"], "{how}");
        let arguments = json!({ "text": "through a pipe" }).as_object().expect("an object").clone();
        let params = CallToolRequestParams::new("echo").with_arguments(arguments);
        let result = client.call_tool(params).await.unwrap_or_else(|error| panic!("{how}: {error}"));
        assert_eq!(serde_json::to_value(&result).expect("JSON")["content"][0]["text"], "through a pipe", "{how}");
        assert!(client.call_tool(CallToolRequestParams::new("nothing")).await.is_err(), "{how}");
        client.cancel().await.expect("a clean end");
    }
}
