//! Both eras on one URL.

use serde_json::{Value, json};

use crate::support::{Era, TestApp, tools};

#[tokio::test]
async fn t_13_tools_are_listed_in_order_in_both_eras() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("zulu", tools::time()).await;
    acme.tool("echo", tools::echo()).await;
    acme.tool("Alpha", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    for era in Era::ALL {
        let list = agent.list(era).await;
        assert_eq!((list.status, list.tool_names()), (200, vec!["Alpha", "echo", "zulu"]), "{era:?}");
        let stateless = era == Era::Stateless;
        assert_eq!(list.json["result"]["cacheScope"] == json!("private"), stateless);
        assert_eq!(list.json["result"]["resultType"] == json!("complete"), stateless);
        let echo = &list.json["result"]["tools"][1];
        assert_eq!(echo["annotations"], json!({ "readOnlyHint": true, "destructiveHint": false }));
        assert_eq!(echo["inputSchema"]["required"], json!(["text"]));
    }
}

#[tokio::test]
async fn a_call_gives_its_result_and_what_is_left_in_both_eras() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    for (era, left) in [(Era::Stateless, 299), (Era::Handshake, 298)] {
        let answer = agent.call(era, "echo", json!({ "text": "héllo \"you\"\n" })).await;
        assert_eq!((answer.status, answer.result()), (200, "héllo \"you\"\n"));
        assert_eq!(answer.json["result"]["isError"], json!(false));
        let limits = &answer.json["result"]["_meta"]["trunkline/limits"];
        assert_eq!((&limits["scope"], &limits["remaining"]), (&json!("agent_tool"), &json!(left)), "{}", answer.text);
        let info = &answer.json["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"];
        assert_eq!(*info == json!("trunkline"), era == Era::Stateless);
    }
}

#[tokio::test]
async fn handshake_settles_on_a_revision_with_a_handshake() {
    let app = TestApp::start().await;
    let agent = app.tenant("acme").await.agent("agent", "tools:read").await;
    for (asked, settled) in [("2025-11-25", "2025-11-25"), ("2025-06-18", "2025-06-18"), ("2099-01-01", "2025-11-25")] {
        let params = json!({ "protocolVersion": asked, "capabilities": {}, "clientInfo": { "name": "suite", "version": "1" } });
        let body = json!({ "jsonrpc": "2.0", "id": "a", "method": "initialize", "params": params });
        let answer = agent.request().header("accept", "application/json, text/event-stream").json(&body).send().await;
        let answer = crate::support::Answer::read(answer.expect("an answer")).await;
        assert_eq!(answer.json["result"]["protocolVersion"], json!(settled), "{}", answer.text);
        assert_eq!(answer.json["id"], json!("a"));
    }
    assert_eq!(agent.send(Era::Handshake, "ping", json!({})).await.json["result"], json!({}));
}

#[tokio::test]
async fn discovery_names_every_revision_that_is_served() {
    let app = TestApp::start().await;
    let agent = app.tenant("acme").await.agent("agent", "tools:read").await;
    let answer = agent.send(Era::Stateless, "server/discover", json!({})).await;
    assert_eq!(answer.json["result"]["supportedVersions"], json!(["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"]));
    let version = &answer.json["result"]["supportedVersions"];
    assert!(version.as_array().is_some_and(|versions| versions.iter().all(Value::is_string)));
}

#[tokio::test]
async fn t_08_a_notification_is_accepted_without_an_answer_in_both_eras() {
    let app = TestApp::start().await;
    let agent = app.tenant("acme").await.agent("agent", "tools:read").await;
    for method in ["notifications/initialized", "notifications/cancelled", "notifications/nobody-knows"] {
        for era in Era::ALL {
            let body = json!({ "jsonrpc": "2.0", "method": method, "params": { "requestId": 1 } });
            let request = agent.request().header("mcp-protocol-version", era.revision()).json(&body);
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status(), 202, "{method} {era:?}");
            assert_eq!(answer.text().await.expect("a body"), "");
        }
    }
}

#[tokio::test]
async fn t_13_lists_are_private_fresh_and_in_the_same_order_every_time() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.conformance().await;
    let agent = acme.agent("agent", "tools:read prompts:read resources:read").await;
    for (method, member) in [
        ("tools/list", "tools"),
        ("prompts/list", "prompts"),
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
    ] {
        let first = agent.send(Era::Stateless, method, json!({})).await;
        let result = &first.json["result"];
        assert!(!result[member].as_array().expect("a list").is_empty(), "{}", first.text);
        assert_eq!((&result["resultType"], &result["cacheScope"]), (&json!("complete"), &json!("private")), "{method}");
        assert!(result["ttlMs"].is_u64(), "{method}: {}", first.text);
        assert_eq!(first.header("cache-control"), "no-store", "{method}");
        let again = agent.send(Era::Stateless, method, json!({})).await;
        assert_eq!(again.json["result"][member], result[member], "{method}");
    }
    for name in agent.list(Era::Stateless).await.tool_names() {
        let fits = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        assert!((1..=64).contains(&name.len()) && fits, "{name}");
    }
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_a_result_that_says_what_would() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    for (arguments, expected) in [
        (json!({}), "\"text\" is a required property"),
        (json!({ "text": 7 }), "text"),
        (json!({ "text": "a", "canary-4711": "b" }), "Additional properties"),
    ] {
        for era in Era::ALL {
            let answer = agent.call(era, "echo", arguments.clone()).await;
            assert_eq!((answer.status, answer.error_class()), (200, "invalid_arguments"), "{}", answer.text);
            assert!(answer.json["result"]["isError"] == json!(true) && answer.result().contains(expected), "{}", answer.text);
        }
    }
}
