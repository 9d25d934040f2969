//! A client that goes away: in the stateless era it takes its call back, in a session it may come again for the answer.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use trunkline_protocol::mcp::Revision;

use crate::support::{
    Agent, SOON, TestApp, Upstream, eventually,
    mcp_upstream::{McpUpstream, Speaks, Way},
    tools,
    wire::{Events, Wire, send_raw},
};

/// The outcome of the only call, and when it was there.
async fn outcome(app: &TestApp) -> (String, Instant) {
    let mut sql = app.sql().await;
    let outcome = eventually("the call is recorded", SOON * 2, async || {
        sqlx::query_scalar::<_, String>("SELECT outcome FROM app.calls").fetch_optional(&mut sql).await.expect("calls")
    });
    (outcome.await, Instant::now())
}

async fn with_http_tool(app: &TestApp, url: &str) -> Agent {
    let acme = app.tenant("acme").await;
    acme.tool("slow", tools::within_ms(60_000, tools::get(url))).await;
    acme.agent("agent", "tools:read").await
}

/// How a client goes.
#[derive(Debug, Clone, Copy)]
enum Leaves {
    /// It says goodbye.
    Closing,
    /// It is gone.
    Reset,
}

/// A stateless call over a connection of its own, read up to its first event.
async fn stream_of(agent: &Agent) -> TcpStream {
    let request = Wire::stateless(agent).request(1, "tools/call", json!({ "name": "slow", "arguments": {} }));
    let stream = send_raw(request).await;
    let mut seen = String::new();
    while !seen.contains(": open") {
        stream.readable().await.expect("readable");
        let mut bytes = [0; 4_096];
        if let Ok(length) = stream.try_read(&mut bytes) {
            assert!(length > 0, "closed: {seen}");
            seen.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    }
    assert!(seen.contains("text/event-stream"), "{seen}");
    stream
}

#[tokio::test]
async fn f_21_t_15_leaving_cancels_a_stateless_call_within_a_second_and_hangs_up_on_its_upstream() {
    for way in [Leaves::Closing, Leaves::Reset] {
        let (app, upstream) = (TestApp::start().await, Upstream::start().await);
        let agent = with_http_tool(&app, &upstream.url("/hang")).await;
        let mut stream = stream_of(&agent).await;
        match way {
            Leaves::Closing => stream.shutdown().await.expect("closed"),
            Leaves::Reset => stream.set_zero_linger().expect("set"),
        }
        drop(stream);
        let left = Instant::now();
        eventually("the upstream is hung up on", Duration::from_secs(1), async || (upstream.hung_up() == 1).then_some(())).await;
        let (outcome, recorded) = outcome(&app).await;
        assert_eq!(outcome, "cancelled", "{way:?}");
        assert!(recorded - left < Duration::from_secs(3), "{way:?}: recorded after {:?}", recorded - left);
    }
}

#[tokio::test]
async fn t_15_leaving_cancels_a_stateless_call_at_a_server_of_either_era() {
    for revision in [Revision::V2025_11_25, Revision::V2026_07_28] {
        let app = TestApp::start().await;
        let upstream = McpUpstream::start(Speaks::Only(revision), Way::Events).await;
        let acme = app.tenant("acme").await;
        acme.source("theirs", &upstream.url()).await;
        let agent = acme.agent("agent", "tools:read").await;
        let mut events = Events::open(Wire::stateless(&agent).call(1, "slow", json!({ "steps": 1_000 }))).await;
        events.until("notifications/progress").await;
        drop(events);
        let told = async || (upstream.cancelled() + upstream.hung_up() > 0).then_some(());
        eventually("the upstream is told", Duration::from_secs(1), told).await;
        assert_eq!(outcome(&app).await.0, "cancelled", "{revision:?}");
    }
}

#[tokio::test]
async fn t_15_leaving_a_session_lets_the_call_run_and_its_answer_can_be_had() {
    for revision in ["2025-06-18", "2025-11-25"] {
        let (app, upstream) = (TestApp::start().await, Upstream::start().await);
        let agent = with_http_tool(&app, &upstream.url("/slow/1200")).await;
        let wire = Wire::begin(&agent, revision).await;
        let mut events = Events::open(wire.call("a", "slow", json!({}))).await;
        // The newest revision says at once from where one can go on. In others there is nothing to go on from before the first message.
        let primed = match revision {
            "2025-11-25" => events.event().await.and_then(|event| event.id),
            _ => None,
        };
        if primed.is_none() {
            events.event_or_comment().await;
        }
        drop(events);
        assert_eq!((outcome(&app).await.0.as_str(), upstream.hung_up()), ("ok", 0), "{revision}");
        if let Some(primed) = primed {
            let rest = wire.listen(Some(&primed)).await.rest().await;
            assert!(rest.len() == 1 && rest[0]["id"] == "a" && rest[0].to_string().contains("slow"), "{rest:?}");
        }
    }
}

#[tokio::test]
async fn t_15_leaving_without_a_session_lets_a_call_of_the_old_era_run_too() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let agent = with_http_tool(&app, &upstream.url("/slow/1000")).await;
    let wire = Wire { session: None, ..Wire::begin(&agent, "2025-11-25").await };
    let mut events = Events::open(wire.call(1, "slow", json!({}))).await;
    events.event_or_comment().await;
    drop(events);
    assert_eq!((outcome(&app).await.0.as_str(), upstream.hung_up()), ("ok", 0));
}
