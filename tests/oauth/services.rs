//! Services that act on behalf of nobody: client credentials, with each way to prove who they are.

use chrono::TimeDelta;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use trunkline_platform::{
    clock::Clock as _,
    oauth::{self, NewProof},
};

use crate::support::{
    Answer, Tenant, TestApp,
    oauth::{Made, OAuthClient, TokenPair, claims_of, token_request},
    published::Published,
    signer::{Signer, assertion_claims},
    tools,
};

const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

async fn acme(app: &TestApp) -> (Tenant<'_>, trunkline_platform::ids::AgentId) {
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read resources:read").await.id;
    (acme, agent)
}

async fn ask(client: &OAuthClient, more: &[(&str, &str)]) -> Answer {
    let mut fields = vec![("grant_type", "client_credentials")];
    fields.extend(more);
    client.token(&fields).await
}

async fn ask_with(app: &TestApp, assertion: &str) -> Answer {
    let fields = [("grant_type", "client_credentials"), ("client_assertion_type", TYPE), ("client_assertion", assertion)];
    token_request(&app.url, &[], &fields).await
}

#[tokio::test]
async fn o_18_a_service_with_a_secret_gets_a_token_of_its_agent_and_none_to_refresh() {
    let app = TestApp::start().await;
    let (acme, agent) = acme(&app).await;
    let Made { client, .. } = acme.client(NewProof::Secret, Some(agent)).await;
    let answer = ask(&client, &[("resource", &acme.mcp_url())]).await;
    let tokens = TokenPair::of(&answer);
    assert_eq!(
        (answer.header("cache-control"), tokens.refresh.as_str(), tokens.scope.as_str()),
        ("no-store", "", "tools:read resources:read")
    );
    let claims = claims_of(&tokens.access);
    assert_eq!(
        (&claims["sub"], &claims["aud"], &claims["client_id"]),
        (&json!(agent), &json!(acme.mcp_url()), &json!(client.id))
    );
    assert!(claims.get("user").is_none() && claims["exp"].as_i64() <= claims["iat"].as_i64().map(|iat| iat + 900));
    assert!(acme.with_token(&tokens.access).echo("x").await.is_ok());
    // The same by post, and without a resource: the tenant's endpoint.
    let secret = client.secret.as_deref().expect("a secret");
    let posted =
        [("grant_type", "client_credentials"), ("client_id", &client.id), ("client_secret", secret), ("scope", "tools:read")];
    let narrow = TokenPair::of(&token_request(&app.url, &[], &posted).await);
    assert_eq!((narrow.scope.as_str(), claims_of(&narrow.access)["aud"].clone()), ("tools:read", json!(acme.mcp_url())));
    assert_eq!(claims_of(&narrow.access)["grant"], claims["grant"], "one standing grant");
}

#[tokio::test]
async fn o_15_o_16_o_17_what_a_service_may_not_have_it_does_not_get() {
    let app = TestApp::start().await;
    let (acme, agent) = acme(&app).await;
    let other = app.tenant("other").await;
    let Made { client, .. } = acme.client(NewProof::Secret, Some(agent)).await;
    let error = async |more: &[(&str, &str)]| {
        let answer = ask(&client, more).await;
        (answer.status, answer.json["error"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(error(&[("resource", &other.mcp_url())]).await, (400, "invalid_target".to_owned()));
    assert_eq!(error(&[("resource", &format!("{}/nothing", acme.mcp_url()))]).await, (400, "invalid_target".to_owned()));
    assert_eq!(error(&[("scope", "tools:destructive")]).await, (400, "invalid_scope".to_owned()));
    assert_eq!(TokenPair::of(&ask(&client, &[("scope", "tools:read tools:write")]).await).scope, "tools:read");
    // Who proves nothing, has no agent, or is somebody else.
    let public = acme.client(NewProof::Nothing, Some(agent)).await.client;
    assert_eq!(ask(&public, &[]).await.json["error"], json!("unauthorized_client"));
    let without = acme.client(NewProof::Secret, None).await.client;
    assert_eq!(ask(&without, &[]).await.json["error"], json!("unauthorized_client"));
    let registered = OAuthClient::register_with(&app, json!({ "redirect_uris": ["https://app.example/cb"] })).await;
    assert_eq!(ask(&registered, &[]).await.json["error"], json!("unauthorized_client"));
    let wrong = OAuthClient { secret: Some("tl_secret_wrong".to_owned()), ..client.clone() };
    let refused = ask(&wrong, &[]).await;
    assert_eq!((refused.status, refused.json["error"].as_str()), (401, Some("invalid_client")));
    assert!(refused.header("www-authenticate").starts_with("Basic"));
}

#[tokio::test]
async fn a_09_a_revoked_service_is_refused_from_the_next_request_on_and_cannot_come_back() {
    let app = TestApp::start().await;
    let (acme, agent) = acme(&app).await;
    let Made { client, id } = acme.client(NewProof::Secret, Some(agent)).await;
    let tokens = TokenPair::of(&ask(&client, &[]).await);
    assert!(acme.with_token(&tokens.access).echo("x").await.is_ok());
    let grant = claims_of(&tokens.access)["grant"].as_str().and_then(|id| id.parse().ok()).expect("a grant");
    let owner = acme.owner.clone();
    app.act(|platform| async move { oauth::revoke_grant(&platform, &owner, grant).await.expect("revoked") }).await;
    assert_eq!(acme.with_token(&tokens.access).echo("x").await.status, 401);
    assert_eq!(ask(&client, &[]).await.status, 401, "its client is blocked");
    let owner = acme.owner.clone();
    app.act(|platform| async move { oauth::approve_client(&platform, &owner, id).await.expect("approved") }).await;
    let again = TokenPair::of(&ask(&client, &[]).await);
    assert!(acme.with_token(&again.access).echo("x").await.is_ok());
    assert_eq!(acme.with_token(&tokens.access).echo("x").await.status, 401, "the old one stays dead");
}

#[tokio::test]
async fn o_15_private_key_jwt_with_each_algorithm_proves_a_client_once() {
    let app = TestApp::start().await;
    let (acme, agent) = acme(&app).await;
    let issuer = format!("{}/oauth", app.url);
    let now = app.clock.now().timestamp();
    for algorithm in [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256, Algorithm::PS256] {
        let signer = Signer::new(algorithm);
        let Made { client, .. } = acme.client(NewProof::Keys(signer.jwks()), Some(agent)).await;
        let assertion = signer.assertion(&client.id, &issuer, now);
        let tokens = TokenPair::of(&ask_with(&app, &assertion).await);
        assert!(acme.with_token(&tokens.access).echo("x").await.is_ok(), "{algorithm:?}");
        let replayed = ask_with(&app, &assertion).await;
        assert_eq!((replayed.status, &replayed.json["error"]), (401, &json!("invalid_client")), "{algorithm:?}");
        let at_endpoint = signer.assertion(&client.id, &format!("{issuer}/token"), now);
        assert_eq!(ask_with(&app, &at_endpoint).await.status, 200);
    }
}

#[tokio::test]
async fn o_15_assertions_that_prove_nothing_are_refused() {
    let app = TestApp::start().await;
    let (acme, agent) = acme(&app).await;
    let (signer, stranger) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::ES256));
    let Made { client, .. } = acme.client(NewProof::Keys(signer.jwks()), Some(agent)).await;
    let now = app.clock.now().timestamp();
    let issuer = format!("{}/oauth", app.url);
    let claims = |name: &str, value: Value| {
        let mut claims = assertion_claims(&client.id, &issuer, now);
        claims[name] = value;
        claims
    };
    let mut bad: Vec<(String, String)> = Vec::new();
    for (name, value) in [
        ("iss", json!("somebody else")),
        ("aud", json!("https://elsewhere.example")),
        ("aud", json!([issuer, "https://elsewhere.example"])),
        ("exp", json!(now + 3_600)),
        ("exp", json!(now - 60)),
        ("exp", json!("9999999999")),
        ("iat", json!(now + 600)),
        ("jti", json!("")),
        ("jti", Value::Null),
    ] {
        bad.push((format!("{name} {value}"), signer.sign("JWT", &claims(name, value))));
    }
    let right = assertion_claims(&client.id, &issuer, now);
    bad.push(("another key".to_owned(), stranger.sign("JWT", &right)));
    bad.push(("a key of its own choice".to_owned(), stranger.sign_with_key("JWT", &right)));
    let secret = jsonwebtoken::EncodingKey::from_secret(signer.jwk.to_string().as_bytes());
    let symmetric = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &right, &secret).expect("a signature");
    bad.push(("HS256 with the public key".to_owned(), symmetric));
    let body = signer.sign("JWT", &right).split('.').nth(1).expect("claims").to_owned();
    bad.push(("none".to_owned(), format!("eyJhbGciOiJub25lIn0.{body}.")));
    for (what, assertion) in bad {
        let refused = ask_with(&app, &assertion).await;
        assert_eq!((refused.status, &refused.json["error"]), (401, &json!("invalid_client")), "{what}: {}", refused.text);
    }
    // Two ways at once, or another client's name beside it.
    let assertion = signer.assertion(&client.id, &issuer, now);
    let base = [("grant_type", "client_credentials"), ("client_assertion_type", TYPE), ("client_assertion", &*assertion)];
    for more in [("client_secret", "x"), ("client_id", "somebody")] {
        let fields: Vec<_> = base.iter().copied().chain([more]).collect();
        assert_eq!(token_request(&app.url, &[], &fields).await.status, 401, "{more:?}");
    }
    assert_eq!(ask_with(&app, &assertion).await.status, 200, "a refused request has not used it");
}

#[tokio::test]
async fn keys_at_an_address_are_read_again_when_they_change() {
    let app = TestApp::start().await;
    let (acme, agent) = acme(&app).await;
    let published = Published::start().await;
    let (old, new) = (Signer::new(Algorithm::EdDSA), Signer::new(Algorithm::ES256));
    published.put("/jwks", old.jwks());
    let Made { client, .. } = acme.client(NewProof::KeysAt(published.url("/jwks")), Some(agent)).await;
    let issuer = format!("{}/oauth", app.url);
    let assert = |signer: &Signer| signer.assertion(&client.id, &issuer, app.clock.now().timestamp());
    assert_eq!(ask_with(&app, &assert(&old)).await.status, 200);
    published.put("/jwks", new.jwks());
    assert_eq!(ask_with(&app, &assert(&new)).await.status, 401, "not asked for again within seconds");
    app.clock.advance(TimeDelta::seconds(11));
    assert_eq!(ask_with(&app, &assert(&new)).await.status, 200);
    assert_eq!(ask_with(&app, &assert(&old)).await.status, 401, "the old key is gone");
}

#[tokio::test]
async fn a_confidential_client_with_keys_redeems_and_refreshes_by_assertion_only() {
    let app = TestApp::start().await;
    let (acme, _) = acme(&app).await;
    let owner = acme.owner_browser().await;
    let signer = Signer::new(Algorithm::ES256);
    let client = OAuthClient::register_with(
        &app,
        json!({ "redirect_uris": [crate::support::oauth::REDIRECT], "token_endpoint_auth_method": "private_key_jwt", "jwks": signer.jwks() }),
    )
    .await;
    let code = client.code(&owner, &acme.mcp_url(), &[]).await;
    assert_eq!(client.redeem(&code).await.status, 401, "its name alone proves nothing");
    let issuer = format!("{}/oauth", app.url);
    let proven = async |fields: &[(&str, &str)]| {
        let assertion = signer.assertion(&client.id, &issuer, app.clock.now().timestamp());
        let mut form = vec![("client_assertion_type", TYPE), ("client_assertion", &*assertion)];
        form.extend(fields);
        token_request(&app.url, &[], &form).await
    };
    let verifier = crate::support::oauth::VERIFIER;
    let redeemed = [
        ("grant_type", "authorization_code"),
        ("code", &*code),
        ("redirect_uri", &client.redirect_uri),
        ("code_verifier", verifier),
    ];
    let tokens = TokenPair::of(&proven(&redeemed).await);
    assert!(acme.with_token(&tokens.access).echo("x").await.is_ok());
    let fresh = TokenPair::of(&proven(&[("grant_type", "refresh_token"), ("refresh_token", &tokens.refresh)]).await);
    assert_eq!(client.refresh(&fresh.refresh).await.status, 401);
    assert!(acme.with_token(&fresh.access).echo("x").await.is_ok());
}

#[tokio::test]
async fn metadata_says_what_services_can_do() {
    let app = TestApp::start().await;
    let url = format!("{}/.well-known/oauth-authorization-server/oauth", app.url);
    let metadata = Answer::read(crate::support::http().get(url).send().await.expect("an answer")).await.json;
    let has = |name: &str, value: &str| metadata[name].as_array().is_some_and(|list| list.contains(&json!(value)));
    for grant in
        ["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange", "urn:ietf:params:oauth:grant-type:jwt-bearer"]
    {
        assert!(has("grant_types_supported", grant), "{grant}");
    }
    for method in ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"] {
        assert!(has("token_endpoint_auth_methods_supported", method), "{method}");
    }
    assert!(!has("token_endpoint_auth_methods_supported", "tls_client_auth"), "nobody could show a certificate here");
    assert!(
        has("token_endpoint_auth_signing_alg_values_supported", "ES256")
            && !has("token_endpoint_auth_signing_alg_values_supported", "none")
    );
    assert!(has("authorization_grant_profiles_supported", "urn:ietf:params:oauth:grant-profile:id-jag"));
    assert!(has("dpop_signing_alg_values_supported", "EdDSA"));
}
