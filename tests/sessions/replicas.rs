//! Two replicas, in memories of their own: what begins on one goes on on the other.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_protocol::mcp::Revision;

use super::{EVERYTHING, acme, ada, call};
use crate::support::{
    Answer, SOON, TestApp, eventually,
    mcp_upstream::{McpUpstream, Speaks, Way},
    wire::{Events, Wire, progress},
};

const WATCHED: &str = "test://watched-resource";

#[tokio::test]
async fn a_session_begun_on_one_replica_works_on_another() {
    let app = TestApp::start().await;
    let second = app.replica().await;
    let (_, agent) = acme(&app).await;
    for revision in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        let here = Wire::begin(&agent, revision).await;
        let there = here.at(&second.url);
        // No header: the session knows its revision.
        let listed = there.send(1, "tools/list", json!({})).await;
        let has_output = listed.text.contains("outputSchema");
        assert!(listed.tool_names().contains(&"greet") && (!has_output || revision != "2025-03-26"), "{revision}");
        assert!(there.send(2, "tools/call", call("test_simple_text", json!({}))).await.is_ok(), "{revision}");
        assert_eq!(there.send(3, "logging/setLevel", json!({ "level": "error" })).await.json["result"], json!({}));
        // Heard of here, though it was said there.
        eventually("the level is known everywhere", SOON, async || {
            let logged = here.call(4, "test_tool_with_logging", json!({})).send().await.expect("an answer");
            let text = logged.text().await.expect("text");
            (!text.contains("notifications/message")).then_some(())
        })
        .await;
        assert_eq!(there.end().await, 204);
        assert_eq!(here.send(5, "ping", json!({})).await.status, 404, "{revision}");
    }
}

#[tokio::test]
async fn a_question_asked_on_one_replica_is_answered_through_another() {
    let app = TestApp::start().await;
    let second = app.replica().await;
    let (_, agent) = acme(&app).await;
    let here = Wire::begin(&agent, "2025-11-25").await;
    let there = here.at(&second.url);
    for (tool, arguments, method, answer, said) in [
        ("test_elicitation", json!({ "message": "Who are you?" }), "elicitation/create", ada(), "ada"),
        (
            "test_sampling",
            json!({ "prompt": "Say something" }),
            "sampling/createMessage",
            json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "something-4711" } }),
            "something-4711",
        ),
    ] {
        for (asking, answering) in [(&here, &there), (&there, &here)] {
            let mut events = Events::open(asking.call(1, tool, arguments.clone())).await;
            let question = events.until(method).await;
            assert_eq!(answering.answer(&question["id"], answer.clone()).await, 202);
            let rest = events.rest().await;
            assert!(rest.len() == 1 && rest[0].to_string().contains(said), "{tool}: {rest:?}");
        }
    }
}

#[tokio::test]
async fn an_error_in_answer_to_a_question_arrives_through_another_replica_too() {
    let app = TestApp::start().await;
    let second = app.replica().await;
    let (_, agent) = acme(&app).await;
    let here = Wire::begin(&agent, "2025-06-18").await;
    let mut events = Events::open(here.call(1, "test_elicitation", json!({ "message": "Who are you?" }))).await;
    let question = events.until("elicitation/create").await;
    let refusal = json!({ "jsonrpc": "2.0", "id": question["id"], "error": { "code": -32603, "message": "not now" } });
    let status = here.at(&second.url).post(&refusal).send().await.expect("an answer").status();
    assert_eq!(status, 202);
    assert_eq!(events.rest().await.len(), 1, "it ends");
}

#[tokio::test]
async fn a_stream_cut_on_one_replica_is_resumed_on_another() {
    let app = TestApp::start().await;
    let second = app.replica().await;
    let (_, agent) = acme(&app).await;
    for revision in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        let here = Wire::begin(&agent, revision).await;
        let mut cut = Events::open(here.call("r", "slow_compute", json!({ "seconds": 2.2, "label": "all" }))).await;
        let first = cut.until("notifications/progress").await;
        assert_eq!(first["params"]["progress"], 1.0);
        let last = cut.last.clone().expect("an id");
        drop(cut);
        // Twice: having it does not use it up.
        for replica in [&second.url, &app.url] {
            let mut resumed = here.at(replica).listen(Some(&last)).await;
            assert_eq!(resumed.status, 200);
            let rest = resumed.rest().await;
            assert_eq!(progress(&rest), [2.0, 2.2], "{revision}: what was not seen, once: {rest:?}");
            let answer = rest.last().expect("an answer");
            assert!(answer["id"] == "r" && answer.to_string().contains("Computed all"), "{revision}: {answer}");
            // Of what was resumed, every event has its id again.
            let ids = resumed.last.as_deref().and_then(|id| id.split_once('-')).expect("an id");
            assert_eq!(ids.0, last.split_once('-').expect("an id").0);
        }
    }
    let mut sql = app.sql().await;
    eventually("every call ended as if nothing had happened", SOON, async || {
        let outcomes: Vec<String> = sqlx::query_scalar("SELECT outcome FROM app.calls").fetch_all(&mut sql).await.expect("calls");
        (outcomes == ["ok", "ok", "ok"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_question_is_found_again_by_resuming_and_answered_there() {
    let app = TestApp::start().await;
    let second = app.replica().await;
    let (_, agent) = acme(&app).await;
    let here = Wire::begin(&agent, "2025-11-25").await;
    let mut cut = Events::open(here.call("q", "test_elicitation", json!({ "message": "Who are you?" }))).await;
    let primed = cut.event().await.and_then(|event| event.id).expect("an event to resume from");
    drop(cut);
    let there = here.at(&second.url);
    let mut resumed = there.listen(Some(&primed)).await;
    let question = resumed.until("elicitation/create").await;
    assert_eq!(there.answer(&question["id"], ada()).await, 202);
    let rest = resumed.rest().await;
    assert!(rest.last().is_some_and(|answer| answer["id"] == "q" && answer.to_string().contains("ada")), "{rest:?}");
}

#[tokio::test]
async fn a_request_is_taken_back_through_another_replica() {
    let app = TestApp::start().await;
    let second = app.replica().await;
    let upstream = McpUpstream::start(Speaks::Only(Revision::V2025_11_25), Way::Events).await;
    let acme = app.tenant("acme").await;
    acme.source("theirs", &upstream.url()).await;
    let agent = acme.agent("agent", EVERYTHING).await;
    let here = Wire::begin(&agent, "2025-11-25").await;
    let mut events = Events::open(here.call("c", "slow", json!({ "steps": 1_000 }))).await;
    events.until("notifications/progress").await;
    assert_eq!(here.at(&second.url).cancel("c").await, 202);
    let rest = tokio::time::timeout(Duration::from_secs(2), events.rest()).await.expect("it ends soon");
    assert!(rest.iter().all(|message| message.get("id").is_none()), "without an answer: {rest:?}");
    eventually("the upstream is told", SOON, async || (upstream.cancelled() == 1).then_some(())).await;
    let mut sql = app.sql().await;
    let outcome = eventually("it is recorded", SOON, async || {
        sqlx::query_scalar::<_, String>("SELECT outcome FROM app.calls").fetch_optional(&mut sql).await.expect("calls")
    });
    assert_eq!(outcome.await, "cancelled");
}

#[tokio::test]
async fn changes_made_through_one_replica_are_heard_on_another_in_both_eras() {
    let app = TestApp::start().await;
    let second = app.replica().await;
    let (acme, agent) = acme(&app).await;
    let session = Wire::begin(&agent, "2025-11-25").await;
    // Subscribed through the one, listening on the other.
    assert_eq!(session.at(&second.url).send(1, "resources/subscribe", json!({ "uri": WATCHED })).await.json["result"], json!({}));
    let mut stream = session.listen(None).await;
    stream.event_or_comment().await;
    let wanted = json!({
        "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true, "resourceSubscriptions": [WATCHED],
    });
    let stateless = Wire::stateless(&agent);
    let listening = stateless.request("l", "subscriptions/listen", json!({ "notifications": wanted }));
    let mut listening = Events::open(listening).await;
    let acknowledged = listening.until("notifications/subscriptions/acknowledged").await;
    assert_eq!(acknowledged["params"]["notifications"], wanted, "{acknowledged}");
    let there = stateless.at(&second.url);
    for (tool, method) in [
        ("test_trigger_tool_change", "notifications/tools/list_changed"),
        ("test_trigger_prompt_change", "notifications/prompts/list_changed"),
        ("test_trigger_resource_change", "notifications/resources/list_changed"),
        ("test_trigger_resource_update", "notifications/resources/updated"),
    ] {
        assert!(there.send(2, "tools/call", call(tool, json!({}))).await.is_ok());
        for (who, stream) in [("session", &mut stream), ("stateless", &mut listening)] {
            let told = tokio::time::timeout(Duration::from_secs(2), stream.message()).await.expect("soon").expect("a message");
            assert_eq!(told["method"], method, "{who}: {told}");
            let subscription = &told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
            assert_eq!(*subscription, if who == "session" { Value::Null } else { json!("l") }, "{who}");
            if tool == "test_trigger_resource_update" {
                assert_eq!(told["params"]["uri"], WATCHED, "{who}");
            }
        }
    }
    // A real change of the catalogue, made where neither listens.
    let owner = acme.owner.clone();
    let switched = second.act(|platform| async move {
        let snapshot = platform.snapshots.get(&platform, "acme").await.expect("a snapshot").expect("the tenant");
        let id = snapshot.tool("greet").expect("a tool").tool.id;
        trunkline_platform::catalog::set_enabled(&platform, &owner, id, false).await.expect("it is switched off");
    });
    switched.await;
    for stream in [&mut stream, &mut listening] {
        stream.until("notifications/tools/list_changed").await;
    }
    assert!(!session.send(3, "tools/list", json!({})).await.tool_names().contains(&"greet"));
    // What is unsubscribed through the one is not heard on the other.
    session.at(&second.url).send(4, "resources/unsubscribe", json!({ "uri": WATCHED })).await;
    there.send(5, "tools/call", call("test_trigger_resource_update", json!({}))).await;
    listening.until("notifications/resources/updated").await;
    assert!(stream.is_quiet(Duration::from_millis(300)).await);
}

/// Answers and state of a result that asks for input.
fn asked(answer: &Answer) -> (Value, Value) {
    let result = &answer.json["result"];
    assert_eq!(result["resultType"], "input_required", "{}", answer.text);
    let keys = result["inputRequests"].as_object().expect("questions").keys();
    (keys.map(|key| (key.clone(), ada())).collect::<serde_json::Map<_, _>>().into(), result["requestState"].clone())
}

#[tokio::test]
async fn input_required_on_one_replica_is_brought_to_another() {
    let app = TestApp::start().await;
    let second = app.replica().await;
    for (slug, revision, rounds) in [("waiting", Revision::V2025_11_25, 2), ("stateless", Revision::V2026_07_28, 2)] {
        let upstream = McpUpstream::start(Speaks::Only(revision), Way::Events).await;
        let tenant = app.tenant(slug).await;
        tenant.source("theirs", &upstream.url()).await;
        let agent = tenant.agent("agent", EVERYTHING).await;
        let wire = Wire::stateless(&agent);
        let replicas = [wire.clone(), wire.at(&second.url)];
        let mut params = call("ask_twice", json!({}));
        for round in 0..rounds {
            let answer = replicas[round % 2].send(1, "tools/call", params.clone()).await;
            let (responses, state) = asked(&answer);
            (params["inputResponses"], params["requestState"]) = (responses, state);
        }
        for replica in &replicas {
            let answer = replica.send(2, "tools/call", params.clone()).await;
            if replica.agent.url == replicas[0].agent.url {
                assert!(answer.is_ok() && answer.text.matches("ada@example.com").count() == 2, "{slug}: {}", answer.text);
            } else {
                assert_eq!(answer.code(), -32602, "{slug}: used up on every replica: {}", answer.text);
            }
        }
    }
}

#[tokio::test]
async fn progress_of_a_call_that_waits_comes_through_the_replica_its_caller_is_at() {
    let app = TestApp::start().await;
    let second = app.replica().await;
    let (_, agent) = acme(&app).await;
    // Asks while it runs, as old tools do; the caller is of the new era.
    let wire = Wire::stateless(&agent);
    let params = call("test_elicitation", json!({ "message": "Who are you?" }));
    let (responses, state) = asked(&wire.send(1, "tools/call", params.clone()).await);
    let mut again = params.clone();
    again["requestState"] = state;
    // Without the answer it is asked again, on whichever replica.
    let there = wire.at(&second.url);
    again["inputResponses"] = json!({});
    let (_, state) = asked(&there.send(2, "tools/call", again.clone()).await);
    again["requestState"] = state;
    again["inputResponses"] = responses;
    let answer = there.send(3, "tools/call", again).await;
    assert!(answer.is_ok() && answer.text.contains("ada"), "{}", answer.text);
}
