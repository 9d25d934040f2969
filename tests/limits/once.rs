//! Idempotency keys, charges that are given back, and what is billed.

use serde_json::json;
use trunkline_platform::catalog::{HttpMethod, NewVersion, Place, Price};

use crate::support::{Agent, Answer, Era, OwnRedis, SOON, TestApp, Upstream, eventually, seed::insert_limit, tools};

async fn with_key(agent: &Agent, tool: &str, text: &str, key: &str) -> Answer {
    let request =
        agent.message(Era::Stateless, "tools/call", json!({ "name": tool, "arguments": { "text": text } }), "application/json");
    Answer::read(request.header("idempotency-key", key).send().await.expect("an answer")).await
}

/// A tool that sends its text to that path.
fn sends(upstream: &Upstream, path: &str) -> NewVersion {
    tools::http(HttpMethod::Post, &upstream.url(path), &[("text", Place::Body)])
}

#[tokio::test]
async fn q_20_the_same_key_gives_the_same_result_and_runs_once() {
    let upstream = Upstream::start().await;
    let app = TestApp::start().await;
    let second = app.replica().await;
    let acme = app.tenant("acme").await;
    let tool = acme.tool("sends", sends(&upstream, "/ok")).await;
    let agent = acme.agent("agent", "tools:read").await;
    let other = acme.agent("other", "tools:read").await;
    insert_limit(&mut app.sql().await, &app, &acme, "agent_tool", Some(agent.id), Some(tool.id), (1, 10)).await;
    let there = agent.at(&agent.url.replace(&app.url, &second.url));
    let first = with_key(&agent, "sends", "a", "order-1").await;
    assert!(first.is_ok(), "{}", first.text);
    for again in [with_key(&agent, "sends", "a", "order-1").await, with_key(&there, "sends", "a", "order-1").await] {
        assert_eq!(again.json["result"], first.json["result"], "{}", again.text);
    }
    assert_eq!(upstream.seen().len(), 1, "sent once");
    let reused = with_key(&there, "sends", "b", "order-1").await;
    assert_eq!((reused.status, reused.code()), (422, 4220), "{}", reused.text);
    assert!(with_key(&other, "sends", "b", "order-1").await.is_ok(), "another agent's keys are its own");
    let left = with_key(&agent, "sends", "a", "order-2").await;
    assert_eq!(
        left.json["result"]["_meta"]["trunkline/limits"]["remaining"],
        json!(8),
        "charged once for each key: {}",
        left.text
    );
    for bad in ["", "two words", &"k".repeat(256)] {
        assert_eq!(with_key(&agent, "sends", "a", bad).await.status, 400, "{bad}");
    }
    assert!(with_key(&agent, "sends", "a", &"k".repeat(255)).await.is_ok());
    let before = upstream.seen().len();
    for bad in [json!(""), json!(7), json!("two words"), json!("k".repeat(256))] {
        let params = json!({ "name": "sends", "arguments": { "text": "a" }, "_meta": { "trunkline/idempotency-key": bad } });
        let refused = agent.send(Era::Stateless, "tools/call", params).await;
        assert_eq!((refused.status, refused.code()), (400, -32602), "{}", refused.text);
    }
    let params = json!({ "name": "sends", "arguments": { "text": "a" }, "_meta": { "trunkline/idempotency-key": "one" } });
    let message = agent.message(Era::Stateless, "tools/call", params, "application/json").header("idempotency-key", "other");
    assert_eq!(Answer::read(message.send().await.expect("an answer")).await.status, 400, "two keys that differ");
    assert_eq!(upstream.seen().len(), before, "nothing was sent");
}

#[tokio::test]
async fn q_20_a_key_of_a_call_that_runs_waits_and_one_that_was_never_sent_is_free() {
    let upstream = Upstream::start().await;
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("slow", sends(&upstream, "/slow/1500")).await;
    acme.tool("nowhere", tools::http(HttpMethod::Post, "http://127.0.0.1:1/", &[("text", Place::Body)])).await;
    let agent = acme.agent("agent", "tools:read").await;
    let first = agent.clone();
    let running = tokio::spawn(async move { with_key(&first, "slow", "a", "k").await });
    eventually("it runs", SOON, async || (upstream.seen().len() == 1).then_some(())).await;
    let waits = with_key(&agent, "slow", "a", "k").await;
    assert_eq!((waits.status, waits.code()), (409, 4090), "{}", waits.text);
    assert!(!waits.header("retry-after").is_empty() && waits.json["error"]["data"]["retryable"] == json!(true));
    assert!(running.await.expect("no panic").is_ok());
    assert!(with_key(&agent, "slow", "a", "k").await.is_ok());
    assert_eq!(upstream.seen().len(), 1);
    for _ in 0..2 {
        let unsent = with_key(&agent, "nowhere", "a", "n").await;
        assert_eq!(unsent.error_class(), "upstream_unreachable", "tried anew: {}", unsent.text);
    }
}

#[tokio::test]
async fn q_20_a_result_too_large_to_be_kept_is_not_made_twice() {
    let upstream = Upstream::start().await;
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("large", sends(&upstream, "/large/300000")).await;
    let agent = acme.agent("agent", "tools:read").await;
    let first = with_key(&agent, "large", "a", "large").await;
    assert!(first.is_ok() && first.text.len() > 300_000, "{}", first.status);
    let again = with_key(&agent, "large", "a", "large").await;
    assert_eq!(upstream.seen().len(), 1);
    assert_eq!((again.status, again.code()), (409, 4090), "{}", again.text);
    assert_eq!(again.json["error"]["data"]["retryable"], json!(false));
}

#[tokio::test]
async fn q_20_without_redis_nobody_promises_once() {
    let mut redis = OwnRedis::start().await;
    let app = TestApp::builder().set("REDIS_URL", redis.url()).start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    assert!(with_key(&agent, "echo", "a", "k").await.is_ok());
    redis.kill();
    let refused = with_key(&agent, "echo", "a", "k").await;
    assert_eq!((refused.status, refused.code()), (503, 5030), "{}", refused.text);
    assert!(agent.echo("a").await.is_ok(), "without a key it runs");
}

#[tokio::test]
async fn q_21_what_was_not_sent_is_neither_billed_nor_charged() {
    let upstream = Upstream::start().await;
    let app = TestApp::builder().set("QUOTA_LADDER_REFUSALS", 0).start().await;
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let priced = |tool: NewVersion| NewVersion { price: Price::per_call(5), ..tool };
    let nowhere = acme.tool("nowhere", priced(tools::get("http://127.0.0.1:1/"))).await;
    let fine = acme.tool("fine", priced(tools::get(&upstream.url("/ok")))).await;
    acme.tool("late", priced(tools::within_ms(200, tools::get(&upstream.url("/hang"))))).await;
    let mut sql = app.sql().await;
    insert_limit(&mut sql, &app, &acme, "agent_tool", Some(agent.id), Some(nowhere.id), (1, 1)).await;
    insert_limit(&mut sql, &app, &acme, "agent_tool", Some(agent.id), Some(fine.id), (1, 2)).await;
    for _ in 0..4 {
        // Given back in the background, soon.
        eventually("it is not charged", SOON, async || {
            let answer = agent.call(Era::Stateless, "nowhere", json!({})).await;
            (answer.error_class() == "upstream_unreachable").then_some(())
        })
        .await;
    }
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(agent.call(Era::Stateless, "fine", json!({})).await.status);
    }
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(agent.call(Era::Stateless, "late", json!({})).await.error_class(), "upstream_timeout");
    agent.call(Era::Stateless, "fine", json!({ "unknown": 1 })).await;
    let billed = eventually("all are recorded", SOON, async || {
        let rows: Vec<(String, i64, i64)> =
            sqlx::query_as("SELECT outcome, count(*), sum(cost_micro)::bigint FROM app.calls GROUP BY outcome ORDER BY outcome")
                .fetch_all(&mut sql)
                .await
                .expect("calls");
        rows.iter().any(|(outcome, ..)| outcome == "timeout").then_some(rows)
    })
    .await;
    let of = |word: &str| billed.iter().find(|(outcome, ..)| outcome == word).map(|(_, calls, cost)| (*calls, *cost));
    assert_eq!(of("ok"), Some((2, 10)), "{billed:?}");
    assert_eq!(of("upstream_error").map(|(_, cost)| cost), Some(0), "{billed:?}");
    assert_eq!(of("timeout"), Some((1, 5)), "it was sent: {billed:?}");
    assert!(of("limited").is_none_or(|(_, cost)| cost == 0), "{billed:?}");
    let differs: i64 = sqlx::query_scalar(
        "SELECT (SELECT COALESCE(sum(cost_micro), 0) FROM app.calls)::bigint - (SELECT COALESCE(sum(cost_micro), 0) FROM app.usage_rollups WHERE step = 60)::bigint",
    )
    .fetch_one(&mut sql)
    .await
    .expect("sums");
    assert_eq!(differs, 0);
}
