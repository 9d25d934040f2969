//! Second factors by code: what counts when, once; and what a right password alone is good for.

use chrono::TimeDelta;
use trunkline_platform::clock::Clock as _;

use crate::support::{Authenticator, PASSWORD, SESSION, TestApp, Visitor, eventually};

const OWNER: &str = "owner@acme.example";

/// Sets an authenticator app up; tells the recovery codes too.
pub(crate) async fn set_up(app: &TestApp, visitor: &Visitor) -> (Authenticator, Vec<String>) {
    let page = visitor.post("/account/security/authenticator", &[]).await.ok();
    let secret = page.between("data-copy-text>", "<").expect("the secret").to_owned();
    assert!(page.body.contains("<svg class=\"qr\"") && !page.body.contains("otpauth://evil"));
    let authenticator = Authenticator::new(&secret);
    let wrong = visitor.post("/account/security/authenticator/confirm", &[("code", "000000")]).await;
    assert_eq!(wrong.status, 422);
    assert!(wrong.body.contains(&secret), "the same secret is shown again");
    let code = authenticator.code(app.clock.now());
    let page = visitor.post("/account/security/authenticator/confirm", &[("code", &code)]).await.ok();
    let codes = page.between("aria-label=\"Recovery codes\">", "</pre>").expect("the codes");
    let codes: Vec<_> = codes.split_whitespace().map(str::to_owned).collect();
    assert_eq!(codes.len(), 10);
    // The code that confirmed it is used up.
    app.clock.advance(TimeDelta::seconds(60));
    (authenticator, codes)
}

#[tokio::test]
async fn a_code_is_asked_for_after_the_password_and_works_once() {
    let app = TestApp::start().await;
    app.tenant("acme").await;
    let owner = Visitor::signed_in(&app.url, OWNER).await;
    let (authenticator, _) = set_up(&app, &owner).await;
    assert!(app.letters(OWNER).await.iter().any(|letter| letter.subject.contains("authenticator app is set up")));

    let visitor = Visitor::new(&app.url);
    let fields = [("email", OWNER), ("password", PASSWORD), ("next", "/t/acme/members")];
    visitor.post("/login", &fields).await.leads_to("/login/second?next=%2Ft%2Facme%2Fmembers");
    let half = visitor.cookie(SESSION).expect("a session for the second step");
    for path in ["/t/acme", "/account", "/account/security", "/welcome"] {
        assert!(visitor.get(path).await.location().starts_with("/login"), "{path} is open to who has shown a password only");
    }
    visitor.get("/login/second").await.ok();
    for wrong in ["", "000000", "12345", &"9".repeat(40)] {
        assert_eq!(visitor.post("/login/second", &[("code", wrong)]).await.status, 422, "{wrong}");
    }
    let code = authenticator.code(app.clock.now());
    visitor
        .post("/login/second", &[("code", &format!("{} {}", &code[..3], &code[3..])), ("next", "/t/acme/members")])
        .await
        .leads_to("/t/acme/members");
    let full = visitor.cookie(SESSION).expect("a session");
    assert_ne!(half, full, "the id changes with what it is good for");
    let thief = Visitor::new(&app.url);
    thief.set_cookie(SESSION, &half);
    assert!(thief.get("/t/acme").await.location().starts_with("/login"));
    visitor.get("/t/acme/members").await.ok();

    let again = Visitor::new(&app.url);
    again.log_in(OWNER, PASSWORD).await.leads_to("/login/second");
    assert_eq!(again.post("/login/second", &[("code", &code)]).await.status, 422, "a code works once");
    let before = authenticator.code(app.clock.now() - TimeDelta::seconds(30));
    assert_eq!(again.post("/login/second", &[("code", &before)]).await.status, 422, "nor does one before it");
    app.clock.advance(TimeDelta::seconds(30));
    let next = authenticator.code(app.clock.now());
    again.post("/login/second", &[("code", &next)]).await.leads_to("/");
}

#[tokio::test]
async fn a_right_password_waits_ten_minutes_for_its_second_factor() {
    let app = TestApp::start().await;
    app.tenant("acme").await;
    let (authenticator, _) = set_up(&app, &Visitor::signed_in(&app.url, OWNER).await).await;
    let visitor = Visitor::new(&app.url);
    visitor.log_in(OWNER, PASSWORD).await.leads_to("/login/second");
    visitor.get("/login/second").await.ok();
    app.clock.advance(TimeDelta::minutes(11));
    assert!(visitor.get("/login/second").await.location().starts_with("/login?next="));
    let code = authenticator.code(app.clock.now());
    visitor.post("/login/second", &[("code", &code)]).await.leads_to("/login");
    assert!(visitor.get("/t/acme").await.location().starts_with("/login"));
}

#[tokio::test]
async fn a_recovery_code_stands_in_once_and_its_owner_is_told() {
    let app = TestApp::start().await;
    app.tenant("acme").await;
    let owner = Visitor::signed_in(&app.url, OWNER).await;
    let (_, codes) = set_up(&app, &owner).await;
    let visitor = Visitor::new(&app.url);
    visitor.log_in(OWNER, PASSWORD).await.leads_to("/login/second");
    visitor.post("/login/second", &[("code", &codes[3].to_uppercase().replace('-', " "))]).await.leads_to("/");
    eventually("a letter", crate::support::SOON, async || {
        app.letters(OWNER).await.iter().any(|letter| letter.subject.contains("recovery code")).then_some(())
    })
    .await;
    assert!(visitor.get("/account/security").await.ok().body.contains("9 left"));
    let again = Visitor::new(&app.url);
    again.log_in(OWNER, PASSWORD).await.leads_to("/login/second");
    assert_eq!(again.post("/login/second", &[("code", &codes[3])]).await.status, 422, "it works once");

    let page = visitor.post("/account/security/recovery", &[]).await.ok();
    assert!(!page.body.contains(&codes[4]));
    assert_eq!(again.post("/login/second", &[("code", &codes[4])]).await.status, 422, "the old ones work no more");
    let mut sql = app.sql().await;
    let rows: Vec<String> =
        sqlx::query_scalar("SELECT to_jsonb(r)::text FROM app.recovery_codes r").fetch_all(&mut sql).await.expect("rows");
    assert_eq!(rows.len(), 10);
    assert!(!rows.iter().any(|row| codes.iter().any(|code| row.contains(code))), "only digests are stored");
}

#[tokio::test]
async fn switched_off_it_is_asked_for_no_more() {
    let app = TestApp::start().await;
    app.tenant("acme").await;
    let owner = Visitor::signed_in(&app.url, OWNER).await;
    set_up(&app, &owner).await;
    assert_eq!(owner.post("/account/security/authenticator", &[]).await.status, 409, "it is set up already");
    owner.post("/account/security/authenticator/remove", &[]).await.leads_to("/account/security");
    Visitor::new(&app.url).log_in(OWNER, PASSWORD).await.leads_to("/");
    let mut sql = app.sql().await;
    let left: i64 =
        sqlx::query_scalar("SELECT (SELECT count(*) FROM app.totp_secrets) + (SELECT count(*) FROM app.recovery_codes)")
            .fetch_one(&mut sql)
            .await
            .expect("a count");
    assert_eq!(left, 0);
    let actions: Vec<String> =
        sqlx::query_scalar("SELECT action FROM app.audit_entries WHERE action LIKE 'account.%' ORDER BY id")
            .fetch_all(&mut sql)
            .await
            .expect("entries");
    assert_eq!(actions, ["account.totp_added", "account.totp_removed"]);
}

#[tokio::test]
async fn guesses_are_limited_and_nobody_is_locked_out_for_good() {
    let app = TestApp::builder().default_attempts().start().await;
    app.tenant("acme").await;
    let (authenticator, _) = set_up(&app, &Visitor::signed_in(&app.url, OWNER).await).await;
    let visitor = Visitor::new(&app.url);
    visitor.log_in(OWNER, PASSWORD).await.leads_to("/login/second");
    let mut guesses = 0;
    while visitor.post("/login/second", &[("code", "000000")]).await.status == 422 {
        guesses += 1;
        assert!(guesses < 15, "nobody stops this");
    }
    let code = authenticator.code(app.clock.now());
    let page = visitor.post("/login/second", &[("code", &code)]).await;
    assert_eq!((page.status, page.header("retry-after").is_empty()), (429, false), "not even the right one");
    let wait: u64 = page.header("retry-after").parse().expect("seconds");
    assert!(wait <= 60, "{wait} s");
}

#[tokio::test]
async fn a_tenant_that_asks_for_a_second_factor_leads_members_to_it() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.member("dev@acme.example", trunkline_platform::actor::Role::Developer).await;
    let owner = Visitor::signed_in(&app.url, OWNER).await;
    let rules = "/t/acme/settings/sign-in";
    let page = owner.post(rules, &[("second_factor", "yes")]).await;
    assert_eq!(page.status, 422, "who has none cannot ask for one");
    set_up(&app, &owner).await;
    owner.post(rules, &[("second_factor", "yes")]).await.leads_to(rules);

    let developer = Visitor::signed_in(&app.url, "dev@acme.example").await;
    developer.get("/t/acme/agents").await.leads_to("/account/security?for=acme");
    let page = developer.get("/account/security?for=acme").await.ok();
    assert!(page.body.contains("acme asks for a second factor"), "{}", page.body);
    assert_eq!(developer.post("/t/acme/agents/new", &[("name", "x")]).await.status, 303, "nor by a form");
    set_up(&app, &developer).await;
    developer.get("/t/acme/agents").await.ok();
}
