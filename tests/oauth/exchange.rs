//! Token exchange: a service passes a call on, in the name of the same agent.

use serde_json::json;
use trunkline_platform::{
    agents,
    oauth::{self, NewProof},
};

use crate::support::{
    Answer, TestApp,
    oauth::{OAuthClient, TokenPair, claims_of},
    tools,
};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";

async fn exchange(client: &OAuthClient, subject: &str, more: &[(&str, &str)]) -> Answer {
    let mut fields = vec![("grant_type", GRANT), ("subject_token", subject), ("subject_token_type", TYPE)];
    fields.extend(more);
    client.token(&fields).await
}

fn error(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.json["error"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn a_token_is_exchanged_for_no_more_and_says_who_acts() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:write resources:read").await;
    let few = acme.toolset("few", &["echo"]).await;
    let owner = acme.owner_browser().await;
    let person = OAuthClient::register(&app).await;
    let subject = person.connect(&owner, &acme, &["tools:read"]).await;
    let middle = acme.client(NewProof::Secret, None).await.client;

    app.clock.advance(chrono::TimeDelta::minutes(5));
    let answer = exchange(&middle, &subject.access, &[("resource", &few), ("scope", "tools:read tools:write")]).await;
    let tokens = TokenPair::of(&answer);
    assert_eq!(
        (&answer.json["issued_token_type"], tokens.refresh.as_str(), tokens.scope.as_str()),
        (&json!(TYPE), "", "tools:read")
    );
    let (before, claims) = (claims_of(&subject.access), claims_of(&tokens.access));
    assert_eq!((&claims["sub"], &claims["user"], &claims["aud"]), (&before["sub"], &before["user"], &json!(few)));
    assert_eq!(claims["act"], json!({ "sub": middle.id }));
    assert_eq!(claims["exp"], before["exp"], "no longer life");
    assert!(acme.with_token(&tokens.access).at(&few).echo("x").await.is_ok());
    assert_eq!(acme.with_token(&tokens.access).echo("x").await.status, 401, "for that endpoint only");
    // What was narrowed is not widened again.
    let wider = exchange(&middle, &tokens.access, &[("audience", &acme.mcp_url())]).await;
    assert_eq!(error(&wider), (400, "invalid_target"));

    // A chain of three, and no longer.
    let mut subject = subject.access;
    for depth in 1..=3 {
        let next = acme.client(NewProof::Secret, None).await.client;
        subject = TokenPair::of(&exchange(&next, &subject, &[]).await).access;
        let act = claims_of(&subject)["act"].clone();
        assert_eq!(std::iter::successors(Some(&act), |act| act.get("act")).count(), depth);
        assert_eq!(act["sub"], json!(next.id));
    }
    assert!(acme.with_token(&subject).echo("x").await.is_ok());
    assert_eq!(error(&exchange(&middle, &subject, &[]).await), (400, "invalid_request"));
    // An agent's key is a subject as well, and what came of it ends with it.
    let of_key = TokenPair::of(&exchange(&middle, &agent.key, &[("scope", "tools:read")]).await);
    assert!(acme.with_token(&of_key.access).echo("x").await.is_ok());
    let (actor, key) = (acme.owner.clone(), agent.key_id);
    app.act(|platform| async move { agents::revoke_key(&platform, &actor, key).await.expect("revoked") }).await;
    assert_eq!(acme.with_token(&of_key.access).echo("x").await.status, 401);
}

#[tokio::test]
async fn what_cannot_be_exchanged() {
    let app = TestApp::start().await;
    let (acme, other) = (app.tenant("acme").await, app.tenant("other").await);
    for tenant in [&acme, &other] {
        tenant.tool("echo", tools::echo()).await;
        tenant.agent("agent", "tools:read").await;
    }
    let owner = acme.owner_browser().await;
    let person = OAuthClient::register(&app).await;
    let subject = person.connect(&owner, &acme, &["tools:read"]).await.access;
    let middle = acme.client(NewProof::Secret, None).await.client;
    let foreign = other.client(NewProof::Secret, None).await.client;
    let public = acme.client(NewProof::Nothing, None).await.client;
    assert_eq!(error(&exchange(&foreign, &subject, &[]).await), (400, "invalid_request"), "another tenant's client");
    assert_eq!(error(&exchange(&public, &subject, &[]).await), (400, "unauthorized_client"));
    assert_eq!(error(&exchange(&person, &subject, &[]).await), (400, "unauthorized_client"), "it registered itself");
    assert_eq!(error(&exchange(&middle, &subject, &[("resource", &other.mcp_url())]).await), (400, "invalid_target"));
    let two = [("resource", acme.mcp_url()), ("audience", other.mcp_url())];
    let two: Vec<_> = two.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(error(&exchange(&middle, &subject, &two).await), (400, "invalid_target"));
    assert_eq!(error(&exchange(&middle, &subject, &[("scope", "resources:read")]).await), (400, "invalid_scope"));
    assert_eq!(error(&exchange(&middle, &subject, &[("actor_token", "x")]).await), (400, "invalid_request"));
    for broken in ["x", &subject[..subject.len() - 4], "tl_live_000000000000_x"] {
        assert_eq!(error(&exchange(&middle, broken, &[]).await), (400, "invalid_request"), "{broken}");
    }
    // Calls are given some seconds more; what would last longer than its subject is not.
    app.clock.advance(chrono::TimeDelta::seconds(15 * 60 + 5));
    assert!(acme.with_token(&subject).echo("x").await.is_ok());
    assert_eq!(error(&exchange(&middle, &subject, &[]).await), (400, "invalid_request"), "expired");
}

#[tokio::test]
async fn a_09_what_came_of_a_revoked_token_is_refused_too() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    acme.agent("agent", "tools:read").await;
    let owner = acme.owner_browser().await;
    let person = OAuthClient::register(&app).await;
    let middle = acme.client(NewProof::Secret, None).await;
    for revoke in ["grant", "token", "actor"] {
        let subject = person.connect(&owner, &acme, &["tools:read"]).await;
        let exchanged = TokenPair::of(&exchange(&middle.client, &subject.access, &[]).await).access;
        assert!(acme.with_token(&exchanged).echo("x").await.is_ok());
        assert_eq!(middle.client.post("/oauth/introspect", &[("token", &exchanged)]).await.json["active"], json!(true));
        let (actor, client) = (acme.owner.clone(), middle.id);
        match revoke {
            "grant" => assert_eq!(person.post("/oauth/revoke", &[("token", &subject.refresh)]).await.status, 200),
            "token" => assert_eq!(person.post("/oauth/revoke", &[("token", &subject.access)]).await.status, 200),
            _ => drop(
                app.act(|platform| async move { oauth::block_client(&platform, &actor, client).await.expect("blocked") }).await,
            ),
        }
        assert_eq!(acme.with_token(&exchanged).echo("x").await.status, 401, "{revoke}");
        let told = middle.client.post("/oauth/introspect", &[("token", &exchanged)]).await;
        assert_ne!(told.json["active"], json!(true), "{revoke}: what is refused is not said to work");
        assert_ne!(exchange(&middle.client, &subject.access, &[]).await.status, 200, "{revoke}");
    }
}
