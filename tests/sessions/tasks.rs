//! Tasks across replicas: begun on one, looked at, answered and cancelled on another; lost when theirs is killed.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{EVERYTHING, acme, ada, at, call};
use crate::support::{Answer, Replica, SOON, TestApp, eventually, wire::Wire};

/// Begins a task and gives its id.
pub(super) async fn begin(wire: &Wire, tool: &str, arguments: Value) -> String {
    let answer = wire.send(1, "tools/call", call(tool, arguments)).await;
    assert_eq!(answer.json["result"]["resultType"], "task", "{}", answer.text);
    answer.json["result"]["taskId"].as_str().expect("an id").to_owned()
}

pub(super) async fn get(wire: &Wire, id: &str) -> Answer {
    wire.send(2, "tasks/get", json!({ "taskId": id })).await
}

/// Looks until the task has that status.
async fn until(wire: &Wire, id: &str, status: &str) -> Value {
    eventually(status, SOON, async || {
        let task = get(wire, id).await.json["result"].clone();
        (task["status"] == status).then_some(task)
    })
    .await
}

#[tokio::test]
async fn a_task_of_one_replica_is_had_answered_and_cancelled_on_another() {
    let app = TestApp::start().await;
    let second = app.replica().await;
    let (_, agent) = acme(&app).await;
    let here = Wire::stateless(&agent);
    let there = here.at(&second.url);

    let computed = begin(&here, "slow_compute", json!({ "seconds": 1, "label": "it" })).await;
    assert_eq!(get(&there, &computed).await.json["result"]["status"], "working");
    let done = until(&there, &computed, "completed").await;
    assert!(done["result"].to_string().contains("Computed it"), "{done}");

    let confirmed = begin(&here, "confirm_delete", json!({ "filename": "a.txt" })).await;
    let asking = until(&there, &confirmed, "input_required").await;
    let key = asking["inputRequests"].as_object().and_then(|requests| requests.keys().next()).expect("a question").clone();
    let yes = json!({ "action": "accept", "content": { "confirm": true } });
    let answered = there.send(3, "tasks/update", json!({ "taskId": confirmed, "inputResponses": { key: yes } })).await;
    assert_eq!(answered.json["result"]["resultType"], "complete", "{}", answered.text);
    let done = until(&there, &confirmed, "completed").await;
    assert!(done["result"].to_string().contains("You want a.txt to be deleted."), "{done}");

    let cancelled = begin(&here, "slow_compute", json!({ "seconds": 60 })).await;
    let answer = there.send(4, "tasks/cancel", json!({ "taskId": cancelled })).await;
    assert_eq!(answer.json["result"]["resultType"], "complete", "{}", answer.text);
    for wire in [&here, &there] {
        assert_eq!(get(wire, &cancelled).await.json["result"]["status"], "cancelled");
    }
    let mut sql = app.sql().await;
    eventually("all are recorded when they end", SOON, async || {
        let outcomes: Vec<String> =
            sqlx::query_scalar("SELECT outcome FROM app.calls ORDER BY outcome").fetch_all(&mut sql).await.expect("calls");
        (outcomes == ["cancelled", "ok", "ok"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_task_exists_for_its_agent_key_and_endpoint_only() {
    let app = TestApp::start().await;
    let (acme, agent) = acme(&app).await;
    let other = app.tenant("other").await;
    other.conformance().await;
    let other = other.agent("agent", EVERYTHING).await;
    let colleague = acme.agent("colleague", EVERYTHING).await;
    let wire = Wire::stateless(&agent);
    let id = begin(&wire, "slow_compute", json!({ "seconds": 20 })).await;
    let unknown = get(&wire, &"a".repeat(32)).await;
    assert_eq!(unknown.code(), -32602);
    let another_key = acme.key(&agent, EVERYTHING).await;
    let toolset = agent.at(&acme.toolset("some", &["slow_compute"]).await);
    for intruder in [wire.of(&colleague), wire.of(&other), wire.of(&another_key), wire.of(&toolset)] {
        for (method, params) in [
            ("tasks/get", json!({ "taskId": id })),
            ("tasks/update", json!({ "taskId": id, "inputResponses": { "question-1": ada() } })),
            ("tasks/cancel", json!({ "taskId": id })),
        ] {
            let answer = intruder.send(2, method, params).await;
            assert_eq!(answer.json["error"], unknown.json["error"], "{method}");
        }
        let wanted = json!({ "notifications": { "taskIds": [id] } });
        let mut listening = crate::support::wire::Events::open(intruder.request("l", "subscriptions/listen", wanted)).await;
        let acknowledged = listening.until("notifications/subscriptions/acknowledged").await;
        assert_eq!(acknowledged["params"]["notifications"], json!({}), "{acknowledged}");
    }
    for id in ["", "*", "a", &"a".repeat(31), &"a".repeat(10_000), "../x", "{t:x}"] {
        assert_eq!(get(&wire, id).await.code(), -32602, "{id:.40}");
    }
    assert_eq!(get(&wire, &id).await.json["result"]["status"], "working");
    wire.send(3, "tasks/cancel", json!({ "taskId": id })).await;
}

#[tokio::test]
async fn a_task_whose_replica_was_killed_has_failed_within_a_minute() {
    let app = TestApp::start().await;
    let (_, agent) = acme(&app).await;
    let here = Wire::stateless(&agent);
    let doomed = Replica::start(&app).await;
    let there = here.of(&at(&agent, &doomed.url));
    let (looked_at, cancelled) = (
        begin(&there, "slow_compute", json!({ "seconds": 100 })).await,
        begin(&there, "slow_compute", json!({ "seconds": 100 })).await,
    );
    assert_eq!(get(&here, &looked_at).await.json["result"]["status"], "working");
    doomed.kill();
    // Who wants something of it learns it at once.
    here.send(3, "tasks/cancel", json!({ "taskId": cancelled })).await;
    assert_eq!(get(&here, &cancelled).await.json["result"]["status"], "failed");
    app.clock.advance(TimeDelta::seconds(20));
    assert_eq!(get(&here, &looked_at).await.json["result"]["status"], "working", "it may only be slow to say so");
    app.clock.advance(TimeDelta::seconds(30));
    let failed = get(&here, &looked_at).await.json["result"].clone();
    assert_eq!(failed["status"], "failed", "{failed}");
    assert!(failed["error"]["message"].as_str().is_some_and(|text| text.contains("not known")), "{failed}");
}

#[tokio::test]
async fn a_task_that_runs_is_not_taken_for_lost() {
    let app = TestApp::start().await;
    let (_, agent) = acme(&app).await;
    let wire = Wire::stateless(&agent);
    let id = begin(&wire, "slow_compute", json!({ "seconds": 14 })).await;
    // Its host says every ten seconds that it is there.
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    app.clock.advance(TimeDelta::seconds(35));
    assert_eq!(get(&wire, &id).await.json["result"]["status"], "working");
    assert!(until(&wire, &id, "completed").await["result"].to_string().contains("Computed"));
}

#[tokio::test]
async fn a_task_is_nobodys_while_its_tool_may_not_be_used() {
    let app = TestApp::start().await;
    let (acme, agent) = acme(&app).await;
    let wire = Wire::stateless(&agent);
    let id = begin(&wire, "slow_compute", json!({ "seconds": 60 })).await;
    let switch = async |on: bool| {
        let owner = acme.owner.clone();
        let switched = app.act(move |platform| async move {
            let tools = trunkline_platform::catalog::list(&platform, &owner).await.expect("tools");
            let tool = tools.into_iter().find(|tool| tool.name.as_str() == "slow_compute").expect("the tool");
            trunkline_platform::catalog::set_enabled(&platform, &owner, tool.id, on).await.expect("done");
        });
        switched.await;
    };
    switch(false).await;
    assert_eq!(get(&wire, &id).await.code(), -32602);
    switch(true).await;
    assert_eq!(get(&wire, &id).await.json["result"]["status"], "working");
    wire.send(3, "tasks/cancel", json!({ "taskId": id })).await;
}
