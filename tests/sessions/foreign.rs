//! Somebody else's session does not exist: for another tenant, another agent, another key of the same agent, another endpoint.

use std::time::Duration;

use serde_json::{Value, json};

use super::{EVERYTHING, acme, ada, call};
use crate::support::{
    Answer, Era, SOON, TestApp, eventually, http,
    wire::{Events, Wire},
};

/// What somebody can try with a session, and the answer to it.
async fn tries(wire: &Wire, last_event: &str) -> Vec<(&'static str, u16, String)> {
    let mut tried = Vec::new();
    for (what, request) in [
        ("call", wire.request(1, "tools/call", call("test_simple_text", json!({})))),
        ("list", wire.request(1, "tools/list", json!({}))),
        ("level", wire.request(1, "logging/setLevel", json!({ "level": "debug" }))),
        ("subscription", wire.request(1, "resources/subscribe", json!({ "uri": "test://watched-resource" }))),
        (
            "notification",
            wire.post(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } })),
        ),
        ("answer", wire.post(&json!({ "jsonrpc": "2.0", "id": "x", "result": {} }))),
    ] {
        let answer = Answer::read(request.send().await.expect("an answer")).await;
        tried.push((what, answer.status, answer.json["error"].to_string()));
    }
    for (what, last) in [("stream", None), ("resumption", Some(last_event))] {
        tried.push((what, wire.listen(last).await.status, String::new()));
    }
    tried.push(("end", wire.end().await, String::new()));
    tried
}

#[tokio::test]
async fn t_31_a_session_exists_for_its_agent_its_key_and_its_endpoint_only() {
    let app = TestApp::start().await;
    let second = app.replica().await;
    let (acme, agent) = acme(&app).await;
    let stranger = app.tenant("other").await;
    stranger.conformance().await;
    let stranger = stranger.agent("stranger", EVERYTHING).await;
    let colleague = acme.agent("colleague", EVERYTHING).await;
    let other_key = acme.key(&agent, EVERYTHING).await;
    let toolset = acme.toolset("some", &["test_simple_text"]).await;
    let other_toolset = acme.toolset("others", &["test_simple_text"]).await;
    let victim = Wire::begin(&agent, "2025-11-25").await;
    let in_toolset = Wire::begin(&agent.at(&toolset), "2025-11-25").await;
    let mut events = Events::open(victim.call(7, "slow_compute", json!({ "seconds": 0.3 }))).await;
    events.rest().await;
    let last_event = events.last.clone().expect("an id");

    let nobody = victim.within(&"a".repeat(32));
    let unknown = tries(&nobody, &last_event).await;
    assert!(unknown.iter().all(|(what, status, _)| *status == 404 || panic!("{what} {status}")));
    for (who, intruder) in [
        ("another tenant's agent", victim.of(&stranger)),
        ("another agent", victim.of(&colleague)),
        ("another key", victim.of(&other_key)),
        ("a toolset's endpoint", victim.of(&agent.at(&toolset))),
        ("the tenant's endpoint", in_toolset.of(&agent)),
        ("another toolset's endpoint", in_toolset.of(&agent.at(&other_toolset))),
    ] {
        assert_eq!(tries(&intruder, &last_event).await, unknown, "{who}");
        assert_eq!(tries(&intruder.at(&second.url), &last_event).await, unknown, "{who}, on another replica");
    }
    // With the victim's URL a stranger is nobody at all.
    let trespasser = victim.of(&crate::support::Agent { key: stranger.key.clone(), ..agent.clone() });
    assert!(tries(&trespasser, &last_event).await.iter().all(|(_, status, _)| *status == 401));
    for owner in [&victim, &in_toolset, &victim.at(&second.url)] {
        let answer = owner.send(1, "tools/call", call("test_simple_text", json!({}))).await;
        assert!(answer.is_ok(), "the session is as it was: {}", answer.text);
    }
}

#[tokio::test]
async fn t_31_forged_ids_are_unknown() {
    let app = TestApp::start().await;
    let (_, agent) = acme(&app).await;
    let wire = Wire::begin(&agent, "2025-11-25").await;
    let id = wire.id();
    for forged in [
        "",
        " ",
        "1",
        "null",
        "../../etc/passwd",
        "*",
        &id[1..],
        &format!("{id}x"),
        &id.to_lowercase().replace(|c: char| c.is_ascii_digit(), "z"),
        &"a".repeat(32),
        &"a".repeat(5_000),
        &format!("{}{}", &id[..31], if id.ends_with('a') { 'b' } else { 'a' }),
        "s:{t:00000000-0000-0000-0000-000000000000}:s:x",
        "\u{e9}\u{e9}",
    ] {
        let answer = wire.within(forged).send(1, "tools/list", json!({})).await;
        assert_eq!(answer.status, 404, "{forged:?}: {}", answer.text);
        assert_eq!(wire.within(forged).end().await, 404, "{forged:?}");
    }
    assert_eq!(wire.send(1, "tools/list", json!({})).await.status, 200);
}

#[tokio::test]
async fn t_18_a_session_is_no_authentication() {
    let app = TestApp::start().await;
    let (_, agent) = acme(&app).await;
    let wire = Wire::begin(&agent, "2025-11-25").await;
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    for url in [agent.url.clone(), format!("{}?access_token={}&Authorization=Bearer%20{}", agent.url, agent.key, agent.key)] {
        for request in [http().post(&url).json(&list), http().get(&url), http().delete(&url)] {
            let request = request.header("mcp-session-id", wire.id()).header("mcp-protocol-version", "2025-11-25");
            let answer = Answer::read(request.send().await.expect("an answer")).await;
            assert_eq!(answer.status, 401, "{}", answer.text);
            assert!(answer.header("www-authenticate").starts_with("Bearer "), "{answer:?}");
        }
    }
    assert_eq!(wire.send(1, "tools/list", json!({})).await.status, 200, "nothing has ended it");
}

/// Begins a call that asks something, up to the question.
async fn asked(wire: &Wire, id: u64) -> (Events, Value) {
    let mut events = Events::open(wire.call(id, "test_elicitation", json!({ "message": "Who are you?" }))).await;
    let question = events.until("elicitation/create").await;
    (events, question["id"].clone())
}

#[tokio::test]
async fn an_answer_from_another_session_answers_nothing() {
    let app = TestApp::start().await;
    let (acme, agent) = acme(&app).await;
    let stranger = app.tenant("other").await.agent("stranger", EVERYTHING).await;
    let colleague = acme.agent("colleague", EVERYTHING).await;
    let wire = Wire::begin(&agent, "2025-11-25").await;
    let (mut events, question) = asked(&wire, 1).await;
    let evil = json!({ "action": "accept", "content": { "username": "mallory", "email": "m@example.com" } });
    for intruder in [
        Wire::begin(&agent, "2025-11-25").await,
        Wire::begin(&colleague, "2025-11-25").await,
        Wire::begin(&stranger, "2025-11-25").await,
    ] {
        assert_eq!(intruder.answer(&question, evil.clone()).await, 202, "it is taken, like any answer nobody waits for");
    }
    // Without a session nothing is asked, so nothing is answered.
    let bare = Wire { session: None, ..wire.clone() };
    assert_eq!(bare.answer(&question, evil).await, 400);
    assert!(events.is_quiet(Duration::from_millis(300)).await, "the question is open");
    assert_eq!(wire.answer(&question, ada()).await, 202);
    let answer = events.message().await.expect("an answer");
    let text = answer.to_string();
    assert!(text.contains("ada") && !text.contains("mallory"), "{text}");
    // A second answer is nobody's.
    assert_eq!(wire.answer(&question, ada()).await, 202);
}

#[tokio::test]
async fn a_request_is_taken_back_by_its_own_session_only() {
    let app = TestApp::start().await;
    let (acme, agent) = acme(&app).await;
    let stranger = app.tenant("other").await.agent("stranger", EVERYTHING).await;
    let colleague = acme.agent("colleague", EVERYTHING).await;
    let wire = Wire::begin(&agent, "2025-11-25").await;
    let twin = Wire::begin(&agent, "2025-11-25").await;
    let mut running = Events::open(wire.call("same id", "slow_compute", json!({ "seconds": 3 }))).await;
    let mut twins = Events::open(twin.call("same id", "slow_compute", json!({ "seconds": 30 }))).await;
    for intruder in [Wire::begin(&colleague, "2025-11-25").await, Wire::begin(&stranger, "2025-11-25").await, twin.clone()] {
        assert_eq!(intruder.cancel("same id").await, 202);
    }
    // Not the type either.
    assert_eq!(wire.cancel(7).await, 202);
    assert_eq!(wire.notify("notifications/cancelled", json!({ "requestId": { "a": 1 } })).await, 202);
    let rest = running.rest().await;
    assert!(rest.last().is_some_and(|answer| answer["result"]["content"].is_array()), "{rest:?}");
    assert!(twins.rest().await.iter().all(|message| message.get("id").is_none()), "what was taken back has no answer");
    let mut sql = app.sql().await;
    let outcomes = eventually("both are recorded", SOON, async || {
        let outcomes: Vec<String> =
            sqlx::query_scalar("SELECT outcome FROM app.calls ORDER BY outcome").fetch_all(&mut sql).await.expect("calls");
        (outcomes.len() == 2).then_some(outcomes)
    })
    .await;
    assert_eq!(outcomes, ["cancelled", "ok"]);
}

#[tokio::test]
async fn events_of_another_session_cannot_be_had() {
    let app = TestApp::start().await;
    let (acme, agent) = acme(&app).await;
    let colleague = acme.agent("colleague", EVERYTHING).await;
    let wire = Wire::begin(&agent, "2025-11-25").await;
    let mut events = Events::open(wire.call(1, "slow_compute", json!({ "seconds": 0.3, "label": "canary-4711" }))).await;
    let first = events.event().await.and_then(|event| event.id).expect("an event to resume from");
    events.rest().await;
    assert!(wire.listen(Some(&first)).await.rest().await.iter().any(|message| message.to_string().contains("canary-4711")));
    for other in [Wire::begin(&agent, "2025-11-25").await, Wire::begin(&colleague, "2025-11-25").await] {
        let mut resumed = other.listen(Some(&first)).await;
        assert_eq!(resumed.status, 400);
        assert_eq!(resumed.event().await, None);
    }
    let stream = first.split('-').next().expect("a stream");
    for number in ["", "x", "-1", "+1", " 1", "18446744073709551615", "1-1"] {
        let id = format!("{stream}-{number}");
        assert_eq!(wire.listen(Some(&id)).await.status, 400, "{id:?}");
    }
    for id in ["", "x", "0", "-", &"a-0".repeat(3_000)] {
        assert_eq!(wire.listen(Some(id)).await.status, 400, "{id:?}");
    }
    let mut beyond = wire.listen(Some(&format!("{stream}-999999999999999"))).await;
    assert_eq!((beyond.status, beyond.rest().await.len()), (200, 0), "that stream is over");
}

#[tokio::test]
async fn t_32_a_stream_is_displaced_by_nobody_but_its_own_client() {
    let app = TestApp::start().await;
    let second = app.replica().await;
    let (acme, agent) = acme(&app).await;
    let colleague = acme.agent("colleague", EVERYTHING).await;
    let wire = Wire::begin(&agent, "2025-11-25").await;
    let mut stream = wire.listen(None).await;
    stream.event_or_comment().await;
    let (twin, foreign) = (Wire::begin(&agent, "2025-11-25").await, Wire::begin(&colleague, "2025-11-25").await);
    let (_twins, _foreigns) = (twin.listen(None).await, foreign.listen(None).await);
    assert_eq!(wire.of(&colleague).listen(None).await.status, 404);
    let trigger = async || {
        wire.send(1, "tools/call", call("test_trigger_tool_change", json!({}))).await;
    };
    trigger().await;
    stream.until("notifications/tools/list_changed").await;
    // Its client came back on another replica before this one noticed: the old stream ends, the new one goes on.
    let mut newer = wire.at(&second.url).listen(None).await;
    newer.event_or_comment().await;
    assert!(stream.rest().await.is_empty(), "the old one has ended");
    trigger().await;
    newer.until("notifications/tools/list_changed").await;
}

#[tokio::test]
async fn m_13_changes_of_one_tenant_are_not_heard_by_another() {
    let app = TestApp::start().await;
    let (_, agent) = acme(&app).await;
    let other = app.tenant("other").await;
    other.conformance().await;
    let other = other.agent("agent", EVERYTHING).await;
    let (ours, theirs) = (Wire::begin(&agent, "2025-11-25").await, Wire::begin(&other, "2025-11-25").await);
    for wire in [&ours, &theirs] {
        wire.send(1, "resources/subscribe", json!({ "uri": "test://watched-resource" })).await;
    }
    let (mut our_stream, mut their_stream) = (ours.listen(None).await, theirs.listen(None).await);
    our_stream.event_or_comment().await;
    their_stream.event_or_comment().await;
    let wanted = json!({ "toolsListChanged": true, "resourceSubscriptions": ["test://watched-resource"] });
    let mut listening =
        Events::open(Wire::stateless(&other).request("l", "subscriptions/listen", json!({ "notifications": wanted }))).await;
    listening.until("notifications/subscriptions/acknowledged").await;
    for tool in ["test_trigger_tool_change", "test_trigger_resource_update"] {
        assert!(agent.call(Era::Stateless, tool, json!({})).await.is_ok());
    }
    our_stream.until("notifications/tools/list_changed").await;
    our_stream.until("notifications/resources/updated").await;
    assert!(their_stream.is_quiet(Duration::from_millis(500)).await);
    assert!(listening.is_quiet(Duration::from_millis(200)).await);
}
