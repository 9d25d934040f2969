//! Access tokens at the endpoint: what is taken, what is not, and the keys behind them.

use std::collections::BTreeSet;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use serde_json::{Value, json};
use trunkline_platform::oauth;

use crate::support::{
    Answer, Era, Tenant, TestApp, http,
    oauth::{OAuthClient, TokenPair},
    tools,
};

async fn connected<'a>(app: &'a TestApp, tenant: &Tenant<'a>) -> (OAuthClient, TokenPair) {
    tenant.tool("echo", tools::echo()).await;
    tenant.agent("agent", "tools:read").await;
    let (client, owner) = (OAuthClient::register(app).await, tenant.owner_browser().await);
    let tokens = client.connect(&owner, tenant, &["tools:read"]).await;
    (client, tokens)
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).expect("three parts");
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
}

fn encode(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

async fn published(app: &TestApp) -> BTreeSet<String> {
    let keys = Answer::read(http().get(format!("{}/oauth/jwks", app.url)).send().await.expect("an answer")).await;
    assert_eq!((keys.status, keys.header("cache-control")), (200, "max-age=300"));
    let keys = keys.json["keys"].as_array().expect("keys").clone();
    assert!(keys.iter().all(|key| key.get("d").is_none() && key["kty"] == json!("OKP")), "{keys:?}");
    keys.iter().map(|key| key["kid"].as_str().expect("a kid").to_owned()).collect()
}

#[tokio::test]
async fn a_01_a_03_challenges_say_where_to_go_and_not_what_was_wrong() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let nothing = http().post(acme.mcp_url()).json(&json!({})).send().await.expect("an answer");
    let missing = nothing.headers()["www-authenticate"].to_str().expect("text").to_owned();
    let metadata = format!("{}/.well-known/oauth-protected-resource/t/acme/mcp", app.url);
    assert_eq!(
        (nothing.status().as_u16(), &missing),
        (401, &format!("Bearer resource_metadata=\"{metadata}\", scope=\"tools:read\""))
    );
    let mut bodies = BTreeSet::new();
    for token in ["x", "tl_live_x", "a.b.c", "eyJhbGciOiJub25lIn0.e30."] {
        let refused = acme.with_token(token).list(Era::Stateless).await;
        assert_eq!(refused.status, 401);
        assert!(refused.header("www-authenticate").starts_with("Bearer error=\"invalid_token\", resource_metadata="));
        bodies.insert(refused.text);
    }
    assert_eq!(bodies.len(), 1);
}

#[tokio::test]
async fn o_18_a_token_is_what_rfc_9068_wants_and_names_nobody() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let (client, tokens) = connected(&app, &acme).await;
    let (header, claims) = (part(&tokens.access, 0), part(&tokens.access, 1));
    assert_eq!((&header["alg"], &header["typ"]), (&json!("EdDSA"), &json!("at+jwt")));
    assert!(published(&app).await.contains(header["kid"].as_str().expect("a kid")));
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!(format!("{}/oauth", app.url)), &json!(acme.mcp_url())));
    assert_eq!((&claims["client_id"], &claims["scope"]), (&json!(client.id), &json!("tools:read")));
    let life = claims["exp"].as_i64().expect("exp") - claims["iat"].as_i64().expect("iat");
    assert!(life <= 900, "{life}");
    for (name, prefix) in [("sub", "agt_"), ("jti", "tok_"), ("tenant", "ten_"), ("grant", "gra_"), ("user", "usr_")] {
        assert!(claims[name].as_str().is_some_and(|text| text.starts_with(prefix)), "{name}: {claims}");
    }
    assert!(!claims.to_string().contains('@'));
}

#[tokio::test]
async fn a_04_a_05_mutations_of_a_good_token_are_refused() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let (_, tokens) = connected(&app, &acme).await;
    let (header, claims) = (part(&tokens.access, 0), part(&tokens.access, 1));
    let parts: Vec<&str> = tokens.access.split('.').collect();
    let with = |header: &Value, claims: &Value| format!("{}.{}.{}", encode(header), encode(claims), parts[2]);
    let mut mutations = vec![
        ("cut", tokens.access[..tokens.access.len() - 1].to_owned()),
        ("longer", format!("{}A", tokens.access)),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("four parts", format!("{}.x", tokens.access)),
        ("other signature", format!("{}.{}.{}", parts[0], parts[1], BASE64_URL_SAFE_NO_PAD.encode([7; 64]))),
        ("as is, encoded anew", with(&header, &json!({ "sub": "x" }))),
    ];
    for (name, value) in [
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("alg", json!("ES256")),
        ("alg", json!("RS256")),
        ("typ", json!("JWT")),
        ("kid", json!("unknown")),
        ("kid", json!("../../etc/passwd")),
        ("kid", json!("https://evil.example/jwks")),
        ("jku", json!("http://127.0.0.1:9/jwks")),
        ("jwk", json!({ "kty": "OKP", "crv": "Ed25519", "x": "x" })),
        ("x5u", json!("http://127.0.0.1:9/x5u")),
        ("crit", json!(["exp"])),
    ] {
        let mut changed = header.clone();
        changed[name] = value;
        mutations.push((name, with(&changed, &claims)));
    }
    for (name, value) in [
        ("scope", json!("tools:destructive")),
        ("aud", json!("http://127.0.0.1/t/bravo/mcp")),
        ("exp", json!(claims["exp"].as_i64().unwrap_or(0) + 100_000)),
        ("sub", json!("agt_00000000000000000000000000")),
        ("iss", json!("http://evil.example/oauth")),
    ] {
        let mut changed = claims.clone();
        changed[name] = value;
        mutations.push((name, with(&header, &changed)));
    }
    for (what, token) in &mutations {
        let refused = acme.with_token(token).echo("x").await;
        assert_eq!(refused.status, 401, "{what}");
    }
    // An HMAC with the public key as its secret.
    let public = Answer::read(http().get(format!("{}/oauth/jwks", app.url)).send().await.expect("an answer")).await.text;
    let confused = format!("{}.{}", encode(&json!({ "alg": "HS256", "typ": "at+jwt", "kid": header["kid"] })), parts[1]);
    let signature = {
        use sha2::Digest as _;
        sha2::Sha256::digest([public.as_bytes(), confused.as_bytes()].concat())
    };
    let token = format!("{confused}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature));
    assert_eq!(acme.with_token(&token).echo("x").await.status, 401);
    assert!(acme.with_token(&tokens.access).echo("x").await.is_ok(), "the good one still is");
}

#[tokio::test]
async fn a_06_a_token_is_for_its_endpoint_and_for_the_toolsets_of_it() {
    let app = TestApp::start().await;
    let (acme, bravo) = (app.tenant("acme").await, app.tenant("bravo").await);
    let (client, tokens) = connected(&app, &acme).await;
    bravo.tool("echo", tools::echo()).await;
    let owner = acme.owner_browser().await;
    owner.post("/t/acme/toolsets/new", &[("name", "some"), ("title", "Some"), ("tools", "echo")]).await;
    let toolset = format!("{}/some", acme.mcp_url());
    let caller = acme.with_token(&tokens.access);
    assert_eq!(caller.at(&bravo.mcp_url()).echo("x").await.status, 401);
    assert_eq!(caller.at(&toolset).list(Era::Stateless).await.status, 200);
    assert_eq!(caller.at(&format!("{}/none", acme.mcp_url())).list(Era::Stateless).await.status, 401);
    let code = {
        let answer = client.consent(&owner, &client.query(&toolset, &[]), &[]).await;
        crate::support::oauth::answer_of(&answer)["code"].clone()
    };
    let narrow = TokenPair::of(&client.redeem(&code).await);
    let narrow = acme.with_token(&narrow.access);
    assert_eq!(narrow.at(&toolset).list(Era::Stateless).await.status, 200);
    assert_eq!(narrow.list(Era::Stateless).await.status, 401, "a toolset's token is not the tenant's");
}

#[tokio::test]
async fn a_token_ends_with_its_time() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let (client, tokens) = connected(&app, &acme).await;
    let caller = acme.with_token(&tokens.access);
    assert!(caller.echo("x").await.is_ok());
    app.clock.advance(TimeDelta::seconds(899));
    assert!(caller.echo("x").await.is_ok());
    app.clock.advance(TimeDelta::seconds(31));
    assert_eq!(caller.echo("x").await.status, 401, "also from memory");
    assert!(acme.with_token(&TokenPair::of(&client.refresh(&tokens.refresh).await).access).echo("x").await.is_ok());
}

#[tokio::test]
async fn o_60_keys_change_over_without_a_refusal_and_can_be_taken_away_at_once() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let (client, first) = connected(&app, &acme).await;
    let before = published(&app).await;
    assert_eq!(before.len(), 1);
    let rotation = app.act(|platform| async move { oauth::rotate_signing_keys(&platform, None).await.expect("rotated") }).await;
    let new = rotation.expect("a new key").kid;
    assert_eq!(published(&app).await, before.iter().cloned().chain([new.clone()]).collect(), "published before it signs");
    let again = app.act(|platform| async move { oauth::rotate_signing_keys(&platform, None).await.is_err() }).await;
    assert!(again, "one at a time");
    let kid = |tokens: &TokenPair| part(&tokens.access, 0)["kid"].as_str().unwrap_or_default().to_owned();
    app.clock.advance(TimeDelta::minutes(9));
    let second = TokenPair::of(&client.refresh(&first.refresh).await);
    assert!(before.contains(&kid(&second)));
    app.clock.advance(TimeDelta::minutes(2));
    let third = TokenPair::of(&client.refresh(&second.refresh).await);
    assert_eq!(kid(&third), new);
    for tokens in [&first, &second, &third] {
        assert!(acme.with_token(&tokens.access).echo("x").await.is_ok(), "{}", kid(tokens));
    }
    app.clock.advance(TimeDelta::minutes(17));
    assert_eq!(published(&app).await, BTreeSet::from([new.clone()]), "what it signed has expired");

    let fourth = TokenPair::of(&client.refresh(&third.refresh).await);
    assert!(acme.with_token(&fourth.access).echo("x").await.is_ok());
    let gone = new.clone();
    app.act(|platform| async move { oauth::rotate_signing_keys(&platform, Some(&gone)).await.expect("removed") }).await;
    assert_eq!(acme.with_token(&fourth.access).echo("x").await.status, 401, "from the next request on");
    assert!(!published(&app).await.contains(&new));
    let fifth = TokenPair::of(&client.refresh(&fourth.refresh).await);
    assert!(acme.with_token(&fifth.access).echo("x").await.is_ok());
    let unknown = app.act(|platform| async move { oauth::rotate_signing_keys(&platform, Some("nothing")).await.is_err() }).await;
    assert!(unknown);
}

#[tokio::test]
async fn o_01_o_02_the_documents_say_the_same_everywhere() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let get = async |path: &str| Answer::read(http().get(format!("{}{path}", app.url)).send().await.expect("an answer")).await;
    let mut documents = BTreeSet::new();
    for path in [
        "/.well-known/oauth-authorization-server/oauth",
        "/.well-known/openid-configuration/oauth",
        "/oauth/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
    ] {
        let document = get(path).await;
        assert_eq!((document.status, document.header("access-control-allow-origin")), (200, "*"), "{path}");
        documents.insert(document.text);
    }
    assert_eq!(documents.len(), 1);
    let server = get("/.well-known/oauth-authorization-server/oauth").await.json;
    let issuer = format!("{}/oauth", app.url);
    assert_eq!(server["issuer"], json!(issuer));
    for (name, value) in [
        ("response_types_supported", json!(["code"])),
        ("code_challenge_methods_supported", json!(["S256"])),
        ("authorization_response_iss_parameter_supported", json!(true)),
        ("client_id_metadata_document_supported", json!(true)),
    ] {
        assert_eq!(server[name], value, "{name}");
    }
    for (name, path) in
        [("authorization_endpoint", "authorize"), ("token_endpoint", "token"), ("registration_endpoint", "register")]
    {
        assert_eq!(server[name], json!(format!("{issuer}/{path}")));
    }
    assert!(server["token_endpoint_auth_methods_supported"].as_array().is_some_and(|all| all.contains(&json!("none"))));
    let resource = get("/.well-known/oauth-protected-resource/t/acme/mcp").await.json;
    assert_eq!(resource["resource"], json!(acme.mcp_url()));
    assert_eq!((&resource["authorization_servers"], &resource["scopes_supported"]), (&json!([issuer]), &json!(["tools:read"])));
    assert_eq!(get("/.well-known/oauth-protected-resource/t/nobody/mcp").await.status, 404);
}
