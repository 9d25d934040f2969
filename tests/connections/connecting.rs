//! From the settings of a source to a connected account, and whatever may go wrong on the way.

use chrono::TimeDelta;
use serde_json::json;

use super::{
    World,
    provider::{SECRET, Service, Ways},
    whoami,
};
use crate::support::{Era, TestApp, Upstream, Visitor, tools};

#[tokio::test]
async fn the_provider_is_found_a_client_registered_and_each_person_calls_with_their_own_account() {
    let (app, service) = (TestApp::start().await, Service::start().await);
    let world = World::new(&app, &service).await;

    // What was registered, and what was asked for.
    let registered = &service.registrations()[0];
    assert_eq!(registered["redirect_uris"], json!([format!("{}/oauth/connections/callback", app.url)]));
    assert_eq!(registered["token_endpoint_auth_method"], "none");
    let redeemed = service.asked("authorization_code");
    assert_eq!(redeemed[0]["resource"], service.mcp());
    assert_eq!(redeemed[0]["code_verifier"].len(), 64);

    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let (for_ada, for_bob) = (world.caller(&ada).await, world.caller(&bob).await);
    // Consent first: the page says what for, and nothing has been sent anywhere.
    let page = ada.get(&world.connect_path()).await.ok();
    for words in ["Connect your account?", "files", "127.0.0.1", &service.origin(), "files:read", "ada@acme.example"] {
        assert!(page.body.contains(words), "{words}: {}", page.body);
    }
    for (name, person) in [("ada", &ada), ("bob", &bob)] {
        service.says(name);
        world.connect(person).await.leads_to(&world.connect_path());
        assert!(person.get(&world.connect_path()).await.ok().body.contains("Your account is connected"));
    }
    // Again and again, side by side: nobody ever has another's.
    for _ in 0..5 {
        let (first, second) = tokio::join!(whoami(&for_ada), whoami(&for_bob));
        assert_eq!((first.result(), second.result()), ("ada", "bob"));
    }
    let calls = service.calls();
    assert!(calls.iter().all(|(who, what)| what != "tools/list" || who == "owner"), "lists are read by whoever set it up");

    // Who acts for nobody has no account.
    let key = world.acme.agent("keyed", "tools:read").await;
    let refused = key.call(Era::Stateless, "files.whoami", json!({})).await;
    assert_eq!(refused.error_class(), "connection_needs_person", "{}", refused.text);
    assert!(refused.result().contains("acts for no person"));

    // The page of the source counts, the page of the account lists.
    let page = world.owner.get(&format!("/t/acme/sources/{}", world.source)).await.ok();
    assert!(page.body.contains("3 people connected"), "{}", page.body);
    let page = ada.get("/account/connections").await.ok();
    assert!(page.body.contains("files") && page.body.contains("works"), "{}", page.body);

    // A developer tries the tool with their own account.
    let tool = ada.get("/t/acme/tools").await.ok();
    let id = tool.between("/t/acme/tools/tool_", "\"").expect("a tool").to_owned();
    let tried = ada.post(&format!("/t/acme/tools/tool_{id}/try"), &[("mode", "json"), ("arguments", "{}")]).await;
    assert!(tried.body.contains("ada"), "{} {}", tried.status, tried.body);
}

#[tokio::test]
async fn an_answer_counts_once_in_time_for_the_session_and_person_that_asked() {
    let (app, service) = (TestApp::start().await, Service::start().await);
    let world = World::new(&app, &service).await;
    let (ada, eve) = (world.person("ada").await, world.person("eve").await);
    service.says("ada");
    let back = world.way_back(&ada).await;
    // Somebody else, another browser of the same person, nobody: it stays hers.
    let other_browser = Visitor::signed_in(&app.url, "ada@acme.example").await;
    for (who, visitor) in [("eve", &eve), ("another browser", &other_browser), ("nobody", &Visitor::new(&app.url))] {
        let page = visitor.get(&back).await;
        assert_eq!(page.status, 400, "{who}: {}", page.body);
        assert!(page.body.contains("not begun here"), "{who}: {}", page.body);
    }
    assert_eq!(world.scalar("SELECT count(*) FROM app.connections").await, 1, "the owner's only");
    ada.get(&back).await.leads_to(&world.connect_path());
    // Again: it is used up.
    assert_eq!(ada.get(&back).await.status, 400);
    for broken in
        ["/oauth/connections/callback", "/oauth/connections/callback?code=x&state=y", "/oauth/connections/callback?state="]
    {
        assert_eq!(ada.get(broken).await.status, 400, "{broken}");
    }
    // Ten minutes, and no longer.
    let late = world.way_back(&eve).await;
    app.clock.advance(TimeDelta::minutes(10) + TimeDelta::seconds(1));
    assert_eq!(eve.get(&late).await.status, 400);
    assert_eq!(world.scalar("SELECT count(*) FROM app.connections").await, 2);
}

#[tokio::test]
async fn an_answer_of_somebody_else_or_a_no_connects_nothing() {
    let (app, service) = (TestApp::start().await, Service::start().await);
    let world = World::new(&app, &service).await;
    let ada = world.person("ada").await;
    for (ways, words) in [
        (Ways { other_issuer: true, ..Ways::default() }, "comes from somebody else"),
        (Ways { no_issuer: true, ..Ways::default() }, "comes from somebody else"),
        (Ways { declines: true, ..Ways::default() }, "Nothing was connected"),
    ] {
        service.is(ways.clone());
        let page = world.connect(&ada).await;
        assert_eq!(page.status, 400, "{ways:?}: {}", page.body);
        assert!(page.body.contains(words), "{ways:?}: {}", page.body);
    }
    // A code that is worth nothing: in our words, not in theirs.
    service.is(Ways::default());
    let back = world.way_back(&ada).await.replace("code=", "code=x");
    let page = ada.get(&back).await;
    assert_eq!(page.status, 400);
    assert!(page.body.contains("invalid_grant") && !page.body.contains("canary"), "{}", page.body);
    // The provider is exchanged while somebody is there.
    let back = world.way_back(&ada).await;
    service.add_client("by-hand", None);
    let (authorize, token) = (format!("{}/authorize", service.origin()), format!("{}/token", service.origin()));
    let by_hand = [("authorization_url", authorize.as_str()), ("token_url", token.as_str()), ("client_id", "by-hand")];
    world.personal(&by_hand).await.leads_to(&world.connect_path());
    let page = ada.get(&back).await;
    assert_eq!(page.status, 400);
    assert!(page.body.contains("changed meanwhile"), "{}", page.body);
    assert_eq!(world.scalar("SELECT count(*) FROM app.connections").await, 0, "another client: everybody connects again");
}

#[tokio::test]
async fn what_cannot_be_found_is_said_and_entered_by_hand() {
    let (app, service) = (TestApp::start().await, Service::start().await);
    let world = World::without_provider(&app, &service).await;
    for (ways, words) in [
        (Ways { no_registration: true, ..Ways::default() }, "registers no clients by itself"),
        (Ways { no_pkce: true, ..Ways::default() }, "PKCE with S256"),
        (Ways { foreign_metadata: true, ..Ways::default() }, "another issuer"),
        (Ways { foreign_resource: true, ..Ways::default() }, "another resource"),
    ] {
        service.is(ways.clone());
        let page = world.personal(&[]).await;
        assert_eq!(page.status, 422, "{ways:?}: {}", page.body);
        assert!(page.body.contains(words), "{ways:?}: {}", page.body);
    }
    service.is(Ways::default());
    let (authorize, token) = (format!("{}/authorize", service.origin()), format!("{}/token", service.origin()));
    let urls = [("authorization_url", authorize.as_str()), ("token_url", token.as_str())];
    for (fields, words) in [
        (vec![urls[0]], "enter both"),
        (urls.to_vec(), "enter the client id"),
        (vec![("authorization_url", "file:///etc/passwd"), urls[1], ("client_id", "x")], "expected a URL"),
        (vec![urls[0], ("token_url", "http://169.254.169.254/token"), ("client_id", "x")], "public hosts only"),
        (vec![urls[0], urls[1], ("client_id", "x"), ("authentication", "client_secret_basic")], "enter the client secret"),
        (vec![urls[0], urls[1], ("client_id", "x"), ("scopes", "a\"b")], "separated by single spaces"),
    ] {
        let page = world.personal(&fields).await;
        assert_eq!(page.status, 422, "{fields:?}: {}", page.body);
        assert!(page.body.to_lowercase().contains(&words.to_lowercase()), "{fields:?}: {}", page.body);
    }
    assert_eq!(world.scalar("SELECT count(*) FROM app.connection_providers").await, 0, "nothing changed");

    // By hand, with a secret: it works, and never comes back.
    service.add_client("by-hand", Some(SECRET));
    let fields = [urls[0], urls[1], ("client_id", "by-hand"), ("client_secret", SECRET), ("scopes", "files:read")];
    world.personal(&fields).await.leads_to(&world.connect_path());
    service.says("owner");
    world.connect(&world.owner).await.leads_to(&world.connect_path());
    world.switch_on().await;
    assert_eq!(whoami(&world.caller(&world.owner).await).await.result(), "owner");
    let page = world.owner.get(&format!("/t/acme/sources/{}/accounts", world.source)).await.ok();
    assert!(page.body.contains("by-hand") && !page.body.contains(SECRET));
    // Saved again without the secret it stays; for another endpoint it is asked for again.
    let kept =
        [urls[0], urls[1], ("client_id", "by-hand"), ("authentication", "client_secret_basic"), ("resource", &service.mcp())];
    world.personal(&kept).await.leads_to(&world.connect_path());
    assert_eq!(whoami(&world.caller(&world.owner).await).await.result(), "owner", "and so do the connections");
    let elsewhere = [urls[0], ("token_url", "http://127.0.0.1:9/token"), kept[2], kept[3]];
    assert_eq!(world.personal(&elsewhere).await.status, 422);
}

/// A host whose HTTP tools use the account of whoever calls; its provider is entered by hand.
async fn of_one_host<'a>(app: &'a TestApp, service: &Service) -> World<'a> {
    let acme = app.tenant("acme").await;
    acme.agent("agent", "tools:read").await;
    let owner = acme.owner_browser().await;
    let refused = owner.post("/t/acme/sources/new/api", &[("name", "api"), ("url", &service.mcp())]).await;
    assert_eq!(refused.status, 422, "{}", refused.body);
    let page = owner.post("/t/acme/sources/new/api", &[("name", "api"), ("url", &service.origin())]).await;
    let source = page.location().split('/').nth(4).and_then(|id| id.parse().ok()).expect("a source");
    let client = crate::support::oauth::OAuthClient::register(app).await;
    let world = World { app, acme, owner, source, client };
    service.add_client("by-hand", Some(SECRET));
    let (authorize, token) = (format!("{}/authorize", service.origin()), format!("{}/token", service.origin()));
    let fields = [
        ("authorization_url", authorize.as_str()),
        ("token_url", token.as_str()),
        ("client_id", "by-hand"),
        ("client_secret", SECRET),
        ("authentication", "client_secret_post"),
    ];
    world.personal(&fields).await.leads_to(&world.connect_path());
    world
}

#[tokio::test]
async fn an_imported_api_with_oauth_of_persons_is_called_with_the_account_of_whoever_calls() {
    let (app, service, host) = (TestApp::start().await, Service::start().await, Upstream::start().await);
    let world = of_one_host(&app, &service).await;
    let flow = json!({
        "authorizationUrl": format!("{}/authorize", service.origin()),
        "tokenUrl": format!("{}/token", service.origin()),
        "scopes": { "read": "" },
    });
    let document = json!({
        "openapi": "3.1.0", "info": { "title": "Profiles", "version": "1" }, "servers": [{ "url": service.origin() }],
        "security": [{ "login": ["read"] }],
        "paths": { "/api/me": { "get": { "operationId": "profile", "responses": { "200": { "description": "" } } } } },
        "components": { "securitySchemes": { "login": { "type": "oauth2", "flows": { "authorizationCode": flow } } } },
    });
    host.serve_document(&document.to_string());
    let page = world.owner.post("/t/acme/sources/import", &[("name", "profiles"), ("link", &host.url("/document"))]).await;
    let api = page.location().to_owned();
    let page = world.owner.get(&api).await.ok();
    assert!(page.body.contains("Where each person has their own account"), "{}", page.body);
    // Without any secret: there is none that is everybody's.
    let fields = [("then", "publish"), ("untried_reason", "nobody has connected yet"), ("server", &service.origin())];
    world.owner.post(&api, &fields).await.leads_to(&api);
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let (for_ada, for_bob) = (world.caller(&ada).await, world.caller(&bob).await);
    let unconnected = for_ada.call(Era::Stateless, "profile", json!({})).await;
    assert_eq!(unconnected.error_class(), "connection_needed", "{}", unconnected.text);
    assert!(service.calls().is_empty(), "nothing is sent without an account");
    for (name, person) in [("ada", &ada), ("bob", &bob)] {
        service.says(name);
        world.connect(person).await.leads_to(&world.connect_path());
    }
    for _ in 0..3 {
        let (first, second) =
            tokio::join!(for_ada.call(Era::Stateless, "profile", json!({})), for_bob.call(Era::Stateless, "profile", json!({})));
        assert_eq!((first.result(), second.result()), (r#"{"you":"ada"}"#, r#"{"you":"bob"}"#));
    }
    // A token that has run out is refreshed by the call, and a key acts for nobody.
    service.forget_access();
    assert_eq!(for_ada.call(Era::Stateless, "profile", json!({})).await.result(), r#"{"you":"ada"}"#);
    let key = world.acme.agent("keyed", "tools:read").await;
    assert_eq!(key.call(Era::Stateless, "profile", json!({})).await.error_class(), "connection_needs_person");
}

#[tokio::test]
async fn http_tools_of_one_host_use_the_account_of_whoever_calls() {
    let (app, service) = (TestApp::start().await, Service::start().await);
    let world = of_one_host(&app, &service).await;
    let (acme, source) = (&world.acme, world.source);
    acme.tool("me", tools::get(&format!("{}/api/me", service.origin()))).await;
    let ada = world.person("ada").await;
    let agent = world.caller(&ada).await;
    let call = async || agent.call(Era::Stateless, "me", json!({})).await;
    assert_eq!(call().await.error_class(), "connection_needed");
    service.says("ada");
    world.connect(&ada).await.leads_to(&world.connect_path());
    assert_eq!(call().await.result(), r#"{"you":"ada"}"#);
    // 401: refreshed once, and then the person is asked.
    service.forget_access();
    assert_eq!(call().await.result(), r#"{"you":"ada"}"#);
    assert_eq!(service.asked("refresh_token").len(), 1);
    service.is(Ways { refuses_all: true, ..Ways::default() });
    assert_eq!(call().await.error_class(), "connection_needed");
    assert!(ada.get(&world.connect_path()).await.ok().body.contains("Connect your account again"));
    // Keys act for nobody.
    let key = acme.agent("keyed", "tools:read").await;
    assert_eq!(key.call(Era::Stateless, "me", json!({})).await.error_class(), "connection_needs_person");
    let page = world.owner.get(&format!("/t/acme/sources/{source}")).await.ok();
    assert!(page.body.contains("1 person must connect again"), "{}", page.body);
    // Without the source, the tool is what it was.
    world.owner.post(&format!("/t/acme/sources/{source}/accounts"), &[("credential", "tenant")]).await;
    assert_eq!(call().await.error_class(), "upstream_status");
}
