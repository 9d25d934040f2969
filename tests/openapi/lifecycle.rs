//! What becomes of an import: picked, read again, published again, removed.

use serde_json::{Value, json};
use trunkline_platform::actor::Role;

use super::{Importer, petstore, served};
use crate::support::{Era, TestApp, Upstream, Visitor};

#[tokio::test]
async fn a_newer_description_changes_nothing_until_somebody_publishes() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let importer = Importer::new(&app).await;
    let mut document = petstore(&upstream.url(""));
    let link = served(&upstream, &document);
    let api = importer.import("pets", &link).await;
    importer.publish(&api, &[("server", &upstream.url("")), ("secret_key", "s3cret")]).await;
    let agent = importer.tenant.agent("agent", "tools:destructive").await;
    let before = agent.list(Era::Stateless).await.text;

    document["paths"]["/pets"]["get"]["summary"] = json!("Lists all pets");
    document["paths"]["/pets/{pet id}"].as_object_mut().expect("a path").remove("delete");
    document["paths"]["/owners"] = json!({ "get": { "operationId": "listOwners", "responses": {} } });
    served(&upstream, &document);
    importer.read_again(&api, &link).await;
    let page = importer.visitor.get(&api).await.ok();
    assert!(page.body.contains("1 new, 1 changed, 1 removed"), "{}", page.body);
    assert_eq!(agent.list(Era::Stateless).await.text, before, "agents see what was published");

    importer.publish(&api, &[("server", &upstream.url(""))]).await;
    let after = agent.list(Era::Stateless).await;
    assert_eq!(
        after.tool_names(),
        ["createPet", "getPet", "listPets", "photo"],
        "what is gone is no tool, what is new was not picked"
    );
    assert!(after.text.contains("Lists all pets"));
    assert!(agent.call(Era::Stateless, "createPet", json!({ "body": { "name": "Rex" } })).await.is_ok());
    assert!(upstream.seen().last().expect("a request").head.contains("x-api-key: s3cret"), "its secret was kept");

    importer.visitor.post(&format!("{api}/remove"), &[("confirm", "pets")]).await.leads_to("/t/acme/sources");
    assert_eq!(agent.list(Era::Stateless).await.tool_names(), [""; 0]);
    assert_eq!(importer.visitor.get(&api).await.status, 404);
}

/// E-31: a secret goes to the origin it was entered for.
#[tokio::test]
async fn e31_another_server_asks_for_the_secret_again() {
    let (app, upstream, other) = (TestApp::start().await, Upstream::start().await, Upstream::start().await);
    let importer = Importer::new(&app).await;
    let api = importer.import("pets", &served(&upstream, &petstore(&upstream.url("")))).await;
    importer.publish(&api, &[("server", &upstream.url("")), ("secret_key", "s3cret")]).await;
    let page = importer.visitor.post(&api, &[("then", "publish"), ("server", &other.url("")), ("prefix", "")]).await;
    assert!(page.status == 422 && page.body.contains("enter the secrets for it again"), "{}", page.body);
    let agent = importer.tenant.agent("agent", "tools:read").await;
    assert!(agent.call(Era::Stateless, "getPet", json!({ "pet_id": "1" })).await.is_ok());
    assert_eq!(other.seen().len(), 0);
}

#[tokio::test]
async fn many_operations_are_picked_with_care_and_leafed_through() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let importer = Importer::new(&app).await;
    let paths: serde_json::Map<_, _> = (0..1000)
        .map(|i| {
            let one = |method: &str| json!({ "operationId": format!("{method}{i}"), "summary": "Does something with a thing ".repeat(5), "tags": [format!("tag {}", i % 250)] });
            (format!("/things/{i}"), json!({ "get": one("get"), "post": one("post"), "delete": one("delete") }))
        })
        .collect();
    let document = json!({ "openapi": "3.1.0", "info": { "title": "Large", "version": "1" }, "paths": paths });
    let api = importer.import("large", &served(&upstream, &document)).await;
    for path in [api.clone(), format!("{api}?page=60"), format!("{api}?q=things/7&tag=tag%207")] {
        let page = importer.visitor.get(&path).await.ok();
        assert!(page.body.len() < 100_000, "{path} has {} bytes", page.body.len());
        assert!(page.body.contains("All 3,000") && page.body.contains("Picked 100"), "only some that read are picked");
    }
    let found = importer.visitor.get(&format!("{api}?q=delete999")).await.ok();
    assert!(found.body.contains("DELETE /things/999") && found.body.contains("1–1 of 1"), "{}", found.body);
    importer.visitor.post(&api, &[("then", "none"), ("show", "all"), ("q", "")]).await;
    importer.visitor.post(&api, &[("then", "all"), ("show", "all"), ("q", "get99")]).await;
    let page = importer.visitor.get(&api).await.ok();
    assert!(page.body.contains("Picked 11"), "get99 and get990 to get999");
    // Who may only look leafs through it too, by addresses.
    importer.tenant.member("viewer@acme.example", Role::Viewer).await;
    let viewer = Visitor::signed_in(&app.url, "viewer@acme.example").await;
    let page = viewer.get(&api).await.ok().body;
    assert!(page.contains(r#"name="page" value="2""#) && !page.contains(r#"name="then""#), "{page}");
    assert!(viewer.get(&format!("{api}?show=all&q=delete999&tag=")).await.ok().body.contains("DELETE /things/999"));
}

/// Where the page of an operation is.
async fn operation_page(importer: &Importer<'_>, api: &str, key: &str) -> String {
    let page = importer.visitor.get(api).await.ok();
    let after = page.body.split(key).nth(1).unwrap_or_else(|| panic!("no {key}"));
    let link = after.split("href=\"").find(|rest| rest.contains("/operations/")).expect("a link");
    link.split('"').next().expect("an address").to_owned()
}

#[tokio::test]
async fn what_is_overridden_is_published_and_kept_when_the_description_is_read_again() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let importer = Importer::new(&app).await;
    let server = upstream.url("/v1/");
    let api = importer.import("pets", &served(&upstream, &petstore(&server))).await;
    let page = operation_page(&importer, &api, "GET /pets<").await;
    let form = importer.visitor.get(&page).await.ok();
    assert!(form.body.contains("mode_tag") && form.body.contains("listPets"), "{}", form.body);
    let fields = [
        ("name", "find_pets"),
        ("description", "Finds pets of our shop."),
        ("effect", "write"),
        ("mode_tag", "hidden"),
        ("value_tag", r#"["ours"]"#),
        ("mode_X-Trace", "default"),
        ("value_X-Trace", "none"),
        ("select", "/ok"),
    ];
    let unbounded = importer.visitor.post(&page, &[("select", "$..ok")]).await;
    assert!(unbounded.status == 422 && unbounded.body.contains("write a function"), "{}", unbounded.body);
    let wrong = importer.visitor.post(&page, &[("mode_tag", "hidden"), ("value_tag", "[not JSON")]).await;
    assert_eq!(wrong.status, 422);
    let misfit = importer.visitor.post(&page, &[("mode_tag", "hidden"), ("value_tag", "7")]).await;
    assert!(misfit.status == 422 && misfit.body.contains("does not fit"), "{}", misfit.body);
    importer.visitor.post(&page, &fields).await.leads_to(&api);
    importer.publish(&api, &[("server", &server), ("prefix", "")]).await;
    let agent = importer.tenant.agent("agent", "tools:destructive").await;
    let check = async || {
        let tools = agent.list(Era::Stateless).await.json["result"]["tools"].clone();
        let tool = tools.as_array().expect("tools").iter().find(|tool| tool["name"] == "find_pets").expect("the tool").clone();
        assert_eq!(tool["description"], "Finds pets of our shop.");
        assert_eq!(tool["annotations"]["readOnlyHint"], false);
        assert_eq!(tool["inputSchema"]["properties"]["tag"], Value::Null, "hidden");
        assert_eq!(tool["inputSchema"]["properties"]["X-Trace"]["default"], "none");
        let before = upstream.seen().len();
        let answer = agent.call(Era::Stateless, "find_pets", json!({})).await;
        assert_eq!(answer.result(), "true", "only that part: {}", answer.text);
        let seen = upstream.seen().get(before).expect("a request").clone();
        assert!(
            seen.line.starts_with("GET /v1/pets?tag=ours") && seen.head.contains("x-trace: none"),
            "{} {}",
            seen.line,
            seen.head
        );
        let tried = agent.call(Era::Stateless, "find_pets", json!({ "tag": ["theirs"] })).await;
        let last = upstream.seen().last().expect("a request").line.clone();
        assert!(!last.contains("theirs"), "callers do not choose it: {} {last}", tried.text);
    };
    check().await;
    // Changed, but not published: as it was.
    let page = operation_page(&importer, &api, "GET /pets<").await;
    importer.visitor.post(&page, &[&fields[2..], &[("description", "Otherwise.")]].concat()).await.leads_to(&api);
    check().await;
    assert!(importer.visitor.get(&format!("{api}?show=changed")).await.ok().body.contains("GET /pets<"));
    importer.visitor.post(&page, &fields).await.leads_to(&api);
    // Read again, it is kept.
    let mut newer = petstore(&server);
    newer["info"]["version"] = json!("2");
    newer["paths"]["/pets"]["get"]["summary"] = json!("Another summary");
    upstream.serve_document(&newer.to_string());
    let link = upstream.url("/document");
    importer.read_again(&api, &link).await;
    importer.publish(&api, &[("server", &server), ("prefix", "")]).await;
    check().await;
}
