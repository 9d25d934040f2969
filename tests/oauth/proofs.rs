//! DPoP: tokens that are good only with a proof of possession, for that request.

use chrono::TimeDelta;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use trunkline_platform::{clock::Clock as _, oauth::NewProof};

use crate::support::{
    Answer, TestApp, http,
    oauth::{OAuthClient, TokenPair, VERIFIER, claims_of, list_with, token_request},
    signer::{Signer, proof_claims},
    tools,
};

async fn list(url: &str, scheme: &str, token: &str, proof: Option<&str>) -> Answer {
    let authorization = format!("{scheme} {token}");
    let mut headers = vec![("authorization", authorization.as_str())];
    headers.extend(proof.map(|proof| ("dpop", proof)));
    list_with(http(), url, &headers).await
}

#[tokio::test]
async fn a_token_that_was_asked_for_with_a_proof_is_good_with_proofs_of_that_key_only() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let client = acme.client(NewProof::Secret, Some(agent.id)).await.client;
    let now = app.clock.now().timestamp();
    let (endpoint, url) = (format!("{}/oauth/token", app.url), acme.mcp_url());
    for algorithm in [Algorithm::ES256, Algorithm::EdDSA] {
        let (signer, stranger) = (Signer::new(algorithm), Signer::new(algorithm));
        let secret = client.secret.as_deref().expect("a secret");
        let form = [("grant_type", "client_credentials"), ("client_id", &*client.id), ("client_secret", secret)];
        let answer = token_request(&app.url, &[("dpop", &signer.proof("POST", &endpoint, None, now))], &form).await;
        assert_eq!(answer.json["token_type"], json!("DPoP"), "{}", answer.text);
        let token = TokenPair::of(&answer).access;
        assert_eq!(claims_of(&token)["cnf"], json!({ "jkt": signer.thumbprint }));

        let proof = signer.proof("POST", &url, Some(&token), now);
        assert_eq!(list(&url, "DPoP", &token, Some(&proof)).await.tool_names(), ["echo"]);
        let replayed = list(&url, "dpop", &token, Some(&proof)).await;
        assert_eq!(replayed.status, 401, "a proof is good once");
        let challenges: Vec<_> =
            replayed.headers.get_all("www-authenticate").iter().filter_map(|value| value.to_str().ok()).collect();
        assert!(
            challenges.iter().any(|one| one.starts_with("DPoP error=\"invalid_dpop_proof\", algs=\"ES256 EdDSA\"")),
            "{challenges:?}"
        );

        assert_eq!(list(&url, "Bearer", &token, None).await.status, 401, "as a bearer");
        let fresh = |claims: &Value| signer.sign_with_key("dpop+jwt", claims);
        assert_eq!(list(&url, "Bearer", &token, Some(&fresh(&proof_claims("POST", &url, Some(&token), now)))).await.status, 401);
        assert_eq!(list(&url, "DPoP", &token, None).await.status, 401);
        let good = proof_claims("POST", &url, Some(&token), now);
        for (name, value) in [
            ("htm", json!("GET")),
            ("htu", json!(endpoint)),
            ("htu", json!(url.replace("acme", "other"))),
            // The clock goes on while this runs; to the second it is a test beside the code.
            ("iat", json!(now - 61)),
            ("iat", json!(now + 90)),
            ("iat", json!("now")),
            ("ath", json!("x")),
            ("ath", Value::Null),
            ("jti", Value::Null),
        ] {
            let mut claims = good.clone();
            claims[name] = value.clone();
            assert_eq!(list(&url, "DPoP", &token, Some(&fresh(&claims))).await.status, 401, "{name} {value}");
        }
        for proof in [
            stranger.sign_with_key("dpop+jwt", &good),
            signer.sign_with_key("JWT", &good),
            signer.sign("dpop+jwt", &good),
            "x.y.z".to_owned(),
        ] {
            assert_eq!(list(&url, "DPoP", &token, Some(&proof)).await.status, 401);
        }
        let two = [("authorization", &*format!("DPoP {token}")), ("dpop", &*fresh(&good)), ("dpop", &*fresh(&good))];
        assert_eq!(list_with(http(), &url, &two).await.status, 401, "two proofs are none");
        assert_eq!(list(&url, "DPoP", &token, Some(&fresh(&good))).await.status, 200, "the good one still is");
        // Neither a key nor a token that is not bound comes under that scheme.
        let for_key = signer.proof("POST", &url, Some(&agent.key), now);
        assert_eq!(list(&url, "DPoP", &agent.key, Some(&for_key)).await.status, 401);
    }
    let bare = TokenPair::of(&client.token(&[("grant_type", "client_credentials")]).await).access;
    let signer = Signer::new(Algorithm::ES256);
    assert_eq!(list(&url, "DPoP", &bare, Some(&signer.proof("POST", &url, Some(&bare), now))).await.status, 401);
}

#[tokio::test]
async fn refresh_tokens_of_a_public_client_are_bound_to_its_key() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    acme.agent("agent", "tools:read").await;
    let owner = acme.owner_browser().await;
    let client = OAuthClient::register(&app).await;
    let endpoint = format!("{}/oauth/token", app.url);
    let (signer, stranger) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::ES256));
    let code = client.code(&owner, &acme.mcp_url(), &[]).await;
    let proven = async |signer: &Signer, fields: &[(&str, &str)]| {
        let proof = signer.proof("POST", &endpoint, None, app.clock.now().timestamp());
        let fields: Vec<_> = fields.iter().copied().chain([("client_id", client.id.as_str())]).collect();
        token_request(&app.url, &[("dpop", &proof)], &fields).await
    };
    let redeemed = [
        ("grant_type", "authorization_code"),
        ("code", &*code),
        ("redirect_uri", &client.redirect_uri),
        ("code_verifier", VERIFIER),
    ];
    let stale = signer.proof("POST", &endpoint, None, app.clock.now().timestamp() - 120);
    let fields: Vec<_> = redeemed.iter().copied().chain([("client_id", client.id.as_str())]).collect();
    let refused = token_request(&app.url, &[("dpop", &stale)], &fields).await;
    assert_eq!((refused.status, &refused.json["error"]), (400, &json!("invalid_dpop_proof")));
    let answer = proven(&signer, &redeemed).await;
    assert_eq!(answer.json["token_type"], json!("DPoP"));
    let tokens = TokenPair::of(&answer);
    assert_eq!(client.refresh(&tokens.refresh).await.json["error"], json!("invalid_grant"), "without a proof");
    let fields = [("grant_type", "refresh_token"), ("refresh_token", &*tokens.refresh)];
    assert_eq!(proven(&stranger, &fields).await.json["error"], json!("invalid_grant"), "with another key");
    app.clock.advance(TimeDelta::seconds(1));
    let fresh = proven(&signer, &fields).await;
    assert_eq!((fresh.status, &fresh.json["token_type"]), (200, &json!("DPoP")), "none of that has used it: {}", fresh.text);
}
