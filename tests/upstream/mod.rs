//! Upstreams that misbehave: each is a class of failure, in time, without a word of theirs.

mod answers;

use std::time::{Duration, Instant};

use serde_json::json;
use trunkline_platform::catalog::{self, HttpMethod, NewVersion, Place, ToolName};

use crate::support::{Answer, Era, Tenant, TestApp, Upstream, figure, tools, upstream::CANARY};

/// Calls a tool of that definition once.
async fn call(app: &TestApp, new: NewVersion) -> Answer {
    let acme = app.tenant("acme").await;
    acme.tool("tool", new).await;
    let agent = acme.agent("agent", "tools:read").await;
    agent.call(Era::Stateless, "tool", json!({})).await
}

#[tokio::test]
async fn f_14_each_way_to_fail_has_its_class_and_nothing_of_upstream_leaks() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let gone = Upstream::start().await;
    let nobody = gone.url("/");
    drop(gone);
    for (name, url, class) in [
        ("status-500", upstream.url("/status/500"), "upstream_status"),
        ("status-404", upstream.url("/status/404"), "upstream_status"),
        ("redirect", upstream.url("/redirect"), "upstream_status"),
        ("huge", upstream.url("/huge"), "upstream_too_large"),
        ("endless", upstream.url("/endless"), "upstream_too_large"),
        ("garbage", upstream.url("/garbage"), "upstream_protocol"),
        ("cut", upstream.url("/cut"), "upstream_protocol"),
        ("reset", upstream.url("/reset"), "upstream_protocol"),
        ("nobody", nobody, "upstream_unreachable"),
        ("no-name", "http://no-such-host.invalid/".to_owned(), "upstream_unreachable"),
        ("metadata", "http://169.254.169.254/latest/".to_owned(), "egress_refused"),
        ("private", "http://10.1.2.3/".to_owned(), "egress_refused"),
    ] {
        publish(&app, &acme, name, &url).await;
        for era in Era::ALL {
            let answer = agent.call(era, name, json!({})).await;
            assert_eq!((answer.status, answer.error_class()), (200, class), "{name}: {}", answer.text);
            assert_eq!(answer.json["result"]["isError"], json!(true), "{name}");
            assert!(!answer.text.contains(CANARY) && !answer.text.contains("169.254"), "{name}: {}", answer.text);
        }
    }
    assert!(agent.list(Era::Stateless).await.status == 200, "the endpoint is fine");
}

/// A tool with that URL, also where publishing would refuse it: it may have been published when the operator still allowed it.
async fn publish(app: &TestApp, acme: &Tenant<'_>, name: &str, url: &str) {
    acme.tool(name, tools::get("http://published.invalid/")).await;
    sqlx::query(
        "UPDATE app.tool_versions v SET executor = jsonb_set(executor, '{url}', to_jsonb($1::text))
         FROM app.tools t WHERE t.version_id = v.id AND t.name = $2",
    )
    .bind(url)
    .bind(name)
    .execute(&mut app.sql().await)
    .await
    .expect("another URL");
}

#[tokio::test]
async fn publishing_refuses_addresses_that_no_call_could_reach() {
    let app = TestApp::builder().set("EGRESS_ALLOW", "").set("EGRESS_ALLOW_HTTP", "false").start().await;
    let acme = app.tenant("acme").await;
    for url in [
        "https://127.0.0.1/",
        "https://169.254.169.254/latest/",
        "http://example.com/",
        "https://example.com:22/",
        "https://[::1]/",
    ] {
        let (owner, new) = (acme.owner.clone(), tools::get(url));
        let name = ToolName::parse("refused").expect("a name");
        let refused = app.act(|platform| async move { catalog::create(&platform, &owner, name, new).await.map(drop) }).await;
        assert!(refused.is_err_and(|error| error.to_string().starts_with("url: ")), "{url}");
    }
}

#[tokio::test]
async fn f_10_f_11_an_upstream_that_hangs_is_given_up_at_the_tools_deadline() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    for (name, path) in [("hang", "/hang"), ("drip", "/drip")] {
        acme.tool(name, tools::within_ms(1_000, tools::get(&upstream.url(path)))).await;
        let asked = Instant::now();
        let answer = agent.call(Era::Stateless, name, json!({})).await;
        let took = asked.elapsed();
        assert_eq!(answer.error_class(), "upstream_timeout", "{name}: {}", answer.text);
        assert!((Duration::from_millis(950)..Duration::from_secs(3)).contains(&took), "{name}: {took:?}");
        figure(if name == "hang" { "F10" } else { "F11" }, &format!("cut after {took:.1?}, its tool has a second"));
    }
    crate::support::eventually("both connections are closed", crate::support::SOON, async || {
        (upstream.hung_up() == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn f_15_a_redirect_is_not_followed() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let answer = call(&app, tools::get(&upstream.url("/redirect"))).await;
    assert_eq!(answer.error_class(), "upstream_status");
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn a_name_that_resolves_to_a_private_address_is_refused_after_resolution() {
    let app = TestApp::builder().set("EGRESS_ALLOW", "").start().await;
    let upstream = Upstream::start().await;
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    for (name, host) in [("name", "localhost"), ("address", "127.0.0.1"), ("short", "127.1")] {
        publish(&app, &acme, name, &format!("http://{host}:{}/", upstream.addr.port())).await;
        let answer = agent.call(Era::Stateless, name, json!({})).await;
        assert_eq!(answer.error_class(), "egress_refused", "{host}: {}", answer.text);
    }
    assert!(upstream.seen().is_empty(), "nothing was sent: {:?}", upstream.seen());
}

#[tokio::test]
async fn a_secret_goes_to_its_origin_and_the_callers_bearer_goes_nowhere() {
    let (app, upstream, other) = (TestApp::start().await, Upstream::start().await, Upstream::start().await);
    let acme = app.tenant("acme").await;
    let secret = "upstream-secret-4711";
    acme.tool("secret", tools::with_secret("x-api-key", secret, tools::get(&upstream.url("/json")))).await;
    acme.tool("plain", tools::get(&other.url("/json"))).await;
    acme.tool("redirecting", tools::with_secret("authorization", secret, tools::get(&upstream.url("/redirect")))).await;
    let agent = acme.agent("agent", "tools:read").await;
    let mut bodies = String::new();
    for tool in ["secret", "plain", "redirecting"] {
        let request = agent.message(Era::Stateless, "tools/call", json!({ "name": tool, "arguments": {} }), "application/json");
        let request = request.header("cookie", "session=cookie-canary").header("x-api-key", "header-canary");
        bodies.push_str(&Answer::read(request.send().await.expect("an answer")).await.text);
    }
    assert!(!bodies.contains(secret), "{bodies}");
    let seen = upstream.seen();
    assert!(seen[0].head.contains(&format!("x-api-key: {secret}")), "{}", seen[0].head);
    assert_eq!(other.seen().len(), 1);
    assert!(!other.seen()[0].head.contains(secret));
    for seen in seen.iter().chain(&other.seen()) {
        for canary in [agent.key.to_lowercase().as_str(), "cookie-canary", "header-canary"] {
            assert!(!seen.head.contains(canary) && !seen.body.contains(canary), "{canary}: {}", seen.head);
        }
    }
}

#[tokio::test]
async fn arguments_stay_in_their_place() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let acme = app.tenant("acme").await;
    let parameters = [("id", Place::Path), ("q", Place::Query), ("X-Trace", Place::Header), ("note", Place::Body)];
    acme.tool("order", tools::http(HttpMethod::Post, &upstream.url("/orders/{id}/lines?fixed=1"), &parameters)).await;
    let agent = acme.agent("agent", "tools:read").await;
    let evil = "../admin?x=1&y=2#z";
    let arguments = json!({ "id": evil, "q": evil, "X-Trace": "abc", "note": "\"},{\"a\":\"b" });
    let answer = agent.call(Era::Stateless, "order", arguments).await;
    assert!(answer.is_ok(), "{}", answer.text);
    let seen = upstream.seen().remove(0);
    let query = "fixed=1&q=..%2Fadmin%3Fx%3D1%26y%3D2%23z";
    assert_eq!(seen.line, format!("POST /orders/..%2Fadmin%3Fx%3D1%26y%3D2%23z/lines?{query}"));
    assert!(seen.head.contains("x-trace: abc"), "{}", seen.head);
    assert_eq!(seen.body, r#"{"note":"\"},{\"a\":\"b"}"#);
    for arguments in [json!({ "id": ".." }), json!({ "id": "" }), json!({ "id": "1", "X-Trace": "a\r\nEvil: 1" })] {
        let answer = agent.call(Era::Stateless, "order", arguments.clone()).await;
        assert_eq!(answer.error_class(), "invalid_arguments", "{arguments}: {}", answer.text);
    }
    assert_eq!(upstream.seen().len(), 1, "nothing else was sent");
}
