//! What runs of agents have cost: counted from the record of the last day, and each number leads to its calls.

use serde_json::json;

use super::log::recorded;
use crate::support::{Agent, Era, TestApp, message, tools};

const FIRST: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SECOND: &str = "00000000000000000000000000000001";

async fn call_in(agent: &Agent, trace: &str) {
    let call = message(Era::Stateless, "tools/call", json!({ "name": "echo", "arguments": { "text": "x" } }));
    let request = agent
        .request()
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", "echo")
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    assert_eq!(request.json(&call).send().await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn costs_are_broken_down_by_run() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("billing", "tools:read").await;
    for trace in [FIRST, FIRST, SECOND] {
        call_in(&agent, trace).await;
    }
    assert!(agent.echo("of no run").await.is_ok());
    recorded(&app, 4).await;
    // A day and an hour ago: not counted any more.
    sqlx::query(
        "INSERT INTO app.calls (id, tenant_id, at, agent_id, tool_name, outcome, latency_us, auth_us, admission_us, upstream_us, bytes_in,
                                bytes_out, cost_micro, revision, request_id, trace_id)
         SELECT gen_random_uuid(), $1, now() - interval '25 hours', $2, 'echo', 'ok', 1, 0, 0, 0, 0, 0, 0, '2026-07-28', 'req', $3",
    )
    .bind(acme.id)
    .bind(agent.id)
    .bind("f".repeat(32))
    .execute(&mut app.sql().await)
    .await
    .expect("an old call");
    let owner = acme.owner_browser().await;
    let page = owner.get("/t/acme/usage/cost?by=run").await.ok().body;
    assert!(page.contains("There are too many for sums") && !page.contains(&"f".repeat(32)), "{page}");
    for (run, calls) in [(FIRST, 2), (SECOND, 1), ("none", 1)] {
        let start = format!("/t/acme/logs?run={run}");
        let link = page.split('"').find(|text| text.starts_with(&start)).unwrap_or_else(|| panic!("{run}: {page}"));
        let link = link.replace("&#38;", "&").replace("&amp;", "&");
        let log = owner.get(&link).await.ok().body;
        assert_eq!(log.matches("<tr data-call=").count(), calls, "{link}: {log}");
    }
    let file = owner.get("/t/acme/usage/cost.csv?by=run").await.ok().body;
    assert!(file.contains(&format!("\"{FIRST}\",2,0,")) && file.contains("\"No run\",1,0,"), "{file}");
    for (path, words) in [
        ("/t/acme/logs?run=1", "expected the id of a trace"),
        ("/t/acme/logs?run=%27%20OR%201=1--", "expected the id of a trace"),
        ("/t/acme/usage/cost?by=run&and=tool", "runs are not broken down further"),
        ("/t/acme/usage/cost.csv?by=run&and=tool", "runs are not broken down further"),
        ("/t/acme/usage/cost?by=tool&and=run", "expected tool, version, agent, client or user"),
    ] {
        let page = owner.get(path).await;
        assert!(page.status == 422 && page.body.contains(words), "{path}: {} {}", page.status, page.body);
    }
    assert!(owner.get(&format!("/t/acme/logs?run={}", "a".repeat(32))).await.ok().body.contains("No call matches"));
}
