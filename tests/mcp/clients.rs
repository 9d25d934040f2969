//! An independent client: rmcp, as its users have it.

use std::collections::BTreeSet;

use rmcp::{
    ClientServiceExt as _, ServiceExt as _,
    model::{CallToolRequestParams, ProtocolVersion},
    service::{ClientLifecycleMode, RoleClient, RunningService},
    transport::{StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig},
};
use serde_json::json;
use trunkline_platform::catalog::{HttpMethod, Place};

use crate::support::{Agent, TestApp, Upstream, http, tools};

type Client = RunningService<RoleClient, ()>;

fn transport(agent: &Agent) -> StreamableHttpClientTransport<reqwest::Client> {
    let config = StreamableHttpClientTransportConfig::with_uri(agent.url.clone()).auth_header(agent.key.clone());
    StreamableHttpClientTransport::with_client(http().clone(), config)
}

/// In each way a client of that library can begin.
async fn clients(agent: &Agent) -> Vec<(&'static str, Client)> {
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
async fn rmcp_lists_and_calls_each_kind_of_tool_in_both_eras() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    acme.tool("time", tools::time()).await;
    acme.tool(
        "order",
        tools::http(HttpMethod::Post, &upstream.url("/orders/{id}"), &[("id", Place::Path), ("item", Place::Body)]),
    )
    .await;
    acme.tool("slow", tools::get(&upstream.url("/slow/300"))).await;
    let agent = acme.agent("agent", "tools:read").await;
    let mut revisions = BTreeSet::new();
    for (how, client) in clients(&agent).await {
        let listed = client.list_all_tools().await.expect("a list");
        let names: Vec<_> = listed.iter().map(|tool| tool.name.to_string()).collect();
        assert_eq!(names, ["echo", "order", "slow", "time"], "{how}");
        for (tool, arguments, expected) in [
            ("echo", json!({ "text": "hello" }), "hello"),
            ("time", json!({ "offset_minutes": 60 }), "+01:00"),
            ("order", json!({ "id": "7", "item": "tea" }), r#"{"ok":true}"#),
            ("slow", json!({}), r#"{"slow":true}"#),
        ] {
            let params = CallToolRequestParams::new(tool).with_arguments(arguments.as_object().expect("an object").clone());
            let result = client.call_tool(params).await.unwrap_or_else(|error| panic!("{how} {tool}: {error}"));
            let text = serde_json::to_value(&result).expect("JSON")["content"][0]["text"].as_str().unwrap_or_default().to_owned();
            assert!(text.contains(expected) && result.is_error != Some(true), "{how} {tool}: {text}");
        }
        client.cancel().await.expect("a clean end");
    }
    let mut sql = app.sql().await;
    crate::support::eventually("all calls are recorded", crate::support::SOON, async || {
        let found: Vec<String> = sqlx::query_scalar("SELECT revision FROM app.calls").fetch_all(&mut sql).await.expect("calls");
        revisions = found.iter().cloned().collect();
        (found.len() == 12).then_some(())
    })
    .await;
    assert_eq!(revisions, BTreeSet::from(["2025-11-25".to_owned(), "2026-07-28".to_owned()]));
}

#[tokio::test]
async fn rmcp_sees_an_unknown_tool_as_an_error_and_a_failed_one_as_a_result() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let acme = app.tenant("acme").await;
    acme.tool("broken", tools::get(&upstream.url("/status/500"))).await;
    let agent = acme.agent("agent", "tools:read").await;
    for (how, client) in clients(&agent).await {
        assert!(client.call_tool(CallToolRequestParams::new("nothing")).await.is_err(), "{how}");
        let failed = client.call_tool(CallToolRequestParams::new("broken")).await.expect("a result");
        assert_eq!(failed.is_error, Some(true), "{how}");
        client.cancel().await.expect("a clean end");
    }
}
