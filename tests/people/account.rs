//! A person's own account: sessions, address, password, end.

use chrono::TimeDelta;
use trunkline_platform::actor::Role;

use crate::support::{PASSWORD, SESSION, SOON, TestApp, Visitor, eventually, link};

const OWNER: &str = "owner@acme.example";

#[tokio::test]
async fn people_see_where_they_are_logged_in_and_end_what_they_do_not_know() {
    let app = TestApp::start().await;
    app.tenant("acme").await;
    let (first, second, third) = (
        Visitor::signed_in(&app.url, OWNER).await,
        Visitor::signed_in(&app.url, OWNER).await,
        Visitor::signed_in(&app.url, OWNER).await,
    );
    let page = first.get("/account").await.ok();
    assert_eq!(page.body.matches("/account/sessions/ses_").count(), 3);
    assert!(page.body.contains("127.0.0.1") && page.body.matches("this one").count() == 1);
    let mut sql = app.sql().await;
    let other: trunkline_platform::ids::SessionId =
        sqlx::query_scalar("SELECT id FROM app.user_sessions ORDER BY id DESC LIMIT 1")
            .fetch_one(&mut sql)
            .await
            .expect("a session");
    first.post(&format!("/account/sessions/{other}/end"), &[]).await.leads_to("/account");
    assert_eq!(first.post(&format!("/account/sessions/{other}/end"), &[]).await.status, 404);
    assert_eq!(third.get("/t/acme").await.status, 303, "that browser is logged out");
    second.get("/t/acme").await.ok();
    first.post("/account/sessions/end-others", &[]).await.leads_to("/account");
    assert_eq!(second.get("/t/acme").await.status, 303);
    first.get("/t/acme").await.ok();
}

#[tokio::test]
async fn a_new_password_ends_every_other_session_and_changes_this_one() {
    let app = TestApp::start().await;
    app.tenant("acme").await;
    let (owner, other) = (Visitor::signed_in(&app.url, OWNER).await, Visitor::signed_in(&app.url, OWNER).await);
    let before = owner.cookie(SESSION).expect("a session");
    assert_eq!(owner.post("/account/password", &[("password", "short")]).await.status, 422);
    owner.post("/account/password", &[("password", "another horse battery")]).await.leads_to("/account/security");
    assert_ne!(owner.cookie(SESSION), Some(before));
    owner.get("/t/acme").await.ok();
    assert_eq!(other.get("/t/acme").await.status, 303);
    let visitor = Visitor::new(&app.url);
    assert_eq!(visitor.log_in(OWNER, PASSWORD).await.status, 422);
    visitor.log_in(OWNER, "another horse battery").await.leads_to("/");
    assert!(app.letters(OWNER).await[0].subject.contains("password was changed"));
}

#[tokio::test]
async fn an_address_changes_when_the_new_one_is_confirmed_and_the_old_one_is_told() {
    let app = TestApp::start().await;
    app.tenant("acme").await;
    app.tenant("bravo").await;
    let owner = Visitor::signed_in(&app.url, OWNER).await;
    for wrong in ["", "nobody", OWNER] {
        assert_eq!(owner.post("/account/email", &[("email", wrong)]).await.status, 422, "{wrong}");
    }
    owner.post("/account/email", &[("email", "new@acme.example")]).await.leads_to("/account");
    assert!(app.letters(OWNER).await[0].subject.contains("wants to change"));
    let path = link(&app.letters("new@acme.example").await[0], &app.url);
    let anybody = Visitor::new(&app.url);
    assert!(anybody.get(&path).await.ok().body.contains("new@acme.example"));
    Visitor::signed_in(&app.url, OWNER).await;
    anybody.post(&path, &[]).await.leads_to("/login");
    assert_eq!(anybody.post(&path, &[]).await.status, 404, "it works once");
    assert!(anybody.cookie(SESSION).is_none(), "a link signs nobody in");
    assert_eq!(anybody.log_in(OWNER, PASSWORD).await.status, 422);
    anybody.log_in("new@acme.example", PASSWORD).await.leads_to("/");
    eventually("the old address is told", SOON, async || {
        app.letters(OWNER).await.iter().any(|letter| letter.subject.contains("was changed")).then_some(())
    })
    .await;
    // Taken: the answer is the same, and the letter is to who has it.
    let taken = owner.post("/account/email", &[("email", "owner@bravo.example")]).await;
    taken.leads_to("/account");
    assert!(app.letters("owner@bravo.example").await[0].subject.contains("account already"));
}

#[tokio::test]
async fn what_is_about_the_account_needs_a_fresh_proof() {
    let app = TestApp::start().await;
    app.tenant("acme").await;
    let owner = Visitor::signed_in(&app.url, OWNER).await;
    app.clock.advance(TimeDelta::minutes(16));
    owner.get("/account").await.ok();
    for (path, fields) in [
        ("/account/password", &[("password", "another horse battery")][..]),
        ("/account/email", &[("email", "new@acme.example")]),
        ("/account/delete", &[("confirm", "delete")]),
        ("/account/security/authenticator", &[]),
        ("/account/security/recovery", &[]),
    ] {
        let page = owner.post(path, fields).await;
        assert!(page.location().starts_with("/account/prove?next="), "{path}: {} {}", page.status, page.location());
    }
    assert!(owner.get("/account/security/passkeys/new").await.location().starts_with("/account/prove"));
    assert_eq!(owner.post("/account/prove", &[("password", "wrong horse battery")]).await.status, 422);
    owner
        .post("/account/prove", &[("password", PASSWORD), ("next", "/account/security/passkeys/new")])
        .await
        .leads_to("/account/security/passkeys/new");
    owner.get("/account/security/passkeys/new").await.ok();
    owner.post("/account/password", &[("password", "another horse battery")]).await.leads_to("/account/security");
}

#[tokio::test]
async fn the_last_owner_of_an_organisation_cannot_delete_their_account() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let owner = Visitor::signed_in(&app.url, OWNER).await;
    assert_eq!(owner.post("/account/delete", &[("confirm", "no")]).await.status, 422);
    let page = owner.post("/account/delete", &[("confirm", "delete")]).await;
    assert_eq!(page.status, 409);
    assert!(page.body.contains("last owner of acme") && page.body.contains("Make somebody else an owner"), "{}", page.body);
    owner.get("/t/acme").await.ok();

    acme.member("second@acme.example", Role::Owner).await;
    owner.post("/account/delete", &[("confirm", "delete")]).await.leads_to("/login");
    assert_eq!(owner.get("/t/acme").await.status, 303);
    assert_eq!(owner.log_in(OWNER, PASSWORD).await.status, 422);
    let mut sql = app.sql().await;
    let traces: i64 = sqlx::query_scalar("SELECT count(*) FROM app.users WHERE email = $1")
        .bind(OWNER)
        .fetch_one(&mut sql)
        .await
        .expect("a count");
    let memberships: i64 = sqlx::query_scalar("SELECT count(*) FROM app.memberships").fetch_one(&mut sql).await.expect("a count");
    assert_eq!((traces, memberships), (0, 1));
    eventually("a farewell", SOON, async || {
        app.letters(OWNER).await.iter().any(|letter| letter.subject.contains("deleted")).then_some(())
    })
    .await;
    // The address is free again.
    let visitor = Visitor::new(&app.url);
    visitor
        .post("/signup", &[("organisation", "Again"), ("email", OWNER), ("password", PASSWORD)])
        .await
        .leads_to("/signup/sent");
}
