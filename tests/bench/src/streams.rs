//! What an open event stream costs, and whether it is given back.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{installation::Installation, say};

/// As many as a replica is made for.
pub(crate) const COUNT: usize = 10_000;
/// Opened at the same time.
const AT_ONCE: usize = 32;
/// How often all of them are opened and closed. What leaks grows with each.
const ROUNDS: usize = 3;
const OPENED_WITHIN: Duration = Duration::from_secs(20);
/// Memory is looked at when nothing has happened for this long.
const SETTLE: Duration = Duration::from_secs(2);
/// Files that the program has open beside them.
const OTHER_FILES: usize = 200;

/// Opens `count` streams of `subscriptions/listen` on one replica and closes them, again and again.
pub(crate) async fn measure(program: &Path, count: usize) -> anyhow::Result<()> {
    let files = open_files()?;
    ensure!(files >= count + OTHER_FILES, "{count} streams need `ulimit -n {}`; it is {files}", count + OTHER_FILES);
    // Nothing is called.
    let installation = Installation::start(program, "http://127.0.0.1:9/", 1).await?;
    // What is made once is not counted: threads, connections, the snapshot.
    drop(open(&installation, count.min(200)).await?);
    until_closed(&installation).await?;
    say(format!("\n{count} streams of subscriptions/listen on one replica, opened and closed {ROUNDS} times"));
    say("round | MB before    MB open  KiB per stream | MB after");
    for round in 1..=ROUNDS {
        let before = installation.resident_mb()?;
        let streams = open(&installation, count).await?;
        sleep(SETTLE).await;
        let reported = installation.open_streams().await?;
        ensure!(reported == count, "the server says that {reported} streams are open");
        let open = installation.resident_mb()?;
        drop(streams);
        until_closed(&installation).await?;
        #[expect(clippy::cast_precision_loss, reason = "a count of streams")]
        let each = (open - before) * 1e6 / 1024.0 / count as f64;
        say(format!("{round:>5} | {before:>9.1} {open:>10.1} {each:>15.1} | {:>8.1}", installation.resident_mb()?));
    }
    installation.stop().await
}

async fn open(installation: &Installation, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let (url, key) = (installation.url(), installation.key());
    let address = url.trim_start_matches("http://").split('/').next().unwrap_or_default().to_owned();
    ensure!(address.starts_with("127."), "load goes to loopback addresses only");
    let path = url.trim_start_matches("http://").trim_start_matches(&address);
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}},"notifications":{"toolsListChanged":true}}}"#;
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\n\
         MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: subscriptions/listen\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut opening = JoinSet::new();
    let (mut open, mut begun) = (Vec::with_capacity(count), 0);
    while open.len() < count {
        while begun < count && opening.len() < AT_ONCE {
            let (address, request) = (address.clone(), request.clone());
            opening.spawn(async move { timeout(OPENED_WITHIN, listen(&address, &request)).await.context("no stream in time")? });
            begun += 1;
        }
        open.push(opening.join_next().await.context("a stream is missing")???);
    }
    Ok(open)
}

/// One stream, up to its acknowledgement.
async fn listen(address: &str, request: &str) -> anyhow::Result<TcpStream> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(request.as_bytes()).await?;
    let mut seen = Vec::with_capacity(1_024);
    while !seen.windows(12).any(|window| window == b"acknowledged") {
        ensure!(socket.read_buf(&mut seen).await? > 0, "closed: {}", String::from_utf8_lossy(&seen));
    }
    Ok(socket)
}

async fn until_closed(installation: &Installation) -> anyhow::Result<()> {
    let closed = async {
        while installation.open_streams().await? > 0 {
            sleep(Duration::from_millis(200)).await;
        }
        anyhow::Ok(())
    };
    timeout(Duration::from_mins(1), closed).await.context("streams stay open after their clients are gone")??;
    sleep(SETTLE).await;
    Ok(())
}

fn open_files() -> anyhow::Result<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).context("no limit of open files")?;
    let soft = line.split_whitespace().next().unwrap_or_default();
    Ok(soft.parse().unwrap_or(usize::MAX))
}
