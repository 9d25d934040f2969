//! Imported APIs: one real call before any of their operations is a tool.

use serde_json::json;
use trunkline_platform::publishing::{Health, Subject};

use super::probe_of;
use crate::{
    openapi::petstore,
    support::{Era, TestApp, Upstream, Visitor},
};

#[tokio::test]
async fn an_api_that_does_not_answer_makes_no_tools_unless_somebody_says_why() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    upstream.serve_document(&petstore(&upstream.url("")).to_string());
    let imported = owner.post("/t/acme/sources/import", &[("name", "pets"), ("link", &upstream.url("/document"))]).await;
    let api = imported.location().to_owned();
    let calls = || upstream.seen().iter().filter(|seen| !seen.line.contains("/document")).count();
    let server = upstream.url("/reset");
    let stopped = owner.post(&api, &[("then", "publish"), ("server", &server)]).await;
    assert_eq!(stopped.status, 422, "{}", stopped.body);
    for text in ["Nothing was published", "listPets", "a real call"] {
        assert!(stopped.body.contains(text), "{text}: {}", stopped.body);
    }
    assert!(agent.list(Era::Stateless).await.tool_names().is_empty());
    assert_eq!(calls(), 1);
    let secrets: i64 =
        sqlx::query_scalar("SELECT count(*) FROM app.credentials").fetch_one(&mut app.sql().await).await.expect("credentials");
    assert_eq!(secrets, 0, "nothing is kept of what was stopped");

    let named = [("then", "publish"), ("server", server.as_str()), ("called", "nothing"), ("sample", "{}")];
    let unknown = owner.post(&api, &named).await;
    assert!(unknown.status == 422 && unknown.body.contains("enter a call of one"), "{}", unknown.body);
    assert_eq!(owner.post(&api, &[("then", "publish"), ("server", &server), ("sample", "[")]).await.status, 422);
    owner.post(&api, &[("then", "publish"), ("server", &server), ("untried_reason", "it is not built yet")]).await.leads_to(&api);
    assert_eq!((agent.list(Era::Stateless).await.tool_names().len(), calls()), (3, 1), "published, and not called");

    // With a server that answers, the one that was called is probed from then on.
    owner.post(&api, &[("then", "publish"), ("server", &upstream.url(""))]).await.leads_to(&api);
    assert_eq!(calls(), 2);
    let tool = sqlx::query_scalar("SELECT tool_id FROM app.probes").fetch_one(&mut app.sql().await).await;
    let probe = probe_of(&app, &acme, Subject::Tool(tool.expect("a tool"))).await;
    assert_eq!(probe.health, Health::Well);
    let answer = agent.call(Era::Stateless, "listPets", json!({})).await;
    assert!(answer.is_ok(), "{}", answer.text);
}
