//! How long a list of many tools takes, at a steady rate. Latency counts from when a request was due, so that a slow answer does not hide the
//! ones that had to wait for it.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use tokio::{io::AsyncWriteExt as _, task::JoinSet};

use crate::{installation::Installation, load, say};

/// Tools of the tenant.
pub(crate) const TOOLS: usize = 1_000;
/// Lists per second.
pub(crate) const PER_SECOND: u32 = 200;
const CONNECTIONS: u32 = 8;
const WARM_UP: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Lists the tools that a scope lets through, at that rate for so long.
pub(crate) async fn measure(program: &Path, tools: usize, per_second: u32, seconds: u64) -> anyhow::Result<()> {
    let installation = Installation::start(program, "http://127.0.0.1:9/", tools).await?;
    let request = request(installation.url(), installation.key());
    let address = installation.url().trim_start_matches("http://").split('/').next().unwrap_or_default().to_owned();
    ensure!(address.starts_with("127."), "load goes to loopback addresses only");
    let mut socket = tokio::net::TcpStream::connect(&address).await?;
    let mut first = Vec::new();
    socket.write_all(request.as_bytes()).await?;
    load::read(&mut socket, &mut first).await?;
    let listed = String::from_utf8_lossy(&first).matches(r#""inputSchema""#).count();
    ensure!(listed == tools.div_ceil(2), "{listed} of {tools} tools are listed: {:.600}", String::from_utf8_lossy(&first));

    let length = Duration::from_secs(seconds.clamp(1, 60)) * 2;
    let begin = Instant::now() + WARM_UP;
    let (first, mut clients) = (Arc::new(first), JoinSet::new());
    for number in 0..CONNECTIONS {
        let (address, request, first) = (address.clone(), request.clone(), Arc::clone(&first));
        let (pause, offset) = (Duration::from_secs(1) * CONNECTIONS / per_second, Duration::from_secs(1) * number / per_second);
        clients.spawn_blocking(move || client(&address, &request, &first, begin + offset, pause, length));
    }
    let mut all = Histogram::<u64>::new(3)?;
    while let Some(one) = clients.join_next().await {
        all.add(one??)?;
    }
    let ms = |quantile| Duration::from_micros(all.value_at_quantile(quantile)).as_secs_f64() * 1000.0;
    say(format!(
        "\ntools/list of {tools} tools, {listed} visible ({} KiB), at {per_second}/s: p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms of {} lists",
        first.len() / 1024,
        ms(0.5),
        ms(0.99),
        ms(1.0),
        all.len()
    ));
    installation.stop().await
}

fn request(url: &str, key: &str) -> String {
    let rest = url.trim_start_matches("http://");
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    format!(
        "POST /{path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nAccept: application/json\r\n\
         MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/list\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// One connection: a request whenever one is due, from a thread of its own, since the runtime's timer is right to a millisecond only.
/// Every answer has the body of the first.
fn client(
    address: &str,
    request: &str,
    first: &[u8],
    begin: Instant,
    pause: Duration,
    length: Duration,
) -> anyhow::Result<Histogram<u64>> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(ANSWER_WITHIN))?;
    let (mut latencies, mut answer) = (Histogram::<u64>::new(3)?, vec![0; first.len()]);
    let body = body(first).context("an answer has a body")?;
    let mut due = begin;
    while due < begin + length {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        socket.write_all(request.as_bytes())?;
        socket.read_exact(&mut answer).context("no answer in time")?;
        latencies.record(u64::try_from(due.elapsed().as_micros())?)?;
        ensure!(answer.ends_with(body), "another answer: {:.600}", String::from_utf8_lossy(&answer));
        due += pause;
    }
    Ok(latencies)
}

fn body(answer: &[u8]) -> Option<&[u8]> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    answer.get(end + 4..).filter(|body| !body.is_empty())
}
