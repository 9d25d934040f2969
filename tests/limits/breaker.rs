//! Upstreams that fail are left alone.

use std::time::Duration;

use serde_json::json;

use crate::support::{Agent, Answer, Era, TestApp, Upstream, eventually, http, tools};

async fn call(agent: &Agent, tool: &str) -> Answer {
    agent.call(Era::Stateless, tool, json!({})).await
}

#[tokio::test]
async fn f_18_an_upstream_that_fails_is_left_alone_by_all_agents_and_tried_by_one() {
    let (upstream, healthy) = (Upstream::start().await, Upstream::start().await);
    let app = TestApp::builder().unlimited().start().await;
    let (acme, bravo) = (app.tenant("acme").await, app.tenant("bravo").await);
    for tenant in [&acme, &bravo] {
        tenant.tool("fails", tools::get(&upstream.url("/status/500"))).await;
        tenant.tool("works", tools::get(&upstream.url("/ok"))).await;
        tenant.tool("elsewhere", tools::get(&healthy.url("/ok"))).await;
    }
    acme.tool("refuses", tools::get(&healthy.url("/status/404"))).await;
    let (one, other, stranger) =
        (acme.agent("one", "tools:read").await, acme.agent("other", "tools:read").await, bravo.agent("b", "tools:read").await);
    for _ in 0..25 {
        assert_eq!(call(&one, "refuses").await.error_class(), "upstream_status", "its own fault or not, it answers");
    }
    let mut failed = 0;
    let refused = loop {
        let answer = call(&one, "fails").await;
        if answer.status != 200 {
            break answer;
        }
        failed += 1;
        assert!(failed <= 25, "it goes on being called");
    };
    assert!(failed >= 20, "too early: {failed}");
    assert_eq!((refused.status, refused.code()), (503, 5030), "{}", refused.text);
    assert!(!refused.header("retry-after").is_empty() && refused.json["error"]["data"]["reason"] == json!("breaker_open"));
    let sent = upstream.seen().len();
    assert_eq!(call(&other, "works").await.status, 503, "every agent of the tenant, every tool of the origin");
    assert_eq!(upstream.seen().len(), sent, "nothing is sent");
    assert!(call(&one, "elsewhere").await.is_ok(), "other upstreams go on");
    assert!(call(&stranger, "works").await.is_ok(), "other tenants judge for themselves");
    let health: serde_json::Value = {
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        http().get(format!("{}/health", app.url)).send().await.expect("an answer").json().await.expect("JSON")
    };
    assert_eq!((&health["open_breakers"], &health["status"]), (&json!(1), &json!("healthy")), "{health}");
    let metrics = http().get(format!("{}/metrics", app.ops_url)).send().await.expect("an answer").text().await.expect("text");
    assert!(metrics.contains("trunkline_open_breakers 1"), "{metrics}");
    eventually("one call tries and closes it", Duration::from_secs(10), async || {
        call(&other, "works").await.is_ok().then_some(())
    })
    .await;
    assert!(call(&one, "works").await.is_ok());
}
