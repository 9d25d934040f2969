//! Token buckets, seen from outside.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::Client;
use serde_json::{Value, json};
use trunkline_protocol::oauth::scope::Effect;

use super::{full, patient};
use crate::support::{Agent, Answer, Era, Tenant, TestApp, message, say, seed::insert_limit, tools};

/// What is left in the tightest bucket, as an answer says it.
fn limits(answer: &Answer) -> Value {
    answer.json["result"]["_meta"]["trunkline/limits"].clone()
}

/// Calls per second that are asked for: an unoptimised installation on a busy machine must be able to make more.
fn per_second() -> i32 {
    if full() { 100 } else { 20 }
}

/// More than the narrow tool lets through in the longest run.
const ALL_CALLS: i32 = 10_000;

async fn two_tools(app: &TestApp) -> (Tenant<'_>, Agent) {
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let mut sql = app.sql().await;
    for (name, rate) in [("narrow", (60 * per_second(), 50)), ("wide", (6_000_000, 6_000_000))] {
        let tool = acme.tool(name, tools::echo()).await;
        insert_limit(&mut sql, app, &acme, "agent_tool", Some(agent.id), Some(tool.id), rate).await;
    }
    // All calls of the tenant go into this one, and hardly anything comes back.
    insert_limit(&mut sql, app, &acme, "tenant", None, None, (1, ALL_CALLS)).await;
    insert_limit(&mut sql, app, &acme, "agent", Some(agent.id), None, (6_000_000, 6_000_000)).await;
    (acme, agent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q_01_sixty_four_clients_on_three_replicas_get_what_the_bucket_gives_and_refusals_cost_nothing() {
    let app = patient(TestApp::builder().set("QUOTA_LADDER_REFUSALS", 0)).start().await;
    let (_, agent) = two_tools(&app).await;
    let body = message(Era::Handshake, "tools/call", json!({ "name": "narrow", "arguments": { "text": "x" } }));
    let body = Arc::<str>::from(body.to_string());
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().expect("a client");
    let (in_time, total, refused) = <(Arc<AtomicU64>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
    let undecided = Arc::<AtomicU64>::default();
    let (second, third) = (app.replica().await, app.replica().await);
    let urls = [&app.url, &second.url, &third.url].map(|url| agent.url.replace(&app.url, url));
    // How much of it is used depends on the machine, which does much else in a run of all tests. That no more is admitted does not.
    let (window, least) = if full() { (30, 0.98) } else { (10, 0.5) };
    let most = 50 + u64::from(per_second().unsigned_abs()) * window + 1;
    let window = Duration::from_secs(window);
    let began = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..64 {
        let (client, agent, body) = (client.clone(), agent.at(&urls[number % 3]), Arc::clone(&body));
        let (in_time, total, refused) = (Arc::clone(&in_time), Arc::clone(&total), Arc::clone(&refused));
        let undecided = Arc::clone(&undecided);
        clients.spawn(async move {
            while began.elapsed() < window {
                let request = client.post(&agent.url).bearer_auth(&agent.key).header("content-type", "application/json");
                let response = request.body(body.to_string()).send().await.expect("an answer");
                match response.status().as_u16() {
                    200 => {
                        total.fetch_add(1, Ordering::Relaxed);
                        in_time.fetch_add(u64::from(began.elapsed() <= window), Ordering::Relaxed);
                    }
                    429 => {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                    // Not decided, or not recorded, in time.
                    503 => {
                        undecided.fetch_add(1, Ordering::Relaxed);
                    }
                    status => panic!("{status}: {:?}", response.text().await),
                }
                // Read to its end, so that the connection is used again.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.expect("a client does not panic");
    }
    let (in_time, total, refused) =
        (in_time.load(Ordering::Relaxed), total.load(Ordering::Relaxed), refused.load(Ordering::Relaxed));
    say(&format!(
        "limits: 64 clients, 3 replicas, {}/s, burst 50, {window:?}: {in_time} of at most {most} admitted, {refused} refused",
        per_second()
    ));
    #[expect(clippy::cast_precision_loss, reason = "some thousand calls")]
    let share = in_time as f64 / (most - 1) as f64;
    assert!(in_time <= most && share >= least, "{in_time} admitted, {refused} refused");
    assert!(refused > 0, "nobody was refused, so nothing was seen");
    let after = agent.call(Era::Stateless, "wide", json!({ "text": "x" })).await;
    let left = limits(&after);
    assert_eq!(left["scope"], json!("tenant"), "{}", after.text);
    let charged = u64::from(ALL_CALLS.unsigned_abs()) - 1 - left["remaining"].as_u64().expect("a number");
    let undecided = undecided.load(Ordering::Relaxed);
    assert!((total..=total + undecided).contains(&charged), "{charged} charged, {total} admitted, {undecided} not decided");
}

#[tokio::test]
async fn defaults_are_300_60_and_5_calls_a_minute() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:destructive").await;
    for (effect, per_minute) in [(Effect::Read, 300), (Effect::Write, 60), (Effect::Destructive, 5)] {
        acme.tool(effect.as_str(), tools::with_effect(effect, tools::echo())).await;
        let first = agent.call(Era::Stateless, effect.as_str(), json!({ "text": "x" })).await;
        let expected = json!({ "scope": "agent_tool", "limit": per_minute, "burst": per_minute, "remaining": per_minute - 1 });
        let mut found = limits(&first);
        found.as_object_mut().expect("an object").remove("reset_ms");
        assert_eq!(found, expected, "{}", first.text);
    }
    for left in [3, 2, 1, 0] {
        let answer = agent.call(Era::Stateless, "destructive", json!({ "text": "x" })).await;
        assert_eq!(limits(&answer)["remaining"], json!(left), "{}", answer.text);
    }
    assert_eq!(agent.call(Era::Stateless, "destructive", json!({ "text": "x" })).await.status, 429);
    let other = acme.agent("other", "tools:destructive").await;
    assert!(other.call(Era::Stateless, "destructive", json!({ "text": "x" })).await.is_ok(), "each agent has its own");
}

#[tokio::test]
async fn q_04_a_refusal_says_everything_and_waiting_as_told_is_enough() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let tool = acme.tool("echo", tools::echo()).await;
    insert_limit(&mut app.sql().await, &app, &acme, "agent_tool", Some(agent.id), Some(tool.id), (60, 1)).await;
    assert!(agent.echo("x").await.is_ok());
    for era in Era::ALL {
        let refused = agent.call(era, "echo", json!({ "text": "x" })).await;
        assert_eq!((refused.status, refused.code(), &refused.json["id"]), (429, 4290, &json!(1)), "{}", refused.text);
        let data = &refused.json["error"]["data"];
        let wait_ms = data["retry_after_ms"].as_u64().expect("a number");
        assert!((1..=1_000).contains(&wait_ms), "{data}");
        for (name, value) in [
            ("scope", json!("agent_tool")),
            ("limit", json!(60)),
            ("burst", json!(1)),
            ("remaining", json!(0)),
            ("retryable", json!(true)),
        ] {
            assert_eq!(data[name], value, "{name}: {data}");
        }
        for (name, value) in [
            ("retry-after", "1"),
            ("ratelimit-policy", r#""agent_tool";q=60;w=60"#),
            ("ratelimit", r#""agent_tool";r=0;t=1"#),
            ("x-ratelimit-limit", "60"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1"),
            ("content-type", "application/json"),
        ] {
            assert_eq!(refused.header(name), value, "{name}");
        }
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        assert!(agent.call(era, "echo", json!({ "text": "x" })).await.is_ok(), "after {wait_ms} ms");
    }
}

#[tokio::test]
async fn streams_say_what_is_left_before_they_begin() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    for era in Era::ALL {
        let params = json!({ "name": "echo", "arguments": { "text": "x" } });
        let request = agent.message(era, "tools/call", params, "text/event-stream");
        let streamed = Answer::read(request.send().await.expect("an answer")).await;
        let left = limits(&streamed)["remaining"].to_string();
        assert!(streamed.is_ok() && streamed.header("content-type").starts_with("text/event-stream"), "{}", streamed.text);
        assert_eq!(streamed.header("ratelimit-policy"), r#""agent_tool";q=300;w=60"#);
        assert_eq!((streamed.header("x-ratelimit-limit"), streamed.header("x-ratelimit-remaining")), ("300", &*left));
        assert!(streamed.header("ratelimit").starts_with(&format!(r#""agent_tool";r={left};t="#)), "{:?}", streamed.headers);
    }
}

#[tokio::test]
async fn two_replicas_share_one_bucket() {
    let app = TestApp::start().await;
    let second = app.replica().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::with_effect(Effect::Destructive, tools::echo())).await;
    let agent = acme.agent("agent", "tools:destructive").await;
    let there = agent.at(&agent.url.replace(&app.url, &second.url));
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.extend([agent.echo("x").await.status, there.echo("x").await.status]);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 429, 429]);
}

#[tokio::test]
async fn lists_do_not_cost_calls_and_have_a_limit_of_their_own() {
    let app = TestApp::builder().set("QUOTA_LISTS_PER_MINUTE", 60).set("QUOTA_LISTS_BURST", 3).start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(agent.list(Era::Stateless).await.status);
    }
    assert_eq!(statuses[..3], [200, 200, 200]);
    let refused = agent.list(Era::Stateless).await;
    assert_eq!((refused.status, &refused.json["error"]["data"]["scope"]), (429, &json!("lists")), "{}", refused.text);
    assert_eq!(limits(&agent.echo("x").await)["remaining"], json!(299));
}
