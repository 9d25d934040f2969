//! What is revoked is refused from the next request on: whoever ended it, on every replica, for every kind of request.

use serde_json::json;
use trunkline_platform::{accounts, actor::Role, agents, agents::AgentState, oauth};

use crate::support::{
    Answer, Era, Tenant, TestApp, Visitor, http, message,
    oauth::{OAuthClient, TokenPair},
    tools,
};

async fn connected<'a>(app: &'a TestApp, tenant: &Tenant<'a>) -> (OAuthClient, Visitor, TokenPair) {
    tenant.tool("echo", tools::echo()).await;
    tenant.agent("agent", "tools:read").await;
    let (client, owner) = (OAuthClient::register(app).await, tenant.owner_browser().await);
    let tokens = client.connect(&owner, tenant, &["tools:read"]).await;
    (client, owner, tokens)
}

#[tokio::test]
async fn o_40_o_41_o_42_a_client_gives_back_its_own_tokens_and_no_others() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let (client, owner, tokens) = connected(&app, &acme).await;
    let other = OAuthClient::register(&app).await;
    for (who, token) in [(&client, "nothing"), (&client, "tl_refresh_x"), (&other, &*tokens.refresh), (&other, &*tokens.access)] {
        assert_eq!(who.post("/oauth/revoke", &[("token", token)]).await.status, 200, "{token:.20}");
        assert!(acme.with_token(&tokens.access).echo("x").await.is_ok(), "{token:.20}");
    }
    assert_eq!(client.post("/oauth/revoke", &[]).await.json["error"], json!("invalid_request"));
    // An access token alone: the rest of the grant goes on.
    assert_eq!(client.post("/oauth/revoke", &[("token", &tokens.access)]).await.status, 200);
    assert_eq!(acme.with_token(&tokens.access).echo("x").await.status, 401);
    let fresh = TokenPair::of(&client.refresh(&tokens.refresh).await);
    assert!(acme.with_token(&fresh.access).echo("x").await.is_ok());
    assert_eq!(client.post("/oauth/revoke", &[("token", &fresh.refresh), ("token_type_hint", "access_token")]).await.status, 200);
    assert_eq!(acme.with_token(&fresh.access).echo("x").await.status, 401);
    assert_eq!(client.refresh(&fresh.refresh).await.status, 400);
    drop(owner);
}

#[tokio::test]
async fn a_09_every_way_to_end_a_grant_holds_on_every_replica_from_the_next_request_on() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let client = OAuthClient::register(&app).await;
    let second = app.with_settings(&[("PUBLIC_URL", &app.url)]).await;
    let host = app.url.trim_start_matches("http://").to_owned();
    let (first_url, second_url) = (acme.mcp_url(), acme.mcp_url().replace(&app.url, &second.url));
    let call = async |url: &str, token: &str| {
        let body = message(Era::Stateless, "tools/call", json!({ "name": "echo", "arguments": { "text": "x" } }));
        let request = http().post(url).header("host", &host).bearer_auth(token).header("mcp-protocol-version", "2026-07-28");
        let request = request.header("mcp-method", "tools/call").header("mcp-name", "echo").header("accept", "application/json");
        Answer::read(request.json(&body).send().await.expect("an answer")).await
    };
    for (i, way) in ["grant", "member", "leave", "role", "client", "agent"].into_iter().enumerate() {
        let email = format!("developer{i}@acme.example");
        let member = acme.member(&email, Role::Developer).await;
        let tokens = client.connect(&Visitor::signed_in(&app.url, &email).await, &acme, &["tools:read"]).await;
        for url in [&first_url, &second_url] {
            let answer = call(url, &tokens.access).await;
            assert!(answer.is_ok(), "{way}: {}", answer.text);
        }
        let (owner, agent) = (acme.owner.clone(), agent.id);
        let user = member.user;
        let mut sql = app.sql().await;
        let latest = "SELECT id, client_id FROM app.grants WHERE user_id = $1";
        let (grant, known): (trunkline_platform::ids::GrantId, trunkline_platform::ids::ClientId) =
            sqlx::query_as(latest).bind(user).fetch_one(&mut sql).await.expect("the grant");
        app.act(move |platform| async move {
            match way {
                "grant" => drop(oauth::revoke_grant(&platform, &owner, grant).await.expect("revoked")),
                "member" => accounts::remove(&platform, &owner, user).await.expect("removed"),
                "leave" => accounts::leave(&platform, &member).await.expect("left"),
                "role" => accounts::change_role(&platform, &owner, user, Role::Viewer).await.expect("changed"),
                "client" => drop(oauth::block_client(&platform, &owner, known).await.expect("blocked")),
                _ => agents::set_state(&platform, &owner, agent, AgentState::Suspended).await.expect("suspended"),
            }
        })
        .await;
        // The other replica first.
        for url in [&second_url, &first_url] {
            let status = call(url, &tokens.access).await.status;
            assert_eq!(status, if way == "agent" { 403 } else { 401 }, "{way} {url}");
        }
        if way == "client" {
            let page = acme.owner_browser().await.get(&format!("/oauth/authorize?{}", client.query(&acme.mcp_url(), &[]))).await;
            assert!(page.location().contains("access_denied"), "{}", page.location());
            let owner = acme.owner.clone();
            app.act(move |platform| async move { oauth::approve_client(&platform, &owner, known).await.expect("approved") })
                .await;
        }
    }
}

#[tokio::test]
async fn every_kind_of_request_finds_out_on_a_replica_that_has_not_heard() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let (client, _, _) = connected(&app, &acme).await;
    let owner = acme.owner_browser().await;
    let endpoint = acme.mcp_url();
    let send = async |token: &str, session: Option<&str>, method: reqwest::Method, body: Option<serde_json::Value>| {
        let mut request =
            http().request(method, &endpoint).bearer_auth(token).header("accept", "application/json, text/event-stream");
        if let Some(session) = session {
            request = request.header("mcp-session-id", session).header("mcp-protocol-version", "2025-11-25");
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::read(request.send().await.expect("an answer")).await
    };
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } } });
    for (what, in_session, method, body) in [
        ("list", true, reqwest::Method::POST, Some(json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" }))),
        ("ping", true, reqwest::Method::POST, Some(json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" }))),
        ("notification", true, reqwest::Method::POST, Some(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))),
        ("answer", true, reqwest::Method::POST, Some(json!({ "jsonrpc": "2.0", "id": 9, "result": {} }))),
        ("stream", true, reqwest::Method::GET, None),
        ("end", true, reqwest::Method::DELETE, None),
        ("initialize", false, reqwest::Method::POST, Some(initialize.clone())),
    ] {
        let tokens = client.connect(&owner, &acme, &["tools:read"]).await;
        let begun = send(&tokens.access, None, reqwest::Method::POST, Some(initialize.clone())).await;
        assert_eq!(begun.status, 200, "{}", begun.text);
        let session = begun.header("mcp-session-id").to_owned();
        // Behind the back of this replica: only Redis' word is changed, as another replica would.
        let mut sql = app.sql().await;
        sqlx::query("ALTER TABLE app.grants DISABLE TRIGGER catalog").execute(&mut sql).await.expect("silence");
        sqlx::query("UPDATE app.grants SET revoked_at = now(), revoked_why = 'test' WHERE revoked_at IS NULL")
            .execute(&mut sql)
            .await
            .expect("revoked");
        let prefix = app.settings()["TRUNKLINE_REDIS_PREFIX"].clone();
        let mut redis = redis::Client::open(app.settings()["TRUNKLINE_REDIS_URL"].as_str())
            .expect("a client")
            .get_multiplexed_async_connection()
            .await
            .expect("a connection");
        let keys: Vec<String> = redis::cmd("KEYS").arg(format!("{prefix}*epoch*")).query_async(&mut redis).await.expect("keys");
        assert!(!keys.is_empty(), "no epoch");
        for key in keys {
            let _: () = redis::cmd("SET").arg(key).arg(format!("changed{what}")).query_async(&mut redis).await.expect("set");
        }
        let session = in_session.then_some(session.as_str());
        let refused = send(&tokens.access, session, method, body).await;
        assert_eq!(refused.status, 401, "{what}: {}", refused.text);
        assert!(refused.header("www-authenticate").contains("invalid_token"), "{what}");
    }
}

#[tokio::test]
async fn o_34_what_was_revoked_stays_revoked_in_a_process_that_starts_afterwards() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let (client, owner, tokens) = connected(&app, &acme).await;
    let agent_page = owner.get("/t/acme/agents").await.ok();
    let agent = agent_page.between("/t/acme/agents/agt_", "\"").expect("an agent").to_owned();
    let page = owner.get(&format!("/t/acme/agents/agt_{agent}")).await.ok();
    let revoke = page.between("action=\"/t/acme/grants/", "\"").expect("a grant").to_owned();
    owner.post(&format!("/t/acme/grants/{revoke}"), &[]).await.leads_to(&format!("/t/acme/agents/agt_{agent}"));
    let page = owner.get(&format!("/t/acme/agents/agt_{agent}")).await.ok();
    assert!(page.body.contains("Refused everywhere from now on ("), "the flash says so");
    let fresh = app.with_settings(&[("PUBLIC_URL", &app.url)]).await;
    let host = app.url.trim_start_matches("http://").to_owned();
    let url = acme.mcp_url().replace(&app.url, &fresh.url);
    let refused =
        http().post(url).header("host", host).bearer_auth(&tokens.access).json(&json!({})).send().await.expect("an answer");
    assert_eq!(refused.status(), 401);
    assert_eq!(client.refresh(&tokens.refresh).await.status, 400);
}
