//! Memory stays flat, whatever is sent.

use std::{process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::support::{
    Agent, Era, SOON, SPOOL_DIR, TestApp, eventually, http,
    private::Folder,
    process::{Process, command},
    raw, tools,
};

const MIB: u64 = 1024 * 1024;

/// The binary on the database of a test, and an agent at it.
async fn serve(app: &TestApp, spool: &Folder) -> (Process, Agent) {
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let port = trunkline::services::free_port().expect("a port");
    let mut starting = command(&["serve", "--listen", &format!("127.0.0.1:{port}")]);
    starting
        .envs(app.settings())
        .env(SPOOL_DIR, &spool.0)
        .env("TRUNKLINE_MAIL_SMTP_URL", "smtp://127.0.0.1:1")
        .env("TRUNKLINE_LOG_LEVEL", "error");
    starting.stdout(Stdio::null()).stderr(Stdio::null());
    let process = Process::start(starting);
    let url = format!("http://127.0.0.1:{port}");
    eventually("the server is ready", SOON, async || {
        let answer = http().get(format!("{url}/readyz")).send().await.ok()?;
        (answer.status() == 200).then_some(())
    })
    .await;
    let agent = agent.at(&format!("{url}/t/acme/mcp"));
    assert!(agent.echo("x").await.is_ok());
    (process, agent)
}

/// What came of a body that does not end.
struct Poured {
    /// Bytes that were taken before the answer, and before the connection was closed.
    answered_after: u64,
    taken: u64,
    /// Resident bytes the server had more at most.
    grown: u64,
    answer: String,
}

/// Sends a gibibyte of spaces in chunks, after `headers` that end in no blank line.
async fn pour(process: &Process, url: &str, headers: &str) -> Poured {
    let before = process.memory();
    let mut stream = raw::connect(url).await;
    let head = format!("{headers}Host: {}\r\nTransfer-Encoding: chunked\r\n\r\n", raw::authority(url));
    stream.write_all(head.as_bytes()).await.expect("sent");
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let (mut taken, mut most, mut answer) = (0_u64, before, None);
    let heard = |stream: &TcpStream| {
        let mut bytes = [0; 4096];
        let length = stream.try_read(&mut bytes).ok().filter(|length| *length > 0)?;
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    };
    while taken < 1024 * MIB {
        let writing = tokio::time::timeout(Duration::from_secs(5), stream.write_all(chunk.as_bytes())).await;
        if !matches!(writing, Ok(Ok(()))) {
            break;
        }
        taken += 0x10000;
        answer = answer.or_else(|| Some((taken, heard(&stream)?)));
        if taken.is_multiple_of(MIB) {
            most = most.max(process.memory());
            // All of it would take more than 30 seconds; the server closes after one, also on a machine that does much else.
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
    // It may have come together with the end.
    let (answered_after, answer) =
        answer.or_else(|| Some((taken, heard(&stream)?))).expect("an answer before the end of the body");
    Poured { answered_after, taken, grown: most - before, answer }
}

#[tokio::test]
async fn f_37_a_gibibyte_in_chunks_is_refused_and_not_kept() {
    let app = TestApp::start().await;
    let spool = Folder::new("spool");
    let (process, agent) = serve(&app, &spool).await;
    for _ in 0..50 {
        agent.echo("warm").await;
    }
    let key = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", agent.key);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let foreign = "Content-Type: application/x-www-form-urlencoded\r\nOrigin: https://elsewhere.example\r\n";
    // Too long for who reads it; and a form of another site, which nobody reads.
    for (path, headers, status) in [("/t/acme/mcp", key.as_str(), 413), ("/oauth/token", form, 400), ("/login", foreign, 403)] {
        let poured = pour(&process, &agent.url, &format!("POST {path} HTTP/1.1\r\n{headers}")).await;
        assert!(poured.answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {}", poured.answer);
        assert!(poured.answer.contains("connection: close"), "{path}: {}", poured.answer);
        assert!(poured.answered_after < 16 * MIB, "{path}: answered after {} MiB", poured.answered_after / MIB);
        assert!(poured.taken < 1024 * MIB, "{path}: all of it was taken");
        assert!(poured.grown < 32 * MIB, "{path}: grew by {} MiB", poured.grown / MIB);
    }
    assert!(agent.echo("x").await.is_ok());
}

#[tokio::test]
async fn ten_thousand_bad_requests_leave_memory_as_it_was() {
    let app = TestApp::start().await;
    let spool = Folder::new("spool");
    let (process, agent) = serve(&app, &spool).await;
    let deep = "[".repeat(10_000);
    let bodies = [deep.as_str(), "{", "\u{feff}", r#"{"jsonrpc":"2.0","id":1,"method":"x","params":7}"#];
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let storm = async |count: usize| {
        for round in 0..count {
            let request = client.post(&agent.url).bearer_auth(&agent.key).header("content-type", "application/json");
            let answer = request.body(bodies[round % bodies.len()].to_owned()).send().await.expect("an answer");
            assert!((200..500).contains(&answer.status().as_u16()));
            answer.bytes().await.expect("a body");
        }
    };
    storm(1_000).await;
    let before = process.memory();
    storm(9_000).await;
    let grown = process.memory().saturating_sub(before);
    assert!(grown < 16 * MIB, "grew by {} MiB", grown / MIB);
    assert!(matches!(agent.list(Era::Stateless).await.status, 200 | 429));
}
