//! Readers that do not read.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use trunkline_protocol::mcp::Revision;

use crate::support::{
    Agent, SOON, TestApp, eventually,
    mcp_upstream::{McpUpstream, Speaks, Way},
    wire::{Wire, send_raw},
};

/// More than all buffers on the way have room for.
const EVENTS: u64 = 400;
const BYTES: u64 = 128 * 1024;
/// Time in which a reader that does not read loses its stream, and some for a busy machine.
const DROPPED_WITHIN: Duration = Duration::from_secs(30);

/// Reads what is there to its end: how much, and whether the connection broke.
async fn drain(stream: &mut TcpStream) -> (usize, bool) {
    let (mut length, mut chunk) = (0, vec![0; 1 << 20]);
    loop {
        match tokio::time::timeout(Duration::from_secs(10), stream.read(&mut chunk)).await.expect("it is closed") {
            Ok(0) => return (length, false),
            Ok(read) => length += read,
            Err(_) => return (length, true),
        }
    }
}

async fn agent(app: &TestApp, upstream: &McpUpstream) -> Agent {
    let acme = app.tenant("acme").await;
    acme.source_within_ms("theirs", &upstream.url(), 60_000).await;
    acme.agent("agent", "tools:read").await
}

async fn outcome(app: &TestApp) -> String {
    let mut sql = app.sql().await;
    let outcome = eventually("the call is recorded", SOON, async || {
        sqlx::query_scalar::<_, String>("SELECT outcome FROM app.calls").fetch_optional(&mut sql).await.expect("calls")
    });
    outcome.await
}

#[tokio::test]
async fn f_20_a_session_s_reader_that_does_not_read_is_dropped_and_its_call_goes_on() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(Speaks::Only(Revision::V2025_11_25), Way::Events).await;
    let agent = agent(&app, &upstream).await;
    let wire = Wire::begin(&agent, "2025-11-25").await;
    let asked = Instant::now();
    let mut stream = send_raw(wire.call("f", "flood", json!({ "count": EVENTS, "bytes": BYTES }))).await;
    let dropped = async || (app.platform.metrics.slow_readers.get() == 1).then_some(());
    eventually("the reader is dropped", DROPPED_WITHIN, dropped).await;
    assert!(asked.elapsed() > Duration::from_secs(10), "not before its time: {:?}", asked.elapsed());
    assert_eq!(outcome(&app).await, "ok", "the call went on");
    eventually("its stream is closed", SOON, async || (app.platform.metrics.open_streams.get() == 0).then_some(())).await;
    eventually("and its connection", DROPPED_WITHIN, async || {
        let written = stream.write(b"x").await;
        written.is_err().then_some(())
    })
    .await;
    let (length, _) = drain(&mut stream).await;
    assert!((length as u64) < EVENTS * BYTES, "{length} bytes");
}

#[tokio::test]
async fn f_20_a_stateless_reader_that_does_not_read_has_its_call_cancelled() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(Speaks::Only(Revision::V2025_11_25), Way::Events).await;
    let agent = agent(&app, &upstream).await;
    let mut params = json!({ "name": "flood", "arguments": { "count": EVENTS, "bytes": BYTES } });
    params["_meta"]["io.modelcontextprotocol/logLevel"] = json!("debug");
    let _stream = send_raw(Wire::stateless(&agent).request("f", "tools/call", params)).await;
    let dropped = async || (app.platform.metrics.slow_readers.get() == 1).then_some(());
    eventually("the reader is dropped", DROPPED_WITHIN, dropped).await;
    assert_eq!(outcome(&app).await, "cancelled");
    let told = async || (upstream.cancelled() + upstream.hung_up() > 0).then_some(());
    eventually("the upstream is told", SOON, told).await;
}
