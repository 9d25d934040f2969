//! How many sessions there are, what one costs, and how long it lives.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{StreamExt as _, stream};
use redis::cmd;
use serde_json::json;
use trunkline_protocol::mcp::Revision;

use super::{acme, at, keys, redis};
use crate::support::{
    Agent, Replica, SOON, TestApp, eventually,
    mcp_upstream::{McpUpstream, Speaks, Way},
    tools,
    wire::{Events, Wire},
};

#[tokio::test]
async fn t_30_ids_of_sessions_are_unguessable_and_visible_ascii() {
    let app = TestApp::start().await;
    let agent = app.tenant("acme").await.agent("agent", "tools:read").await;
    let mut ids = BTreeSet::new();
    for _ in 0..50 {
        ids.insert(Wire::begin(&agent, "2025-11-25").await.id().to_owned());
    }
    assert_eq!(ids.len(), 50);
    for id in &ids {
        // 62 different characters: 22 of them are 128 bits.
        assert!(id.len() >= 22 && id.bytes().all(|b| b.is_ascii_alphanumeric()), "{id}");
    }
    for at in 0..ids.first().expect("ids").len() {
        let here: BTreeSet<_> = ids.iter().map(|id| id.as_bytes()[at]).collect();
        assert!(here.len() > 15, "character {at} hardly differs: {here:?}");
    }
}

#[tokio::test]
async fn t_35_an_agent_has_a_thousand_sessions_and_the_one_unused_longest_goes() {
    let app = TestApp::builder().unlimited().start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let (agent, other) = (acme.agent("agent", "tools:read").await, acme.agent("other", "tools:read").await);
    let (used, idle, others) = (
        Wire::begin(&agent, "2025-11-25").await,
        Wire::begin(&agent, "2025-11-25").await,
        Wire::begin(&other, "2025-11-25").await,
    );
    // By last use, to the second.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(used.send(1, "tools/list", json!({})).await.status, 200);
    let begun = stream::iter(0..999).map(|_| async { Wire::begin(&agent, "2025-06-18").await.id().to_owned() });
    let begun: BTreeSet<_> = begun.buffer_unordered(16).collect().await;
    assert_eq!(begun.len(), 999);
    assert_eq!(keys(&app, "}:s:*").await.len(), 1_001, "a thousand of the one, and the one of the other");
    assert_eq!(idle.send(1, "tools/list", json!({})).await.status, 404, "the oldest is gone");
    for alive in [&used, &others, &used.within(begun.first().expect("one"))] {
        assert_eq!(alive.send(1, "tools/list", json!({})).await.status, 200);
    }
}

#[tokio::test]
async fn t_35_a_session_costs_less_than_two_kibibytes_whatever_its_client_declares() {
    let app = TestApp::start().await;
    let agent = app.tenant("acme").await.agent("agent", "tools:read").await;
    let many: serde_json::Map<_, _> =
        (0..2_000).map(|n| (format!("x-{n}"), json!({ "deep": { "a": "b".repeat(50) } }))).collect();
    for capabilities in [
        json!({}),
        json!({ "elicitation": {}, "experimental": many.clone() }),
        json!({ "elicitation": many.clone(), "sampling": { "tools": {}, "context": many.clone() }, "roots": { "listChanged": true } }),
        many.into(),
    ] {
        let wire = Wire::begin_with(&agent, "2025-11-25", capabilities).await;
        wire.send(1, "logging/setLevel", json!({ "level": "warning" })).await;
        let key = keys(&app, &format!(":s:{}", wire.id())).await.pop().expect("a key");
        let mut redis = redis().await;
        let bytes: usize = cmd("MEMORY").arg("USAGE").arg(&key).query_async(&mut redis).await.expect("a number");
        assert!(bytes < 2_048, "{bytes} bytes");
    }
}

#[tokio::test]
async fn what_a_session_subscribes_to_is_bounded_in_number_and_length() {
    let app = TestApp::start().await;
    let (_, agent) = acme(&app).await;
    let wire = Wire::begin(&agent, "2025-11-25").await;
    let subscribe =
        async |id: &str| wire.send(1, "resources/subscribe", json!({ "uri": format!("test://template/{id}/data") })).await;
    let long = subscribe(&"x".repeat(100_000)).await;
    assert!(long.code() == -32602 && long.text.contains("2048"), "{}", long.text);
    for n in 0..100 {
        let answer = subscribe(&n.to_string()).await;
        assert_eq!(answer.json["result"], json!({}), "{n}: {}", answer.text);
    }
    assert!(subscribe("one more").await.text.contains("at most 100"));
    assert_eq!(subscribe("7").await.json["result"], json!({}), "one that is there is no more");
}

#[tokio::test]
async fn streams_that_an_agent_goes_on_with_are_bounded() {
    const MOST: usize = 64;
    let app = TestApp::builder().unlimited().start().await;
    let (acme, agent) = acme(&app).await;
    let begin = async |agent: &Agent| {
        let wire = Wire::begin(agent, "2025-11-25").await;
        let mut cut = Events::open(wire.call("r", "slow_compute", json!({ "seconds": 100 }))).await;
        cut.until("notifications/progress").await;
        (wire, cut.last.clone().expect("an id"))
    };
    let (wire, last) = begin(&agent).await;
    let mut open = Vec::new();
    for n in 0..MOST {
        let stream = wire.listen(Some(&last)).await;
        assert_eq!(stream.status, 200, "{n}");
        open.push(stream);
    }
    assert_eq!(wire.listen(Some(&last)).await.status, 429, "of whichever session");
    let (other, its_last) = begin(&acme.agent("other", super::EVERYTHING).await).await;
    assert_eq!(other.listen(Some(&its_last)).await.status, 200, "everybody has their own");
    open.pop();
    eventually("its place is free", SOON, async || (wire.listen(Some(&last)).await.status == 200).then_some(())).await;
    for wire in [wire, other] {
        wire.cancel("r").await;
    }
}

#[tokio::test]
async fn requests_to_a_source_that_hangs_are_bounded() {
    const MOST: usize = 256;
    let app = TestApp::builder().unlimited().start().await;
    let acme = app.tenant("acme").await;
    let (hangs, other) = (
        McpUpstream::start(Speaks::Only(Revision::V2026_07_28), Way::Json).await,
        McpUpstream::start(Speaks::Only(Revision::V2026_07_28), Way::Json).await,
    );
    acme.source("hangs", &hangs.url()).await;
    let theirs = app.tenant("theirs").await;
    theirs.source("other", &other.url()).await;
    let wire = Wire::stateless(&acme.agent("agent", super::EVERYTHING).await);
    let waiting: Vec<_> = (0..MOST)
        .map(|n| {
            let wire = wire.clone();
            tokio::spawn(async move { wire.send(n, "resources/read", json!({ "uri": "note://hang" })).await.status })
        })
        .collect();
    eventually("all of them wait", SOON, async || (hangs.seen_of("resources/read").len() == MOST).then_some(())).await;
    for (method, params) in [("resources/read", json!({ "uri": "note://1" })), ("prompts/get", json!({ "name": "greet" }))] {
        let refused = wire.send("more", method, params).await;
        assert_eq!((refused.status, &refused.json["error"]["data"]["scope"]), (429, &json!("concurrency")), "{}", refused.text);
    }
    assert!(wire.send("call", "tools/call", super::call("echo", json!({}))).await.is_ok(), "its tools have places of their own");
    let theirs = Wire::stateless(&theirs.agent("agent", super::EVERYTHING).await);
    let read = theirs.send(1, "resources/read", json!({ "uri": "note://1" })).await;
    assert!(read.json["result"].is_object(), "so have other sources: {}", read.text);
    for one in waiting {
        one.abort();
    }
    eventually("their places are free", SOON, async || {
        let read = wire.send("again", "resources/read", json!({ "uri": "note://1" })).await;
        read.json["result"].is_object().then_some(())
    })
    .await;
}

#[tokio::test]
async fn t_33_an_ended_session_is_unknown_on_every_replica_at_once() {
    let app = TestApp::start().await;
    let second = app.replica().await;
    let (_, agent) = acme(&app).await;
    for how in ["by its client", "by time"] {
        let here = Wire::begin(&agent, "2025-11-25").await;
        let there = here.at(&second.url);
        // Both replicas know it.
        for wire in [&here, &there] {
            assert_eq!(wire.send(1, "tools/list", json!({})).await.status, 200);
            assert_eq!(wire.notify("notifications/roots/list_changed", json!({})).await, 202);
        }
        let key = keys(&app, &format!(":s:{}", here.id())).await.pop().expect("a key");
        let mut redis = redis().await;
        if how == "by time" {
            let left: i64 = cmd("TTL").arg(&key).query_async(&mut redis).await.expect("a time");
            assert!((3 * 3600..=4 * 3600).contains(&left), "{left}");
            cmd("PEXPIRE").arg(&key).arg(1).query_async::<()>(&mut redis).await.expect("done");
            tokio::time::sleep(Duration::from_millis(20)).await;
        } else {
            assert_eq!(here.end().await, 204);
        }
        for wire in [&here, &there] {
            // What nobody answers first: a request would make the replica forget it.
            assert_eq!(wire.notify("notifications/roots/list_changed", json!({})).await, 404, "{how}: notification");
            assert_eq!(wire.answer(&json!("x"), json!({})).await, 404, "{how}: answer");
            assert_eq!(wire.listen(None).await.status, 404, "{how}: stream");
            let call = wire.send(1, "tools/call", super::call("test_simple_text", json!({}))).await;
            assert_eq!(call.status, 404, "{how}: call {}", call.text);
            assert_eq!(wire.send(1, "tools/list", json!({})).await.status, 404, "{how}: list");
            assert_eq!(wire.end().await, 404, "{how}: end");
        }
    }
}

#[tokio::test]
async fn use_puts_the_end_of_a_session_off() {
    let app = TestApp::start().await;
    let (_, agent) = acme(&app).await;
    let wire = Wire::begin(&agent, "2025-11-25").await;
    let key = keys(&app, &format!(":s:{}", wire.id())).await.pop().expect("a key");
    let mut redis = redis().await;
    let mut left = async |shorten: bool| -> i64 {
        if shorten {
            cmd("EXPIRE").arg(&key).arg(60).query_async::<()>(&mut redis).await.expect("done");
        }
        cmd("TTL").arg(&key).query_async(&mut redis).await.expect("a time")
    };
    assert!(left(true).await <= 60);
    wire.send(1, "tools/call", super::call("test_simple_text", json!({}))).await;
    assert!(left(false).await > 3_600, "a call");
    assert!(left(true).await <= 60);
    wire.send(1, "ping", json!({})).await;
    assert!(left(false).await > 3_600, "a ping");
    assert!(left(true).await <= 60);
    wire.notify("notifications/roots/list_changed", json!({})).await;
    assert!(left(false).await > 3_600, "a notification");
}

#[tokio::test]
async fn a_session_survives_the_restart_of_every_replica() {
    let app = TestApp::start().await;
    let (_, agent) = acme(&app).await;
    let (first, second) = (Replica::start(&app).await, Replica::start(&app).await);
    let wire = Wire::begin(&at(&agent, &first.url), "2025-11-25").await;
    let there = wire.at(&second.url);
    assert_eq!(there.send(1, "logging/setLevel", json!({ "level": "error" })).await.json["result"], json!({}));
    assert_eq!(there.send(2, "resources/subscribe", json!({ "uri": "test://watched-resource" })).await.json["result"], json!({}));
    let port = first.port();
    first.kill();
    second.stop();
    let again = Replica::start_at(&app, port).await;
    // It is the same address for the client.
    let wire = wire.at(&again.url);
    let mut stream = wire.listen(None).await;
    assert_eq!(stream.status, 200);
    stream.event_or_comment().await;
    let trigger = async || {
        wire.send(3, "tools/call", super::call("test_trigger_resource_update", json!({}))).await;
        tokio::time::timeout(Duration::from_secs(1), stream.until("notifications/resources/updated")).await.ok()
    };
    let told = eventually("the subscription is still there", SOON, trigger).await;
    assert_eq!(told["params"]["uri"], "test://watched-resource");
    let logged = wire.call(4, "test_tool_with_logging", json!({})).send().await.expect("an answer").text().await.expect("text");
    assert!(logged.contains("has run") && !logged.contains("notifications/message"), "only errors are wanted: {logged}");
}
