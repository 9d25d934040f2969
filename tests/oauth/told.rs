//! What stops a service is told by the connection doctor.

use std::{collections::BTreeSet, time::Duration};

use jsonwebtoken::Algorithm;
use trunkline_platform::{
    agents::{self, AgentState},
    certificates::{self, CertificatePolicy},
    clock::Clock as _,
    handshake,
    oauth::NewProof,
};

use crate::support::{
    Tenant, TestApp, http,
    oauth::{OAuthClient, TokenPair, list_with, token_request},
    signer::Signer,
    tools,
};

/// Waits until the tenant's members are told of that fault at that hop.
async fn told(app: &TestApp, acme: &Tenant<'_>, wanted: &str) {
    let mut seen = BTreeSet::new();
    for _ in 0..100 {
        let owner = acme.owner.clone();
        let attempts = app.act(|platform| async move { handshake::list(&platform, &owner).await.expect("attempts") }).await;
        let steps = attempts.iter().flat_map(|attempt| &attempt.steps);
        seen = steps.filter_map(|step| Some(format!("{:?} {:?}", step.hop, step.fault?))).collect();
        if seen.contains(wanted) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{wanted}: {seen:?}");
}

#[tokio::test]
async fn every_refusal_of_a_service_is_named() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let client = acme.client(NewProof::Secret, Some(agent.id)).await.client;
    let idle = acme.client(NewProof::Secret, None).await.client;
    let (signer, stranger) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::ES256));
    let (endpoint, url, now) = (format!("{}/oauth/token", app.url), acme.mcp_url(), app.clock.now().timestamp());
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &*client.id),
        ("client_secret", client.secret.as_deref().expect("one")),
    ];
    let proof = signer.proof("POST", &endpoint, None, now);
    let token = TokenPair::of(&token_request(&app.url, &[("dpop", &proof)], &form).await).access;

    let (as_bearer, as_proven) = (format!("Bearer {token}"), format!("DPoP {token}"));
    assert_eq!(list_with(http(), &url, &[("authorization", &as_bearer)]).await.status, 401);
    told(&app, &acme, "Challenge NotProven").await;
    let foreign = stranger.proof("POST", &url, Some(&token), now);
    assert_eq!(list_with(http(), &url, &[("authorization", &as_proven), ("dpop", &foreign)]).await.status, 401);

    assert_eq!(token_request(&app.url, &[("dpop", &proof)], &form).await.status, 400, "used before");
    told(&app, &acme, "Token NotProven").await;
    let wrong = OAuthClient { secret: Some("tl_secret_x".to_owned()), ..client.clone() };
    assert_eq!(wrong.token(&[("grant_type", "client_credentials")]).await.status, 401);
    told(&app, &acme, "Token ClientAuthentication").await;
    let nobody = OAuthClient { id: crate::support::oauth::other_end(&client.id), ..client.clone() };
    assert_eq!(nobody.token(&[("grant_type", "client_credentials")]).await.status, 401);
    told(&app, &acme, "Token UnknownClient").await;
    assert_eq!(idle.token(&[("grant_type", "client_credentials")]).await.status, 400);
    told(&app, &acme, "Token ClientUnfit").await;
    let grant = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", "x.y.z")];
    assert_eq!(client.token(&grant).await.status, 400);
    told(&app, &acme, "Token AssertionRefused").await;

    let policy = CertificatePolicy::parse(&super::certificates::authority_pem(), true).expect("a policy");
    let owner = acme.owner.clone();
    app.act(|platform| async move {
        certificates::set_policy(&platform, &owner, &policy).await.expect("set");
    })
    .await;
    let with_key = format!("Bearer {}", agent.key);
    assert_eq!(list_with(http(), &url, &[("authorization", &with_key)]).await.status, 401);
    told(&app, &acme, "Challenge NotCertified").await;
    let (owner, id) = (acme.owner.clone(), agent.id);
    app.act(|platform| async move { agents::set_state(&platform, &owner, id, AgentState::Suspended).await.expect("suspended") })
        .await;
    assert_eq!(client.token(&[("grant_type", "client_credentials")]).await.status, 400);
    told(&app, &acme, "Token AgentStopped").await;
}
