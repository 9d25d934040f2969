//! Redis stopped, killed and back: what runs on a share of the limits, what is refused, and how it heals.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use trunkline_platform::catalog::{NewVersion, Price};
use trunkline_protocol::oauth::scope::Effect;

use crate::support::{Agent, Era, OwnRedis, SOON, TestApp, Visitor, eventually, http, seed::insert_limit, tools};

/// How long it may take to heal.
const HEALED_WITHIN: Duration = Duration::from_secs(2);

async fn health(app: &TestApp) -> (u16, Value) {
    let answer = http().get(format!("{}/health", app.url)).send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

async fn redis_is(app: &TestApp, state: &str) -> bool {
    let (status, report) = health(app).await;
    let redis = report["dependencies"].as_array().and_then(|all| all.iter().find(|one| one["name"] == json!("redis")).cloned());
    status == 200 && report["status"] == json!(state) && redis.is_some_and(|redis| redis["status"] == json!(state))
}

/// An installation with a Redis of its own, an agent, and a tool for each case. `reads` has ten calls at once.
async fn installation(redis: &OwnRedis) -> (TestApp, Agent) {
    let app = TestApp::builder().set("REDIS_URL", redis.url()).start().await;
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:destructive").await;
    let reads = acme.tool("reads", tools::echo()).await;
    insert_limit(&mut app.sql().await, &app, &acme, "agent_tool", Some(agent.id), Some(reads.id), (60, 10)).await;
    acme.tool("destroys", tools::with_effect(Effect::Destructive, tools::echo())).await;
    acme.tool("costs", NewVersion { price: Price::per_call(1), ..tools::echo() }).await;
    for tool in ["reads", "destroys", "costs"] {
        assert!(call(&agent, tool).await.is_ok(), "{tool}");
    }
    (app, agent)
}

async fn call(agent: &Agent, tool: &str) -> crate::support::Answer {
    agent.call(Era::Stateless, tool, json!({ "text": "x" })).await
}

/// What holds while Redis is away.
async fn away(app: &TestApp, agent: &Agent) {
    let mut admitted = 0;
    for _ in 0..30 {
        let answer = call(agent, "reads").await;
        assert!(matches!(answer.status, 200 | 429), "{}", answer.text);
        admitted += u32::from(answer.is_ok());
    }
    assert!((5..=14).contains(&admitted), "{admitted} on the local share of ten at once");
    for tool in ["destroys", "costs"] {
        let asked = Instant::now();
        let refused = call(agent, tool).await;
        assert_eq!((refused.status, refused.code()), (503, 5030), "{tool}: {}", refused.text);
        assert_eq!(refused.json["error"]["data"]["retryable"], json!(true));
        assert!(refused.json["error"]["data"]["retry_after_ms"].is_u64() && !refused.header("retry-after").is_empty());
        assert!(asked.elapsed() < Duration::from_secs(1), "{tool}: {:?}", asked.elapsed());
    }
    assert_eq!(agent.list(Era::Handshake).await.tool_names().len(), 3);
    eventually("health says degraded", SOON, async || redis_is(app, "degraded").await.then_some(())).await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let home = owner.get("/t/acme").await.ok();
    assert!(
        home.body.contains("Redis") || home.body.contains("local share") || home.body.contains("degraded"),
        "the dashboard says nothing"
    );
    // Other pages say what this process knows, without asking.
    let members = owner.get("/t/acme/members").await.ok();
    assert!(members.body.contains("Running degraded"), "{}", members.body);
}

/// Everything works again, soon after that moment.
async fn healed(app: &TestApp, agent: &Agent, since: Instant) {
    eventually("destructive tools run again", HEALED_WITHIN, async || call(agent, "destroys").await.is_ok().then_some(())).await;
    assert!(since.elapsed() < HEALED_WITHIN, "{:?}", since.elapsed());
    eventually("health says healthy", HEALED_WITHIN, async || redis_is(app, "healthy").await.then_some(())).await;
}

#[tokio::test]
async fn f_06_redis_that_hangs_degrades_reading_refuses_the_rest_and_heals() {
    let redis = OwnRedis::start().await;
    let (app, agent) = installation(&redis).await;
    redis.signal(Signal::SIGSTOP);
    away(&app, &agent).await;
    redis.signal(Signal::SIGCONT);
    healed(&app, &agent, Instant::now()).await;
    let mut sql = app.sql().await;
    eventually("degraded decisions are recorded as such", SOON, async || {
        let degraded: i64 = sqlx::query_scalar("SELECT count(*) FROM app.calls WHERE degraded AND outcome = 'ok'")
            .fetch_one(&mut sql)
            .await
            .expect("calls");
        (degraded >= 5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn f_06_redis_that_dies_degrades_reading_refuses_the_rest_and_heals_when_it_is_started_again() {
    let mut redis = OwnRedis::start().await;
    let (app, agent) = installation(&redis).await;
    redis.kill();
    away(&app, &agent).await;
    redis.start_again().await;
    healed(&app, &agent, Instant::now()).await;
}

#[tokio::test]
async fn a_key_revoked_while_redis_is_away_stops_all_the_same() {
    let redis = OwnRedis::start().await;
    let (app, agent) = installation(&redis).await;
    let second = app.replica().await;
    let there = agent.at(&agent.url.replace(&app.url, &second.url));
    assert!(call(&there, "reads").await.is_ok());
    redis.signal(Signal::SIGSTOP);
    let acme: trunkline_platform::ids::TenantId =
        sqlx::query_scalar("SELECT id FROM app.tenants").fetch_one(&mut app.sql().await).await.expect("the tenant");
    let user =
        sqlx::query_scalar("SELECT user_id FROM app.memberships").fetch_one(&mut app.sql().await).await.expect("the owner");
    let owner = trunkline_platform::actor::Member { user, tenant: acme, role: trunkline_platform::actor::Role::Owner };
    let key = agent.key_id;
    app.act(|platform| async move {
        trunkline_platform::agents::revoke_key(&platform, &owner, key).await.expect("revoked");
    })
    .await;
    assert_eq!(call(&agent, "reads").await.status, 401, "at once where it was revoked");
    eventually("the other replica hears of it through Postgres", SOON, async || {
        (call(&there, "reads").await.status == 401).then_some(())
    })
    .await;
    redis.signal(Signal::SIGCONT);
}
