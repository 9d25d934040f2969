//! A process that is killed right after it has said that something is revoked: whoever comes after it refuses.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Agent, Answer, Era, Replica, Tenant, TestApp, Visitor, http,
    oauth::{OAuthClient, REDIRECT, TokenPair, VERIFIER},
    tools,
};

/// A client that registers itself at that replica.
async fn register(url: &str) -> OAuthClient {
    let metadata = json!({ "client_name": "Test client", "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none" });
    let answer = http().post(format!("{url}/oauth/register")).json(&metadata).send().await.expect("an answer");
    let answer = Answer::read(answer).await;
    let id = answer.json["client_id"].as_str().unwrap_or_else(|| panic!("{}", answer.text)).to_owned();
    OAuthClient { url: url.to_owned(), id, secret: None, redirect_uri: REDIRECT.to_owned() }
}

/// Calls with that bearer at that replica.
async fn status(acme: &Tenant<'_>, url: &str, bearer: &str) -> u16 {
    let agent: Agent = acme.with_token(bearer).at(&format!("{url}/t/acme/mcp"));
    agent.call(Era::Stateless, "echo", json!({ "text": "x" })).await.status
}

/// What a test ends, and all that has to be refused afterwards.
struct Ended {
    client: OAuthClient,
    bearers: Vec<String>,
    refresh: Vec<String>,
    code: Option<String>,
}

/// Kills the replica, starts another one at its address, and asks with everything that was ended.
async fn still_refused(app: &TestApp, acme: &Tenant<'_>, replica: Replica, ended: Ended) {
    let port = replica.port();
    replica.kill();
    let next = Replica::start_at(app, port).await;
    for bearer in &ended.bearers {
        assert_eq!(status(acme, &next.url, bearer).await, 401, "{bearer:.20}");
    }
    for token in &ended.refresh {
        let refused = ended.client.refresh(token).await;
        assert_eq!((refused.status, &refused.json["error"]), (400, &json!("invalid_grant")), "{token:.20}");
    }
    if let Some(code) = &ended.code {
        let refused = ended.client.redeem(code).await;
        assert_eq!((refused.status, &refused.json["error"]), (400, &json!("invalid_grant")));
    }
    next.kill();
}

/// The replica, the owner's browser at it, a client, and its tokens.
async fn connected(app: &TestApp) -> (Replica, Visitor, OAuthClient, String) {
    let replica = Replica::start(app).await;
    let owner = Visitor::signed_in(&replica.url, "owner@acme.example").await;
    let client = register(&replica.url).await;
    let endpoint = format!("{}/t/acme/mcp", replica.url);
    (replica, owner, client, endpoint)
}

async fn acme(app: &TestApp) -> (Tenant<'_>, Agent) {
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    (acme, agent)
}

#[tokio::test]
async fn o_34_what_a_client_gave_back_is_refused_after_a_kill() {
    let app = TestApp::start().await;
    let (acme, _) = acme(&app).await;
    let (replica, owner, client, endpoint) = connected(&app).await;
    let code = client.code(&owner, &endpoint, &[]).await;
    let first = TokenPair::of(&client.redeem(&code).await);
    let tokens = TokenPair::of(&client.refresh(&first.refresh).await);
    assert_eq!(status(&acme, &replica.url, &tokens.access).await, 200);
    assert_eq!(client.post("/oauth/revoke", &[("token", &tokens.refresh)]).await.status, 200);
    let ended = Ended {
        client,
        bearers: vec![first.access, tokens.access],
        refresh: vec![first.refresh, tokens.refresh],
        code: Some(code),
    };
    still_refused(&app, &acme, replica, ended).await;
}

#[tokio::test]
async fn o_34_an_access_token_alone_is_refused_after_a_kill() {
    let app = TestApp::start().await;
    let (acme, _) = acme(&app).await;
    let (replica, owner, client, endpoint) = connected(&app).await;
    let tokens = TokenPair::of(&client.redeem(&client.code(&owner, &endpoint, &[]).await).await);
    assert_eq!(status(&acme, &replica.url, &tokens.access).await, 200);
    assert_eq!(client.post("/oauth/revoke", &[("token", &tokens.access)]).await.status, 200);
    still_refused(&app, &acme, replica, Ended { client, bearers: vec![tokens.access], refresh: vec![], code: None }).await;
}

#[tokio::test]
async fn o_34_a_key_and_a_grant_that_the_owner_ended_are_refused_after_a_kill() {
    let app = TestApp::start().await;
    let (acme, agent) = acme(&app).await;
    let (replica, owner, client, endpoint) = connected(&app).await;
    let tokens = TokenPair::of(&client.redeem(&client.code(&owner, &endpoint, &[]).await).await);
    for bearer in [&tokens.access, &agent.key] {
        assert_eq!(status(&acme, &replica.url, bearer).await, 200);
    }
    let page = owner.get(&format!("/t/acme/agents/{}", agent.id)).await.ok();
    let grant = page.between("action=\"/t/acme/grants/", "\"").expect("a grant").to_owned();
    assert_eq!(owner.post(&format!("/t/acme/keys/{}/revoke", agent.key_id), &[]).await.status, 303);
    assert_eq!(owner.post(&format!("/t/acme/grants/{grant}"), &[]).await.status, 303);
    let ended = Ended { client, bearers: vec![tokens.access, agent.key], refresh: vec![tokens.refresh], code: None };
    still_refused(&app, &acme, replica, ended).await;
}

#[tokio::test]
async fn o_12_what_a_replayed_code_ended_is_refused_after_a_kill() {
    let app = TestApp::start().await;
    let (acme, _) = acme(&app).await;
    let (replica, owner, client, endpoint) = connected(&app).await;
    let code = client.code(&owner, &endpoint, &[]).await;
    let tokens = TokenPair::of(&client.redeem(&code).await);
    assert_eq!(status(&acme, &replica.url, &tokens.access).await, 200);
    assert_eq!(client.redeem(&code).await.status, 400);
    let ended = Ended { client, bearers: vec![tokens.access], refresh: vec![tokens.refresh], code: Some(code) };
    still_refused(&app, &acme, replica, ended).await;
}

#[tokio::test]
async fn o_30_a_reused_refresh_token_ends_the_family_also_across_a_kill() {
    let app = TestApp::start().await;
    let (acme, _) = acme(&app).await;
    let (replica, owner, client, endpoint) = connected(&app).await;
    let first = TokenPair::of(&client.redeem(&client.code(&owner, &endpoint, &[]).await).await);
    let second = TokenPair::of(&client.refresh(&first.refresh).await);
    let third = TokenPair::of(&client.refresh(&second.refresh).await);
    let port = replica.port();
    replica.kill();
    // Whoever has the old one comes to the next process, which knows that it was used, and that its successor was.
    let next = Replica::start_at(&app, port).await;
    assert_eq!(status(&acme, &next.url, &third.access).await, 200, "what was not revoked goes on");
    assert_eq!(client.refresh(&first.refresh).await.json["error"], json!("invalid_grant"));
    let ended = Ended { client, bearers: vec![third.access], refresh: vec![second.refresh, third.refresh], code: None };
    still_refused(&app, &acme, next, ended).await;
}

#[tokio::test]
async fn o_11_a_code_made_before_a_kill_is_redeemed_once_after_it() {
    let app = TestApp::start().await;
    let (acme, _) = acme(&app).await;
    let (replica, owner, client, endpoint) = connected(&app).await;
    let code = client.code(&owner, &endpoint, &[]).await;
    let port = replica.port();
    replica.kill();
    let next = Replica::start_at(&app, port).await;
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", &*code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
        ("client_id", &*client.id),
    ];
    let url = format!("{}/oauth/token", next.url);
    let send = async || Answer::read(http().request(Method::POST, &url).form(&fields).send().await.expect("an answer")).await;
    let tokens = TokenPair::of(&send().await);
    assert_eq!(status(&acme, &next.url, &tokens.access).await, 200);
    let again: Value = send().await.json;
    assert_eq!(again["error"], json!("invalid_grant"));
    next.kill();
}
