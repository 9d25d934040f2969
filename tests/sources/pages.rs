//! The pages, as a person uses them.

use serde_json::json;
use trunkline_platform::catalog::source::Policy;

use super::{Mine, Server, tool, trusting};
use crate::support::{Era, TestApp, Visitor};

#[tokio::test]
async fn a_source_is_added_looked_at_and_switched_on_with_forms_alone() {
    let (app, server) = (TestApp::start().await, Server::start(&[tool("read", "Reads."), tool("look", "Looks.")]).await);
    server.set("prompts", &[json!({ "name": "greet" })]);
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    assert!(owner.get("/t/acme/sources").await.ok().body.contains("No sources yet"));
    let form = owner.get("/t/acme/sources/new").await.ok();
    assert!(form.body.contains(r#"name="secret_header""#));
    let fields = [
        ("name", "files"),
        ("prefix", "yes"),
        ("url", &server.url()),
        ("timeout_ms", "5000"),
        ("new_definitions", "wait"),
        ("changes", "harmless_pass"),
        ("meanwhile", "serve_approved"),
        ("default_effect", "destructive"),
    ];
    let added = owner.post("/t/acme/sources/new", &fields).await;
    assert_eq!(added.status, 303, "{}", added.body);
    let page_url = added.location().to_owned();
    let page = owner.get(&page_url).await.ok();
    for text in ["files.read", "files.look", "files.greet", "3 new", "Switch on all unsuspicious ones"] {
        assert!(page.body.contains(text), "{text}");
    }
    assert_eq!(owner.post("/t/acme/sources/new", &fields).await.status, 422, "the name is taken");

    let seen = page.between(r#"name="seen" value=""#, "\"").expect("a time").to_owned();
    let pick = page.between(r#"name="pick" value=""#, "\"").expect("a box").to_owned();
    let decide = format!("{page_url}/definitions");
    owner
        .post(&decide, &[("action", "on"), ("pick", &pick), ("seen", &seen), ("show", "waiting")])
        .await
        .leads_to(&format!("{page_url}?show=waiting"));
    owner.post(&decide, &[("action", "all"), ("kind", "tool"), ("seen", &seen)]).await.leads_to(&format!("{page_url}?kind=tool"));
    assert_eq!(agent.list(Era::Stateless).await.tool_names(), ["files.look", "files.read"]);
    let on = owner.get(&format!("{page_url}?show=on&kind=tool")).await.ok();
    assert!(on.body.contains("files.read") && !on.body.contains("files.greet"));
    for (query, status) in
        [("show=nonsense", 422), ("kind=nonsense", 422), ("show=blocked", 200), ("q=zzz", 200), ("page=99", 200)]
    {
        assert_eq!(owner.get(&format!("{page_url}?{query}")).await.status, status, "{query}");
    }
    let tools = owner.get("/t/acme/tools").await.ok();
    assert!(tools.body.contains("files.read") && tools.body.contains("MCP"));
}

#[tokio::test]
async fn a_viewer_sees_and_changes_nothing() {
    let (app, server) = (TestApp::start().await, Server::start(&[tool("read", "Reads.")]).await);
    let acme = app.tenant("acme").await;
    acme.member("viewer@acme.example", trunkline_platform::actor::Role::Viewer).await;
    let mine = Mine::add(&app, &acme, "s", &server.url(), Policy::default()).await;
    mine.read().await;
    let viewer = Visitor::signed_in(&app.url, "viewer@acme.example").await;
    let page = viewer.get(&format!("/t/acme/sources/{}", mine.source.id)).await.ok();
    assert!(page.body.contains("s.read") && !page.body.contains("Switch on") && !page.body.contains("Read again"));
    assert_eq!(viewer.post(&format!("/t/acme/sources/{}/refresh", mine.source.id), &[]).await.status, 403);
}

#[tokio::test]
async fn price_and_limits_of_an_imported_tool_can_be_set_and_its_definition_cannot() {
    let (app, server) = (TestApp::start().await, Server::start(&[tool("read", "Reads.")]).await);
    let acme = app.tenant("acme").await;
    let mine = Mine::add(&app, &acme, "s", &server.url(), trusting()).await;
    mine.read().await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let id = mine.definition("read").await.tool.expect("a tool").id;
    let form = owner.get(&format!("/t/acme/tools/{id}/edit")).await.ok();
    assert!(
        form.body.contains(r#"name="price""#)
            && !form.body.contains(r#"name="url""#)
            && !form.body.contains(r#"name="description""#)
    );
    let fields = [
        ("version", "1"),
        ("price", "0.01"),
        ("price_kib", "0.02"),
        ("price_second", "0.03"),
        ("price_reported", "0.04"),
        ("per_minute", "10"),
        ("burst", "5"),
        ("kind", "builtin"),
        ("builtin", "echo"),
    ];
    owner.post(&format!("/t/acme/tools/{id}/edit"), &fields).await.leads_to(&format!("/t/acme/tools/{id}"));
    let page = owner.get(&format!("/t/acme/tools/{id}")).await.ok();
    assert!(page.body.contains("v2") && page.body.contains("Reads.") && page.body.contains("MCP"), "{}", page.body);
    // The price survives a change of the definition.
    server.set("tools", &[tool("read", "Reads well.")]);
    assert_eq!(mine.read().await.changed, 1);
    let (prices, definition): (Vec<i64>, Option<String>) = sqlx::query_as(
        "SELECT ARRAY[v.price_micro, v.price_per_kib_micro, v.price_per_second_micro, v.price_reported_micro], v.definition::text FROM app.tools t JOIN app.tool_versions v ON v.id = t.version_id WHERE t.id = $1",
    )
    .bind(id)
    .fetch_one(&mut app.sql().await)
    .await
    .expect("a version");
    assert_eq!(prices, [10_000, 20_000, 30_000, 40_000]);
    assert!(definition.is_some_and(|text| text.contains("Reads well.")));
}
