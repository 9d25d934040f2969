//! The load generator: a closed loop per connection over plain sockets, loopback only. Every answer is checked for its request's own marker.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use hdrhistogram::Histogram;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

/// Load runs for so long before it is counted.
pub(crate) const WARM_UP: Duration = Duration::from_millis(500);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of text in each request.
const PAYLOAD: usize = 256;

/// What to send where.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    address: String,
    head: String,
    before: String,
    after: &'static str,
    connections: usize,
    length: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

impl Load {
    /// The upstream, asked directly.
    pub(crate) fn bare(url: &str, connections: usize, length: Duration) -> Self {
        Self::new(url, "", r#"{"text":""#.to_owned(), r#""}"#, connections, length)
    }

    /// The same through the platform: an authenticated, limited, recorded `tools/call`.
    pub(crate) fn call(url: &str, key: &str, connections: usize, length: Duration) -> Self {
        Self::calling(("echo", "application/json, text/event-stream"), url, key, connections, length)
    }

    /// The same of another tool that gives its text back, which may be slow: never as a stream.
    pub(crate) fn call_of(tool: &str, url: &str, key: &str, connections: usize, length: Duration) -> Self {
        Self::calling((tool, "application/json"), url, key, connections, length)
    }

    fn calling((tool, accept): (&str, &str), url: &str, key: &str, connections: usize, length: Duration) -> Self {
        let headers = format!(
            "Authorization: Bearer {key}\r\nAccept: {accept}\r\nMCP-Protocol-Version: 2026-07-28\r\n\
             Mcp-Method: tools/call\r\nMcp-Name: {tool}\r\n"
        );
        let before = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}},"name":"{tool}","arguments":{{"text":""#
        );
        Self::new(url, &headers, before, r#""}}}"#, connections, length)
    }

    /// One request of it, whole.
    pub(crate) fn request(&self, marker: &str) -> String {
        let body = format!("{}{marker:x<PAYLOAD$}{}", self.before, self.after);
        format!("{}{}\r\n\r\n{body}", self.head, body.len())
    }

    /// Over so many connections.
    pub(crate) fn connections(&self) -> usize {
        self.connections
    }

    /// For so long, after a moment that does not count.
    pub(crate) fn length(&self) -> Duration {
        self.length
    }

    /// Where it goes.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    fn new(url: &str, headers: &str, before: String, after: &'static str, connections: usize, length: Duration) -> Self {
        let rest = url.strip_prefix("http://").unwrap_or(url);
        let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
        let head =
            format!("POST /{path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n{headers}Content-Length: ");
        Self { address: address.to_owned(), head, before, after, connections, length }
    }
}

impl Report {
    /// The repetition in the middle, by calls per second.
    pub(crate) fn median(mut reports: Vec<Self>) -> Self {
        reports.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
        reports[reports.len() / 2]
    }
}

/// Runs one load and fails if any answer was wrong.
pub(crate) async fn run(load: &Load) -> anyhow::Result<Report> {
    ensure!(load.address.starts_with("127."), "load goes to loopback addresses only");
    let begin = Instant::now() + WARM_UP;
    let mut connections = JoinSet::new();
    for number in 0..load.connections {
        let load = load.clone();
        connections.spawn(async move { connection(&load, number, begin).await });
    }
    let mut all = Histogram::<u64>::new(3)?;
    while let Some(one) = connections.join_next().await {
        all.add(one??)?;
    }
    let ms = |quantile| Duration::from_micros(all.value_at_quantile(quantile)).as_secs_f64() * 1000.0;
    #[expect(clippy::cast_precision_loss, reason = "a count of calls")]
    let per_second = all.len() as f64 / load.length.as_secs_f64();
    Ok(Report { per_second, p50_ms: ms(0.5), p99_ms: ms(0.99) })
}

async fn connection(load: &Load, number: usize, begin: Instant) -> anyhow::Result<Histogram<u64>> {
    let mut socket = TcpStream::connect(&load.address).await.context("no connection")?;
    socket.set_nodelay(true)?;
    let mut latencies = Histogram::<u64>::new(3)?;
    let mut answer = Vec::with_capacity(4096);
    let end = begin + load.length;
    for sequence in 0.. {
        let marker = format!("m-{number:04}-{sequence:010}-");
        let request = load.request(&marker);
        let sent = Instant::now();
        if sent >= end {
            break;
        }
        socket.write_all(request.as_bytes()).await?;
        tokio::time::timeout(ANSWER_WITHIN, read(&mut socket, &mut answer)).await.context("no answer in time")??;
        check(&answer, &marker)?;
        if sent >= begin {
            latencies.record(u64::try_from(sent.elapsed().as_micros())?)?;
        }
    }
    Ok(latencies)
}

/// Reads one answer with a `Content-Length`.
pub(crate) async fn read(socket: &mut TcpStream, answer: &mut Vec<u8>) -> anyhow::Result<()> {
    answer.clear();
    let mut whole = None;
    while whole.is_none_or(|whole| answer.len() < whole) {
        if socket.read_buf(answer).await? == 0 {
            bail!("the connection was closed");
        }
        if whole.is_none() {
            whole = whole_length(answer)?;
        }
    }
    Ok(())
}

/// How long an answer is with its head, by its `Content-Length`, once the head is there.
pub(crate) fn whole_length(answer: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..end])?.to_ascii_lowercase();
    let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length:"));
    Ok(Some(end + 4 + length.context("an answer without a length")?.trim().parse::<usize>()?))
}

pub(crate) fn check(answer: &[u8], marker: &str) -> anyhow::Result<()> {
    let text = String::from_utf8_lossy(answer);
    let is_good = text.starts_with("HTTP/1.1 200") && text.contains(marker) && !text.contains(r#""isError":true"#);
    ensure!(is_good, "a wrong answer: {}", text.chars().take(600).collect::<String>());
    Ok(())
}
