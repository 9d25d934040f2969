//! Codes: used once, by whom they were made for.

use serde_json::json;

use crate::support::{
    Answer, TestApp, eventually, http,
    oauth::{OAuthClient, TokenPair, VERIFIER},
    tools,
};

/// What a redemption is made of.
fn fields<'a>(code: &'a str, client: &'a OAuthClient) -> Vec<(&'static str, &'a str)> {
    vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", client.redirect_uri.as_str()),
        ("code_verifier", VERIFIER),
    ]
}

#[tokio::test]
async fn o_12_a_code_that_is_used_twice_ends_what_came_of_it() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    acme.agent("agent", "tools:read").await;
    let (client, owner) = (OAuthClient::register(&app).await, acme.owner_browser().await);
    let code = client.code(&owner, &acme.mcp_url(), &[]).await;
    let tokens = TokenPair::of(&client.redeem(&code).await);
    assert!(acme.with_token(&tokens.access).echo("x").await.is_ok());
    let again = client.redeem(&code).await;
    assert_eq!((again.status, &again.json["error"]), (400, &json!("invalid_grant")));
    assert_eq!(acme.with_token(&tokens.access).echo("x").await.status, 401, "from the next request on");
    assert_eq!(client.refresh(&tokens.refresh).await.json["error"], json!("invalid_grant"));
}

#[tokio::test]
async fn o_12_of_64_redemptions_at_once_one_succeeds_and_the_grant_is_dead() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    acme.agent("agent", "tools:read").await;
    let (client, owner) = (OAuthClient::register(&app).await, acme.owner_browser().await);
    let code = client.code(&owner, &acme.mcp_url(), &[]).await;
    let answers = futures_util::future::join_all((0..64).map(|_| client.redeem(&code))).await;
    let (good, bad): (Vec<Answer>, Vec<Answer>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!((good.len(), bad.len()), (1, 63));
    assert!(bad.iter().all(|answer| answer.json["error"] == json!("invalid_grant")), "{bad:?}");
    let tokens = TokenPair::of(&good[0]);
    assert_eq!(acme.with_token(&tokens.access).echo("x").await.status, 401);
    assert_eq!(client.refresh(&tokens.refresh).await.status, 400);
    let mut sql = app.sql().await;
    let why: Vec<Option<String>> =
        sqlx::query_scalar("SELECT revoked_why FROM app.grants").fetch_all(&mut sql).await.expect("grants");
    assert_eq!(why, [Some("code_replayed".to_owned())]);
}

#[tokio::test]
async fn o_11_o_13_o_14_what_does_not_fit_does_not_use_a_code_up_three_times_at_most() {
    let app = TestApp::start().await;
    let (acme, bravo) = (app.tenant("acme").await, app.tenant("bravo").await);
    acme.agent("agent", "tools:read").await;
    let (client, other) = (OAuthClient::register(&app).await, OAuthClient::register(&app).await);
    let owner = acme.owner_browser().await;
    let endpoint = acme.mcp_url();
    let wrong = "x".repeat(43);
    let other_resource = bravo.mcp_url();
    for (name, value, error) in [
        ("code_verifier", wrong.as_str(), "invalid_grant"),
        ("redirect_uri", "http://127.0.0.1:10/callback", "invalid_grant"),
        ("redirect_uri", "", "invalid_grant"),
        ("resource", other_resource.as_str(), "invalid_target"),
        ("resource", "https://elsewhere.example", "invalid_target"),
        ("code_verifier", "", "invalid_request"),
    ] {
        let code = client.code(&owner, &endpoint, &[]).await;
        let mut form = fields(&code, &client);
        form.retain(|(other, _)| *other != name);
        form.push((name, value));
        let refused = client.token(&form).await;
        assert_eq!((refused.status, &refused.json["error"]), (400, &json!(error)), "{name}={value}");
        assert_eq!(client.redeem(&code).await.status, 200, "{name}={value}");
    }
    let code = client.code(&owner, &endpoint, &[]).await;
    assert_eq!(other.redeem(&code).await.json["error"], json!("invalid_grant"));
    // Another character, and one less: nothing is known of such a code.
    let (rest, last) = code.split_at(code.len() - 1);
    let changed = format!("{rest}{}", if last == "x" { "y" } else { "x" });
    for similar in [changed, rest.to_owned(), code.replace("tl_code_", "tl_refresh_")] {
        assert_eq!(client.redeem(&similar).await.json["error"], json!("invalid_grant"));
    }
    assert_eq!(client.redeem(&code).await.status, 200);

    let code = client.code(&owner, &endpoint, &[]).await;
    for _ in 0..3 {
        assert_eq!(other.redeem(&code).await.status, 400);
    }
    assert_eq!(client.redeem(&code).await.json["error"], json!("invalid_grant"), "dead after three failures");

    let code = client.code(&owner, &endpoint, &[]).await;
    app.clock.advance(chrono::TimeDelta::seconds(61));
    assert_eq!(client.redeem(&code).await.json["error"], json!("invalid_grant"), "too late");
    let mut sql = app.sql().await;
    let live: i64 =
        sqlx::query_scalar("SELECT count(*) FROM app.grants WHERE revoked_at IS NULL").fetch_one(&mut sql).await.expect("grants");
    assert_eq!(live, 7);
}

#[tokio::test]
async fn o_15_the_token_endpoint_takes_forms_of_clients_that_prove_who_they_are() {
    let app = TestApp::start().await;
    let client = OAuthClient::register_with(&app, json!({ "redirect_uris": ["https://app.example/cb"] })).await;
    let secret = client.secret.clone().expect("a secret");
    let url = format!("{}/oauth/token", app.url);
    let form = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    let answer = async |request: reqwest::RequestBuilder| Answer::read(request.send().await.expect("an answer")).await;

    for kind in ["application/json", "multipart/form-data; boundary=x", "text/plain", "nonsense"] {
        let refused = answer(http().post(&url).header("content-type", kind).body("{}")).await;
        assert_eq!((refused.status, &refused.json["error"]), (400, &json!("invalid_request")), "{kind}");
        assert_eq!(refused.header("cache-control"), "no-store");
    }
    let with = |more: &[(&'static str, &str)]| {
        let fields = form.iter().copied().chain(more.iter().map(|(name, value)| (*name, *value)));
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        http().post(&url).header("content-type", "application/x-www-form-urlencoded").body(body)
    };
    for request in [
        with(&[]),
        with(&[("client_id", "nobody")]),
        with(&[("client_id", &client.id)]),
        with(&[("client_id", &client.id), ("client_secret", "wrong")]),
        with(&[]).basic_auth(&client.id, Some("wrong")),
        with(&[("client_secret", &secret)]).basic_auth(&client.id, Some(&secret)),
        with(&[("client_id", "other")]).basic_auth(&client.id, Some(&secret)),
        with(&[("client_id", &client.id)]).query(&[("client_secret", &secret)]),
        with(&[("client_id", &client.id)]).header("authorization", "Bearer x"),
    ] {
        let refused = answer(request).await;
        assert_eq!((refused.status, &refused.json["error"]), (401, &json!("invalid_client")), "{}", refused.text);
        assert!(refused.header("www-authenticate").starts_with("Basic "), "{:?}", refused.headers);
    }
    for request in
        [with(&[("client_id", &client.id), ("client_secret", &secret)]), with(&[]).basic_auth(&client.id, Some(&secret))]
    {
        let refused = answer(request).await;
        assert_eq!((refused.status, &refused.json["error"]), (400, &json!("invalid_grant")), "known, and the token is not");
    }
    let twice = with(&[("grant_type", "refresh_token"), ("client_id", &client.id), ("client_secret", &secret)]);
    assert_eq!(answer(twice).await.json["error"], json!("invalid_request"));
    let other = client.token(&[("grant_type", "password"), ("username", "x"), ("password", "x")]).await;
    assert_eq!(other.json["error"], json!("unsupported_grant_type"));
    let preflight = http().request(reqwest::Method::OPTIONS, &url).header("origin", "https://inspector.example").send().await;
    let preflight = preflight.expect("an answer");
    assert_eq!(
        (preflight.status().as_u16(), &preflight.headers()["access-control-allow-origin"]),
        (204, &"*".parse().expect("a header"))
    );
}

#[tokio::test]
async fn whoever_only_fails_is_slowed_down() {
    let app = TestApp::builder()
        .set("QUOTA_ATTEMPTS_TOKEN_FAILURES_PER_IP_PER_MINUTE", 1)
        .set("QUOTA_ATTEMPTS_TOKEN_FAILURES_PER_IP_BURST", 3)
        .start()
        .await;
    let client = OAuthClient::register(&app).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(client.refresh("tl_refresh_x").await.status);
    }
    assert_eq!(statuses, [400, 400, 400, 429, 429]);
    eventually("nothing else is slowed down", crate::support::SOON, async || {
        let jwks = http().get(format!("{}/oauth/jwks", app.url)).send().await.ok()?;
        (jwks.status() == 200).then_some(())
    })
    .await;
}
