//! What goes on without a request of its own when its replica stops, hangs or dies.

use std::time::{Duration, Instant};

use serde_json::json;
use trunkline_protocol::mcp::Revision;

use super::{
    EVERYTHING, acme, at, call,
    state::{back, question},
    tasks::{begin, get},
};
use crate::support::{
    Replica, SOON, TestApp, eventually,
    mcp_upstream::{McpUpstream, Speaks, Way},
    wire::Wire,
};

#[tokio::test]
async fn a_call_whose_replica_died_or_hangs_while_it_waited_is_gone_in_seconds() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(Speaks::Only(Revision::V2025_11_25), Way::Events).await;
    let acme = app.tenant("acme").await;
    acme.source("theirs", &upstream.url()).await;
    let agent = acme.agent("agent", EVERYTHING).await;
    let here = Wire::stateless(&agent);
    let params = call("ask", json!({}));
    for hangs in [false, true] {
        let replica = Replica::start(&app).await;
        let there = here.of(&at(&agent, &replica.url));
        let (state, responses) = question(&there, &params).await;
        let replica = if hangs {
            replica.freeze();
            Some(replica)
        } else {
            replica.kill();
            None
        };
        let asked = Instant::now();
        let answer = back(&here, params.clone(), &state, &responses).await;
        let took = asked.elapsed();
        assert!(answer.code() == -32602 && answer.text.contains("not waiting any more"), "{hangs}: {}", answer.text);
        assert!(took < Duration::from_secs(15), "{hangs}: {took:?}");
        drop(replica);
    }
    let errors: Vec<String> = eventually("both are recorded", SOON, async || {
        let errors = sqlx::query_scalar("SELECT error FROM app.calls WHERE outcome = 'upstream_error'");
        let errors: Vec<String> = errors.fetch_all(&mut app.sql().await).await.expect("calls");
        (errors.len() == 2).then_some(errors)
    })
    .await;
    assert_eq!(errors, ["state_gone", "state_gone"]);
}

#[tokio::test]
async fn a_task_and_a_call_that_was_gone_on_with_end_within_the_grace_of_their_replica() {
    let app = TestApp::builder().set("SHUTDOWN_GRACE_S", "15").start().await;
    let upstream = McpUpstream::start(Speaks::Only(Revision::V2025_11_25), Way::Events).await;
    upstream.add_tool(json!({ "name": "ask_then_slow", "inputSchema": { "type": "object" } }));
    let (acme, agent) = acme(&app).await;
    acme.source("theirs", &upstream.url()).await;
    let stopping = Replica::start(&app).await;
    let here = Wire::stateless(&agent);
    let there = here.of(&at(&agent, &stopping.url));

    let params = call("ask_then_slow", json!({ "steps": 100 }));
    let (state, responses) = question(&there, &params).await;
    let goes_on = back(&here, params, &state, &responses);
    let stops = async {
        eventually("it goes on", SOON, async || {
            upstream.seen().iter().any(|seen| seen.json["result"]["action"] == "accept").then_some(())
        })
        .await;
        let task = begin(&there, "slow_compute", json!({ "seconds": 3 })).await;
        let asked = Instant::now();
        tokio::task::spawn_blocking(move || stopping.stop()).await.expect("it ends by itself");
        (task, asked.elapsed())
    };
    let (answer, (task, took)) = tokio::join!(goes_on, stops);
    assert!(answer.is_ok() && answer.text.contains("slowly done"), "{}", answer.text);
    let task = get(&here, &task).await.json["result"].clone();
    assert!(task["status"] == "completed" && task.to_string().contains("Computed"), "{task}");
    assert!(took < Duration::from_secs(12), "it does not wait for longer than it has to: {took:?}");
}
