//! Under load: an upstream that learns of the new value late, and forgets the old one early, loses no call.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use serde_json::json;
use trunkline_platform::catalog::HttpMethod;
use trunkline_protocol::{mcp::Revision, oauth::scope::Effect};

use super::{HEADER, Keeper, guarded, line};
use crate::support::{
    Agent, Era, TestApp, Upstream,
    mcp_upstream::{McpUpstream, Speaks, Way},
    say, tools,
};

const CLIENTS: usize = 16;
/// Of each of the four parts: only old, exchanged, both, only new.
const PART: Duration = Duration::from_millis(750);

/// Calls until told to stop; how often, by tool. No call may fail.
async fn call(agent: &Agent, first: usize, done: &AtomicBool, writes: &AtomicUsize) -> usize {
    let mut calls = 0;
    while !done.load(Ordering::Relaxed) {
        let tool = ["read", "write", "server.echo"][(first + calls) % 3];
        let answer = agent.call(Era::Stateless, tool, json!({})).await;
        assert!(answer.is_ok(), "call {calls} of {tool}: {}", answer.text);
        writes.fetch_add(usize::from(tool == "write"), Ordering::Relaxed);
        calls += 1;
    }
    calls
}

#[tokio::test]
async fn no_call_fails_and_no_write_is_done_twice_while_an_upstream_goes_from_the_old_to_the_new() {
    let app =
        TestApp::builder().unlimited().set("QUOTA_WRITE_PER_MINUTE", 6_000_000).set("QUOTA_WRITE_BURST", 6_000_000).start().await;
    let (replica, upstream) = (app.replica().await, Upstream::start().await);
    let keeper = Keeper::new(&app).await;
    let server = McpUpstream::start(Speaks::Only(Revision::V2025_11_25), Way::Json).await;
    let take = |secrets: &[&str]| {
        let lines: Vec<_> = secrets.iter().map(|secret| line(secret)).collect();
        upstream.take_only(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        server.want_one_of(HEADER, secrets);
    };
    take(&["old"]);
    keeper.tenant.tool("read", guarded(&upstream, HttpMethod::Get, "old")).await;
    let write = tools::with_effect(
        Effect::Write,
        tools::with_secret(HEADER, "old", tools::http(HttpMethod::Post, &upstream.url("/guarded/write"), &[])),
    );
    keeper.tenant.tool("write", write).await;
    keeper.source("server", &server.url(), "old").await;
    let agent = keeper.tenant.agent("agent", "tools:destructive").await;
    let other = agent.at(&agent.url.replace(&app.url, &replica.url));
    let mut pages = Vec::new();
    for user in ["read", "write", "server"] {
        pages.push(keeper.page_of(user).await);
    }
    let (done, writes) = (AtomicBool::new(false), AtomicUsize::new(0));
    let calling = (0..CLIENTS)
        .map(|client| call(if client % 2 == 0 { &agent } else { &other }, client, &done, &writes))
        .collect::<Vec<_>>();
    let exchanging = async {
        tokio::time::sleep(PART).await;
        for page in &pages {
            keeper.rotate(page, "new", "1h").await;
        }
        tokio::time::sleep(PART).await;
        take(&["old", "new"]);
        tokio::time::sleep(PART).await;
        take(&["new"]);
        tokio::time::sleep(PART).await;
        done.store(true, Ordering::Relaxed);
    };
    let (calls, ()) = tokio::join!(futures_util::future::join_all(calling), exchanging);
    let calls: usize = calls.iter().sum();
    let passed = upstream.seen().iter().filter(|seen| seen.line == "POST /guarded/write").count();
    let refused = upstream.seen().len() - upstream.passed();
    // What passed is what was done: each write once.
    assert_eq!(upstream.passed_of("POST /guarded/write"), writes.load(Ordering::Relaxed), "of {passed} requests");
    assert!(calls > 50 && refused > 0, "{calls} calls, {refused} refused");
    say(&format!("rotation: {calls} calls of {CLIENTS} clients on two replicas, none failed; {refused} requests were refused"));
}
