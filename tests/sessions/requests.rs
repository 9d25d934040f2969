//! What a request in a session must be, and what the URL gives to those without one.

use serde_json::{Value, json};
use trunkline_protocol::mcp::Revision;

use super::{EVERYTHING, acme, call, keys};
use crate::support::{
    Agent, Answer, TestApp, http,
    mcp_upstream::{McpUpstream, Speaks, Way},
    raw, tools,
    wire::{Events, Wire},
};

async fn get(agent: &Agent, headers: &[(&str, &str)]) -> Answer {
    let request = http().get(&agent.url).bearer_auth(&agent.key);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    Answer::read(request.send().await.expect("an answer")).await
}

#[tokio::test]
async fn a_stream_needs_a_session_that_is_there_and_a_client_that_reads_streams() {
    let app = TestApp::start().await;
    let (_, agent) = acme(&app).await;
    let wire = Wire::begin(&agent, "2025-11-25").await;
    let (session, stream) = (("mcp-session-id", wire.id()), ("accept", "text/event-stream"));
    for (status, headers) in [
        (405, vec![stream]),
        (405, vec![stream, ("mcp-protocol-version", "2025-11-25")]),
        (405, vec![stream, session, ("mcp-protocol-version", "2026-07-28")]),
        (404, vec![stream, ("mcp-session-id", "nobody")]),
        (400, vec![stream, session, ("mcp-protocol-version", "1999-01-01")]),
        (406, vec![session, ("accept", "application/json")]),
        (406, vec![session, ("accept", "text/event-stream;q=0")]),
    ] {
        let answer = get(&agent, &headers).await;
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.text);
        assert_eq!(answer.header("allow"), if status == 405 { "POST" } else { "" }, "{headers:?}");
    }
    let bare = format!(
        "GET /t/acme/mcp HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nMcp-Session-Id: {}\r\n\r\n",
        raw::authority(&agent.url),
        agent.key,
        wire.id()
    );
    assert_eq!(raw::exchange(&agent.url, bare).await.status(), 406, "nothing is said of what it reads");
    assert_eq!(wire.listen(None).await.status, 200);
    assert_eq!(Wire { session: None, ..wire.clone() }.end().await, 405);
    let stateless = Wire { session: wire.session.clone(), ..Wire::stateless(&agent) };
    assert_eq!(stateless.end().await, 405, "that era has no sessions to end");
    assert_eq!(wire.send(1, "ping", json!({})).await.status, 200);
}

#[tokio::test]
async fn the_stateless_era_has_never_heard_of_sessions() {
    let app = TestApp::start().await;
    let (_, agent) = acme(&app).await;
    for session in ["nobody", Wire::begin(&agent, "2025-11-25").await.id()] {
        let wire = Wire { session: Some(session.to_owned()), ..Wire::stateless(&agent) };
        let answer = wire.send(1, "tools/call", call("test_simple_text", json!({}))).await;
        assert!(answer.is_ok(), "{}", answer.text);
        assert_eq!(answer.header("mcp-session-id"), "", "none is given or given back");
        let stray = Answer::read(wire.post(&json!({ "jsonrpc": "2.0", "id": 1, "result": {} })).send().await.expect("an answer"));
        assert_eq!(stray.await.status, 400, "and nothing to answer");
    }
}

#[tokio::test]
async fn a_handshake_in_a_session_begins_another_one() {
    let app = TestApp::start().await;
    let (_, agent) = acme(&app).await;
    let first = Wire::begin(&agent, "2025-11-25").await;
    for named in [first.id(), "nobody"] {
        let again = Wire { revision: "2025-06-18", ..first.within(named) };
        let answer = Answer::read(again.initialize().send().await.expect("an answer")).await;
        assert_eq!(answer.json["result"]["protocolVersion"], "2025-06-18", "{}", answer.text);
        let id = answer.header("mcp-session-id");
        assert!(!id.is_empty() && id != first.id());
        assert_eq!(first.within(id).send(1, "ping", json!({})).await.status, 200);
    }
    assert_eq!(first.send(1, "ping", json!({})).await.status, 200);
    assert_eq!(keys(&app, "}:s:*").await.len(), 3);
}

#[tokio::test]
async fn t_34_what_belongs_to_a_session_is_not_done_without_one() {
    let app = TestApp::start().await;
    let (_, agent) = acme(&app).await;
    let bare = Wire { session: None, ..Wire::begin(&agent, "2025-11-25").await };
    for (method, params) in [
        ("logging/setLevel", json!({ "level": "debug" })),
        ("resources/subscribe", json!({ "uri": "test://watched-resource" })),
        ("resources/unsubscribe", json!({ "uri": "test://watched-resource" })),
    ] {
        let answer = bare.send(1, method, params).await;
        assert!(answer.code() == -32601 && answer.text.contains("initialize"), "{method}: {}", answer.text);
    }
    // Nobody can be asked either.
    let asked = Answer::read(bare.call(1, "test_elicitation", json!({ "message": "?" })).send().await.expect("an answer")).await;
    assert!(asked.json.get("method").is_none() && !asked.is_ok(), "{}", asked.text);
    assert_eq!(bare.cancel(1).await, 202, "and nothing happens");
}

async fn batch(wire: &Wire, messages: Value) -> Answer {
    Answer::read(wire.post(&messages).send().await.expect("an answer")).await
}

#[tokio::test]
async fn f_26_t_06_batches_are_of_the_oldest_revision_and_bounded() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let ping = |id: Value| json!({ "jsonrpc": "2.0", "id": id, "method": "ping" });
    let note = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let stray = json!({ "jsonrpc": "2.0", "id": "x", "result": {} });
    for revision in ["2025-06-18", "2025-11-25", "2026-07-28"] {
        let wire = match revision {
            "2026-07-28" => Wire::stateless(&agent),
            _ => Wire::begin(&agent, revision).await,
        };
        let answer = batch(&wire, json!([ping(json!(1)), ping(json!(2))])).await;
        assert_eq!((answer.status, answer.code()), (400, -32600), "{revision}: {}", answer.text);
        // A session has settled on its revision, whatever a header says.
        let pretending = Wire { revision: "2025-03-26", ..wire };
        if pretending.session.is_some() {
            assert_eq!(batch(&pretending, json!([ping(json!(1))])).await.status, 400, "{revision}");
        }
    }
    let wire = Wire::begin(&agent, "2025-03-26").await;
    let called = json!({ "jsonrpc": "2.0", "id": "c", "method": "tools/call", "params": call("echo", json!({ "text": "hi" })) });
    let answer = batch(&wire, json!([ping(json!(1)), note, called, stray, ping(json!("1"))])).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let ids: Vec<_> = answer.json.as_array().expect("a batch").iter().map(|one| one["id"].clone()).collect();
    assert_eq!(ids, [json!(1), json!("c"), json!("1")]);
    assert_eq!(answer.json[1]["result"]["content"][0]["text"], "hi");
    let quiet = batch(&wire, json!([note, stray])).await;
    assert_eq!((quiet.status, quiet.text.as_str()), (202, ""));
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {} });
    let most: Vec<_> = (0..16).map(|n| ping(json!(n))).collect();
    assert_eq!(batch(&wire, json!(most)).await.json.as_array().map(Vec::len), Some(16));
    let many: Vec<_> = (0..10_000).map(|n| ping(json!(n))).collect();
    for refused in [
        json!([]),
        json!([ping(json!(1)), initialize]),
        json!([[ping(json!(1))]]),
        json!([1]),
        json!(most.iter().chain([&note]).collect::<Vec<_>>()),
        json!(many),
    ] {
        let answer = batch(&wire, refused).await;
        assert_eq!((answer.status, answer.code()), (400, -32600), "{:.200}", answer.text);
    }
}

#[tokio::test]
async fn each_call_of_a_batch_is_admitted_and_recorded_by_itself() {
    let app = TestApp::builder().set("QUOTA_READ_PER_MINUTE", 1).set("QUOTA_READ_BURST", 3).start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let wire = Wire::begin(&agent, "2025-03-26").await;
    let one = |id: u64, tool: &str| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": call(tool, json!({ "text": id.to_string() })) });
    let answer = batch(&wire, json!([one(1, "echo"), one(2, "echo"), one(3, "nothing"), one(4, "echo"), one(5, "echo")])).await;
    let codes: Vec<_> = answer.json.as_array().expect("a batch").iter().map(|one| one["error"]["code"].as_i64()).collect();
    assert_eq!(codes, [None, None, Some(-32602), None, Some(4290)], "{}", answer.text);
    let mut sql = app.sql().await;
    crate::support::eventually("all are recorded", crate::support::SOON, async || {
        let outcomes: Vec<String> =
            sqlx::query_scalar("SELECT outcome FROM app.calls ORDER BY outcome").fetch_all(&mut sql).await.expect("calls");
        (outcomes == ["denied", "limited", "ok", "ok", "ok"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn when_to_come_back_is_passed_on_from_an_upstream_that_closes_its_stream() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(Speaks::Only(Revision::V2025_11_25), Way::Events).await;
    let acme = app.tenant("acme").await;
    acme.source("theirs", &upstream.url()).await;
    let wire = Wire::begin(&acme.agent("agent", EVERYTHING).await, "2025-11-25").await;
    let mut events = Events::open(wire.call(1, "cut", json!({}))).await;
    let (mut retry, mut answer) = (None, None);
    while let Some(event) = events.event().await {
        if event.retry_ms.is_some() {
            assert!(event.data.is_empty() && event.id.is_some(), "it is no message, and one can go on from it: {event:?}");
            retry = event.retry_ms;
        }
        answer = Some(event.data);
    }
    assert_eq!(retry, Some(20));
    assert!(answer.is_some_and(|answer| answer.contains("resumed")), "the stream was not closed for it");
}
