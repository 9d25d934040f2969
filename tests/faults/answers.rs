//! Answers of upstreams that want memory or time, or to be misread.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use trunkline::services::free_port;

use super::timed;
use crate::support::{Agent, Era, Replica, SPOOL_DIR, TestApp, Upstream, figure, full, private::Folder, tools};

/// Calls at the same time, and what each may take of memory: what is read of an answer, and its copies.
const AT_ONCE: usize = 8;
const MOST_EACH: u64 = 8 << 20;

#[tokio::test]
async fn f_12_an_answer_without_end_is_cut_and_not_kept() {
    let (app, upstream) = (TestApp::builder().unlimited().start().await, Upstream::start().await);
    let acme = app.tenant("acme").await;
    let paths = ["endless", "huge", "large/4194304", "large/4194305"];
    let mut names = Vec::new();
    for (number, path) in paths.iter().enumerate() {
        names.push(format!("t{number}"));
        acme.tool(&names[number], tools::get(&upstream.url(&format!("/{path}")))).await;
    }
    let agent = acme.agent("agent", "tools:read").await;
    let spool = Folder::new("spool");
    let port = free_port().expect("a port");
    let replica = Replica::start_with(&app, port, &[(SPOOL_DIR, &spool.0.display().to_string())]).await;
    let there = agent.at(&format!("{}/t/acme/mcp", replica.url));
    for name in &names {
        there.call(Era::Stateless, name, json!({})).await;
    }
    let before = replica.peak_memory();
    let rounds = if full() { 20 } else { 3 };
    let asked = Instant::now();
    for _ in 0..rounds {
        let calls = (0..AT_ONCE).map(|number| there.call(Era::Stateless, &names[number % names.len()], json!({})));
        for answer in join_all(calls).await {
            assert_eq!((answer.status, answer.error_class()), (200, "upstream_too_large"), "{:.300}", answer.text);
        }
    }
    let grown = replica.peak_memory() - before;
    figure(
        "F12",
        &format!(
            "{} answers cut, {AT_ONCE} at once, in {:.1?}; {} KiB more memory at most",
            rounds * AT_ONCE,
            asked.elapsed(),
            grown >> 10
        ),
    );
    assert!(grown < MOST_EACH * AT_ONCE as u64, "{} MiB", grown >> 20);
    replica.stop();
}

/// What each tool has.
const WITHIN_MS: u32 = 3_000;

/// Calls a tool of each path: its class, and how long it took.
async fn each(paths: &[&str], check: impl Fn(&str, &str, Duration)) {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:read").await;
    for (number, path) in paths.iter().enumerate() {
        let name = format!("t{number}");
        acme.tool(&name, tools::within_ms(WITHIN_MS, tools::get(&upstream.url(&format!("/{path}"))))).await;
        let asked = Instant::now();
        let answer = agent.call(Era::Stateless, &name, json!({})).await;
        assert_eq!((answer.status, &answer.json["result"]["isError"]), (200, &json!(true)), "{path}: {:.300}", answer.text);
        assert!(!answer.text.contains("half"), "{path}: nothing of it is passed on: {}", answer.text);
        check(path, answer.error_class(), asked.elapsed());
    }
    acme.tool("well", tools::get(&upstream.url("/json"))).await;
    assert!(agent.call(Era::Stateless, "well", json!({})).await.is_ok(), "and the next call is well");
}

#[tokio::test]
async fn f_13_what_grows_when_it_is_unpacked_is_cut() {
    each(&["bomb/gzip", "bomb/br"], |path, class, took| {
        assert_eq!(class, "upstream_too_large", "{path}");
        assert!(took < Duration::from_secs(4), "{path}: {took:?}");
        figure("F13", &format!("64 MiB in {path}: cut after {took:.1?}"));
    })
    .await;
    // Packed twice, or as nobody asked: it is not read as what it is not.
    each(&["bomb/gzip,%20gzip", "bomb/zstd"], |path, class, _| assert_eq!(class, "upstream_protocol", "{path}")).await;
}

#[tokio::test]
async fn f_14_f_17_heads_without_end_and_bodies_that_are_torn_are_failures() {
    let paths = ["head/10485760", "heads/10000", "lengths", "chunk", "size", "torn"];
    each(&paths, |path, class, took| {
        assert_eq!(class, "upstream_protocol", "{path}");
        assert!(took < Duration::from_secs(4), "{path}: {took:?}");
        figure(
            if matches!(path, "chunk" | "size" | "torn") { "F17" } else { "F14" },
            &format!("{path}: failed after {took:.1?}"),
        );
    })
    .await;
}

/// Calls of the other tool, one after the other, until this is told to stop; the longest of them.
async fn slowest(agent: Agent, stop: CancellationToken) -> Duration {
    let mut slowest = Duration::ZERO;
    while !stop.is_cancelled() {
        slowest = slowest.max(timed(&agent).await);
    }
    slowest
}

#[tokio::test]
async fn f_14_who_says_without_end_that_the_answer_comes_is_not_heard_out() {
    let (app, upstream) = (TestApp::builder().unlimited().start().await, Upstream::start().await);
    let acme = app.tenant("acme").await;
    for word in ["early", "hints"] {
        acme.tool(word, tools::within_ms(WITHIN_MS, tools::get(&upstream.url(&format!("/{word}"))))).await;
    }
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    timed(&agent).await;
    let stop = CancellationToken::new();
    let others = tokio::spawn(slowest(agent.clone(), stop.clone()));
    let rounds = if full() { 50 } else { 5 };
    let asked = Instant::now();
    for _ in 0..rounds {
        let asked = Instant::now();
        let answer = agent.call(Era::Stateless, "early", json!({})).await;
        assert_eq!((answer.status, answer.error_class()), (200, "upstream_protocol"), "{:.300}", answer.text);
        assert!(asked.elapsed() < Duration::from_millis(WITHIN_MS.into()), "{:?}", asked.elapsed());
    }
    let each = asked.elapsed() / rounds;
    stop.cancel();
    let others = others.await.expect("no panic");
    figure("F14", &format!("1xx without end: {rounds} calls ended after {each:.1?} each, other calls took {others:.1?} at most"));
    assert!(others < Duration::from_secs(2), "{others:?}");
    assert!(agent.call(Era::Stateless, "hints", json!({})).await.is_ok(), "a few of them are in order");
}
