//! From a stranger to a member: sign-up, log-in, reset, invitation; and what strangers cannot find out.

use chrono::TimeDelta;

use crate::support::{PASSWORD, Page, SESSION, SOON, TestApp, Visitor, eventually, link};

const EMAIL: &str = "ada@example.com";

async fn sign_up(app: &TestApp, visitor: &Visitor, email: &str) -> String {
    let fields = [("organisation", "Analytical Engines"), ("email", email), ("password", PASSWORD)];
    visitor.post("/signup", &fields).await.leads_to("/signup/sent");
    link(app.letters(email).await.last().expect("a letter"), &app.url)
}

async fn signed_up(app: &TestApp, email: &str) -> Visitor {
    let visitor = Visitor::new(&app.url);
    let path = sign_up(app, &visitor, email).await;
    assert_eq!(visitor.post(&path, &[]).await.status, 303);
    visitor.log_in(email, PASSWORD).await.leads_to("/");
    visitor
}

/// The newest letter to that address, once there are so many.
async fn letter(app: &TestApp, email: &str, count: usize) -> trunkline_platform::mail::Captured {
    eventually("another letter", SOON, async || {
        let letters = app.letters(email).await;
        (letters.len() == count).then(|| letters.last().cloned()).flatten()
    })
    .await
}

/// A page without what differs from request to request.
fn essence(page: &Page) -> (u16, String, String) {
    let mut body = page.body.clone();
    for (before, after) in [("nonce=\"", "\""), ("name=\"csrf\" value=\"", "\"")] {
        if let Some(value) = page.between(before, after) {
            body = body.replace(value, "");
        }
    }
    (page.status, page.location().to_owned(), body)
}

#[tokio::test]
async fn a_stranger_becomes_the_owner_of_an_organisation_by_a_mailed_link() {
    let app = TestApp::start().await;
    let visitor = Visitor::new(&app.url);
    let path = sign_up(&app, &visitor, EMAIL).await;
    assert_eq!(visitor.log_in(EMAIL, PASSWORD).await.status, 422, "not before the link was opened");
    assert!(visitor.get(&path).await.ok().body.contains(EMAIL));
    assert_eq!(visitor.log_in(EMAIL, PASSWORD).await.status, 422, "looking is not confirming");
    visitor.post(&path, &[]).await.leads_to("/login?next=%2Ft%2Fanalytical-engines");
    assert!(visitor.cookie(SESSION).is_none(), "a link signs nobody in");
    assert_eq!(visitor.post(&path, &[]).await.status, 404, "it works once");
    visitor.log_in(EMAIL, PASSWORD).await.leads_to("/");
    visitor.get("/").await.leads_to("/t/analytical-engines");
    let members = visitor.get("/t/analytical-engines/members").await.ok();
    assert!(members.body.contains(EMAIL) && members.body.contains("owner"));
}

#[tokio::test]
async fn links_work_for_an_hour() {
    let app = TestApp::start().await;
    let visitor = Visitor::new(&app.url);
    let path = sign_up(&app, &visitor, EMAIL).await;
    app.clock.advance(TimeDelta::minutes(59));
    visitor.get(&path).await.ok();
    app.clock.advance(TimeDelta::minutes(2));
    assert_eq!((visitor.get(&path).await.status, visitor.post(&path, &[]).await.status), (404, 404));
}

#[tokio::test]
async fn an_invited_person_signs_up_accepts_and_is_a_member() {
    let app = TestApp::start().await;
    let owner = signed_up(&app, EMAIL).await;
    let members = "/t/analytical-engines/members";
    let fields = [("email", "guest@example.com"), ("role", "viewer")];
    owner.post("/t/analytical-engines/invitations", &fields).await.leads_to(members);
    let invitation = link(&letter(&app, "guest@example.com", 1).await, &app.url);

    // Somebody else who gets hold of the link gains nothing.
    let other = signed_up(&app, "other@example.com").await;
    other.get(&invitation).await.ok();
    assert_eq!(other.post(&invitation, &[]).await.status, 404);

    let guest = Visitor::new(&app.url);
    let page = guest.get(&invitation).await.ok();
    let signup = page.between("href=\"/signup?", "\"").expect("a way to sign up").replace("&amp;", "&");
    guest.get(&format!("/signup?{signup}")).await.ok();
    let token = invitation.trim_start_matches("/invitations/");
    guest.post("/signup", &[("invitation", token), ("password", PASSWORD)]).await.leads_to("/signup/sent");
    let confirm = link(&letter(&app, "guest@example.com", 2).await, &app.url);
    assert_eq!(guest.post(&confirm, &[]).await.status, 303);
    guest.log_in("guest@example.com", PASSWORD).await.leads_to("/");
    guest.post(&invitation, &[]).await.leads_to("/t/analytical-engines");
    assert!(guest.get(members).await.ok().body.contains("guest@example.com"));
    assert_eq!(guest.post(&invitation, &[]).await.status, 404, "it works once");
    let denied = guest.post("/t/analytical-engines/invitations", &[("email", "x@example.com"), ("role", "viewer")]).await;
    assert_eq!(denied.status, 403, "a viewer invites nobody");
}

#[tokio::test]
async fn a_withdrawn_invitation_works_no_more() {
    let app = TestApp::start().await;
    let owner = signed_up(&app, EMAIL).await;
    let fields = [("email", "guest@example.com"), ("role", "viewer")];
    owner.post("/t/analytical-engines/invitations", &fields).await.leads_to("/t/analytical-engines/members");
    let invitation = link(&letter(&app, "guest@example.com", 1).await, &app.url);
    let page = owner.get("/t/analytical-engines/members").await.ok();
    let withdraw = page.between("action=\"/t/analytical-engines/invitations/inv_", "\"").expect("a way to withdraw").to_owned();
    owner.post(&format!("/t/analytical-engines/invitations/inv_{withdraw}"), &[]).await.leads_to("/t/analytical-engines/members");
    assert_eq!(Visitor::new(&app.url).get(&invitation).await.status, 404);
}

#[tokio::test]
async fn nobody_finds_out_who_has_an_account() {
    let app = TestApp::start().await;
    drop(signed_up(&app, EMAIL).await);
    let visitor = Visitor::new(&app.url);
    let sign_up =
        async |email: &str| visitor.post("/signup", &[("organisation", "X"), ("email", email), ("password", PASSWORD)]).await;
    assert_eq!(essence(&sign_up(EMAIL).await), essence(&sign_up("nobody@example.com").await));
    assert!(letter(&app, EMAIL, 2).await.subject.contains("account already"));
    let reset = async |email: &str| visitor.post("/reset", &[("email", email)]).await;
    assert_eq!(essence(&reset(EMAIL).await), essence(&reset("nobody2@example.com").await));
    let log_in = async |email: &str| {
        let page = visitor.log_in(email, "wrong horse battery").await;
        let (status, location, body) = essence(&page);
        (status, location, body.replace(email, ""))
    };
    assert_eq!(log_in(EMAIL).await, log_in("nobody@example.com").await);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let outbox = app.platform.mailer.outbox().expect("captured").list();
    assert!(outbox.iter().all(|letter| letter.to != "nobody2@example.com"), "no letter to who has no account");
}

#[tokio::test]
async fn a_reset_sets_the_password_once_and_ends_every_session() {
    let app = TestApp::start().await;
    let (first, second) = (signed_up(&app, EMAIL).await, Visitor::signed_in(&app.url, EMAIL).await);
    let visitor = Visitor::new(&app.url);
    visitor.post("/reset", &[("email", EMAIL)]).await.leads_to("/reset/sent");
    let path = link(&letter(&app, EMAIL, 2).await, &app.url);
    assert_eq!(visitor.post(&path, &[("password", "short")]).await.status, 422);
    visitor.post(&path, &[("password", "another horse battery")]).await.leads_to("/login");
    for (who, session) in [("first", &first), ("second", &second)] {
        assert_eq!(session.get("/t/analytical-engines/members").await.status, 303, "{who} is logged out");
    }
    assert_eq!(visitor.post(&path, &[("password", "third horse battery")]).await.status, 404, "it works once");
    assert_eq!(visitor.log_in(EMAIL, PASSWORD).await.status, 422);
    visitor.log_in(EMAIL, "another horse battery").await.leads_to("/");
}

#[tokio::test]
async fn logging_out_ends_the_session_and_logging_in_changes_it() {
    let app = TestApp::start().await;
    app.tenant("acme").await;
    let visitor = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let first = visitor.cookie(SESSION).expect("a session");
    visitor.log_in("owner@acme.example", PASSWORD).await.leads_to("/");
    let second = visitor.cookie(SESSION).expect("a session");
    assert_ne!(first, second);
    let old = Visitor::new(&app.url);
    old.set_cookie(SESSION, &first);
    assert_eq!(old.get("/t/acme").await.status, 303, "the session before has ended");
    visitor.post("/logout", &[]).await.leads_to("/login");
    let stolen = Visitor::new(&app.url);
    stolen.set_cookie(SESSION, &second);
    assert_eq!(stolen.get("/t/acme").await.status, 303);
}

#[tokio::test]
async fn a_session_ends_after_two_weeks_without_a_visit() {
    let app = TestApp::start().await;
    app.tenant("acme").await;
    let visitor = Visitor::signed_in(&app.url, "owner@acme.example").await;
    app.clock.advance(TimeDelta::days(13));
    visitor.get("/t/acme").await.ok();
    app.clock.advance(TimeDelta::days(13));
    visitor.get("/t/acme").await.ok();
    app.clock.advance(TimeDelta::days(15));
    assert_eq!(visitor.get("/t/acme").await.status, 303);
}

#[tokio::test]
async fn cookies_are_bound_to_this_host_and_hidden_from_scripts() {
    let app = TestApp::start().await;
    app.tenant("acme").await;
    let visitor = Visitor::new(&app.url);
    for page in [visitor.get("/login").await, visitor.log_in("owner@acme.example", PASSWORD).await] {
        let cookies: Vec<_> = page.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok()).collect();
        assert!(!cookies.is_empty());
        for cookie in cookies {
            for part in ["__Host-", "; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/"] {
                assert!(cookie.contains(part), "{part}: {cookie}");
            }
            assert!(!cookie.contains("Domain"), "{cookie}");
        }
    }
}

#[tokio::test]
async fn after_logging_in_one_is_led_to_pages_of_ours_only() {
    let app = TestApp::start().await;
    app.tenant("acme").await;
    let visitor = Visitor::new(&app.url);
    let page = visitor.get("/t/acme/members?x=1").await;
    page.leads_to("/login?next=%2Ft%2Facme%2Fmembers%3Fx%3D1");
    for (next, leads_to) in [
        ("/t/acme/members?x=1", "/t/acme/members?x=1"),
        ("https://evil.example/", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("\\/evil.example", "/"),
        ("", "/"),
    ] {
        let visitor = Visitor::new(&app.url);
        let fields = [("email", "owner@acme.example"), ("password", PASSWORD), ("next", next)];
        visitor.post("/login", &fields).await.leads_to(leads_to);
        let shown = Visitor::new(&app.url).get(&format!("/login?next={}", next.replace('\t', "%09").replace('\\', "%5C"))).await;
        assert!(!shown.body.contains("evil.example") && !shown.body.contains("javascript:"), "{next:?}");
    }
}

#[tokio::test]
async fn log_ins_are_limited_per_address_and_per_account() {
    let app = TestApp::builder().default_attempts().start().await;
    app.tenant("acme").await;
    let visitor = Visitor::new(&app.url);
    let mut wrong = 0;
    while visitor.log_in("owner@acme.example", "wrong horse battery").await.status == 422 {
        wrong += 1;
        assert!(wrong < 40, "nobody stops this");
    }
    assert!(wrong >= 10, "stopped after {wrong}");
    let right = visitor.log_in("owner@acme.example", PASSWORD).await;
    assert_eq!((right.status, right.header("retry-after").is_empty()), (429, false), "nor with the right password");
    let other = visitor.log_in("someone@else.example", PASSWORD).await;
    assert_eq!(other.status, 429, "nor to another account from the same address");
}

#[tokio::test]
async fn letters_to_one_address_are_limited() {
    let app = TestApp::builder().default_attempts().start().await;
    app.tenant("acme").await;
    let visitor = Visitor::new(&app.url);
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(visitor.post("/reset", &[("email", "owner@acme.example")]).await.status);
    }
    assert_eq!((statuses[0], statuses[7]), (303, 429), "{statuses:?}");
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(app.letters("owner@acme.example").await.len() <= 6);
}

#[tokio::test]
async fn what_does_not_fit_is_said_beside_its_field_and_what_was_typed_stays() {
    let app = TestApp::start().await;
    let visitor = Visitor::new(&app.url);
    let page =
        visitor.post("/signup", &[("organisation", "Engines & Co"), ("email", "not an address"), ("password", "short")]).await;
    assert_eq!(page.status, 422);
    assert!(page.body.contains("id=\"email-error\"") && page.body.contains("id=\"password-error\""), "{}", page.body);
    let kept = page.between("name=\"organisation\" type=\"text\" value=\"", "\"").expect("the field");
    assert!(kept.starts_with("Engines &") && kept.ends_with("Co"), "{kept}");
    assert!(!page.body.contains("value=\"short\""), "a password is never sent back");
}
