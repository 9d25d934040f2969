//! What every answer carries, whatever it answers.

use actix_web::http::Method;
use trunkline_web::routes;

use crate::support::{Page, TestApp, Visitor, http};

#[track_caller]
fn check(what: &str, page: &Page) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("cross-origin-opener-policy", "same-origin"),
        // What scripts of any origin may read, they may load.
        (
            "cross-origin-resource-policy",
            if page.header("access-control-allow-origin") == "*" { "cross-origin" } else { "same-origin" },
        ),
    ] {
        assert_eq!(page.header(name), value, "{what}: {name}");
    }
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{what}: {policy}");
    assert!(
        policy.contains("base-uri 'none'") && policy.contains("form-action") && !policy.contains("unsafe"),
        "{what}: {policy}"
    );
    for name in ["referrer-policy", "permissions-policy", "cache-control", "x-request-id"] {
        assert!(!page.header(name).is_empty(), "{what}: {name}");
    }
    assert_eq!(page.header("server"), "", "{what}");
}

#[tokio::test]
async fn every_route_answers_with_security_headers_to_everybody() {
    let app = TestApp::start().await;
    app.tenant("acme").await;
    let visitors = [Visitor::new(&app.url), Visitor::signed_in(&app.url, "owner@acme.example").await];
    let mut answers = 0;
    for route in routes() {
        let id = "01jzzzzzzzzzzzzzzzzzzzzzzz";
        let mut path = route.path.replace("{tenant}", "acme").replace("{path:.+}", "css/app.css").replace("{token}", "x");
        for (name, prefix) in [
            ("agent", "agt"),
            ("key", "key"),
            ("tool", "tool"),
            ("call", "ent"),
            ("member", "usr"),
            ("invitation", "inv"),
            ("source", "src"),
            ("alert", "alr"),
            ("credential", "crd"),
            ("api", "api"),
            ("operation", "opn"),
            ("server", "x"),
            ("version", "1"),
            ("definition", "def"),
            ("change", "chg"),
            ("toolset", "set"),
            ("session", "ses"),
            ("passkey", "psk"),
            ("client", "cli"),
            ("grant", "gra"),
            ("toolset_name", "set"),
            ("issuer", "tis"),
            ("certificate_name", "crn"),
        ] {
            path = path.replace(&format!("{{{name}}}"), &format!("{prefix}_{id}"));
        }
        assert!(!path.contains('{'), "{path}: what is this part?");
        if route.path.ends_with("/leave") || route.path == "/logout" {
            continue;
        }
        for visitor in &visitors {
            let method = reqwest::Method::from_bytes(route.method.as_str().as_bytes()).expect("a method");
            let page = visitor.request(method, &path, |request| request).await;
            assert!(page.status < 500, "{} {path}: {}", route.method, page.status);
            check(&format!("{} {path} ({})", route.method, page.status), &page);
            let is_for_programs =
                ["/oauth/", "/.well-known/"].iter().any(|begin| path.starts_with(begin)) && path != "/oauth/authorize";
            assert!(is_for_programs || page.header("access-control-allow-origin").is_empty(), "{path} is open to all origins");
            let is_static = path.starts_with("/static/") || path.contains("/.well-known/") || path == "/oauth/jwks";
            assert!(is_static || page.header("cache-control").contains("no-store"), "{path}: {}", page.header("cache-control"));
            answers += 1;
        }
        if route.method == Method::GET && route.path == "/login" {
            check("wrong method", &visitors[0].request(reqwest::Method::PUT, &path, |request| request).await);
        }
    }
    assert!(answers > 100, "{answers}");
    for (path, status) in [("/nothing", 404), ("/t/nobody/agents", 404), ("/static/none.css", 404), ("/%00", 404)] {
        let page = visitors[1].get(path).await;
        assert_eq!(page.status, status, "{path}");
        check(path, &page);
    }
    let foreign = visitors[0].request(reqwest::Method::GET, "/", |request| request.header("host", "evil.example")).await;
    assert_eq!(foreign.status, 403);
    check("foreign host", &foreign);
}

#[tokio::test]
async fn each_page_has_a_nonce_of_its_own_and_pages_with_secrets_tell_nobody_their_address() {
    let app = TestApp::start().await;
    let visitor = Visitor::new(&app.url);
    let (first, second) = (visitor.get("/login").await, visitor.get("/login").await);
    let nonce = |page: &Page| page.between("nonce=\"", "\"").expect("a nonce").to_owned();
    assert!(nonce(&first) != nonce(&second) && nonce(&first).len() >= 22);
    assert!(first.header("content-security-policy").contains(&nonce(&first)));
    let fields = [("organisation", "X"), ("email", "ada@example.com"), ("password", crate::support::PASSWORD)];
    visitor.post("/signup", &fields).await.leads_to("/signup/sent");
    let path = crate::support::link(&app.letters("ada@example.com").await[0], &app.url);
    assert_eq!(visitor.get(&path).await.ok().header("referrer-policy"), "no-referrer");
}

#[tokio::test]
async fn links_in_letters_lead_to_the_public_url_whatever_the_request_says() {
    let app = TestApp::start().await;
    let visitor = Visitor::new(&app.url);
    let csrf = visitor.csrf().await;
    let fields = [("organisation", "X"), ("email", "ada@example.com"), ("password", crate::support::PASSWORD), ("csrf", &csrf)];
    let page = visitor.request(reqwest::Method::POST, "/signup", |request| {
        request.form(&fields).header("x-forwarded-host", "evil.example").header("forwarded", "host=evil.example")
    });
    page.await.leads_to("/signup/sent");
    let letter = app.letters("ada@example.com").await.remove(0);
    assert!(!letter.text.contains("evil") && !letter.html.contains("evil") && letter.text.contains(&app.url), "{}", letter.text);
}

#[tokio::test]
async fn health_answers_without_a_log_in_and_says_nothing_but_names_and_states() {
    let app = TestApp::start().await;
    for (url, path) in [
        (&app.url, "/healthz"),
        (&app.url, "/readyz"),
        (&app.url, "/health"),
        (&app.ops_url, "/health"),
        (&app.ops_url, "/metrics"),
    ] {
        let answer = http().get(format!("{url}{path}")).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        let text = answer.text().await.expect("a body");
        assert!(!text.contains("postgres://") && !text.contains("127.0.0.1"), "{path}: {text}");
    }
    assert_eq!(http().get(format!("{}/metrics", app.url)).send().await.expect("an answer").status(), 404);
    assert_eq!(http().get(format!("{}/mail", app.url)).send().await.expect("an answer").status(), 404);
}
