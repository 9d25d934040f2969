//! Where clients come from: registrations of their own, documents at their address, members' hands; and which of them a tenant lets in.

use chrono::TimeDelta;
use serde_json::json;

use crate::support::{
    Answer, TestApp, Upstream, http,
    oauth::{OAuthClient, TokenPair, answer_of},
    tools,
};

#[tokio::test]
async fn c_10_registrations_are_judged_answered_and_bounded() {
    let app = TestApp::builder().set("QUOTA_ATTEMPTS_REGISTRATIONS_PER_IP_PER_HOUR", 8).start().await;
    let send = async |body: String, kind: &str| {
        let request = http().post(format!("{}/oauth/register", app.url)).header("content-type", kind).body(body);
        Answer::read(request.send().await.expect("an answer")).await
    };
    for (body, kind, error) in [
        ("{".to_owned(), "application/json", "invalid_client_metadata"),
        ("[]".to_owned(), "application/json", "invalid_client_metadata"),
        ("{}".to_owned(), "text/plain", "invalid_client_metadata"),
        (json!({ "redirect_uris": ["http://evil.example/cb"] }).to_string(), "application/json", "invalid_redirect_uri"),
        (json!({ "redirect_uris": [] }).to_string(), "application/json", "invalid_redirect_uri"),
        (format!("{{\"x\":\"{}\"}}", "x".repeat(9_000)), "application/json", "invalid_client_metadata"),
    ] {
        let refused = send(body, kind).await;
        assert_eq!((refused.status, &refused.json["error"]), (400, &json!(error)), "{}", refused.text);
    }
    let taken = json!({ "redirect_uris": ["http://localhost:1/cb"], "token_endpoint_auth_method": "none", "application_type": "native",
        "client_name": "X", "scope": "tools:read", "unknown_member": [1] });
    let registered = send(taken.to_string(), "application/json").await;
    assert_eq!((registered.status, &registered.json["token_endpoint_auth_method"]), (201, &json!("none")));
    assert!(registered.json.get("client_secret").is_none() && registered.json.get("registration_client_uri").is_none());
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(send(taken.to_string(), "application/json").await.status);
    }
    assert!(statuses.ends_with(&[429, 429, 429]), "{statuses:?}");
}

#[tokio::test]
async fn c_10_who_is_never_used_is_forgotten_and_who_was_stays() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.agent("agent", "tools:read").await;
    let (used, unused) = (OAuthClient::register(&app).await, OAuthClient::register(&app).await);
    let owner = acme.owner_browser().await;
    let tokens = used.connect(&owner, &acme, &["tools:read"]).await;
    app.clock.advance(TimeDelta::hours(25));
    app.act(|platform| async move { trunkline_platform::oauth::forget_expired(&platform).await.expect("swept") }).await;
    assert_eq!(used.refresh(&tokens.refresh).await.status, 200);
    assert_eq!(unused.refresh("tl_refresh_x").await.status, 401, "not known any more");
}

fn documented(app: &TestApp, upstream: &Upstream, path: &str) -> OAuthClient {
    OAuthClient {
        url: app.url.clone(),
        id: upstream.url(path),
        secret: None,
        redirect_uri: "http://127.0.0.1:4711/callback".to_owned(),
    }
}

#[tokio::test]
async fn c_02_c_03_c_04_c_05_a_client_is_what_its_document_says() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    acme.agent("agent", "tools:read").await;
    let owner = acme.owner_browser().await;
    let client = documented(&app, &upstream, "/client/good");
    let page = owner.get(&format!("/oauth/authorize?{}", client.query(&acme.mcp_url(), &[]))).await.ok();
    assert!(page.body.contains("Documented") && page.body.contains(&upstream.addr.to_string()), "name and host");
    let tokens = client.connect(&owner, &acme, &["tools:read"]).await;
    assert!(acme.with_token(&tokens.access).echo("x").await.is_ok());
    let fetches = || upstream.seen().iter().filter(|seen| seen.line.contains("/client/good")).count();
    assert_eq!(fetches(), 1, "kept");
    assert!(upstream.seen().iter().all(|seen| !seen.head.contains("cookie") && !seen.head.contains("authorization")));

    for path in
        ["/client/other", "/client/secret", "/client/nameless", "/client/large", "/status/404", "/redirect", "/image", "/json"]
    {
        let bad = documented(&app, &upstream, path);
        let page = owner.get(&format!("/oauth/authorize?{}", bad.query(&acme.mcp_url(), &[]))).await;
        assert_eq!((page.status, page.location()), (400, ""), "{path}");
        assert_eq!(bad.refresh("tl_refresh_x").await.json["error"], json!("invalid_client"), "{path}");
    }
    let asked = upstream.seen().iter().filter(|seen| seen.line.contains("/client/other")).count();
    assert_eq!(asked, 1, "a failure is believed for a moment");

    // Its server goes away: the last good copy counts for a week.
    drop(upstream);
    app.clock.advance(TimeDelta::hours(2));
    let fresh = TokenPair::of(&client.refresh(&tokens.refresh).await);
    app.clock.advance(TimeDelta::days(7));
    assert_eq!(client.refresh(&fresh.refresh).await.json["error"], json!("invalid_client"));
}

#[tokio::test]
async fn a_manual_client_has_a_secret_that_is_shown_once_and_replaced() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.agent("agent", "tools:read").await;
    let owner = acme.owner_browser().await;
    let fields = [("name", "Backend"), ("redirect_uris", "https://app.example/cb"), ("proof", "client_secret"), ("agent", "")];
    let page = owner.post("/t/acme/clients", &fields).await.ok();
    assert_eq!(page.header("cache-control"), "no-store");
    let find = |page: &str, prefix: &str| {
        let start = page.find(prefix).unwrap_or_else(|| panic!("no {prefix}"));
        page[start..].split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default().to_owned()
    };
    let client = OAuthClient {
        url: app.url.clone(),
        id: find(&page.body, "tl_client_"),
        secret: Some(find(&page.body, "tl_secret_")),
        redirect_uri: "https://app.example/cb".to_owned(),
    };
    let list = owner.get("/t/acme/clients").await.ok();
    assert!(list.body.contains("Backend") && !list.body.contains("tl_secret_"));
    let tokens = client.connect(&owner, &acme, &["tools:read"]).await;
    let introspected = client.post("/oauth/introspect", &[("token", &tokens.access)]).await;
    assert_eq!((introspected.status, &introspected.json["active"]), (200, &json!(true)), "{}", introspected.text);
    assert_eq!(introspected.json["scope"], json!("tools:read"));
    // The same is not asked again.
    let again = owner.get(&format!("/oauth/authorize?{}", client.query(&acme.mcp_url(), &[]))).await;
    assert!(answer_of(again.location()).contains_key("code"), "{}", again.location());
    let more = owner.get(&format!("/oauth/authorize?{}", client.query(&acme.mcp_url(), &[("scope", "tools:write")]))).await;
    assert_eq!(more.status, 200, "more is");

    let public = OAuthClient { secret: None, ..client.clone() };
    assert_eq!(public.refresh(&tokens.refresh).await.status, 401);
    let secret_url = list
        .between("action=\"/t/acme/clients/cli_", "/secret\"")
        .map(|rest| rest.rsplit("cli_").next().unwrap_or(rest).to_owned());
    let replaced = owner.post(&format!("/t/acme/clients/cli_{}/secret", secret_url.expect("a form")), &[]).await.ok();
    assert_eq!(client.refresh(&tokens.refresh).await.status, 401, "the old one is refused");
    let renewed = OAuthClient { secret: Some(find(&replaced.body, "tl_secret_")), ..client };
    assert_eq!(renewed.refresh(&tokens.refresh).await.status, 200);
}

#[tokio::test]
async fn a_tenant_admits_any_client_listed_ones_or_after_approval() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.agent("agent", "tools:read").await;
    let owner = acme.owner_browser().await;
    let client = OAuthClient::register(&app).await;
    let ask = async || owner.get(&format!("/oauth/authorize?{}", client.query(&acme.mcp_url(), &[]))).await;
    owner.post("/t/acme/clients/policy", &[("admission", "listed"), ("hosts", "claude.ai")]).await.leads_to("/t/acme/clients");
    assert_eq!(answer_of(ask().await.location())["error"], "access_denied");
    owner.post("/t/acme/clients/policy", &[("admission", "listed"), ("hosts", "claude.ai\n127.0.0.1")]).await;
    assert_eq!(ask().await.status, 200);
    owner.post("/t/acme/clients/policy", &[("admission", "approval"), ("hosts", "")]).await;
    let other = OAuthClient::register(&app).await;
    let waiting = owner.get(&format!("/oauth/authorize?{}", other.query(&acme.mcp_url(), &[]))).await;
    assert!(answer_of(waiting.location())["error_description"].contains("approve"), "{}", waiting.location());
    let list = owner.get("/t/acme/clients").await.ok();
    let approve = list.body.split("action=\"").filter_map(|rest| rest.split('"').next()).find(|url| url.ends_with("/approve"));
    owner.post(approve.expect("a form"), &[]).await.leads_to("/t/acme/clients");
    let approved = owner.get(&format!("/oauth/authorize?{}", other.query(&acme.mcp_url(), &[]))).await;
    assert_eq!(approved.status, 200);
    assert_eq!(owner.post("/t/acme/clients/policy", &[("admission", "listed"), ("hosts", "")]).await.status, 422);
    assert_eq!(
        owner
            .post("/t/acme/clients", &[("name", ""), ("redirect_uris", "http://evil.example"), ("proof", "client_secret")])
            .await
            .status,
        422
    );
}
