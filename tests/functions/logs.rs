//! What functions log in calls of agents: kept where their author says so, for whoever may edit them, and not for long.

use chrono::TimeDelta;
use serde_json::json;
use trunkline_platform::{
    actor::Role,
    catalog::{Executor, NewVersion},
    execution::logs,
    ids::ToolId,
    rotation,
};

use super::{function, start};
use crate::support::{Era, SOON, TestApp, Visitor, eventually};

const CODE: &str =
    "export default ({ n }) => { console.log(`line of call ${n}`); console.error('<b>of a person</b>'); return 'done'; }";

fn keeping(code: &str) -> NewVersion {
    let mut new = function(code, &[]);
    if let Executor::Function(function) = &mut new.executor {
        function.keep_logs = true;
    }
    new
}

async fn count(app: &TestApp, tool: ToolId) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM app.function_logs WHERE tool_id = $1")
        .bind(tool)
        .fetch_one(&mut app.sql().await)
        .await
        .expect("a count")
}

#[tokio::test]
async fn what_a_function_logs_is_kept_for_its_authors_only_where_they_say_so() {
    let app = start().await;
    let acme = app.tenant("acme").await;
    let (tool, quiet) = (acme.tool("ask", keeping(CODE)).await.id, acme.tool("quiet", function(CODE, &[])).await.id);
    let agent = acme.agent("agent", "tools:read").await;
    for name in ["ask", "quiet"] {
        let answer = agent.call(Era::Stateless, name, json!({ "n": 1 })).await;
        assert!(answer.is_ok() && !answer.text.contains("line of call"), "{}", answer.text);
    }
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let url = format!("/t/acme/tools/{tool}/logs");
    assert!(owner.get(&format!("/t/acme/tools/{tool}")).await.ok().body.contains(&url), "the page of the tool leads there");
    let page = eventually("they are written", SOON, async || {
        Some(owner.get(&url).await.ok().body).filter(|body| body.contains("line of call 1"))
    })
    .await;
    assert!(page.contains("of a person") && !page.contains("<b>of a person"), "{page}");
    let call: String = eventually("the call is recorded", SOON, async || {
        let found = sqlx::query_scalar("SELECT id::text FROM app.calls WHERE tool_id = $1").bind(tool);
        found.fetch_optional(&mut app.sql().await).await.expect("calls")
    })
    .await;
    let of_call = page.split("href=\"").filter_map(|rest| rest.split('"').next()).find(|url| url.starts_with("/t/acme/logs/"));
    assert!(owner.get(of_call.expect("a link to the call")).await.ok().body.contains("ask"), "{call}");
    let (rows, sealed): (i64, Vec<u8>) = sqlx::query_as("SELECT count(*) OVER (), sealed FROM app.function_logs")
        .fetch_one(&mut app.sql().await)
        .await
        .expect("a row");
    assert_eq!(rows, 1, "what is not kept is not there");
    assert!(!String::from_utf8_lossy(&sealed).contains("line of call"), "it is sealed");
    assert!(owner.get(&format!("/t/acme/tools/{quiet}/logs")).await.ok().body.contains("What it logs is not kept"));

    acme.member("viewer@acme.example", Role::Viewer).await;
    let viewer = Visitor::signed_in(&app.url, "viewer@acme.example").await;
    assert_eq!(viewer.get(&url).await.status, 403);
    assert!(!viewer.get(&format!("/t/acme/tools/{tool}")).await.ok().body.contains(&url));
    app.tenant("other").await;
    let stranger = Visitor::signed_in(&app.url, "owner@other.example").await;
    assert_eq!(stranger.get(&url.replace("acme", "other")).await.status, 404);

    // Another key of the tenant opens it as well.
    let renewed = app.act(|platform| async move { rotation::renew(&platform, "acme").await.expect("renewed") }).await;
    assert!(renewed >= 1, "{renewed}");
    assert!(owner.get(&url).await.ok().body.contains("line of call 1"));

    app.clock.advance(TimeDelta::days(7) + TimeDelta::seconds(1));
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    assert!(owner.get(&url).await.ok().body.contains("Nothing logged yet"), "it is old");
    app.act(|platform| async move { logs::forget_old(&platform).await.expect("forgotten") }).await;
    assert_eq!(count(&app, tool).await, 0);
}

#[tokio::test]
async fn the_last_fifty_calls_are_kept_and_pages_stay_small() {
    let app = start().await;
    let acme = app.tenant("acme").await;
    let code = "export default ({ n }) => { for (let i = 0; i < 60; i++) console.log('x'.repeat(99) + i); console.log(`call ${n}.`); return 'done'; }";
    let tool = acme.tool("ask", keeping(code)).await.id;
    let agent = acme.agent("agent", "tools:read").await;
    for n in 1..=53 {
        assert!(agent.call(Era::Stateless, "ask", json!({ "n": n })).await.is_ok());
    }
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let url = format!("/t/acme/tools/{tool}/logs");
    let page = eventually("the last is written", SOON, async || {
        Some(owner.get(&url).await.ok().body).filter(|body| body.contains("call 53."))
    })
    .await;
    assert!(page.len() < 100 * 1024 && page.contains("lines before these were not kept"), "{} bytes", page.len());
    assert_eq!(count(&app, tool).await, 50);
    let last = owner.get(&format!("{url}?page=5")).await.ok().body;
    assert!(last.contains("call 4.") && !last.contains("call 3.") && !last.contains("page=6"), "{last}");
}

#[tokio::test]
async fn the_form_says_whether_it_is_kept() {
    let app = start().await;
    let acme = app.tenant("acme").await;
    let tool = acme.tool("ask", keeping(CODE)).await.id;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    let form = owner.get(&format!("/t/acme/tools/{tool}/edit")).await.ok().body;
    assert!(form.contains(r#"name="keep_logs" value="yes" checked"#), "{form}");
    let fresh = owner.get("/t/acme/tools/new").await.ok().body;
    assert!(fresh.contains(r#"name="keep_logs" value="yes""#) && !fresh.contains(r#"name="keep_logs" value="yes" checked"#));
}
