//! Agents that are refused too often.

use serde_json::json;

use crate::support::{Agent, Era, OwnRedis, SOON, TestApp, Visitor, eventually, seed::insert_limit, tools};

async fn refuse(agent: &Agent, times: usize) {
    for _ in 0..times {
        let answer = agent.call(Era::Stateless, "echo", json!({ "text": "x" })).await;
        assert_eq!(answer.status, 429, "{}", answer.text);
    }
}

async fn state(app: &TestApp, agent: &Agent) -> (String, String) {
    sqlx::query_as("SELECT state, state_reason FROM app.agents WHERE id = $1")
        .bind(agent.id)
        .fetch_one(&mut app.sql().await)
        .await
        .expect("the agent")
}

/// Refused until the ladder has noticed, whatever else is refused meanwhile.
async fn climb(app: &TestApp, agent: &Agent, to: &str) {
    refuse(agent, 50).await;
    eventually(to, SOON, async || (state(app, agent).await.0 == to).then_some(())).await;
}

#[tokio::test]
async fn q_30_an_agent_that_is_refused_too_often_is_throttled_and_the_third_time_suspended() {
    let redis = OwnRedis::start().await;
    let app = TestApp::builder().set("REDIS_URL", redis.url()).start().await;
    let acme = app.tenant("acme").await;
    let tool = acme.tool("echo", tools::echo()).await;
    acme.tool("other", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let quiet = acme.agent("quiet", "tools:read").await;
    insert_limit(&mut app.sql().await, &app, &acme, "agent_tool", Some(agent.id), Some(tool.id), (1, 1)).await;
    assert!(agent.echo("x").await.is_ok());
    // Strangers do not count: wrong keys are nobody's refusals.
    let stranger = Agent { key: agent.key.replace(&agent.key[10..20], "0000000000"), ..agent.clone() };
    for _ in 0..60 {
        assert_eq!(stranger.echo("x").await.status, 401);
    }
    refuse(&agent, 49).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(state(&app, &agent).await.0, "active");
    refuse(&agent, 1).await;
    eventually("throttled", SOON, async || (state(&app, &agent).await.0 == "throttled").then_some(())).await;
    let slow = agent.call(Era::Stateless, "other", json!({ "text": "x" })).await;
    assert_eq!(slow.json["result"]["_meta"]["trunkline/limits"]["limit"], json!(30), "a tenth: {}", slow.text);
    assert_eq!(
        quiet.call(Era::Stateless, "other", json!({ "text": "x" })).await.json["result"]["_meta"]["trunkline/limits"]["limit"],
        json!(300)
    );
    // More refusals while it is throttled lead nowhere, and neither does a flush.
    refuse(&agent, 55).await;
    let mut connection =
        ::redis::Client::open(redis.url()).expect("a URL").get_multiplexed_async_connection().await.expect("redis");
    let _: () = ::redis::cmd("FLUSHALL").query_async(&mut connection).await.expect("flushed");
    assert!(agent.echo("x").await.is_ok(), "a flushed bucket is full");
    assert_eq!(state(&app, &agent).await.0, "throttled");
    for to in ["throttled", "suspended"] {
        app.clock.advance(chrono::TimeDelta::seconds(301));
        let again = agent.call(Era::Stateless, "other", json!({ "text": "x" })).await;
        assert_eq!(again.json["result"]["_meta"]["trunkline/limits"]["limit"], json!(300), "it ends by itself: {}", again.text);
        refuse(&agent, 50).await;
        let until = app.clock.clone();
        eventually(to, SOON, async || {
            let times: i32 = sqlx::query_scalar("SELECT cardinality(throttled_at) FROM app.agents WHERE id = $1")
                .bind(agent.id)
                .fetch_one(&mut app.sql().await)
                .await
                .expect("the agent");
            let _ = &until;
            (times == if to == "throttled" { 2 } else { 3 }).then_some(())
        })
        .await;
        // The window of strikes is over.
        let strikes: Vec<String> = ::redis::cmd("KEYS").arg("*q:s:*").query_async(&mut connection).await.expect("keys");
        let _: () = ::redis::cmd("DEL").arg(strikes).query_async(&mut connection).await.expect("deleted");
    }
    assert_eq!(state(&app, &agent).await, ("suspended".to_owned(), "refusals".to_owned()));
    let suspended = agent.echo("x").await;
    assert_eq!((suspended.status, suspended.code()), (403, 4031), "{}", suspended.text);
    assert!(quiet.call(Era::Stateless, "other", json!({ "text": "x" })).await.is_ok());
    let events: Vec<String> =
        sqlx::query_scalar("SELECT action FROM app.audit_entries WHERE actor_kind = 'system' AND subject = $1 ORDER BY id")
            .bind(agent.id.to_string())
            .fetch_all(&mut app.sql().await)
            .await
            .expect("events");
    assert_eq!(events, ["agent.throttled", "agent.throttled", "agent.suspended_for_refusals"]);
    // A person sees why and restores it with one click.
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let path = format!("/t/acme/agents/{}", agent.id);
    assert!(owner.get(&path).await.ok().body.contains("over its limits again and again"));
    let csrf = owner.csrf().await;
    owner.post(&format!("{path}/resume"), &[("csrf", csrf.as_str())]).await.leads_to(&path);
    assert_eq!(state(&app, &agent).await, ("active".to_owned(), String::new()));
    assert_ne!(agent.echo("x").await.status, 403);
}

#[tokio::test]
async fn q_30_other_tenants_and_other_agents_climb_alone() {
    let app = TestApp::builder().set("QUOTA_LADDER_REFUSALS", 50).start().await;
    let (acme, bravo) = (app.tenant("acme").await, app.tenant("bravo").await);
    let mut agents = Vec::new();
    for tenant in [&acme, &bravo] {
        let tool = tenant.tool("echo", tools::echo()).await;
        let agent = tenant.agent("agent", "tools:read").await;
        insert_limit(&mut app.sql().await, &app, tenant, "agent_tool", Some(agent.id), Some(tool.id), (1, 1)).await;
        assert!(agent.echo("x").await.is_ok());
        agents.push(agent);
    }
    climb(&app, &agents[0], "throttled").await;
    assert_eq!(state(&app, &agents[1]).await.0, "active");
}

#[tokio::test]
async fn an_agent_whose_client_reads_results_only_is_told_limits_as_one() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let tool = acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    insert_limit(&mut app.sql().await, &app, &acme, "agent_tool", Some(agent.id), Some(tool.id), (1, 1)).await;
    sqlx::query("UPDATE app.agents SET limits_as_results = true WHERE id = $1")
        .bind(agent.id)
        .execute(&mut app.sql().await)
        .await
        .expect("set");
    app.platform.generations.advance(acme.id);
    assert!(agent.echo("x").await.is_ok());
    for era in Era::ALL {
        let told = agent.call(era, "echo", json!({ "text": "x" })).await;
        assert_eq!(
            (told.status, &told.json["result"]["isError"], told.error_class()),
            (200, &json!(true), "limited"),
            "{}",
            told.text
        );
        assert!(told.result().contains("over the limit of 1 calls per minute"), "{}", told.text);
    }
}
