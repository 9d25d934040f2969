//! Search mode: two tools stand for all of them, and nothing else is different.

use serde_json::{Value, json};
use trunkline_platform::{
    agents,
    catalog::{HttpMethod, NewVersion, Place, toolset},
};
use trunkline_protocol::oauth::scope::Effect;

use crate::support::{Agent, Era, SOON, Tenant, TestApp, Upstream, eventually, tools};

async fn names(agent: &Agent, era: Era) -> Vec<String> {
    let listed = agent.list(era).await;
    let tools = listed.json["result"]["tools"].as_array().unwrap_or_else(|| panic!("{}", listed.text));
    tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect()
}

async fn find(agent: &Agent, era: Era, query: &str) -> Vec<String> {
    let answer = agent.call(era, "find_tools", json!({ "query": query })).await;
    assert!(answer.is_ok(), "{}", answer.text);
    let found: Value = serde_json::from_str(answer.result()).expect("JSON");
    found["tools"].as_array().expect("tools").iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect()
}

async fn call(agent: &Agent, era: Era, name: &str, arguments: Value) -> crate::support::Answer {
    agent.call(era, "call_tool", json!({ "name": name, "arguments": arguments })).await
}

async fn search_mode(app: &TestApp, acme: &Tenant<'_>, agent: &Agent, on: bool) {
    let (actor, id) = (acme.owner.clone(), agent.id);
    app.act(move |platform| async move { agents::set_search_mode(&platform, &actor, id, on).await }).await.expect("a switch");
}

fn described(description: &str, tool: NewVersion) -> NewVersion {
    NewVersion { description: description.to_owned(), ..tool }
}

#[tokio::test]
async fn an_agent_in_search_mode_finds_calls_and_is_recorded_as_without() {
    let upstream = Upstream::start().await;
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", described("Gives a text back.", tools::echo())).await;
    let refund = tools::http(HttpMethod::Post, &upstream.url("/ok"), &[("order", Place::Body)]);
    acme.tool("billing_createRefund", described("Pays an order back to whoever bought it.", refund.clone())).await;
    acme.tool("billing_list", described("Lists orders, refunded or not.", tools::get(&upstream.url("/ok")))).await;
    acme.tool("drop_orders", described("Deletes refunds.", tools::with_effect(Effect::Destructive, refund))).await;
    let agent = acme.agent("agent", "tools:write").await;
    assert_eq!(names(&agent, Era::Stateless).await, ["billing_createRefund", "billing_list", "echo"]);
    search_mode(&app, &acme, &agent, true).await;
    for era in [Era::Stateless, Era::Handshake] {
        assert_eq!(names(&agent, era).await, ["find_tools", "call_tool"]);
        assert_eq!(
            find(&agent, era, "refund an order").await,
            ["billing_createRefund", "billing_list"],
            "not what it may not use"
        );
        assert!(find(&agent, era, "weather").await.is_empty());
        let echoed = call(&agent, era, "echo", json!({ "text": "hello" })).await;
        assert_eq!(echoed.result(), "hello");
        assert!(agent.call(era, "echo", json!({ "text": "by its own name" })).await.is_ok());
        let hidden = call(&agent, era, "drop_orders", json!({})).await;
        assert_eq!(hidden.code(), -32602, "{}", hidden.text);
    }
    let misfit = call(&agent, Era::Stateless, "echo", json!({ "text": 7 })).await;
    assert_eq!(misfit.error_class(), "invalid_arguments", "{}", misfit.text);
    for wrong in [json!({}), json!({ "name": 1 }), json!({ "name": "echo", "more": 1 })] {
        assert_eq!(agent.call(Era::Stateless, "call_tool", wrong.clone()).await.code(), -32602, "{wrong}");
    }
    let long = (0..17).map(|i| format!("word{i}")).collect::<Vec<_>>().join(" ");
    for wrong in [
        json!({}),
        json!({ "query": long }),
        json!({ "query": "" }),
        json!({ "query": "a", "limit": 21 }),
        json!({ "query": "a", "limit": 0 }),
    ] {
        let answer = agent.call(Era::Stateless, "find_tools", wrong.clone()).await;
        assert_eq!(answer.json["result"]["isError"], json!(true), "{wrong}: {}", answer.text);
    }
    let nested = call(&agent, Era::Stateless, "call_tool", json!({ "name": "echo", "arguments": { "text": "a" } })).await;
    assert_eq!(nested.code(), -32602, "no tool: {}", nested.text);
    let mut sql = app.sql().await;
    eventually("calls are recorded under their own names", SOON, async || {
        let calls: Vec<(String, i64)> = sqlx::query_as(
            "SELECT tool_name, count(*) FROM app.calls WHERE outcome = 'ok' GROUP BY tool_name ORDER BY tool_name",
        )
        .fetch_all(&mut sql)
        .await
        .expect("calls");
        (calls == [("echo".to_owned(), 4)]).then_some(())
    })
    .await;
    search_mode(&app, &acme, &agent, false).await;
    assert_eq!(names(&agent, Era::Stateless).await.len(), 3);
    let off = agent.call(Era::Stateless, "find_tools", json!({ "query": "refund" })).await;
    assert_eq!(off.code(), -32602, "without it there is no such tool: {}", off.text);
}

#[tokio::test]
async fn a_toolset_in_search_mode_is_so_at_its_endpoint_only() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    acme.tool("clock", tools::time()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let there = agent.at(&acme.toolset("billing", &["echo"]).await);
    let actor = acme.owner.clone();
    app.act(move |platform| async move {
        let id = toolset::list(&platform, &actor).await?.first().expect("one").id;
        toolset::set_search_mode(&platform, &actor, id, true).await
    })
    .await
    .expect("a switch");
    assert_eq!(names(&there, Era::Stateless).await, ["find_tools", "call_tool"]);
    assert_eq!(find(&there, Era::Stateless, "suite echo clock time").await, ["echo"], "its own tools only");
    assert_eq!(call(&there, Era::Stateless, "clock", json!({})).await.code(), -32602);
    assert_eq!(names(&agent, Era::Stateless).await, ["clock", "echo"]);
}
