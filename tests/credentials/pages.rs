//! The pages: what they show, whom they serve, and what they refuse.

use serde_json::{Value, json};
use sqlx::Row as _;
use trunkline_platform::{
    actor::Role,
    catalog::{self, HttpMethod, SecretChange},
    secret::Plaintext,
};

use super::{Keeper, guarded};
use crate::support::{Era, TestApp, Upstream, Visitor, tools};

#[tokio::test]
async fn a_value_of_another_shape_is_refused_with_what_would_be_right_and_changes_nothing() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let keeper = Keeper::new(&app).await;
    let plain = tools::with_secret("X-Key", "old", tools::get(&upstream.url("/json")));
    keeper.tenant.tool("plain", plain).await;
    let bearer = tools::with_secret("Authorization", "Bearer old", tools::get(&upstream.url("/json")));
    keeper.tenant.tool("bearer", bearer).await;
    let document = json!({
        "openapi": "3.1.0", "info": { "title": "A", "version": "1" }, "security": [{ "login": [], "key": [] }],
        "paths": { "/x": { "get": { "operationId": "login", "responses": {} } } },
        "components": { "securitySchemes": {
            "login": { "type": "http", "scheme": "basic" },
            "key": { "type": "apiKey", "in": "header", "name": "x-key" },
        } },
    });
    keeper.api(&upstream, &document, &[("secret_login", "me:old"), ("secret_key", "old-key")]).await;
    let before = credentials(&app).await;
    let long = "x".repeat(4_097);
    for (user, fields, said) in [
        ("plain", vec![("secret", "")], "Enter the new secret"),
        ("plain", vec![("secret", "old")], "in force already"),
        ("plain", vec![("secret", "zwölf")], "visible ASCII"),
        ("plain", vec![("secret", &long)], "4096"),
        ("plain", vec![("secret", "new"), ("overlap", "2y")], "Expected none, 1h, 24h or 7d"),
        ("bearer", vec![("secret", "new")], "beginning with Bearer"),
        ("bearer", vec![("secret", "Basic new")], "beginning with Bearer"),
        ("login", vec![("secret_login", "no-colon")], "user:password"),
        ("login", vec![("secret_login", "me:old")], "in force already"),
        ("login", vec![], "at least one new secret"),
        ("login", vec![("secret", "new")], "for each scheme"),
    ] {
        let page = keeper.page_of(user).await;
        let overlap = if fields.iter().any(|(name, _)| *name == "overlap") { vec![] } else { vec![("overlap", "1h")] };
        let refused = keeper.press(&page, "rotate", &[fields.clone(), overlap].concat()).await;
        assert!(refused.status == 422 && refused.body.contains(said), "{user} {fields:?}: {} {}", refused.status, refused.body);
        for (_, value) in fields.iter().filter(|(name, value)| name.starts_with("secret") && value.len() > 3) {
            assert!(!refused.body.contains(&format!("\"{value}\"")), "what was typed does not come back");
        }
    }
    assert_eq!(credentials(&app).await, before, "nothing was changed");
    assert!(keeper.audited().await.is_empty());
    // Case and all, a fitting one is taken.
    keeper.rotate(&keeper.page_of("bearer").await, "bearer new", "none").await;
    let page = keeper.page_of("login").await;
    keeper.press(&page, "rotate", &[("secret_login", "me:new"), ("overlap", "none")]).await.leads_to(&page);
}

/// Everything of all credentials.
async fn credentials(app: &TestApp) -> Vec<Value> {
    sqlx::query_scalar("SELECT to_jsonb(c) FROM app.credentials c ORDER BY id")
        .fetch_all(&mut app.sql().await)
        .await
        .expect("rows")
}

#[tokio::test]
async fn no_page_no_entry_and_no_answer_has_a_secret_in_it() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let keeper = Keeper::new(&app).await;
    let (old, new) = ("canary-old-5k1", "canary-new-8r2");
    keeper.tenant.tool("tool", guarded(&upstream, HttpMethod::Get, old)).await;
    let agent = keeper.tenant.agent("agent", "tools:read").await;
    let page = keeper.page_of("tool").await;
    let mut shown = keeper.press(&page, "rotate", &[("secret", new), ("overlap", "wrong")]).await.body;
    keeper.rotate(&page, new, "24h").await;
    shown += &agent.call(Era::Stateless, "tool", json!({})).await.text;
    keeper.press(&page, "label", &[("label", "The key of the shop")]).await.leads_to(&page);
    for path in [page.as_str(), "/t/acme/credentials", "/t/acme/audit", "/t/acme/tools", "/t/acme/logs", "/t/acme"] {
        shown += &keeper.visitor.get(path).await.ok().body;
    }
    assert!(shown.contains("The key of the shop") && shown.contains("credential.rotated"), "it was looked at");
    keeper.press(&page, "back", &[]).await.leads_to(&page);
    keeper.press(&page, "end", &[]).await.leads_to(&page);
    let mut stored = String::new();
    let mut sql = app.sql().await;
    for table in ["audit_entries", "credentials", "credential_overlaps", "calls", "tool_versions"] {
        let statement = sqlx::AssertSqlSafe(format!("SELECT to_jsonb(t)::text FROM app.{table} t"));
        for row in sqlx::query(statement).fetch_all(&mut sql).await.expect("rows") {
            stored += row.get::<String, _>(0).as_str();
        }
    }
    assert!(stored.contains("credential.overlap_ended"));
    for secret in [old, new] {
        assert!(!shown.contains(secret) && !stored.contains(secret), "{secret}");
    }
    let viewer = "viewer@acme.example";
    keeper.tenant.member(viewer, Role::Viewer).await;
    let viewer = Visitor::signed_in(&app.url, viewer).await;
    let seen = viewer.get(&page).await.ok();
    assert!(!seen.body.contains("/rotate\"") && !seen.body.contains("/label\""), "{}", seen.body);
    for button in ["rotate", "back", "end", "label", "delete"] {
        let fields = [("seen", "4"), ("secret", "other"), ("overlap", "1h"), ("label", "x")];
        assert_eq!(viewer.post(&format!("{page}/{button}"), &fields).await.status, 403, "{button}");
    }
}

#[tokio::test]
async fn what_nothing_refers_to_can_be_deleted_and_what_somebody_may_go_back_to_cannot() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let keeper = Keeper::new(&app).await;
    // Replaced in the tool itself: the first version still refers to the first secret.
    let tool = keeper.tenant.tool("tool", guarded(&upstream, HttpMethod::Get, "first")).await.id;
    let first = keeper.page_of("tool").await;
    let used = keeper.press(&first, "delete", &[]).await;
    assert!(used.status == 409 && used.body.contains("It is used by tool."), "{}", used.body);
    let second = SecretChange::Set(Plaintext::new("second".to_owned()));
    let second = catalog::NewVersion { secret: second, ..guarded(&upstream, HttpMethod::Get, "x") };
    let owner = keeper.tenant.owner.clone();
    app.act(move |platform| async move { catalog::publish(&platform, &owner, tool, 1, second).await.expect("published") }).await;
    assert_ne!(keeper.page_of("tool").await, first);
    let unused = keeper.visitor.get(&first).await.ok();
    assert!(unused.body.contains("Nothing in force uses it") && !unused.body.contains("/delete\""), "{}", unused.body);
    let refused = keeper.press(&first, "delete", &[]).await;
    assert!(refused.status == 409 && refused.body.contains("Older versions of tools refer to it"), "{}", refused.body);

    // An API whose operations need no secret, published twice with one.
    let document = json!({
        "openapi": "3.1.0", "info": { "title": "A", "version": "1" },
        "paths": { "/json": { "get": { "operationId": "open", "responses": {} } } },
        "components": { "securitySchemes": { "key": { "type": "apiKey", "in": "header", "name": "x-key" } } },
    });
    let api = keeper.api(&upstream, &document, &[("secret_key", "one")]).await;
    let one = keeper.page_of("pets").await;
    keeper.publish(&api, &[("server", &upstream.url("")), ("secret_key", "two")]).await;
    let page = keeper.visitor.get(&one).await.ok();
    assert!(page.body.contains("Nothing uses it") && page.body.contains("/delete\""), "{}", page.body);
    let list = keeper.visitor.get("/t/acme/credentials").await.ok();
    assert!(list.body.contains("unused"));
    keeper.press(&one, "delete", &[]).await.leads_to("/t/acme/credentials");
    assert_eq!(keeper.visitor.get(&one).await.status, 404);
    let (action, ..) = keeper.audited().await.pop().expect("an entry");
    assert_eq!(action, "credential.deleted");
    assert_eq!(keeper.press(&keeper.page_of("pets").await, "delete", &[]).await.status, 409);
}
