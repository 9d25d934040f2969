//! Forms come from pages of ours, or nothing happens.

use reqwest::Method;

use crate::support::{SESSION, TestApp, Visitor};

async fn name(app: &TestApp) -> String {
    sqlx::query_scalar("SELECT name FROM app.tenants WHERE slug = 'acme'").fetch_one(&mut app.sql().await).await.expect("a name")
}

#[tokio::test]
async fn a_form_without_the_right_token_or_from_elsewhere_changes_nothing() {
    let app = TestApp::start().await;
    app.tenant("acme").await;
    app.tenant("bravo").await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let other = Visitor::signed_in(&app.url, "owner@bravo.example").await;
    let (own, foreign, anonymous) = (owner.csrf().await, other.csrf().await, Visitor::new(&app.url).csrf().await);
    let mut flipped = own.clone();
    let last = flipped.pop().expect("a token");
    flipped.push(if last == 'A' { 'B' } else { 'A' });
    let send = async |token: Option<&str>, headers: &[(&'static str, &str)]| {
        let mut fields = vec![("name", "Taken over"), ("currency", "EUR")];
        fields.extend(token.map(|token| ("csrf", token)));
        let page = owner.request(Method::POST, "/t/acme/settings", |request| {
            headers.iter().fold(request.form(&fields), |request, (name, value)| request.header(*name, *value))
        });
        page.await.status
    };
    for (what, token) in [
        ("no token", None),
        ("an empty one", Some("")),
        ("one bit off", Some(flipped.as_str())),
        ("another session's", Some(foreign.as_str())),
        ("a visitor's", Some(anonymous.as_str())),
    ] {
        assert_eq!(send(token, &[]).await, 403, "{what}");
    }
    for (what, headers) in [
        ("another origin", &[("origin", "https://evil.example")][..]),
        ("a null origin", &[("origin", "null")]),
        ("another site", &[("sec-fetch-site", "cross-site")]),
        ("a sibling", &[("sec-fetch-site", "same-site"), ("origin", "https://x.example")]),
        ("a lie", &[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")]),
    ] {
        assert_eq!(send(Some(&own), headers).await, 403, "{what}");
    }
    assert_eq!(name(&app).await, "acme", "nothing has changed");
    assert_eq!(send(Some(&own), &[("sec-fetch-site", "same-origin"), ("origin", &app.url)]).await, 303);
    assert_eq!(name(&app).await, "Taken over");
}

#[tokio::test]
async fn a_forged_cookie_is_nobody() {
    let app = TestApp::start().await;
    app.tenant("acme").await;
    let real = Visitor::signed_in(&app.url, "owner@acme.example").await.cookie(SESSION).expect("a session");
    let mut reversed: String = real.chars().rev().collect();
    reversed.truncate(43);
    for cookie in [
        "",
        "x",
        "../../etc/passwd",
        "' OR 1=1 --",
        &reversed,
        &format!("{real}x"),
        &real[1..],
        &"A".repeat(43),
        &"A".repeat(5_000),
    ] {
        let visitor = Visitor::new(&app.url);
        visitor.set_cookie(SESSION, cookie);
        visitor.get("/t/acme/members").await.leads_to("/login?next=%2Ft%2Facme%2Fmembers");
    }
}

#[tokio::test]
async fn bodies_that_are_no_forms_are_refused() {
    let app = TestApp::start().await;
    let visitor = Visitor::new(&app.url);
    let csrf = visitor.csrf().await;
    let send = async |kind: &str, body: String| {
        let page = visitor.request(Method::POST, "/login", |request| request.header("content-type", kind).body(body));
        page.await.status
    };
    let form = "application/x-www-form-urlencoded";
    assert_eq!(send("application/json", format!(r#"{{"csrf":"{csrf}"}}"#)).await, 415);
    assert_eq!(send("multipart/form-data; boundary=x", "--x--".to_owned()).await, 415);
    assert_eq!(send("text/plain", format!("csrf={csrf}")).await, 415);
    assert_eq!(send(form, format!("csrf={csrf}&email={}", "x".repeat(70_000))).await, 413);
    assert_eq!(send(form, format!("csrf={csrf}")).await, 422, "fields are missing");
    assert!(matches!(send(form, format!("csrf={csrf}&email=%ff%fe&password=x")).await, 400 | 422));
}

#[tokio::test]
async fn a_message_for_the_next_page_cannot_be_made_up() {
    use std::fmt::Write as _;
    let app = TestApp::start().await;
    let visitor = Visitor::new(&app.url);
    let mut encoded = String::new();
    for byte in b"success:You won. Call 0900." {
        let _ = write!(encoded, "{byte:02x}");
    }
    for cookie in ["c3VjY2VzczpZb3Ugd29u.AAAA", "c3VjY2VzczpZb3Ugd29u", &encoded] {
        visitor.set_cookie("__Host-flash", cookie);
        assert!(!visitor.get("/login").await.ok().body.contains("You won"));
    }
}
