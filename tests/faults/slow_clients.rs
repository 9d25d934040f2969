//! Clients that send as slowly as they may: they are let go in time, and nobody waits for them.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::timed;
use crate::support::{TestApp, figure, full, middle_and_p99, raw, tools};

/// What a head and a body may take, and some for a busy machine.
const HEAD_WITHIN: Duration = Duration::from_secs(5 + 5);
const BODY_WITHIN: Duration = Duration::from_secs(10 + 5);

/// Sends the beginning, then a piece each second. How long it was borne with, and the answer.
async fn crawl(url: String, begin: String, piece: &'static str) -> (Duration, String) {
    let mut stream = raw::connect(&url).await;
    let began = Instant::now();
    let _ = stream.write_all(begin.as_bytes()).await;
    let mut heard = Vec::new();
    loop {
        if let Some(end) = listen(&mut stream, &mut heard).await {
            return (began.elapsed(), end);
        }
        let _ = stream.write_all(piece.as_bytes()).await;
    }
}

/// The answer, when the other side has closed; `None` while it bears with it.
async fn listen(stream: &mut TcpStream, heard: &mut Vec<u8>) -> Option<String> {
    let closed = async { while let Ok(1..) = stream.read_buf(heard).await {} };
    tokio::time::timeout(Duration::from_secs(1), closed).await.ok()?;
    Some(String::from_utf8_lossy(heard).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_22_clients_that_send_slowly_are_let_go_and_delay_nobody() {
    let app = TestApp::builder().unlimited().start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    timed(&agent).await;
    let mut before = Vec::new();
    for _ in 0..100 {
        before.push(timed(&agent).await);
    }
    let host = raw::authority(&agent.url).to_owned();
    let head = format!("POST /t/acme/mcp HTTP/1.1\r\nHost: {host}\r\n");
    let whole =
        format!("{head}Authorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n", agent.key);
    let count = if full() { 500 } else { 50 };
    let (mut heads, mut bodies) = (JoinSet::new(), JoinSet::new());
    for _ in 0..count {
        heads.spawn(crawl(agent.url.clone(), head.clone(), "X-Slow: x\r\n"));
        bodies.spawn(crawl(agent.url.clone(), whole.clone(), " "));
    }
    let gone = CancellationToken::new();
    let calling = async {
        let mut during = Vec::new();
        while !gone.is_cancelled() {
            during.push(timed(&agent).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        during
    };
    let waiting = async {
        let ended = (heads.join_all().await, bodies.join_all().await);
        gone.cancel();
        ended
    };
    let ((heads, bodies), mut during) = tokio::join!(waiting, calling);
    let longest = |all: &[(Duration, String)]| all.iter().map(|(took, _)| *took).max().expect("some");
    let (head, body) = (longest(&heads), longest(&bodies));
    assert!(heads.iter().all(|(_, answer)| answer.is_empty() || answer.starts_with("HTTP/1.1 408")), "{:?}", heads[0]);
    assert!(bodies.iter().all(|(_, answer)| answer.starts_with("HTTP/1.1 408")), "{:?}", bodies[0]);
    assert!(head < HEAD_WITHIN && body < BODY_WITHIN, "{head:?} {body:?}");
    let ((p50, p99), (p50_during, p99_during)) = (middle_and_p99(&mut before), middle_and_p99(&mut during));
    figure(
        "F22",
        &format!(
            "{count} heads let go after {head:.1?}, {count} bodies after {body:.1?}; calls p50 {p50:.1?} and p99 {p99:.1?}, meanwhile {p50_during:.1?} and {p99_during:.1?}"
        ),
    );
    assert!(p50_during < 2 * p50 + Duration::from_millis(20), "{p50:?} {p50_during:?}");
}
