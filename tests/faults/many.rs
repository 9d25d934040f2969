//! More than usual: connections, streams, descriptors, bodies.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};
use trunkline::services::free_port;

use super::timed;
use crate::support::{
    Agent, Era, Replica, SOON, SPOOL_DIR, TestApp, eventually, figure, full, message, private::Folder, raw, tools,
};

/// As many as a replica is made for; and few, where others need the machine.
fn many() -> usize {
    if full() { 10_000 } else { 500 }
}

/// A replica as a process, and an agent at it.
async fn replica(app: &TestApp, spool: &Folder, settings: &[(&str, &str)]) -> (Replica, Agent) {
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let dir = spool.0.display().to_string();
    let settings: Vec<_> = [(SPOOL_DIR, dir.as_str())].into_iter().chain(settings.iter().copied()).collect();
    let replica = Replica::start_with(app, free_port().expect("a port"), &settings).await;
    let agent = agent.at(&format!("{}/t/acme/mcp", replica.url));
    for _ in 0..20 {
        timed(&agent).await;
    }
    (replica, agent)
}

/// Opens as many, a few at a time.
async fn open<F>(count: usize, one: impl Fn() -> F) -> Vec<TcpStream>
where
    F: Future<Output = TcpStream> + Send + 'static,
{
    let (mut opening, mut open) = (JoinSet::new(), Vec::with_capacity(count));
    for begun in 0..count {
        if begun >= 32 {
            open.push(opening.join_next().await.expect("one is opened").expect("no panic"));
        }
        opening.spawn(one());
    }
    open.extend(opening.join_all().await);
    open
}

/// The message of a stream that hears of changes, up to its acknowledgement.
async fn listening(url: String, key: String) -> TcpStream {
    let params = json!({ "notifications": { "toolsListChanged": true } });
    let body = message(Era::Stateless, "subscriptions/listen", params).to_string();
    let request = format!(
        "POST /t/acme/mcp HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\n\
         MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: subscriptions/listen\r\nContent-Length: {}\r\n\r\n{body}",
        raw::authority(&url),
        body.len()
    );
    let mut stream = raw::connect(&url).await;
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut seen = Vec::new();
    while !seen.windows(12).any(|window| window == b"acknowledged") {
        let read = tokio::time::timeout(SOON, stream.read_buf(&mut seen)).await.expect("in time").expect("open");
        assert!(read > 0, "closed: {}", String::from_utf8_lossy(&seen));
    }
    stream
}

fn kib_each(before: u64, after: u64, count: usize) -> u64 {
    after.saturating_sub(before) / 1024 / u64::try_from(count).expect("few")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_23_connections_that_say_nothing_cost_little_and_delay_nobody() {
    let (app, spool) = (TestApp::builder().unlimited().start().await, Folder::new("spool"));
    let (replica, agent) = replica(&app, &spool, &[]).await;
    let (url, before) = (agent.url.clone(), replica.memory());
    let idle = open(many(), || {
        let url = url.clone();
        // One request: a connection that has said nothing at all is let go after five seconds.
        async move {
            let mut stream = raw::connect(&url).await;
            let asked = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", raw::authority(&url));
            stream.write_all(asked.as_bytes()).await.expect("sent");
            assert_eq!(raw::read(&mut stream).await.status(), 200);
            stream
        }
    })
    .await;
    let each = kib_each(before, replica.memory(), idle.len());
    let call = timed(&agent).await;
    figure("F23", &format!("{} idle connections, {each} KiB each; a call meanwhile {call:.1?}", idle.len()));
    assert!(each <= 20 && call < Duration::from_secs(1), "{each} KiB {call:?}");
    drop(idle);
    replica.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_24_streams_cost_little_and_end_when_their_replica_is_told_to() {
    let (app, spool) = (TestApp::builder().unlimited().start().await, Folder::new("spool"));
    let (mut replica, agent) = replica(&app, &spool, &[]).await;
    drop(open(100, || listening(agent.url.clone(), agent.key.clone())).await);
    let before = replica.memory();
    let streams = open(many(), || listening(agent.url.clone(), agent.key.clone())).await;
    let each = kib_each(before, replica.memory(), streams.len());
    let call = timed(&agent).await;
    let count = streams.len();
    replica.process().signal(Signal::SIGTERM);
    let told = Instant::now();
    let mut ending = JoinSet::new();
    for mut stream in streams {
        ending.spawn(async move {
            let mut rest = Vec::new();
            let read = tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await;
            (read.is_ok(), told.elapsed())
        });
    }
    let ended = ending.join_all().await;
    let last = ended.iter().map(|(_, took)| *took).max().expect("streams");
    assert!(ended.iter().all(|(is_closed, _)| *is_closed), "some stay open");
    let exit = replica.process().wait(SOON);
    figure(
        "F24",
        &format!(
            "{count} streams, {each} KiB each, a call meanwhile {call:.1?}; all closed {last:.1?} after SIGTERM, exit code {exit:?}"
        ),
    );
    assert_eq!(exit, Some(0));
    assert!(each <= 40 && last < Duration::from_secs(10), "{each} KiB {last:?}");
}

/// Processor time of a process so far.
fn processor(id: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("it runs");
    let after = text.rsplit_once(") ").expect("a name").1;
    let ticks: u64 = after.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    // A hundred a second, on every Linux there is.
    Duration::from_millis(ticks * 10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_36_without_descriptors_it_waits_without_spinning_and_recovers() {
    const DESCRIPTORS: usize = 160;
    let (app, spool) = (TestApp::builder().unlimited().start().await, Folder::new("spool"));
    let (mut replica, agent) = replica(&app, &spool, &[]).await;
    let id = replica.process().id();
    let limited = Command::new("prlimit").args([format!("--pid={id}"), format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}")]).status();
    assert!(limited.expect("prlimit runs").success());
    let mut crowd = Vec::new();
    for _ in 0..2 * DESCRIPTORS {
        crowd.push(raw::connect(&agent.url).await);
    }
    // They are let go after five seconds, and the others come after them.
    let (began, used) = (Instant::now(), processor(id));
    tokio::time::sleep(Duration::from_secs(if full() { 4 } else { 2 })).await;
    let share = processor(id).saturating_sub(used).as_secs_f64() / began.elapsed().as_secs_f64();
    drop(crowd);
    let back = Instant::now();
    eventually("it recovers", Duration::from_secs(10), async || {
        let body = message(Era::Stateless, "tools/list", json!({}));
        let request = agent.request().header("mcp-protocol-version", "2026-07-28").header("mcp-method", "tools/list");
        let answer = request.timeout(Duration::from_secs(2)).json(&body).send().await.ok()?;
        (answer.status() == 200).then_some(())
    })
    .await;
    figure(
        "F36",
        &format!(
            "{} connections with {DESCRIPTORS} descriptors: {:.0} % of a core, back after {:.1?}",
            2 * DESCRIPTORS,
            share * 100.0,
            back.elapsed()
        ),
    );
    assert!(share < 0.2, "{share}");
    eventually("calls go on", SOON, async || agent.echo("x").await.is_ok().then_some(())).await;
    replica.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_37_bodies_have_so_much_memory_together_and_not_more() {
    const MIB: usize = 1 << 20;
    let (app, spool) = (TestApp::builder().unlimited().start().await, Folder::new("spool"));
    let (replica, agent) = replica(&app, &spool, &[]).await;
    let before = replica.peak_memory();
    let body = message(Era::Handshake, "tools/list", json!({})).to_string();
    let body = format!("{body}{}", " ".repeat(MIB - body.len()));
    let host = raw::authority(&agent.url).to_owned();
    let head = format!(
        "POST /t/acme/mcp HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {MIB}\r\n\r\n",
        agent.key
    );
    let all = if full() { 500 } else { 250 };
    let mut senders = JoinSet::new();
    for _ in 0..all {
        let (url, head, body) = (agent.url.clone(), head.clone(), body.clone());
        senders.spawn(async move {
            let mut stream = raw::connect(&url).await;
            let (most, last) = body.split_at(MIB - 1);
            // All but the end, so that all are there at the same time; who is refused hears of it meanwhile.
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(most.as_bytes()).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            let _ = stream.write_all(last.as_bytes()).await;
            raw::read(&mut stream).await.status()
        });
    }
    let statuses = senders.join_all().await;
    let of = |wanted: &[u16]| statuses.iter().filter(|status| wanted.contains(status)).count();
    let (served, refused) = (of(&[200]), of(&[503]));
    let grown = (replica.peak_memory() - before) >> 20;
    figure(
        "F37",
        &format!("{all} bodies of 1 MiB at once: {served} served, {refused} refused with 503, {grown} MiB more memory at most"),
    );
    assert!(served >= 64 && refused > 0, "{statuses:?}");
    // A client whose body nobody reads any more may be cut before it has read why.
    assert_eq!(served + refused + of(&[0, 408]), all, "{statuses:?}");
    // What is read grows by being copied, so that each may be there twice for a moment.
    assert!(grown < 350, "{grown} MiB");
    assert!(agent.echo("x").await.is_ok());
    replica.stop();
}
