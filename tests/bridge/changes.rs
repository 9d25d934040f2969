//! Hearing of changes, in either era, across streams and sessions that end.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use trunkline_platform::upstream::{Change, Target, UpstreamError, Wanted};
use trunkline_protocol::mcp::Revision;

use super::{cells, probe, revision_of, target};
use crate::support::{
    SOON, TestApp, eventually,
    mcp_upstream::{McpUpstream, Speaks, Way},
};

/// Somebody who watches.
struct Watching {
    changes: mpsc::Receiver<Change>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), UpstreamError>>,
}

impl Watching {
    fn start(app: &TestApp, target: &Target, wanted: Wanted) -> Self {
        let (sender, changes) = mpsc::channel(4);
        let stop = CancellationToken::new();
        let (platform, target, its_stop) = (app.platform.clone(), target.clone(), stop.clone());
        let task = app.runtime().spawn(async move {
            let upstreams = &platform.upstreams;
            upstreams.watch(&platform.egress, &target, wanted, sender, its_stop).await
        });
        Self { changes, stop, task }
    }

    async fn next(&mut self) -> Change {
        tokio::time::timeout(SOON, self.changes.recv()).await.expect("in time").expect("a change")
    }

    async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(SOON, self.task).await.expect("in time").expect("no panic");
        assert_eq!(ended, Ok(()));
    }
}

fn everything() -> Wanted {
    Wanted { tools: true, prompts: true, resources: true, uris: vec!["note://1".to_owned(), "note://2".to_owned()] }
}

async fn listens(upstream: &McpUpstream, streams: usize) {
    eventually("it listens", SOON, async || (upstream.listening() == streams).then_some(())).await;
}

#[tokio::test]
async fn changes_are_heard_of_in_either_era() {
    let app = TestApp::start().await;
    for (speaks, way) in cells() {
        let upstream = McpUpstream::start(speaks, way).await;
        let mut watching = Watching::start(&app, &target(&upstream), everything());
        listens(&upstream, 1).await;
        assert_eq!(upstream.subscribed(), BTreeSet::from(["note://1".to_owned(), "note://2".to_owned()]));
        upstream.add_tool(json!({ "name": "new", "inputSchema": { "type": "object" } }));
        assert_eq!(watching.next().await, Change::Tools, "{speaks:?} {way:?}");
        upstream.change_resource("note://2");
        assert_eq!(watching.next().await, Change::Resource("note://2".to_owned()));
        upstream.change_lists();
        let both = BTreeSet::from([watching.next().await, watching.next().await]);
        assert_eq!(both, BTreeSet::from([Change::Prompts, Change::Resources]));
        watching.stop().await;
        listens(&upstream, 0).await;
        if revision_of(speaks).has_handshake() {
            eventually("its session is ended", SOON, async || (upstream.ended().len() == 1).then_some(())).await;
        }
    }
}

#[tokio::test]
async fn only_what_is_wanted_is_told() {
    let app = TestApp::start().await;
    for speaks in [Speaks::Only(Revision::V2025_11_25), Speaks::Only(Revision::V2026_07_28)] {
        let upstream = McpUpstream::start(speaks, Way::Events).await;
        let wanted = Wanted { prompts: true, ..Wanted::default() };
        let mut watching = Watching::start(&app, &target(&upstream), wanted);
        listens(&upstream, 1).await;
        upstream.add_tool(json!({ "name": "new", "inputSchema": { "type": "object" } }));
        upstream.change_resource("note://1");
        upstream.change_lists();
        assert_eq!(watching.next().await, Change::Prompts, "{speaks:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(watching.changes.try_recv().is_err());
        watching.stop().await;
    }
}

#[tokio::test]
async fn what_a_broken_stream_may_have_missed_counts_as_changed() {
    let app = TestApp::start().await;
    for speaks in [Speaks::Only(Revision::V2025_11_25), Speaks::Only(Revision::V2026_07_28)] {
        let upstream = McpUpstream::start(speaks, Way::Events).await;
        let wanted = Wanted { tools: true, ..Wanted::default() };
        let mut watching = Watching::start(&app, &target(&upstream), wanted);
        listens(&upstream, 1).await;
        upstream.forget_sessions();
        upstream.close_streams();
        assert_eq!(watching.next().await, Change::Tools, "{speaks:?}");
        listens(&upstream, 1).await;
        upstream.add_tool(json!({ "name": "new", "inputSchema": { "type": "object" } }));
        assert_eq!(watching.next().await, Change::Tools, "{speaks:?}");
        watching.stop().await;
    }
}

#[tokio::test]
async fn an_upstream_that_knows_no_get_is_asked_once() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(Speaks::Only(Revision::V2025_11_25), Way::Json).await.without_streams(404);
    let target = target(&upstream);
    probe(&app, &target).await.expect("a server");
    let sessions = upstream.seen_of("initialize").len();
    let watching = Watching::start(&app, &target, Wanted { tools: true, ..Wanted::default() });
    let ended = tokio::time::timeout(SOON, watching.task).await.expect("in time").expect("no panic");
    assert_eq!(ended, Err(UpstreamError::Status(404)));
    assert_eq!((upstream.seen_of("initialize").len(), upstream.ended().len()), (sessions + 1, 1), "its session is ended");
    assert_eq!(upstream.seen().iter().filter(|seen| seen.http_method == "GET").count(), 1);
}

#[tokio::test]
async fn a_resource_that_nobody_wants_is_not_told() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(Speaks::Only(Revision::V2025_11_25), Way::Events).await;
    let uris = vec!["note://2".to_owned(), "note://1".to_owned()];
    let mut watching = Watching::start(&app, &target(&upstream), Wanted { uris, ..Wanted::default() });
    listens(&upstream, 1).await;
    for uri in ["note://3", "note://", "note://2"] {
        upstream.change_resource(uri);
    }
    assert_eq!(watching.next().await, Change::Resource("note://2".to_owned()));
    upstream.change_resource("note://1");
    assert_eq!(watching.next().await, Change::Resource("note://1".to_owned()));
    watching.stop().await;
}

#[tokio::test]
async fn a_flood_of_changes_is_told_as_few() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(Speaks::Only(Revision::V2026_07_28), Way::Events).await;
    let wanted = Wanted { tools: true, prompts: true, resources: true, uris: Vec::new() };
    let mut watching = Watching::start(&app, &target(&upstream), wanted);
    listens(&upstream, 1).await;
    for _ in 0..15 {
        upstream.change_lists();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut told = 0;
    while watching.changes.try_recv().is_ok() {
        told += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!((2..=8).contains(&told), "a slow reader hears of each once more: {told}");
    watching.stop().await;
}

#[tokio::test]
async fn an_upstream_that_cannot_be_watched_is_told_at_once() {
    let app = TestApp::start().await;
    for (speaks, way) in cells() {
        let upstream = McpUpstream::start(speaks, way).await;
        let target = target(&upstream);
        probe(&app, &target).await.expect("a server");
        upstream.answer_with(Some(503));
        let watching = Watching::start(&app, &target, everything());
        let ended = tokio::time::timeout(SOON, watching.task).await.expect("in time").expect("no panic");
        assert_eq!(ended, Err(UpstreamError::Status(503)), "{speaks:?} {way:?}");
    }
}
