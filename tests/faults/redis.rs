//! Redis without memory, as somebody's replica, and with answers that mean something else: nobody gets more than their share by it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use trunkline_protocol::oauth::scope::Effect;

use crate::support::{Agent, Answer, Era, OwnRedis, TestApp, eventually, figure, seed::insert_limit, tools, world};

/// What a bucket of these tests has at once; it fills by one a minute.
const BURST: u32 = 3;
/// Longest answer without Redis, and some for a busy machine.
const AT_ONCE: Duration = Duration::from_secs(1);
const HEALED_WITHIN: Duration = Duration::from_secs(5);

async fn call(agent: &Agent, tool: &str) -> (Answer, Duration) {
    let asked = Instant::now();
    let answer = agent.call(Era::Stateless, tool, json!({ "text": "x" })).await;
    (answer, asked.elapsed())
}

/// Nothing is allowed that would not have been, and nothing waits. How many calls were, and the longest answer.
async fn is_bounded(agent: &Agent, reads: &str, destroys: &str, what: &str) -> (u32, Duration) {
    let (mut admitted, mut slowest) = (0, Duration::ZERO);
    for _ in 0..2 * BURST {
        let (answer, took) = call(agent, reads).await;
        assert!(matches!(answer.status, 200 | 429 | 503), "{what}: {} {}", answer.status, answer.text);
        (admitted, slowest) = (admitted + u32::from(answer.is_ok()), slowest.max(took));
    }
    assert!(admitted <= BURST, "{what}: {admitted} of at most {BURST}");
    let (refused, took) = call(agent, destroys).await;
    assert_eq!((refused.status, refused.code()), (503, 5030), "{what}: {}", refused.text);
    assert!(slowest.max(took) < AT_ONCE, "{what}: {slowest:?} {took:?}");
    (admitted, slowest.max(took))
}

#[tokio::test]
async fn f_06_f_07_redis_without_memory_or_as_a_replica_gives_nobody_more_and_heals() {
    let redis = OwnRedis::start().await;
    let app = TestApp::builder().set("REDIS_URL", redis.url()).set("QUOTA_LADDER_REFUSALS", 0).start().await;
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:destructive").await;
    acme.tool("destroys", tools::with_effect(Effect::Destructive, tools::echo())).await;
    let mut sql = app.sql().await;
    let mut admin = ::redis::Client::open(redis.url()).expect("a URL").get_multiplexed_async_connection().await.expect("redis");
    let mut said = Vec::new();
    for (number, what, begin, end) in [
        ("0", "no memory", ["CONFIG", "SET", "maxmemory", "1"].as_slice(), ["CONFIG", "SET", "maxmemory", "0"].as_slice()),
        ("1", "a replica", &["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"]),
    ] {
        let reads = format!("reads{number}");
        let tool = acme.tool(&reads, tools::echo()).await;
        insert_limit(&mut sql, &app, &acme, "agent_tool", Some(agent.id), Some(tool.id), (1, BURST.try_into().expect("small")))
            .await;
        assert!(call(&agent, "destroys").await.0.is_ok(), "{what}: well before");
        let tell = async |words: &[&str], admin: &mut ::redis::aio::MultiplexedConnection| {
            let mut command = ::redis::cmd(words[0]);
            for word in &words[1..] {
                command.arg(*word);
            }
            let _: () = command.query_async(admin).await.expect("told");
        };
        tell(begin, &mut admin).await;
        let (admitted, slowest) = is_bounded(&agent, &reads, "destroys", what).await;
        tell(end, &mut admin).await;
        let back = Instant::now();
        eventually("it heals", HEALED_WITHIN, async || call(&agent, "destroys").await.0.is_ok().then_some(())).await;
        said.push(format!(
            "{what}: {admitted} of at most {BURST} read, at most {slowest:.1?} each, back after {:.1?}",
            back.elapsed()
        ));
    }
    figure("F06", &said.join("; "));
}

/// What answers every command with the same words.
struct Parrot {
    addr: SocketAddr,
    words: Arc<Mutex<&'static str>>,
    task: JoinHandle<()>,
}

impl Parrot {
    async fn start() -> Self {
        let listening = world().spawn(TcpListener::bind(("127.0.0.1", 0))).await.expect("no panic");
        let listener = listening.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let words = Arc::new(Mutex::new("+PONG\r\n"));
        let its_words = Arc::clone(&words);
        let task = world().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(repeat(stream, Arc::clone(&its_words)));
            }
        });
        Self { addr, words, task }
    }

    fn say(&self, words: &'static str) {
        *self.words.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }
}

impl Drop for Parrot {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads commands as Redis does, an array of counted strings, and answers each.
async fn repeat(stream: TcpStream, words: Arc<Mutex<&'static str>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let parts = counted(&mut stream, '*').await?;
        for _ in 0..parts {
            let length = counted(&mut stream, '$').await?;
            let mut bytes = vec![0; length + 2];
            stream.read_exact(&mut bytes).await.ok()?;
        }
        let words = *words.lock().unwrap_or_else(PoisonError::into_inner);
        stream.write_all(words.as_bytes()).await.ok()?;
    }
}

async fn counted(stream: &mut BufReader<TcpStream>, sign: char) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.trim_end().strip_prefix(sign)?.parse().ok()
}

#[tokio::test]
async fn f_07_whatever_redis_answers_nobody_gets_more_than_their_share() {
    let app = TestApp::builder().set("QUOTA_LADDER_REFUSALS", 0).start().await;
    let parrot = Parrot::start().await;
    let url = format!("redis://{}/0", parrot.addr);
    let mut lost = app.with_settings(&[("REDIS_URL", &url)]).await;
    lost.expect_error("redis");
    let acme = app.tenant("acme").await;
    let agent = acme.agent("agent", "tools:destructive").await;
    acme.tool("destroys", tools::with_effect(Effect::Destructive, tools::echo())).await;
    // What has the form of a decision is one; all of these have another.
    let answers = [
        ("loading", "-LOADING Redis is loading the dataset in memory\r\n"),
        ("readonly", "-READONLY You can't write against a read only replica.\r\n"),
        ("moved", "-MOVED 1 127.0.0.1:1\r\n"),
        ("noscript", "-NOSCRIPT No matching script. Please use EVAL.\r\n"),
        ("wrongtype", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        ("masterdown", "-MASTERDOWN Link with MASTER is down\r\n"),
        ("noperm", "-NOPERM this user has no permissions\r\n"),
        ("ok", "+OK\r\n"),
        ("one", ":1\r\n"),
        ("nothing", "$-1\r\n"),
        ("empty", "*0\r\n"),
        ("garbage", "HTTP/1.1 200 OK\r\n\r\n"),
    ];
    let mut sql = app.sql().await;
    for (name, _) in answers {
        let tool = acme.tool(name, tools::echo()).await;
        insert_limit(&mut sql, &app, &acme, "agent_tool", Some(agent.id), Some(tool.id), (1, BURST.try_into().expect("small")))
            .await;
    }
    let there = agent.at(&agent.url.replace(&app.url, &lost.url));
    let (mut all, mut slowest) = (0, Duration::ZERO);
    // Its snapshot is loaded; what comes of the first call does not matter.
    call(&there, "destroys").await;
    for (name, words) in answers {
        parrot.say(words);
        let (admitted, took) = is_bounded(&there, name, "destroys", name).await;
        (all, slowest) = (all + admitted, slowest.max(took));
    }
    let most = BURST * u32::try_from(answers.len()).expect("few");
    figure(
        "F07",
        &format!("{} ways to answer: {all} of at most {most} calls admitted, each answer within {slowest:.1?}", answers.len()),
    );
}
