//! The overlap: calls go on with the value before where the new one is refused, and not a second longer than was said.

use chrono::TimeDelta;
use serde_json::json;
use trunkline_platform::catalog::HttpMethod;
use trunkline_protocol::{mcp::Revision, oauth::scope::Effect};

use super::{HEADER, Keeper, guarded, keyed, line};
use crate::support::{
    Era, TestApp, Upstream,
    mcp_upstream::{McpUpstream, Speaks, Way},
    tools,
};

#[tokio::test]
async fn an_upstream_that_knows_only_the_old_value_is_called_with_it_until_the_overlap_ends() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let keeper = Keeper::new(&app).await;
    let server = McpUpstream::start(Speaks::Only(Revision::V2025_11_25), Way::Json).await;
    server.want_secret(HEADER, "old");
    upstream.take_only(&[&line("old")]);
    keeper.tenant.tool("read", guarded(&upstream, HttpMethod::Get, "old")).await;
    let write = tools::with_effect(Effect::Write, guarded(&upstream, HttpMethod::Post, "old"));
    keeper.tenant.tool("write", write).await;
    let source = keeper.source("server", &server.url(), "old").await;
    let agent = keeper.tenant.agent("agent", "tools:destructive").await;
    let users = ["read", "write", "server"];
    let tools = ["read", "write", "server.echo"];
    for user in users {
        keeper.rotate(&keeper.page_of(user).await, "new", "1h").await;
    }
    for tool in tools {
        let answer = agent.call(Era::Stateless, tool, json!({})).await;
        assert!(answer.is_ok(), "{tool}: {}", answer.text);
    }
    assert_eq!((upstream.passed(), upstream.seen().len()), (2, 4), "a write that was refused is done once");
    // Lists are read with the value that works.
    keeper.read(source).await;
    for user in users {
        let page = keeper.visitor.get(&keeper.page_of(user).await).await.ok();
        assert!(
            page.body.contains("The secret in force is refused") && page.body.contains("It was refused "),
            "{user}: {}",
            page.body
        );
    }
    keeper.note_refusals().await;
    let written: Vec<i64> = sqlx::query_scalar("SELECT refused FROM app.credentials ORDER BY refused")
        .fetch_all(&mut app.sql().await)
        .await
        .expect("counts");
    assert!(written[..2] == [1, 1] && written[2] >= 1, "{written:?}");

    // Not a second longer, whether or not the background round has come by.
    app.clock.advance(TimeDelta::minutes(61));
    for (tool, class) in tools.into_iter().zip(["upstream_status", "upstream_status", "upstream_unauthorized"]) {
        let answer = agent.call(Era::Stateless, tool, json!({})).await;
        assert_eq!(answer.error_class(), class, "{tool}: {}", answer.text);
        assert!(!answer.text.contains("upstream-canary"), "{}", answer.text);
    }
    assert_eq!(upstream.passed(), 2);
    keeper.end_due().await;
    let left: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM app.credentials WHERE previous IS NOT NULL OR overlap_until IS NOT NULL OR refused > 0",
    )
    .fetch_one(&mut app.sql().await)
    .await
    .expect("a count");
    let due: i64 = sqlx::query_scalar("SELECT count(*) FROM app.credential_overlaps")
        .fetch_one(&mut app.sql().await)
        .await
        .expect("a count");
    assert_eq!((left, due), (0, 0), "destroyed");
    let ended =
        keeper.audited().await.into_iter().filter(|(action, actor, _)| action == "credential.overlap_ended" && actor == "system");
    assert_eq!(ended.count(), 3);
}

#[tokio::test]
async fn going_back_swaps_the_values_and_ending_destroys_the_one_before() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let keeper = Keeper::new(&app).await;
    keeper.tenant.tool("tool", guarded(&upstream, HttpMethod::Get, "old")).await;
    let agent = keeper.tenant.agent("agent", "tools:read").await;
    let page = keeper.page_of("tool").await;
    let sent = async || {
        let before = upstream.seen().len();
        let answer = agent.call(Era::Stateless, "tool", json!({})).await;
        let heads = upstream.seen().split_off(before).into_iter().map(|seen| seen.head);
        let secrets: Vec<_> =
            heads.map(|head| head.lines().find_map(|has| has.strip_prefix("x-api-key: ").map(str::to_owned))).collect();
        (answer.is_ok(), secrets.into_iter().flatten().collect::<Vec<_>>())
    };
    keeper.rotate(&page, "new", "24h").await;
    // While it runs, neither another exchange nor a stale page changes anything.
    let stale = keeper.visitor.post(&format!("{page}/rotate"), &[("seen", "1"), ("secret", "third"), ("overlap", "1h")]).await;
    assert!(stale.status == 409 && stale.body.contains("was changed while you looked at it"), "{}", stale.body);
    let again = keeper.press(&page, "rotate", &[("secret", "third"), ("overlap", "1h")]).await;
    assert!(again.status == 409 && again.body.contains("end it, or go back, first"), "{}", again.body);

    upstream.take_only(&[&line("old")]);
    assert_eq!(sent().await, (true, vec!["new".to_owned(), "old".to_owned()]));
    keeper.press(&page, "back", &[]).await.leads_to(&page);
    assert_eq!(sent().await, (true, vec!["old".to_owned()]), "in force again");
    upstream.take_only(&[&line("new")]);
    assert_eq!(sent().await, (true, vec!["old".to_owned(), "new".to_owned()]), "the other is used where it is refused");
    keeper.press(&page, "end", &[]).await.leads_to(&page);
    assert_eq!(sent().await, (false, vec!["old".to_owned()]), "destroyed");
    for button in ["back", "end"] {
        let late = keeper.press(&page, button, &[]).await;
        assert_eq!(late.status, 409, "{}", late.body);
    }
    let audited: Vec<_> = keeper.audited().await.into_iter().map(|(action, ..)| action).collect();
    assert_eq!(audited, ["credential.rotated", "credential.went_back", "credential.overlap_ended"]);
    keeper.rotate(&page, "third", "none").await;
    assert_eq!(sent().await, (false, vec!["third".to_owned()]));
}

#[tokio::test]
async fn what_is_refused_for_another_reason_is_not_asked_twice() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let keeper = Keeper::new(&app).await;
    let failing = tools::http(HttpMethod::Post, &upstream.url("/status/403"), &[]);
    keeper.tenant.tool("forbidden", tools::with_effect(Effect::Write, tools::with_secret(HEADER, "old", failing))).await;
    let failing = tools::http(HttpMethod::Post, &upstream.url("/status/500"), &[]);
    keeper.tenant.tool("broken", tools::with_effect(Effect::Write, tools::with_secret(HEADER, "old", failing))).await;
    let mut document = keyed();
    document["components"]["securitySchemes"]["other"] = json!({ "type": "apiKey", "in": "header", "name": "x-other" });
    document["paths"]["/guarded/second"]["get"]["security"] = json!([{ "other": [] }]);
    keeper.api(&upstream, &document, &[("secret_key", "kept"), ("secret_other", "old")]).await;
    let agent = keeper.tenant.agent("agent", "tools:destructive").await;
    keeper.rotate(&keeper.page_of("forbidden").await, "new", "1h").await;
    keeper.rotate(&keeper.page_of("broken").await, "new", "1h").await;
    let page = keeper.page_of("first").await;
    keeper.press(&page, "rotate", &[("secret_other", "new"), ("overlap", "1h")]).await.leads_to(&page);
    // The guard takes nobody: `second` is tried with both of its secrets, `first` has none that was exchanged.
    upstream.take_only(&[]);
    for (tool, requests) in [("forbidden", 1), ("broken", 1), ("first", 1), ("second", 2)] {
        let before = upstream.seen().len();
        let answer = agent.call(Era::Stateless, tool, json!({})).await;
        assert_eq!(answer.error_class(), "upstream_status", "{tool}: {}", answer.text);
        assert_eq!(upstream.seen().len() - before, requests, "{tool}");
    }
    for user in ["forbidden", "broken", "first"] {
        let page = keeper.visitor.get(&keeper.page_of(user).await).await.ok();
        assert!(page.body.contains("was not refused so far"), "{user}: {}", page.body);
    }
}
