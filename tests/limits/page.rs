//! The page of limits: how full they are, who was over them, who is held back, what the organisation allows itself.

use nix::sys::signal::Signal;
use serde_json::json;
use trunkline_platform::{
    actor::Role,
    quota::{Limit, Rate, plans},
};

use super::insert_more;
use crate::support::{Agent, Era, OwnRedis, SOON, TestApp, Upstream, Visitor, eventually, seed::insert_limit, tools};

const PAGE: &str = "/t/acme/limits";

async fn call(agent: &Agent, tool: &str) -> u16 {
    agent.call(Era::Stateless, tool, json!({ "text": "x" })).await.status
}

async fn owner(app: &TestApp) -> Visitor {
    Visitor::signed_in(&app.url, "owner@acme.example").await
}

#[tokio::test]
async fn fill_is_read_for_nothing() {
    let app = TestApp::builder().set("QUOTA_LADDER_REFUSALS", 0).start().await;
    let acme = app.tenant("acme").await;
    let tool = acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("helper", "tools:read").await;
    // Hardly anything comes back while this runs.
    insert_limit(&mut app.sql().await, &app, &acme, "agent_tool", Some(agent.id), Some(tool.id), (1, 10)).await;
    insert_more(&app, &acme, "agent", (Some(agent.id), None), (Some(20), None)).await;
    let owner = owner(&app).await;
    let quiet = owner.get(PAGE).await.ok();
    assert!(quiet.body.contains("Whole organisation") && quiet.body.contains("No agent was over a limit"), "{}", quiet.body);
    for _ in 0..8 {
        assert_eq!(call(&agent, "echo").await, 200);
    }
    let page = eventually("the page knows of the calls", SOON, async || {
        let page = owner.get(PAGE).await.ok();
        page.body.contains("8 of 10 used").then_some(page)
    })
    .await;
    for text in ["helper", "echo", "1 a minute, 10 at once", "8 of 20 used", "20 a day (UTC)", "bar-warn"] {
        assert!(page.body.contains(text), "{text}: {}", page.body);
    }
    for _ in 0..10 {
        owner.get(PAGE).await.ok();
    }
    assert_eq!([call(&agent, "echo").await, call(&agent, "echo").await, call(&agent, "echo").await], [200, 200, 429]);
    let limited = eventually("the refusal is counted", SOON, async || {
        let page = owner.get(PAGE).await.ok();
        page.body.contains("outcome=limited").then_some(page)
    })
    .await;
    assert!(limited.body.contains("of 11</span>"), "{}", limited.body);
}

#[tokio::test]
async fn who_is_held_back_is_restored_with_one_click() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agents = [acme.agent("suspended one", "tools:read").await, acme.agent("refused one", "tools:read").await];
    let owner = owner(&app).await;
    let path = format!("/t/acme/agents/{}", agents[0].id);
    owner.post(&format!("{path}/suspend"), &[]).await.leads_to(&path);
    sqlx::query("UPDATE app.agents SET state = 'throttled', state_reason = 'refusals', state_until = $2 WHERE id = $1")
        .bind(agents[1].id)
        .bind(app.platform.clock.now() + chrono::TimeDelta::minutes(5))
        .execute(&mut app.sql().await)
        .await
        .expect("throttled");
    let page = owner.get(PAGE).await.ok();
    for text in ["suspended one", "A member suspended it.", "refused one", "refused too often within a minute", ">Restore<"] {
        assert!(page.body.contains(text), "{text}: {}", page.body);
    }
    for agent in &agents {
        let resume = format!("/t/acme/agents/{}/resume", agent.id);
        owner.post(&resume, &[("from", "limits")]).await.leads_to(PAGE);
        assert_eq!(call(agent, "echo").await, 200);
    }
    assert!(!owner.get(PAGE).await.ok().body.contains("Held back"));
    acme.member("viewer@acme.example", Role::Viewer).await;
    owner.post(&format!("{path}/suspend"), &[]).await.leads_to(&path);
    let viewer = Visitor::signed_in(&app.url, "viewer@acme.example").await;
    let page = viewer.get(PAGE).await.ok();
    assert!(page.body.contains("suspended one") && !page.body.contains(">Restore<"), "{}", page.body);
}

#[tokio::test]
async fn open_breakers_are_shown_there_and_on_the_tools_page() {
    let upstream = Upstream::start().await;
    let app = TestApp::builder().unlimited().start().await;
    let acme = app.tenant("acme").await;
    let tool = acme.tool("fails", tools::get(&upstream.url("/status/500"))).await;
    let other = acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("helper", "tools:read").await;
    let owner = owner(&app).await;
    assert!(!owner.get(PAGE).await.ok().body.contains("Left alone"));
    let page = eventually("it is left alone", SOON, async || {
        while agent.call(Era::Stateless, "fails", json!({})).await.status == 200 {}
        let page = owner.get(PAGE).await.ok();
        page.body.contains("Left alone").then_some(page)
    })
    .await;
    assert!(page.body.contains(&upstream.url("")), "{}", page.body);
    assert!(owner.get(&format!("/t/acme/tools/{}", tool.id)).await.ok().body.contains("Left alone"));
    assert!(!owner.get(&format!("/t/acme/tools/{}", other.id)).await.ok().body.contains("Left alone"));
}

#[tokio::test]
async fn page_says_that_redis_is_away() {
    let redis = OwnRedis::start().await;
    let app = TestApp::builder().set("REDIS_URL", redis.url()).start().await;
    app.tenant("acme").await;
    let owner = owner(&app).await;
    assert!(!owner.get(PAGE).await.ok().body.contains("Running degraded"));
    redis.signal(Signal::SIGSTOP);
    let page = owner.get(PAGE).await.ok();
    redis.signal(Signal::SIGCONT);
    assert!(page.body.contains("Running degraded") && page.body.contains("Nobody knows how full"), "{}", page.body);
}

#[tokio::test]
async fn organisation_limits_itself_within_its_plan() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("helper", "tools:read").await;
    app.act(|platform| async move {
        let limit = Limit { rate: Some(Rate { per_minute: 100, burst: 50 }), per_day: Some(1_000), at_once: None };
        plans::set(&platform, "small", limit).await.expect("a plan");
        plans::give(&platform, "acme", Some("small")).await.expect("it is given");
    })
    .await;
    let owner = owner(&app).await;
    let page = owner.get(PAGE).await.ok();
    assert!(page.body.contains("Your plan “small” allows 100 a minute, 50 at once; 1,000 a day."), "{}", page.body);
    for (fields, complaint) in [
        (&[("per_minute", "101"), ("burst", "5")][..], "allows 100 at most"),
        (&[("per_minute", "10")], ""),
        (&[("per_minute", "100")], "allows 50 at most"),
        (&[("per_day", "1001")], "allows 1000 at most"),
        (&[("per_minute", "x")], "Expected a whole number"),
        (&[("at_once", "0")], "Expected a whole number"),
    ] {
        let page = owner.post(PAGE, fields).await;
        assert_eq!(page.status, if complaint.is_empty() { 303 } else { 422 }, "{fields:?}");
        assert!(page.body.contains(complaint), "{complaint}: {}", page.body);
    }
    owner.post(PAGE, &[("per_minute", "1"), ("burst", "2")]).await.leads_to(PAGE);
    let statuses = [call(&agent, "echo").await, call(&agent, "echo").await, call(&agent, "echo").await];
    assert_eq!(statuses, [200, 200, 429], "from the next call on");
    owner.post(PAGE, &[]).await.leads_to(PAGE);
    // What was used up comes in again as fast as the plan has it.
    eventually("the plan alone", SOON, async || (call(&agent, "echo").await == 200).then_some(())).await;
    acme.member("developer@acme.example", Role::Developer).await;
    let developer = Visitor::signed_in(&app.url, "developer@acme.example").await;
    assert_eq!(developer.post(PAGE, &[("per_day", "1")]).await.status, 403);
}
