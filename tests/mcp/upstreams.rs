//! Upstreams that mean no good, as the caller of a tool sees them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_protocol::mcp::Revision;

use crate::support::{
    Answer, Era, SOON, TestApp, eventually,
    mcp_upstream::{McpUpstream, Speaks, Way},
    wire::Wire,
};

/// Both eras over there, both here.
async fn each(check: impl AsyncFn(&McpUpstream, &Wire, &str)) {
    let app = TestApp::start().await;
    for (slug, revision) in [("old", Revision::V2025_11_25), ("new", Revision::V2026_07_28)] {
        let upstream = McpUpstream::start(Speaks::Only(revision), Way::Events).await;
        let tenant = app.tenant(slug).await;
        tenant.source("theirs", &upstream.url()).await;
        let agent = tenant.agent("agent", "tools:read").await;
        for wire in [Wire::stateless(&agent), Wire::begin(&agent, "2025-11-25").await] {
            check(&upstream, &wire, &format!("{slug} upstream, {} caller", wire.revision)).await;
        }
    }
}

async fn call(wire: &Wire, tool: &str) -> (Vec<Value>, Value) {
    call_with(wire, tool, json!({})).await
}

async fn call_with(wire: &Wire, tool: &str, arguments: Value) -> (Vec<Value>, Value) {
    let text = wire.call("mine", tool, arguments).send().await.expect("an answer").text().await.expect("a body");
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| !data.is_empty());
    let mut messages: Vec<Value> = lines.map(|data| serde_json::from_str(data).expect("JSON")).collect();
    if messages.is_empty() {
        messages.push(serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}")));
    }
    let answer = messages.pop().expect("an answer");
    (messages, answer)
}

#[tokio::test]
async fn f_19_an_answer_to_another_request_or_a_broken_one_is_a_failed_call_and_nothing_more() {
    each(async |_, wire, who| {
        for tool in ["wrong_id", "broken", "gone", "unknown_type", "huge_result"] {
            let (_, answer) = call(wire, tool).await;
            let failed = answer["result"]["isError"] == true || answer["error"].is_object();
            assert!(answer["id"] == "mine" && failed, "{who}, {tool}: {answer}");
            assert!(!answer.to_string().contains("upstream-canary"), "{who}, {tool}: {answer}");
        }
        let (_, twice) = call(wire, "two_answers").await;
        assert_eq!(twice["result"]["content"][0]["text"], "first", "{who}");
        let (_, good) = call(wire, "echo").await;
        assert!(good["result"]["content"].is_array() && good["id"] == "mine", "{who}: and the next call is well: {good}");
    })
    .await;
}

#[tokio::test]
async fn f_19_a_stream_of_an_upstream_that_never_ends_is_ended_with_the_tool_s_time() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(Speaks::Only(Revision::V2025_11_25), Way::Events).await;
    let acme = app.tenant("acme").await;
    acme.source_within_ms("theirs", &upstream.url(), 2_000).await;
    let agent = acme.agent("agent", "tools:read").await;
    for wire in [Wire::stateless(&agent), Wire::begin(&agent, "2025-11-25").await] {
        let asked = Instant::now();
        let (told, answer) = call_with(&wire, "endless", json!({ "pause_ms": 1 })).await;
        assert!(answer["result"]["isError"] == true && answer["id"] == "mine", "{answer}");
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
        assert!(wire.revision != "2026-07-28" || told.is_empty(), "nobody asked for a log: {}", told.len());
    }
    eventually("it is hung up on", SOON, async || (upstream.hung_up() == 2).then_some(())).await;
    let mut sql = app.sql().await;
    eventually("both are recorded", SOON, async || {
        let outcomes: Vec<String> = sqlx::query_scalar("SELECT outcome FROM app.calls").fetch_all(&mut sql).await.expect("calls");
        // What is only read and dropped reaches the bound of a stream before its time is up.
        let ended = outcomes.iter().filter(|outcome| matches!(outcome.as_str(), "timeout" | "upstream_error")).count();
        (ended == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn names_of_sixty_four_characters_are_called_under_all_of_them_and_longer_ones_under_none() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(Speaks::Only(Revision::V2026_07_28), Way::Json).await;
    let long = "n".repeat(64);
    for name in [long.as_str(), "a.b-c_D9", "UPPER", "0"] {
        upstream.add_tool(json!({ "name": name, "description": "Echoes.", "inputSchema": { "type": "object" } }));
    }
    let acme = app.tenant("acme").await;
    acme.source("theirs", &upstream.url()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let list = agent.list(Era::Stateless).await;
    for name in [long.as_str(), "a.b-c_D9", "UPPER", "0"] {
        assert!(list.tool_names().contains(&name), "{name}: {:?}", list.tool_names());
        // What it is called over there it is called here; that this upstream knows no such tool shows that it was asked.
        let answer = agent.call(Era::Stateless, name, json!({})).await;
        let asked = upstream.seen_of("tools/call").last().map(|seen| seen.json["params"]["name"].clone());
        assert_eq!(asked, Some(json!(name)), "{}", answer.text);
    }
    let before = upstream.seen_of("tools/call").len();
    for name in [
        "n".repeat(63),
        "n".repeat(65),
        "n".repeat(100_000),
        "ECHO".to_owned(),
        "echo ".to_owned(),
        "echo\n".to_owned(),
        "../echo".to_owned(),
        "echo/../echo".to_owned(),
        "%65cho".to_owned(),
        "echo\u{0}".to_owned(),
        "e\u{200b}cho".to_owned(),
        "ｅｃｈｏ".to_owned(),
        "'; DROP TABLE app.tools; --".to_owned(),
        "{{7*7}}".to_owned(),
        "__proto__".to_owned(),
        String::new(),
    ] {
        // As a body without the headers of the stateless era, which could not hold all of them.
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": name, "arguments": {} } });
        let answer = Answer::read(agent.request().json(&body).send().await.expect("an answer")).await;
        assert_eq!((answer.status, answer.code()), (200, -32602), "{name:.80}: {}", answer.text);
        assert!(!answer.text.contains("DROP TABLE"), "it is not repeated");
    }
    assert_eq!(upstream.seen_of("tools/call").len(), before);
}

#[tokio::test]
async fn m_14_structured_content_that_breaks_its_tool_s_promise_is_not_passed_on() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(Speaks::Only(Revision::V2025_11_25), Way::Json).await;
    upstream.add_tool(json!({
        "name": "promised",
        "description": "Gives back what it is given.",
        "inputSchema": { "type": "object" },
        "outputSchema": { "type": "object", "properties": { "sum": { "type": "integer" } }, "required": ["sum"] },
    }));
    let acme = app.tenant("acme").await;
    acme.source("theirs", &upstream.url()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let give = async |era: Era, structured: Value, is_error: bool| {
        let result = json!({ "content": [{ "type": "text", "text": "canary-4711" }], "structuredContent": structured, "isError": is_error });
        agent.call(era, "promised", json!({ "result": result.to_string() })).await
    };
    for era in Era::ALL {
        let kept = give(era, json!({ "sum": 3, "more": true }), false).await;
        assert_eq!(kept.json["result"]["structuredContent"], json!({ "sum": 3, "more": true }), "{}", kept.text);
        for broken in [json!({}), json!({ "sum": "3" }), json!([3]), json!("sum")] {
            let answer = give(era, broken.clone(), false).await;
            assert_eq!(answer.json["result"]["isError"], json!(true), "{broken}: {}", answer.text);
            assert!(
                !answer.text.contains("canary-4711") && !answer.text.contains("structuredContent"),
                "{broken}: {}",
                answer.text
            );
        }
        let failed = give(era, json!({ "why": "x" }), true).await;
        assert_eq!(
            failed.json["result"]["structuredContent"],
            json!({ "why": "x" }),
            "a failure promises nothing: {}",
            failed.text
        );
    }
}
