//! Hearing of changes from a source, as long as a client listens and the source is what it was.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_platform::catalog::source;
use trunkline_protocol::mcp::Revision;

use super::{new_source, trusting};
use crate::support::{
    SOON, TestApp, eventually,
    mcp_upstream::{McpUpstream, Speaks, Way},
    wire::Wire,
};

async fn listens(upstream: &McpUpstream, streams: usize) {
    eventually("it listens", SOON, async || (upstream.listening() == streams).then_some(())).await;
}

#[tokio::test]
async fn a_source_that_is_switched_off_or_moved_is_not_heard_any_more() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    for (name, revision) in [("old", Revision::V2025_11_25), ("new", Revision::V2026_07_28)] {
        let speaks = Speaks::Only(revision);
        let (first, second) = (McpUpstream::start(speaks, Way::Events).await, McpUpstream::start(speaks, Way::Events).await);
        let id = acme.source(name, &first.url()).await;
        let agent = acme.agent(name, "tools:read").await;
        let wire = Wire::begin(&agent, "2025-11-25").await;
        let _stream = wire.listen(None).await;
        listens(&first, 1).await;

        let set_enabled = async |enabled| {
            let owner = acme.owner.clone();
            app.act(move |platform| async move { source::set_enabled(&platform, &owner, id, enabled).await.expect("done") })
                .await;
        };
        set_enabled(false).await;
        listens(&first, 0).await;
        let heard = first.seen().len();
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(first.seen().len(), heard, "{name}: nothing is sent to it");
        set_enabled(true).await;
        listens(&first, 1).await;

        let (owner, moved) = (acme.owner.clone(), new_source(&second.url(), trusting()));
        app.act(move |platform| async move { source::update(&platform, &owner, id, moved).await.expect("moved") }).await;
        listens(&second, 1).await;
        listens(&first, 0).await;
        second.add_tool(json!({ "name": "more", "inputSchema": { "type": "object" } }));
        set_enabled(false).await;
        listens(&second, 0).await;
    }
}

fn named(name: &str) -> Value {
    // Without a word on whether it only reads, so that nothing is called before it is listed: the server has no such tool.
    json!({ "name": name, "inputSchema": { "type": "object" } })
}

#[tokio::test]
async fn the_first_change_is_read_at_once_and_the_last_of_many_is_not_lost() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    let upstream = McpUpstream::start(Speaks::Only(Revision::V2025_11_25), Way::Events).await;
    acme.source("theirs", &upstream.url()).await;
    let agent = acme.agent("agent", "tools:read resources:read").await;
    let wire = Wire::begin(&agent, "2025-11-25").await;
    let mut stream = wire.listen(None).await;
    listens(&upstream, 1).await;
    let has = async |name: &str| {
        let answer = wire.send(1, "tools/list", json!({})).await;
        answer.text.contains(&format!("\"{name}\""))
    };
    let lists = || upstream.seen_of("prompts/list").len();
    // The streams of the source are opened again by this, so nothing may have been lost in between.
    wire.send(2, "resources/subscribe", json!({ "uri": "note://1" })).await;
    eventually("it is subscribed to", SOON, async || upstream.subscribed().contains("note://1").then_some(())).await;
    listens(&upstream, 1).await;

    let before = lists();
    let told = Instant::now();
    upstream.add_tool(named("first"));
    stream.until("notifications/tools/list_changed").await;
    assert!(told.elapsed() < Duration::from_secs(3) && has("first").await, "{:?}", told.elapsed());
    for n in 0..20 {
        upstream.add_tool(named(&format!("more-{n}")));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!has("more-0").await, "repeats wait");
    stream.until("notifications/tools/list_changed").await;
    assert!(has("more-19").await && told.elapsed() < Duration::from_secs(15), "{:?}", told.elapsed());
    assert_eq!(lists() - before, 2, "the first by itself, and all others at once");
}
