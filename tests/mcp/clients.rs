//! An independent client: rmcp, as its users have it.
#![expect(deprecated, reason = "sampling is deprecated in the newest revision, and served in all of them")]

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rmcp::{
    ClientHandler, ClientServiceExt as _, ErrorData,
    model::{
        CallToolRequestParams, ClientConfig, CreateMessageRequestParams, CreateMessageResult, ElicitRequestParams, ElicitResult,
        ElicitationAction, GetPromptRequestParams, ProgressNotificationParam, ProtocolVersion, ReadResourceRequestParams,
    },
    service::{ClientLifecycleMode, NotificationContext, RequestContext, RoleClient, RunningService},
    transport::{StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig},
};
use serde_json::{Value, json};
use trunkline_platform::catalog::{HttpMethod, Place};

use crate::support::{Agent, SOON, TestApp, Upstream, eventually, http, tools};

type Client = RunningService<RoleClient, Person>;

/// Somebody who answers, and hears how far it is.
#[derive(Debug, Clone, Default)]
struct Person {
    progress: Arc<Mutex<Vec<f64>>>,
}

impl Person {
    fn heard(&self) -> Vec<f64> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientHandler for Person {
    async fn create_elicitation(&self, _: ElicitRequestParams, _: RequestContext<RoleClient>) -> Result<ElicitResult, ErrorData> {
        let said = json!({
            "name": "ada", "username": "ada", "email": "ada@example.com", "color": "blue", "context": "late", "confirm": true,
        });
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(said))
    }

    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let said = json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "the model says so" } });
        Ok(serde_json::from_value(said).expect("a message"))
    }

    async fn on_progress(&self, told: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).push(told.progress);
    }

    fn get_info(&self) -> ClientConfig {
        let mut info = ClientConfig::default();
        let capabilities = json!({ "elicitation": { "form": {} }, "sampling": {}, "roots": {} });
        info.capabilities = serde_json::from_value(capabilities).expect("capabilities");
        info
    }
}

fn transport(agent: &Agent) -> StreamableHttpClientTransport<reqwest::Client> {
    let config = StreamableHttpClientTransportConfig::with_uri(agent.url.clone()).auth_header(agent.key.clone());
    StreamableHttpClientTransport::with_client(http().clone(), config)
}

/// In each way a client of that library can begin.
async fn clients(agent: &Agent) -> Vec<(&'static str, Client)> {
    let newest = vec![ProtocolVersion::LATEST];
    let mut clients = Vec::new();
    for (how, mode) in [
        ("initialize", ClientLifecycleMode::Initialize),
        ("discover", ClientLifecycleMode::Discover { preferred_versions: newest.clone() }),
        ("auto", ClientLifecycleMode::Auto { preferred_versions: newest, legacy_version: None }),
    ] {
        let client = Person::default().serve_with_lifecycle(transport(agent), mode).await;
        clients.push((how, client.unwrap_or_else(|error| panic!("{how}: {error}"))));
    }
    clients
}

/// The text of the first block of a result.
fn text(result: &impl serde::Serialize) -> String {
    let result = serde_json::to_value(result).expect("JSON");
    let block = [&result["content"][0], &result["messages"][0]["content"], &result["contents"][0]];
    block.iter().find_map(|block| block["text"].as_str()).unwrap_or_else(|| panic!("no text: {result}")).to_owned()
}

fn called(tool: &str, arguments: &Value) -> CallToolRequestParams {
    CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments.as_object().expect("an object").clone())
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
            let result = client.call_tool(called(tool, &arguments)).await;
            let result = result.unwrap_or_else(|error| panic!("{how} {tool}: {error}"));
            let text = text(&result);
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

async fn fixtures(app: &TestApp) -> Agent {
    let acme = app.tenant("acme").await;
    acme.conformance().await;
    acme.agent("agent", "tools:read prompts:read resources:read").await
}

#[tokio::test]
async fn rmcp_hears_progress_and_answers_questions_in_both_eras() {
    let app = TestApp::start().await;
    let agent = fixtures(&app).await;
    for (how, client) in clients(&agent).await {
        let told = client.call_tool(called("test_tool_with_progress", &json!({}))).await;
        assert!(text(&told.unwrap_or_else(|error| panic!("{how}: {error}"))).contains("reported its progress"), "{how}");
        let heard = client.service().heard();
        assert_eq!(heard, [0.0, 50.0, 100.0], "{how}");
        for (tool, arguments, expected) in [
            // Each asks in one of both ways; whichever the client cannot do itself is done for it.
            ("test_elicitation", json!({ "message": "Who are you?" }), "ada"),
            ("test_sampling", json!({ "prompt": "What do you say?" }), "the model says so"),
        ] {
            let result = client.call_tool(called(tool, &arguments)).await.unwrap_or_else(|error| panic!("{how} {tool}: {error}"));
            assert!(text(&result).contains(expected), "{how} {tool}: {}", text(&result));
        }
        if how != "initialize" {
            for tool in ["test_input_required_result_elicitation", "test_input_required_result_multi_round"] {
                let result =
                    client.call_tool(called(tool, &json!({}))).await.unwrap_or_else(|error| panic!("{how} {tool}: {error}"));
                assert!(text(&result).contains("ada"), "{how} {tool}: {}", text(&result));
            }
        }
        client.cancel().await.expect("a clean end");
    }
}

#[tokio::test]
async fn rmcp_takes_a_call_back_in_both_eras() {
    let app = TestApp::start().await;
    let agent = fixtures(&app).await;
    for (how, client) in clients(&agent).await {
        let slow = client.call_tool(called("slow_compute", &json!({ "seconds": 60 })));
        assert!(tokio::time::timeout(Duration::from_millis(1_500), slow).await.is_err(), "{how}: it is slow");
        assert_eq!(client.service().heard().first(), Some(&1.0), "{how}: it had begun");
        client.call_tool(called("test_simple_text", &json!({}))).await.unwrap_or_else(|error| panic!("{how}: {error}"));
        client.cancel().await.expect("a clean end");
    }
    let mut sql = app.sql().await;
    eventually("what was taken back is recorded as cancelled", SOON, async || {
        let outcomes = "SELECT outcome FROM app.calls WHERE tool_name = 'slow_compute'";
        let outcomes: Vec<String> = sqlx::query_scalar(outcomes).fetch_all(&mut sql).await.expect("calls");
        (outcomes == ["cancelled", "cancelled", "cancelled"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn rmcp_reads_resources_and_prompts_in_both_eras() {
    let app = TestApp::start().await;
    let agent = fixtures(&app).await;
    for (how, client) in clients(&agent).await {
        let failed = |error: rmcp::ServiceError| -> () { panic!("{how}: {error}") };
        let resources = client.list_all_resources().await.map_err(failed).expect("resources");
        assert_eq!(resources.len(), 3, "{how}");
        assert_eq!(client.list_all_resource_templates().await.map_err(failed).expect("templates").len(), 1, "{how}");
        for (uri, expected) in [("test://static-text", "static"), ("test://template/4711/data", "4711")] {
            let read = client.read_resource(ReadResourceRequestParams::new(uri)).await.map_err(failed).expect("a resource");
            assert!(text(&read).contains(expected), "{how} {uri}: {}", text(&read));
        }
        assert!(client.read_resource(ReadResourceRequestParams::new("test://nothing")).await.is_err(), "{how}");
        assert_eq!(client.list_all_prompts().await.map_err(failed).expect("prompts").len(), 5, "{how}");
        let mut params = GetPromptRequestParams::new("test_prompt_with_arguments");
        params.arguments = json!({ "arg1": "hello", "arg2": "world" }).as_object().cloned();
        let prompt = client.get_prompt(params).await.map_err(failed).expect("a prompt");
        assert_eq!(text(&prompt), "Prompt with arguments: arg1='hello', arg2='world'", "{how}");
        if how != "initialize" {
            let asking = GetPromptRequestParams::new("test_input_required_result_prompt");
            client.get_prompt(asking).await.map_err(failed).expect("a prompt that asks first");
        }
        client.cancel().await.expect("a clean end");
    }
}
