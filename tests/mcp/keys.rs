//! Bearer keys: which work where, and for how long.

use chrono::TimeDelta;
use reqwest::Method;
use trunkline_platform::{
    agents::{self, AgentState},
    ids::{AgentId, KeyId},
};

use crate::support::{Agent, Answer, Era, Tenant, TestApp, http, tools};

async fn acme(app: &TestApp) -> (Tenant<'_>, Agent) {
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    (acme, agent)
}

async fn revoke(app: &TestApp, tenant: &Tenant<'_>, key: KeyId) {
    let owner = tenant.owner.clone();
    app.act(|platform| async move { agents::revoke_key(&platform, &owner, key).await.expect("the key is revoked") }).await;
}

async fn set_state(app: &TestApp, tenant: &Tenant<'_>, agent: AgentId, state: AgentState) {
    let owner = tenant.owner.clone();
    app.act(|platform| async move {
        agents::set_state(&platform, &owner, agent, state).await.expect("the state is set");
    })
    .await;
}

/// Everything of an answer but what differs from request to request.
fn essence(answer: &Answer) -> (u16, String, String) {
    (answer.status, answer.header("www-authenticate").to_owned(), answer.text.clone())
}

#[tokio::test]
async fn without_a_bearer_the_answer_says_where_to_get_one() {
    let app = TestApp::start().await;
    let (acme, agent) = acme(&app).await;
    let metadata = format!("{}/.well-known/oauth-protected-resource/t/acme/mcp", app.url);
    for method in [Method::POST, Method::GET, Method::DELETE, Method::OPTIONS] {
        let answer = http().request(method.clone(), acme.mcp_url()).send().await.expect("an answer");
        let answer = Answer::read(answer).await;
        let challenge = format!(r#"Bearer resource_metadata="{metadata}", scope="tools:read""#);
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, challenge.as_str()), "{method}");
    }
    let document = Answer::read(http().get(&metadata).send().await.expect("an answer")).await;
    assert_eq!((document.status, document.json["resource"].as_str()), (200, Some(agent.url.as_str())));
    assert_eq!(document.json["bearer_methods_supported"], serde_json::json!(["header"]));
}

#[tokio::test]
async fn strangers_do_not_learn_which_toolsets_there_are() {
    let app = TestApp::start().await;
    let (acme, _) = acme(&app).await;
    acme.toolset("there", &[]).await;
    let look = async |path: &str| {
        let url = format!("{}/.well-known/oauth-protected-resource/t/{path}", app.url);
        let metadata = Answer::read(http().get(url).send().await.expect("an answer")).await;
        let endpoint = Answer::read(http().post(format!("{}/t/{path}", app.url)).send().await.expect("an answer")).await;
        let same = |text: &str| text.replace("elsewhere", "there");
        (metadata.status, same(&metadata.text), endpoint.status, same(endpoint.header("www-authenticate")), endpoint.text)
    };
    let there = look("acme/mcp/there").await;
    assert_eq!((there.0, there.2), (200, 401));
    assert_eq!(look("acme/mcp/elsewhere").await, there);
    assert_eq!(look("acme/mcp/No.Name").await.0, 404, "what cannot be a name");
    assert_eq!(look("nobody/mcp/there").await.0, 404);
}

#[tokio::test]
async fn every_bad_key_gets_the_same_answer() {
    let app = TestApp::start().await;
    let (acme, agent) = acme(&app).await;
    let other = app.tenant("other").await.agent("agent", "tools:read").await;
    let revoked = acme.agent("revoked", "tools:read").await;
    assert_eq!(revoked.list(Era::Stateless).await.status, 200, "it works at first");
    revoke(&app, &acme, revoked.key_id).await;
    let mistyped = agent.key.replace("tl_live_", "tl_live_0");
    let mut swapped = agent.key.clone();
    let last = swapped.pop().expect("a key");
    swapped.push(if last == 'a' { 'b' } else { 'a' });
    let unsigned = format!("tl_live_{}", "0".repeat(51));
    let mut answers = Vec::new();
    for key in [&revoked.key, &other.key, &mistyped, &swapped, &unsigned, &"x".to_owned(), &"x".repeat(9_000)] {
        for era in Era::ALL {
            let answer = Agent { key: key.clone(), ..agent.clone() }.list(era).await;
            answers.push(essence(&answer));
        }
    }
    let at_nobody = agent.at(&format!("{}/t/nobody/mcp", app.url)).list(Era::Stateless).await;
    let (status, challenge, body) = essence(&at_nobody);
    answers.push((status, challenge.replace("/t/nobody/", "/t/acme/"), body));
    assert_eq!(answers[0].0, 401);
    assert!(answers[0].1.contains(r#"error="invalid_token""#), "{}", answers[0].1);
    for answer in &answers {
        assert_eq!(answer, &answers[0]);
    }
    assert!(agent.echo("x").await.is_ok(), "the good key still works");
}

#[tokio::test]
async fn a_key_works_until_it_expires() {
    let app = TestApp::start().await;
    let (_, agent) = acme(&app).await;
    app.clock.advance(TimeDelta::days(364));
    assert!(agent.echo("x").await.is_ok());
    app.clock.advance(TimeDelta::days(1));
    assert_eq!(agent.echo("x").await.status, 401);
}

#[tokio::test]
async fn a_rolled_key_goes_on_for_its_overlap_and_its_successor_works_at_once() {
    let app = TestApp::start().await;
    let (acme, agent) = acme(&app).await;
    let (owner, key) = (acme.owner.clone(), agent.key_id);
    let created = app
        .act(|platform| async move { agents::roll_key(&platform, &owner, key, TimeDelta::hours(1)).await.expect("rolled") })
        .await;
    let next = acme.with_key(agent.id, created.key.id, created.text.reveal());
    assert!(agent.echo("x").await.is_ok() && next.echo("x").await.is_ok());
    app.clock.advance(TimeDelta::hours(1));
    assert_eq!(agent.echo("x").await.status, 401);
    assert!(next.echo("x").await.is_ok());
}

#[tokio::test]
async fn revocation_holds_from_the_next_request_on_another_replica_too() {
    let app = TestApp::start().await;
    let second = app.replica().await;
    let (acme, agent) = acme(&app).await;
    let there = agent.at(&agent.url.replace(&app.url, &second.url));
    for round in 0..10 {
        let doomed = acme.agent(&format!("doomed {round}"), "tools:read").await;
        let doomed_there = doomed.at(&there.url);
        assert!(doomed.echo("x").await.is_ok());
        // A new key is heard of through Postgres, which takes its moment.
        let known = async || doomed_there.echo("x").await.is_ok().then_some(());
        crate::support::eventually("the other replica knows it", crate::support::SOON, known).await;
        revoke(&app, &acme, doomed.key_id).await;
        let (call, list) = (doomed_there.echo("x").await, doomed_there.list(Era::Handshake).await);
        assert_eq!((call.status, list.status, doomed.echo("x").await.status), (401, 401, 401), "round {round}");
    }
    assert!(there.echo("x").await.is_ok(), "the others go on");
}

#[tokio::test]
async fn suspension_and_resumption_hold_from_the_next_request_on_another_replica_too() {
    let app = TestApp::start().await;
    let second = app.replica().await;
    let (acme, agent) = acme(&app).await;
    let there = agent.at(&agent.url.replace(&app.url, &second.url));
    assert!(there.echo("x").await.is_ok());
    for (state, status) in [(AgentState::Suspended, 403), (AgentState::Active, 200), (AgentState::Suspended, 403)] {
        set_state(&app, &acme, agent.id, state).await;
        for agent in [&there, &agent] {
            let (call, list) = (agent.echo("x").await, agent.list(Era::Handshake).await);
            assert_eq!((call.status, list.status), (status, status), "{state:?}");
            if state == AgentState::Suspended {
                assert_eq!((call.code(), &call.json["error"]["data"]["retryable"]), (4031, &serde_json::json!(false)));
            }
        }
    }
}

#[tokio::test]
async fn the_agents_of_a_suspended_tenant_are_suspended() {
    let app = TestApp::start().await;
    let (acme, agent) = acme(&app).await;
    assert!(agent.echo("x").await.is_ok());
    let mut sql = app.sql().await;
    sqlx::query("UPDATE app.tenants SET state = 'suspended' WHERE id = $1").bind(acme.id).execute(&mut sql).await.expect("set");
    crate::support::eventually("the change is heard of", crate::support::SOON, async || {
        (agent.echo("x").await.status == 403).then_some(())
    })
    .await;
}
