//! The whole way of a client: what it finds, how it registers, what a person is asked, what it gets, and how that ends.

use serde_json::json;

use crate::support::{
    Answer, Era, TestApp, http,
    oauth::{OAuthClient, TokenPair, answer_of},
    tools,
};

#[tokio::test]
async fn a_client_finds_registers_is_allowed_calls_refreshes_and_gives_back() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    acme.agent("agent", "tools:read").await;
    let owner = acme.owner_browser().await;

    // 401 → resource metadata → server metadata.
    let refused = acme.with_token("nothing").list(Era::Stateless).await;
    assert_eq!(refused.status, 401);
    let challenge = refused.header("www-authenticate").to_owned();
    let metadata_url = challenge.split("resource_metadata=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a URL");
    let get = async |url: String| Answer::read(http().get(url).send().await.expect("an answer")).await.json;
    let resource = get(metadata_url.to_owned()).await;
    assert_eq!(resource["resource"], json!(acme.mcp_url()));
    let issuer = resource["authorization_servers"][0].as_str().expect("an issuer").to_owned();
    assert_eq!(issuer, format!("{}/oauth", app.url));
    let server = get(format!("{}/.well-known/oauth-authorization-server/oauth", app.url)).await;
    assert_eq!(server["issuer"], json!(issuer));

    // Registration → authorize → log in → consent → code.
    let client = OAuthClient::register(&app).await;
    let stranger = crate::support::Visitor::new(&app.url);
    let query = client.query(&acme.mcp_url(), &[]);
    let to_login = stranger.get(&format!("/oauth/authorize?{query}")).await;
    assert!(
        to_login.status == 303 && to_login.location().starts_with("/login?next=%2Foauth%2Fauthorize"),
        "{}",
        to_login.location()
    );
    let location = client.consent(&owner, &query, &[]).await;
    let answer = answer_of(&location);
    assert!(location.starts_with(&client.redirect_uri), "{location}");
    assert_eq!((answer["state"].as_str(), answer["iss"].as_str()), ("st&te=1", issuer.as_str()));

    // Token → call.
    let redeemed = client.redeem(&answer["code"]).await;
    assert_eq!((redeemed.header("cache-control"), redeemed.json["token_type"].as_str()), ("no-store", Some("Bearer")));
    let tokens = TokenPair::of(&redeemed);
    assert_eq!(tokens.scope, "tools:read");
    let caller = acme.with_token(&tokens.access);
    for era in Era::ALL {
        assert_eq!(caller.list(era).await.tool_names(), ["echo"]);
        assert!(caller.call(era, "echo", json!({ "text": "x" })).await.is_ok());
    }

    // Refresh → both tokens work → revoke → neither does, from the next request on.
    let fresh = TokenPair::of(&client.refresh(&tokens.refresh).await);
    assert!(acme.with_token(&fresh.access).echo("x").await.is_ok());
    assert_eq!(client.post("/oauth/revoke", &[("token", &fresh.refresh)]).await.status, 200);
    for token in [&tokens.access, &fresh.access] {
        let refused = acme.with_token(token).echo("x").await;
        assert_eq!(refused.status, 401);
        assert!(refused.header("www-authenticate").contains(r#"error="invalid_token""#));
    }
    assert_eq!(client.refresh(&fresh.refresh).await.json["error"], json!("invalid_grant"));
}
