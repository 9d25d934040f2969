//! Event streams: at once, alive, and what closing one means.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::json;

use crate::support::{Agent, Era, SOON, TestApp, Upstream, eventually, tools};

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
async fn a_slow_call_opens_its_stream_at_once_and_ends_it_with_the_answer() {
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
async fn a_silent_stream_says_every_fifteen_seconds_that_it_is_alive() {
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

/// Opens the stream of a slow call and closes it after its first bytes. The outcome that is recorded, how often upstream was hung up on,
/// and how long that took.
async fn outcome_of_closing(era: Era, path: &str) -> (String, usize, Duration) {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let agent = agent(&app, &upstream, path).await;
    let response = call(&agent, era, "slow", BOTH).send().await.expect("an answer");
    let mut body = response.bytes_stream();
    body.next().await.expect("a chunk").expect("a chunk");
    drop(body);
    let closed = Instant::now();
    let mut sql = app.sql().await;
    let outcome = eventually("the call is recorded", SOON, async || {
        sqlx::query_scalar::<_, String>("SELECT outcome FROM app.calls").fetch_optional(&mut sql).await.expect("calls")
    });
    (outcome.await, upstream.hung_up(), closed.elapsed())
}

#[tokio::test]
async fn closing_the_stream_cancels_a_stateless_call_and_hangs_up_on_its_upstream() {
    let (outcome, hung_up, took) = outcome_of_closing(Era::Stateless, "/hang").await;
    assert_eq!((outcome.as_str(), hung_up), ("cancelled", 1));
    assert!(took < Duration::from_secs(10), "noticed with the next comment only: {took:?}");
}

#[tokio::test]
async fn closing_the_stream_does_not_cancel_a_call_after_a_handshake() {
    let (outcome, hung_up, _) = outcome_of_closing(Era::Handshake, "/slow/1000").await;
    assert_eq!((outcome.as_str(), hung_up), ("ok", 0));
}
