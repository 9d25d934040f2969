//! Roles: what each may, from the next click on; and a tenant always has an owner.

use trunkline_platform::actor::{Member, Role};

use crate::support::{TestApp, Visitor};

async fn role(app: &TestApp, member: &Member) -> Option<String> {
    sqlx::query_scalar("SELECT role FROM app.memberships WHERE user_id = $1")
        .bind(member.user)
        .fetch_optional(&mut app.sql().await)
        .await
        .expect("a role")
}

#[tokio::test]
async fn the_last_owner_stays_one() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let own = acme.owner.user;
    for (path, fields) in [
        (format!("/t/acme/members/{own}/role"), &[("role", "viewer")][..]),
        (format!("/t/acme/members/{own}/remove"), &[]),
        ("/t/acme/leave".to_owned(), &[]),
    ] {
        let page = owner.post(&path, fields).await;
        assert_eq!(page.status, 409, "{path}: {}", page.body);
        assert_eq!(role(&app, &acme.owner).await.as_deref(), Some("owner"));
    }
    let second = acme.member("second@acme.example", Role::Admin).await;
    owner.post(&format!("/t/acme/members/{}/role", second.user), &[("role", "owner")]).await.leads_to("/t/acme/members");
    assert_eq!(owner.post("/t/acme/leave", &[]).await.status, 303);
    assert_eq!((role(&app, &acme.owner).await, role(&app, &second).await.as_deref()), (None, Some("owner")));
}

#[tokio::test]
async fn two_owners_who_leave_at_once_leave_one_behind() {
    let app = TestApp::start().await;
    for round in 0..8 {
        let slug = format!("acme{round}");
        let acme = app.tenant(&slug).await;
        let email = format!("second@{slug}.example");
        acme.member(&email, Role::Owner).await;
        let first = Visitor::signed_in(&app.url, &format!("owner@{slug}.example")).await;
        let second = Visitor::signed_in(&app.url, &email).await;
        let path = format!("/t/{slug}/leave");
        first.csrf().await;
        second.csrf().await;
        let (a, b) = tokio::join!(first.post(&path, &[]), second.post(&path, &[]));
        let mut statuses = [a.status, b.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [303, 409], "round {round}");
    }
}

#[tokio::test]
async fn an_admin_changes_everybody_but_owners() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.member("admin@acme.example", Role::Admin).await;
    let viewer = acme.member("viewer@acme.example", Role::Viewer).await;
    let admin = Visitor::signed_in(&app.url, "admin@acme.example").await;
    let owner = acme.owner.user;
    for (path, fields) in [
        (format!("/t/acme/members/{owner}/role"), &[("role", "viewer")][..]),
        (format!("/t/acme/members/{owner}/remove"), &[]),
        (format!("/t/acme/members/{}/role", viewer.user), &[("role", "owner")]),
        ("/t/acme/invitations".to_owned(), &[("email", "x@example.com"), ("role", "owner")]),
    ] {
        assert_eq!(admin.post(&path, fields).await.status, 403, "{path}");
    }
    admin.post(&format!("/t/acme/members/{}/role", viewer.user), &[("role", "developer")]).await.leads_to("/t/acme/members");
    assert_eq!(role(&app, &viewer).await.as_deref(), Some("developer"));
}

#[tokio::test]
async fn a_changed_role_and_a_removal_hold_from_the_next_click_on() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let member = acme.member("dev@acme.example", Role::Developer).await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let developer = Visitor::signed_in(&app.url, "dev@acme.example").await;
    developer.get("/t/acme/agents/new").await.ok();
    owner.post(&format!("/t/acme/members/{}/role", member.user), &[("role", "viewer")]).await.leads_to("/t/acme/members");
    assert_eq!(developer.get("/t/acme/agents/new").await.status, 403);
    developer.get("/t/acme/agents").await.ok();
    owner.post(&format!("/t/acme/members/{}/remove", member.user), &[]).await.leads_to("/t/acme/members");
    assert_eq!(developer.get("/t/acme/agents").await.status, 404);
}

#[tokio::test]
async fn changes_of_people_are_in_the_audit_log_by_id_and_without_addresses() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let member = acme.member("dev@acme.example", Role::Developer).await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    owner.post(&format!("/t/acme/members/{}/role", member.user), &[("role", "viewer")]).await.leads_to("/t/acme/members");
    owner.post("/t/acme/invitations", &[("email", "secret@example.com"), ("role", "viewer")]).await.leads_to("/t/acme/members");
    let entries: Vec<String> = sqlx::query_scalar("SELECT to_jsonb(a)::text FROM app.audit_entries a ORDER BY at")
        .fetch_all(&mut app.sql().await)
        .await
        .expect("entries");
    let text = entries.join("\n");
    assert!(text.contains("member.role_changed") && text.contains(&member.user.to_string()), "{text}");
    assert!(text.contains("member.invited") && !text.contains('@'), "{text}");
}
