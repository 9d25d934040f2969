//! Upstreams that misbehave: each gets its own error, in time, and nobody else notices.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use trunkline_platform::upstream::{ItemKind, Reply, UpstreamError};
use trunkline_protocol::mcp::Revision;

use super::{call, cells, list, revision_of, target, text};
use crate::support::{
    TestApp,
    mcp_upstream::{McpUpstream, Speaks, Way},
};

#[tokio::test]
async fn f_19_answers_that_break_the_protocol_are_refused() {
    let app = TestApp::start().await;
    for (speaks, way) in cells() {
        let upstream = McpUpstream::start(speaks, way).await;
        let target = target(&upstream);
        for tool in ["wrong_id", "broken", "gone", "unknown_type", "endless"] {
            let reply = call(&app, &target, tool, json!({})).await;
            assert!(matches!(reply, Err(UpstreamError::Broken(_))), "{speaks:?} {way:?} {tool}: {reply:?}");
        }
        for tool in ["huge_event", "huge_result"] {
            let reply = call(&app, &target, tool, json!({})).await;
            assert_eq!(reply.err(), Some(UpstreamError::TooLarge), "{speaks:?} {way:?} {tool}");
        }
        assert_eq!(text(call(&app, &target, "two_answers", json!({})).await), "first");
        assert_eq!(text(call(&app, &target, "echo", json!({})).await), "{}", "it is fine");
    }
}

#[tokio::test]
async fn an_upstream_that_hangs_is_given_up_and_delays_nobody() {
    let app = TestApp::start().await;
    let cells = cells().map(|(speaks, way)| {
        let app = &app;
        async move {
            let (upstream, other) = (McpUpstream::start(speaks, way).await, McpUpstream::start(speaks, way).await);
            let (mut slow, quick) = (target(&upstream), target(&other));
            call(app, &slow, "echo", json!({})).await.expect("probed");
            call(app, &quick, "echo", json!({})).await.expect("probed");
            slow.deadline = Duration::from_secs(2);
            for tool in ["hang", "silent"] {
                let asked = Instant::now();
                let (reply, quick) = tokio::join!(call(app, &slow, tool, json!({})), async {
                    let reply = call(app, &quick, "echo", json!({})).await;
                    (reply, asked.elapsed())
                });
                let took = asked.elapsed();
                assert_eq!(reply.err(), Some(UpstreamError::Timeout), "{speaks:?} {way:?} {tool}");
                assert!((Duration::from_millis(1_950)..Duration::from_secs(5)).contains(&took), "{took:?}");
                assert!(quick.0.is_ok() && quick.1 < Duration::from_millis(1_950), "{:?}", quick.1);
            }
            if revision_of(speaks).has_handshake() {
                assert_eq!(upstream.cancelled(), 2, "{speaks:?} {way:?}: it is told");
            }
        }
    });
    join_all(cells).await;
}

#[tokio::test]
async fn lists_that_hang_or_never_end_are_refused() {
    let app = TestApp::start().await;
    for (speaks, way) in cells() {
        let upstream = McpUpstream::start(speaks, way).await;
        let mut target = target(&upstream);
        upstream.never_end_lists();
        let listed = list(&app, &target, ItemKind::Tools).await;
        assert!(matches!(listed, Err(UpstreamError::Broken(_))), "{speaks:?} {way:?}: {listed:?}");
        upstream.hang_lists();
        target.deadline = Duration::from_millis(300);
        let listed = list(&app, &target, ItemKind::Prompts).await;
        assert_eq!(listed.err(), Some(UpstreamError::Timeout), "{speaks:?} {way:?}");
    }
}

#[tokio::test]
async fn credentials_and_statuses_are_told_apart() {
    let app = TestApp::start().await;
    for (speaks, way) in cells() {
        let upstream = McpUpstream::start(speaks, way).await;
        let target = target(&upstream);
        upstream.want_secret("x-api-key", "right");
        assert_eq!(call(&app, &target, "echo", json!({})).await.err(), Some(UpstreamError::Unauthorized));
        let wrong = super::with_secret(target.clone(), "wrong");
        assert_eq!(call(&app, &wrong, "echo", json!({})).await.err(), Some(UpstreamError::Unauthorized));
        let right = super::with_secret(target, "right");
        assert_eq!(text(call(&app, &right, "echo", json!({})).await), "{}");
        for status in [500, 503, 429, 302] {
            upstream.answer_with(Some(status));
            assert_eq!(call(&app, &right, "echo", json!({})).await.err(), Some(UpstreamError::Status(status)));
        }
        upstream.answer_with(None);
        assert_eq!(text(call(&app, &right, "echo", json!({})).await), "{}", "{speaks:?} {way:?}");
    }
}

#[tokio::test]
async fn addresses_that_may_not_be_reached_are_refused() {
    let app = TestApp::builder().set("EGRESS_ALLOW", "").start().await;
    let upstream = McpUpstream::start(Speaks::Both, Way::Json).await;
    for url in [upstream.url(), format!("http://localhost:{}/mcp", upstream.addr.port()), "http://169.254.169.254/mcp".into()] {
        let mut target = target(&upstream);
        target.url = url.parse().expect("a URL");
        assert_eq!(call(&app, &target, "echo", json!({})).await.err(), Some(UpstreamError::Refused), "{url}");
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn an_answer_that_is_cut_is_resumed_where_the_upstream_says() {
    let app = TestApp::start().await;
    for revision in [Revision::V2025_11_25, Revision::V2025_06_18] {
        for way in [Way::Json, Way::Events] {
            let upstream = McpUpstream::start(Speaks::Only(revision), way).await;
            assert_eq!(text(call(&app, &target(&upstream), "cut", json!({})).await), "resumed", "{revision:?} {way:?}");
            let resumed = upstream.seen().into_iter().find(|seen| seen.http_method == "GET").expect("a GET");
            assert!(resumed.header("last-event-id").is_some_and(|id| id.starts_with("event-")), "{resumed:?}");
            assert_eq!(upstream.seen_of("tools/call").len(), 1, "it runs once");
        }
    }
}

#[tokio::test]
async fn an_upstream_that_changes_its_era_is_probed_again() {
    let app = TestApp::start().await;
    for (before, after) in [
        (Revision::V2025_11_25, Revision::V2026_07_28),
        (Revision::V2026_07_28, Revision::V2025_06_18),
        (Revision::V2025_11_25, Revision::V2025_03_26),
    ] {
        let upstream = McpUpstream::start(Speaks::Only(before), Way::Json).await;
        let target = target(&upstream);
        assert_eq!(text(call(&app, &target, "echo", json!({})).await), "{}");
        upstream.speak(Speaks::Only(after));
        upstream.forget_sessions();
        assert_eq!(text(call(&app, &target, "echo", json!({})).await), "{}", "{before:?} {after:?}");
        assert!(matches!(call(&app, &target, "fail", json!({})).await, Ok(Reply::Error(_))));
    }
}
