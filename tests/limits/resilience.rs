//! How calls treat an upstream: tries where they do no harm, a cap for all agents, a deadline, a breaker of its own.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use trunkline_platform::{
    ErrorKind,
    catalog::{HttpMethod, Place},
    quota::{
        breakers::{Protected, Terms},
        resilience::{self, Resilience},
    },
};

use super::patient;
use crate::support::{
    Agent, Answer, Era, Tenant, TestApp, Upstream,
    mcp_upstream::{McpUpstream, Speaks, Way},
    tools,
};

async fn call(agent: &Agent, tool: &str) -> Answer {
    agent.call(Era::Stateless, tool, json!({})).await
}

fn origin(upstream: &Upstream) -> Protected {
    Protected::Origin(format!("http://{}", upstream.addr))
}

async fn treat(app: &TestApp, acme: &Tenant<'_>, upstream: Protected, new: Resilience) -> trunkline_platform::Result<()> {
    let actor = acme.owner.clone();
    app.act(move |platform| async move { resilience::set(&platform, &actor, &upstream, new).await }).await
}

/// How often it was asked at that path.
fn asked(upstream: &Upstream, path: &str) -> usize {
    upstream.seen().iter().filter(|seen| seen.line.split(' ').nth(1).is_some_and(|at| at.starts_with(path))).count()
}

#[tokio::test]
async fn f_18_only_what_does_no_harm_is_tried_again() {
    let upstream = Upstream::start().await;
    let app = TestApp::builder().unlimited().start().await;
    let acme = app.tenant("acme").await;
    let http = |method, path: &str| tools::http(method, &upstream.url(path), &[]);
    for (name, tool) in [
        ("reads", http(HttpMethod::Get, "/status/503")),
        ("puts", http(HttpMethod::Put, "/status/502")),
        ("posts", tools::http(HttpMethod::Post, &upstream.url("/status/504"), &[("text", Place::Body)])),
        ("patches", tools::http(HttpMethod::Patch, &upstream.url("/status/429"), &[("text", Place::Body)])),
        ("fails", http(HttpMethod::Get, "/status/500")),
        ("absent", http(HttpMethod::Get, "/status/404")),
        ("cut", http(HttpMethod::Get, "/cut")),
    ] {
        acme.tool(name, tool).await;
    }
    let agent = acme.agent("agent", "tools:read").await;
    let terms = Resilience { retries: 2, ..Resilience::default() };
    for (path, tool, times) in [("/status/503", "reads", 1), ("/status/502", "puts", 1)] {
        assert_eq!(call(&agent, tool).await.error_class(), "upstream_status");
        assert_eq!(asked(&upstream, path), times, "never unless somebody wants it");
    }
    treat(&app, &acme, origin(&upstream), terms).await.expect("set");
    for (path, tool, times) in [
        ("/status/503", "reads", 4),
        ("/status/502", "puts", 4),
        ("/status/504", "posts", 1),
        ("/status/429", "patches", 1),
        ("/status/500", "fails", 1),
        ("/status/404", "absent", 1),
        ("/cut", "cut", 3),
    ] {
        let answer = call(&agent, tool).await;
        assert_eq!(answer.json["result"]["isError"], json!(true), "{tool}: {}", answer.text);
        assert_eq!(asked(&upstream, path), times, "{tool}");
    }
}

#[tokio::test]
async fn f_18_a_cap_and_a_deadline_hold_for_all_tools_of_an_upstream_on_all_replicas() {
    let (upstream, other) = (Upstream::start().await, Upstream::start().await);
    let app = patient(TestApp::builder().unlimited()).start().await;
    let second = app.replica().await;
    let acme = app.tenant("acme").await;
    acme.tool("one", tools::get(&upstream.url("/slow/1500"))).await;
    acme.tool("two", tools::get(&upstream.url("/slow/1500?two"))).await;
    acme.tool("hangs", tools::get(&upstream.url("/hang"))).await;
    acme.tool("elsewhere", tools::get(&other.url("/ok"))).await;
    let agent = acme.agent("agent", "tools:read").await;
    let there = agent.at(&agent.url.replace(&app.url, &second.url));
    let terms = Resilience { at_once: Some(3), ..Resilience::default() };
    treat(&app, &acme, origin(&upstream), terms).await.expect("set");
    let calls = (0..8).map(|i| {
        let (agent, tool) = (if i % 2 == 0 { &agent } else { &there }, if i % 4 < 2 { "one" } else { "two" });
        call(agent, tool)
    });
    let answers = join_all(calls).await;
    let (ran, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Answer::is_ok);
    assert_eq!((ran.len(), refused.len()), (3, 5));
    for answer in refused {
        assert_eq!(answer.status, 429, "{}", answer.text);
        assert_eq!(answer.json["error"]["data"]["of"], json!("upstream"), "{}", answer.text);
    }
    assert!(call(&agent, "elsewhere").await.is_ok(), "others are not concerned");
    let terms = Resilience { deadline_ms: Some(300), retries: 3, ..Resilience::default() };
    treat(&app, &acme, origin(&upstream), terms).await.expect("set");
    let began = std::time::Instant::now();
    assert_eq!(call(&agent, "hangs").await.error_class(), "upstream_timeout");
    assert!(began.elapsed() < Duration::from_secs(4), "its own deadline is 5 s: {:?}", began.elapsed());
    assert_eq!(asked(&upstream, "/hang"), 1, "what took all the time is not tried again");
}

#[tokio::test]
async fn f_18_a_breaker_that_is_switched_off_never_opens() {
    let upstream = Upstream::start().await;
    let app = TestApp::builder().unlimited().start().await;
    let acme = app.tenant("acme").await;
    acme.tool("fails", tools::get(&upstream.url("/status/500"))).await;
    let agent = acme.agent("agent", "tools:read").await;
    let never = Resilience { breaker: Terms { share: None, open_s: 5 }, ..Resilience::default() };
    treat(&app, &acme, origin(&upstream), never).await.expect("set");
    for _ in 0..30 {
        assert_eq!(call(&agent, "fails").await.status, 200);
    }
}

#[tokio::test]
async fn what_is_set_fits_and_is_of_ones_own() {
    let upstream = Upstream::start().await;
    let app = TestApp::start().await;
    let (acme, bravo) = (app.tenant("acme").await, app.tenant("bravo").await);
    acme.tool("tool", tools::get(&upstream.url("/ok"))).await;
    let of = |deadline_ms, at_once, share, open_s, retries| Resilience {
        deadline_ms,
        at_once,
        breaker: Terms { share, open_s },
        retries,
    };
    for wrong in [
        of(Some(99), None, None, 5, 0),
        of(Some(60_001), None, None, 5, 0),
        of(None, Some(0), None, 5, 0),
        of(None, Some(10_001), None, 5, 0),
        of(None, None, Some(0), 5, 0),
        of(None, None, Some(101), 5, 0),
        of(None, None, None, 0, 0),
        of(None, None, None, 601, 0),
        of(None, None, None, 5, 4),
    ] {
        let refused = treat(&app, &acme, origin(&upstream), wrong).await.expect_err("refused");
        assert!(matches!(refused.kind(), ErrorKind::Invalid(_)), "{wrong:?}: {refused}");
    }
    let fine = of(Some(100), Some(1), Some(100), 600, 3);
    treat(&app, &acme, origin(&upstream), fine).await.expect("set");
    let foreign = treat(&app, &bravo, origin(&upstream), fine).await.expect_err("no tool of bravo calls it");
    assert!(matches!(foreign.kind(), ErrorKind::NotFound(_)), "{foreign}");
}

#[tokio::test]
async fn f_18_an_mcp_server_is_tried_again_for_what_only_reads_or_says_that_it_may_be() {
    let server = McpUpstream::start(Speaks::Both, Way::Json).await;
    let schema = json!({ "type": "object" });
    for (name, annotations) in [
        ("looks", json!({ "readOnlyHint": true })),
        ("sets", json!({ "readOnlyHint": false, "idempotentHint": true })),
        ("adds", json!({ "readOnlyHint": false })),
    ] {
        server.add_tool(json!({ "name": name, "description": "A tool.", "inputSchema": schema, "annotations": annotations }));
    }
    let app = TestApp::builder().unlimited().start().await;
    let acme = app.tenant("acme").await;
    let source = acme.source("server", &server.url()).await;
    let agent = acme.agent("agent", "tools:read tools:write tools:destructive").await;
    treat(&app, &acme, Protected::Source(source), Resilience { retries: 2, ..Resilience::default() }).await.expect("set");
    server.answer_with(Some(503));
    for (tool, times) in [("looks", 3), ("sets", 3), ("adds", 1)] {
        let before = server.seen_of("tools/call").len();
        let answer = call(&agent, tool).await;
        assert_eq!(answer.error_class(), "upstream_status", "{tool}: {}", answer.text);
        assert_eq!(server.seen_of("tools/call").len() - before, times, "{tool}");
    }
}
