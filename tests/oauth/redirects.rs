//! The authorization endpoint: what is shown, what is sent back, and what goes nowhere.

use serde_json::json;
use trunkline_platform::actor::Role;

use crate::support::{
    TestApp, Visitor,
    oauth::{OAuthClient, REDIRECT, answer_of, consent_form},
    tools,
};

#[tokio::test]
async fn o_03_o_08_before_the_client_is_trusted_nothing_is_redirected() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let (client, owner) = (OAuthClient::register(&app).await, acme.owner_browser().await);
    let resource = acme.mcp_url();
    let twice = format!("{}&client_id=other", client.query(&resource, &[]));
    let mut queries = vec![String::new(), "x".repeat(40_000), twice];
    for more in [
        ("client_id", ""),
        ("client_id", "nobody"),
        ("client_id", "tl_dcr_0000000000000000000000"),
        ("client_id", "tl_client_x"),
        ("client_id", "https://127.0.0.1/client"),
        ("redirect_uri", "https://evil.example/callback"),
        ("redirect_uri", "http://127.0.0.1:9/callback/"),
        ("redirect_uri", "http://127.0.0.1:9/callback?x=1"),
        ("redirect_uri", "http://127.0.0.1:9/callback#x"),
        ("redirect_uri", "http://localhost:9/callback"),
        ("redirect_uri", "http://evil@127.0.0.1:9/callback"),
        ("redirect_uri", "https://127.0.0.1:9/callback"),
        ("redirect_uri", "javascript:alert(1)"),
    ] {
        queries.push(client.query(&resource, &[more]));
    }
    for query in queries {
        let page = owner.get(&format!("/oauth/authorize?{query}")).await;
        assert_eq!((page.status, page.location()), (400, ""), "{query:.200}");
        assert_eq!(page.header("referrer-policy"), "no-referrer");
        assert!(page.header("content-type").starts_with("text/html") && !page.body.contains("evil.example"), "{query:.200}");
    }
}

#[tokio::test]
async fn o_06_o_07_o_10_o_16_what_is_wrong_afterwards_is_told_to_the_client() {
    let app = TestApp::start().await;
    let (acme, _) = (app.tenant("acme").await, app.tenant("bravo").await);
    let (client, owner) = (OAuthClient::register(&app).await, acme.owner_browser().await);
    let endpoint = acme.mcp_url();
    let other_tenant = endpoint.replace("acme", "bravo");
    for (more, error) in [
        (("response_type", ""), "invalid_request"),
        (("response_type", "token"), "unsupported_response_type"),
        (("code_challenge", ""), "invalid_request"),
        (("code_challenge", "short"), "invalid_request"),
        (("code_challenge_method", ""), "invalid_request"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("request", "x"), "invalid_request"),
        (("response_mode", "fragment"), "invalid_request"),
        (("scope", "\""), "invalid_scope"),
        (("scope", "admin root"), "invalid_scope"),
        (("resource", "https://elsewhere.example/mcp"), "invalid_target"),
        (("resource", "/t/acme/mcp"), "invalid_target"),
        (("resource", &format!("{endpoint}/")), "invalid_target"),
        (("resource", &format!("{endpoint}#x")), "invalid_target"),
        (("resource", &format!("{endpoint}?x=1")), "invalid_target"),
        (("resource", &format!("{endpoint}/nothing")), "invalid_target"),
        (("resource", &endpoint.replace("acme", "nobody")), "invalid_target"),
        (("resource", &endpoint.replace("http://", "HTTP://")), "invalid_target"),
        (("resource", &other_tenant), "access_denied"),
        (("prompt", "none"), "consent_required"),
    ] {
        let page = owner.get(&format!("/oauth/authorize?{}", client.query(&endpoint, &[more]))).await;
        assert_eq!(page.status, 303, "{more:?}: {}", page.body);
        assert!(page.location().starts_with(&format!("{REDIRECT}?")), "{more:?}: {}", page.location());
        let answer = answer_of(page.location());
        assert_eq!(answer.get("error").map(String::as_str), Some(error), "{more:?}: {answer:?}");
        assert_eq!((answer["state"].as_str(), answer["iss"].as_str()), ("st&te=1", &*format!("{}/oauth", app.url)), "{more:?}");
        assert!(!answer.contains_key("code"));
    }
    let silent = client.query(&endpoint, &[("prompt", "none")]);
    let nobody = Visitor::new(&app.url).get(&format!("/oauth/authorize?{silent}")).await;
    assert_eq!(answer_of(nobody.location())["error"], "login_required");
}

#[tokio::test]
async fn o_20_o_22_the_page_says_who_asks_for_what_and_where_the_answer_goes() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("reads", tools::echo()).await;
    acme.agent("billing", "tools:write").await;
    let owner = acme.owner_browser().await;
    let client = OAuthClient::register_with(
        &app,
        json!({ "client_name": "<script>Evil</script>\u{202e}", "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none" }),
    )
    .await;
    let page = owner.get(&format!("/oauth/authorize?{}", client.query(&acme.mcp_url(), &[]))).await.ok();
    assert!(!page.body.contains("<script>Evil") && !page.body.contains('\u{202e}'));
    for text in ["Evil", "127.0.0.1:9", "A program on this computer", "nobody has checked", "billing", "1: reads", "Allow"] {
        assert!(page.body.contains(text), "{text}");
    }
    let policy = page.header("content-security-policy");
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(policy.contains("form-action 'self' http://127.0.0.1:9;"), "{policy}");
    assert_eq!((page.header("x-frame-options"), page.header("cache-control")), ("DENY", "no-store"));
}

#[tokio::test]
async fn o_21_an_answer_counts_for_its_session_and_its_request_only() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.agent("agent", "tools:read").await;
    acme.member("developer@acme.example", Role::Developer).await;
    let (client, owner) = (OAuthClient::register(&app).await, acme.owner_browser().await);
    let other = Visitor::signed_in(&app.url, "developer@acme.example").await;
    let query = client.query(&acme.mcp_url(), &[]);
    let page = owner.get(&format!("/oauth/authorize?{query}")).await.ok();
    let fields = consent_form(&page.body);
    let agent = page.between("name=\"agent\" value=\"", "\"").expect("an agent").to_owned();
    let form = |request: &str| {
        let mut form = vec![("request".to_owned(), request.to_owned()), fields[1].clone(), fields[2].clone()];
        for (name, value) in [("agent", agent.as_str()), ("scopes", "tools:read"), ("hours", "8"), ("decision", "allow")] {
            form.push((name.to_owned(), value.to_owned()));
        }
        form
    };
    let send = async |visitor: &Visitor, form: &[(String, String)]| {
        let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        visitor.post("/oauth/authorize", &form).await.status
    };
    let changed = query.replace("tools%3Aread", "tools%3Awrite");
    assert_ne!(changed, query);
    assert_eq!(send(&owner, &form(&changed)).await, 403, "another request");
    assert_eq!(send(&other, &form(&query)).await, 403, "another session");
    assert_eq!(send(&Visitor::new(&app.url), &form(&query)).await, 303, "no session: to the log-in");
    assert_eq!(send(&owner, &form(&query)).await, 303);
}

#[tokio::test]
async fn who_may_not_let_clients_act_gets_no_code() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.agent("agent", "tools:read").await;
    let client = OAuthClient::register(&app).await;
    let path = format!("/oauth/authorize?{}", client.query(&acme.mcp_url(), &[]));
    for role in [Role::Viewer, Role::Auditor] {
        let email = format!("{role}@acme.example");
        acme.member(&email, role).await;
        let page = Visitor::signed_in(&app.url, &email).await.get(&path).await;
        assert_eq!(answer_of(page.location())["error"], "access_denied", "{role}");
    }
    let owner = acme.owner_browser().await;
    let denied = client.consent(&owner, &client.query(&acme.mcp_url(), &[]), &[("decision", "deny")]).await;
    assert_eq!(answer_of(&denied)["error"], "access_denied");
}

#[tokio::test]
async fn an_old_client_that_names_no_endpoint_gets_the_one_there_is_or_the_person_chooses() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    acme.agent("agent", "tools:read").await;
    let (client, owner) = (OAuthClient::register(&app).await, acme.owner_browser().await);
    let query = client.query("", &[]);
    let answer = answer_of(&client.consent(&owner, &query, &[]).await);
    let tokens = crate::support::oauth::TokenPair::of(&client.redeem(&answer["code"]).await);
    assert!(acme.with_token(&tokens.access).echo("x").await.is_ok());

    owner.post("/welcome", &[("organisation", "Second")]).await;
    let page = owner.get(&format!("/oauth/authorize?{query}")).await.ok();
    assert!(page.body.contains("Which organisation?") && page.body.contains("Second"));
}

#[tokio::test]
async fn a_new_agent_may_do_exactly_what_was_chosen() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let (client, owner) = (OAuthClient::register(&app).await, acme.owner_browser().await);
    let more = [("agent", "new"), ("new_agent", "Helper"), ("scopes", "tools:read"), ("scopes", "prompts:read")];
    let tokens = {
        let code = client.code(&owner, &acme.mcp_url(), &more).await;
        crate::support::oauth::TokenPair::of(&client.redeem(&code).await)
    };
    assert_eq!(tokens.scope, "tools:read prompts:read");
    assert!(acme.with_token(&tokens.access).echo("x").await.is_ok());
    let agents = owner.get("/t/acme/agents").await.ok();
    assert!(agents.body.contains("Helper"));
}
