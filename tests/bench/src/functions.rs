//! What a function costs beside a tool of ours, and what attacks of one tenant's functions cost another tenant's calls: a steady rate without
//! and with them, in turns. Latency counts from when a call was due.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use trunkline_platform::{
    Platform,
    actor::Member,
    catalog::{self, Builtin, Executor, FunctionTool, NewVersion, Price, SecretChange, ToolName},
    secret::Plaintext,
};
use trunkline_protocol::oauth::scope::Effect;

use crate::{
    installation::{self, Ground, Installation},
    load::{self, Load, Report},
    say, upstream,
};

/// Calls of the neighbour per second.
const PER_SECOND: u32 = 200;
const CONNECTIONS: u32 = 8;
/// Each measurement is made so often, in turns.
const ROUNDS: usize = 3;
const WARM_UP: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Each ends at one of its limits.
const ATTACKS: [(&str, &str); 6] = [
    ("endless-loop", "export default () => { for (;;); }"),
    ("allocation-bomb", "export default () => { const all = []; for (;;) all.push(new Array(1e5).fill(all.length)); }"),
    ("deep-recursion", "const f = () => f() + 1; export default f"),
    ("huge-output", "export default () => 'x'.repeat(2 ** 21)"),
    ("log-flood", "export default () => { for (;;) console.log('x'.repeat(1000)); }"),
    ("promise-flood", "export default async () => { for (;;) { Promise.resolve().then(() => 1); await null; } }"),
];

/// Measures both.
pub(crate) async fn measure(program: &Path, seconds: u64) -> anyhow::Result<()> {
    let upstream = upstream::Child::start().await?;
    let ground = Ground::prepare(program, &upstream.url(), 0, 1).await?;
    let (evil_url, own, evil) = (ground.url_of("evil"), ground.key().to_owned(), plant(&ground).await?);
    let installation = Installation::on(program, ground, &[]).await?;
    let length = Duration::from_secs(seconds.clamp(1, 60));
    warm(installation.url(), &own, length).await?;
    neighbours(installation.url(), &own, (&evil_url, &evil), length * 2).await?;
    installation.stop().await
}

/// A function and a tool of ours for the tenant that is there, and another tenant with nothing but attacks. Gives the key of the other one.
async fn plant(ground: &Ground) -> anyhow::Result<Plaintext> {
    let platform = ground.platform()?;
    let bench = ground.owner.as_ref().context("the tenant has an owner")?;
    create(&platform, bench, "function", function("export default ({ text }) => text")).await?;
    create(&platform, bench, "builtin", Executor::Builtin { name: Builtin::Echo }).await?;
    let evil = installation::owner(&platform, "evil").await?;
    for (name, code) in ATTACKS {
        create(&platform, &evil, name, function(code)).await?;
    }
    let key = installation::key(&platform, &evil).await?;
    platform.db.close().await;
    Ok(key)
}

async fn create(platform: &Platform, owner: &Member, name: &str, executor: Executor) -> anyhow::Result<()> {
    let version = NewVersion {
        title: String::new(),
        description: "A tool of the benchmark.".to_owned(),
        effect: Effect::Read,
        executor,
        secret: SecretChange::Remove,
        price: Price::default(),
        limits: None,
    };
    catalog::create(platform, owner, ToolName::parse(name)?, version).await?;
    Ok(())
}

fn function(code: &str) -> Executor {
    let input_schema = serde_json::json!({ "type": "object" });
    Executor::Function(FunctionTool {
        code: code.to_owned(),
        input_schema,
        hosts: Vec::new(),
        secret_header: None,
        timeout_ms: 5_000,
        keep_logs: false,
    })
}

/// One call after the other: a function beside a tool of ours, which does as little.
async fn warm(url: &str, key: &str, length: Duration) -> anyhow::Result<()> {
    // The first call compiles the engine, and the next starts a process.
    load::run(&Load::call_of("function", url, key, 1, Duration::from_secs(1))).await.context("functions run here")?;
    let (mut functions, mut builtins) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        builtins.push(load::run(&Load::call_of("builtin", url, key, 1, length)).await?);
        functions.push(load::run(&Load::call_of("function", url, key, 1, length)).await?);
    }
    let (builtin, function) = (Report::median(builtins), Report::median(functions));
    say(format!(
        "\nwarm function, one call after the other: p50 {:.2} ms, p99 {:.2} ms; a built-in tool {:.2} and {:.2} ms; the function adds {:.2} ms (p50)",
        function.p50_ms,
        function.p99_ms,
        builtin.p50_ms,
        builtin.p99_ms,
        function.p50_ms - builtin.p50_ms
    ));
    Ok(())
}

/// A neighbour at a steady rate, without and with the attacks.
async fn neighbours(url: &str, key: &str, (evil_url, evil): (&str, &Plaintext), length: Duration) -> anyhow::Result<()> {
    for tool in ["echo", "function"] {
        let (mut quiet, mut attacked, mut attacks) = (Vec::new(), Vec::new(), 0);
        for _ in 0..ROUNDS {
            quiet.push(paced(tool, url, key, length).await?);
            let under = Attacks::begin(evil_url, evil.reveal());
            attacked.push(paced(tool, url, key, length).await?);
            attacks += under.end().await?;
        }
        let (quiet, attacked) = (median(quiet), median(attacked));
        say(format!(
            "neighbour's {tool} at {PER_SECOND}/s: p50 {:.2} ms, p99 {:.2} ms; under {attacks} attacks of six kinds p50 {:.2} ms, p99 {:.2} ms ({:+.0} %)",
            quiet.0,
            quiet.1,
            attacked.0,
            attacked.1,
            (attacked.1 / quiet.1 - 1.0) * 100.0
        ));
    }
    Ok(())
}

/// The round in the middle, by its 99th percentile.
fn median(mut rounds: Vec<(f64, f64)>) -> (f64, f64) {
    rounds.sort_by(|a, b| a.1.total_cmp(&b.1));
    rounds[rounds.len() / 2]
}

/// Calls at that rate for so long: the median and the 99th percentile, in milliseconds.
async fn paced(tool: &str, url: &str, key: &str, length: Duration) -> anyhow::Result<(f64, f64)> {
    let load = Load::call_of(tool, url, key, 1, length);
    ensure!(load.address().starts_with("127."), "load goes to loopback addresses only");
    let (begin, mut clients) = (Instant::now() + WARM_UP, JoinSet::new());
    for number in 0..CONNECTIONS {
        let load = load.clone();
        let (pause, offset) = (Duration::from_secs(1) * CONNECTIONS / PER_SECOND, Duration::from_secs(1) * number / PER_SECOND);
        clients.spawn_blocking(move || client(&load, number, begin + offset, pause, length));
    }
    let mut all = Histogram::<u64>::new(3)?;
    while let Some(one) = clients.join_next().await {
        all.add(one??)?;
    }
    let ms = |quantile| Duration::from_micros(all.value_at_quantile(quantile)).as_secs_f64() * 1000.0;
    Ok((ms(0.5), ms(0.99)))
}

/// One connection: a call whenever one is due, from a thread of its own, since the runtime's timer is right to a millisecond only.
fn client(load: &Load, number: u32, begin: Instant, pause: Duration, length: Duration) -> anyhow::Result<Histogram<u64>> {
    let mut socket = connect(load.address())?;
    let (mut latencies, mut due) = (Histogram::<u64>::new(3)?, begin);
    for sequence in 0.. {
        if due >= begin + length {
            break;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let marker = format!("m-{number:04}-{sequence:010}-");
        let answer = ask(&mut socket, &load.request(&marker))?;
        latencies.record(u64::try_from(due.elapsed().as_micros())?)?;
        ensure!(answer.contains(&marker) && !answer.contains("\"isError\":true"), "another answer: {answer:.600}");
        due += pause;
    }
    Ok(latencies)
}

fn connect(address: &str) -> anyhow::Result<TcpStream> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(ANSWER_WITHIN))?;
    Ok(socket)
}

/// One answer with a `Content-Length`.
fn ask(socket: &mut TcpStream, request: &str) -> anyhow::Result<String> {
    socket.write_all(request.as_bytes())?;
    let (mut answer, mut chunk) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let read = socket.read(&mut chunk).context("no answer in time")?;
        ensure!(read > 0, "the connection was closed");
        answer.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).context("no Content-Length")?;
        if body.len() >= length.trim().parse::<usize>()? {
            return Ok(text.into_owned());
        }
    }
}

/// All attacks at once, each again and again.
struct Attacks {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    threads: JoinSet<anyhow::Result<()>>,
}

impl Attacks {
    fn begin(url: &str, key: &str) -> Self {
        let (stop, made, mut threads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), JoinSet::new());
        for (name, _) in ATTACKS {
            let load = Load::call_of(name, url, key, 1, Duration::ZERO);
            let (stop, made) = (Arc::clone(&stop), Arc::clone(&made));
            threads.spawn_blocking(move || {
                let mut socket = connect(load.address())?;
                while !stop.load(Ordering::Relaxed) {
                    let answer = ask(&mut socket, &load.request("m-"))?;
                    ensure!(answer.contains("\"isError\":true"), "an attack that succeeds: {answer:.600}");
                    made.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        Self { stop, made, threads }
    }

    /// Waits for those that are under way; how many there were.
    async fn end(mut self) -> anyhow::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(thread) = self.threads.join_next().await {
            thread??;
        }
        Ok(self.made.load(Ordering::Relaxed))
    }
}
