//! At once, and alive while nothing is said.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::json;

use crate::support::{Agent, Era, TestApp, Upstream, http, tools, wire::Wire};

const BOTH: &str = "application/json, text/event-stream";

async fn agent(app: &TestApp, upstream: &Upstream, path: &str) -> Agent {
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    acme.tool("slow", tools::within_ms(60_000, tools::get(&upstream.url(path)))).await;
    acme.agent("agent", "tools:read").await
}

fn call(agent: &Agent, era: Era, tool: &str, accept: &str) -> reqwest::RequestBuilder {
    let arguments = if tool == "echo" { json!({ "text": "x" }) } else { json!({}) };
    agent.message(era, "tools/call", json!({ "name": tool, "arguments": arguments }), accept)
}

#[tokio::test]
async fn t_14_a_slow_call_opens_its_stream_at_once_and_ends_it_with_the_answer() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let agent = agent(&app, &upstream, "/slow/1500").await;
    for era in Era::ALL {
        let asked = Instant::now();
        let response = call(&agent, era, "slow", BOTH).send().await.expect("an answer");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(
            (&response.headers()["x-accel-buffering"], response.headers().contains_key("content-length")),
            (&"no".parse().expect("a value"), false)
        );
        let mut body = response.bytes_stream();
        let first = body.next().await.expect("a chunk").expect("a chunk");
        assert!(first.starts_with(b":") && asked.elapsed() < Duration::from_millis(1_200), "{:?} {first:?}", asked.elapsed());
        let mut rest = Vec::new();
        while let Some(chunk) = body.next().await {
            rest.extend_from_slice(&chunk.expect("a chunk"));
        }
        let rest = String::from_utf8(rest).expect("UTF-8");
        assert!(rest.starts_with("event: message\ndata: {\"jsonrpc\"") && rest.ends_with("\n\n"), "{rest}");
        assert!(rest.contains(r#"{\"slow\":true}"#), "{rest}");
    }
}

#[tokio::test]
async fn a_quick_call_is_json_and_a_client_without_streams_waits_for_json() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let agent = agent(&app, &upstream, "/slow/400").await;
    for (tool, accept, kind) in [
        ("echo", BOTH, "application/json"),
        ("slow", "application/json", "application/json"),
        ("echo", "text/event-stream", "text/event-stream"),
    ] {
        let response = call(&agent, Era::Stateless, tool, accept).send().await.expect("an answer");
        let answer = crate::support::Answer::read(response).await;
        assert!(answer.is_ok() && answer.header("content-type").starts_with(kind), "{tool} {accept}: {}", answer.text);
    }
}

#[tokio::test]
async fn t_14_a_silent_stream_says_every_fifteen_seconds_that_it_is_alive() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let agent = agent(&app, &upstream, "/drip").await;
    let response = call(&agent, Era::Stateless, "slow", BOTH).send().await.expect("an answer");
    let asked = Instant::now();
    let mut body = response.bytes_stream();
    let mut comments = Vec::new();
    while comments.len() < 2 {
        let chunk = tokio::time::timeout(Duration::from_secs(17), body.next()).await.expect("in time");
        comments.push(chunk.expect("a chunk").expect("a chunk"));
    }
    assert!(comments.iter().all(|comment| comment.starts_with(b":")), "{comments:?}");
    assert!(asked.elapsed() > Duration::from_secs(13), "the second one comes after its time");
}

#[tokio::test]
async fn t_14_the_first_byte_comes_with_the_headers_and_nothing_between_may_keep_it() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let agent = agent(&app, &upstream, "/slow/2000").await;
    let session = Wire::begin(&agent, "2025-11-25").await;
    let wanted = json!({ "notifications": { "toolsListChanged": true } });
    for (what, request) in [
        ("stateless", call(&agent, Era::Stateless, "slow", BOTH)),
        ("after a handshake", call(&agent, Era::Handshake, "slow", BOTH)),
        ("in a session", session.call(1, "slow", json!({}))),
        ("only streams", call(&agent, Era::Stateless, "slow", "text/event-stream")),
        ("listening", Wire::stateless(&agent).request(1, "subscriptions/listen", wanted)),
        ("of a session", http().get(&agent.url).bearer_auth(&agent.key).header("mcp-session-id", session.id())),
    ] {
        let asked = Instant::now();
        let response = request.header("accept", "text/event-stream").send().await.expect("an answer");
        let headed = Instant::now();
        // As many as there may be: 100 ms to see that a call is slow, and a busy machine.
        assert!(asked.elapsed() < Duration::from_secs(1), "{what}: headers after {:?}", asked.elapsed());
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-cache, no-store"),
            ("x-accel-buffering", "no"),
            ("content-encoding", "identity"),
            ("transfer-encoding", "chunked"),
        ] {
            assert_eq!(response.headers().get(name).map(|value| value.to_str().expect("text")), Some(value), "{what}: {name}");
        }
        let mut body = response.bytes_stream();
        body.next().await.expect("a chunk").expect("a chunk");
        assert!(headed.elapsed() <= Duration::from_millis(100), "{what}: {:?}", headed.elapsed());
    }
}
