//! L-40: what strangers write cannot make lines of a log, nor break one.

use std::{
    fs::File,
    process::Stdio,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use trunkline::{services::free_port, telemetry};

use crate::support::{
    Agent, Draw, Era, SOON, SPOOL_DIR, TestApp, eventually, http,
    private::Folder,
    process::{Process, command},
    raw, say, tools,
};

/// What would end a line, begin another, or colour it.
const NASTY: [&str; 16] = [
    "\r\n",
    "\n",
    "\r",
    "\0",
    "\u{1b}[31m",
    "\u{1b}]0;x\u{7}",
    "\u{9b}2J",
    "\"",
    "\\",
    "{\"level\":\"ERROR\"}",
    "\u{2028}",
    "\u{85}",
    "\u{202e}",
    "\u{7f}",
    "x",
    "\"}\n{\"message\":\"forged\"}",
];

fn nasty(draw: &mut Draw) -> String {
    (0..=draw.below(6)).map(|_| NASTY[usize::try_from(draw.below(16)).expect("small")]).collect()
}

/// Each line is one object, with no control character in it.
fn objects(log: &str) -> Vec<Value> {
    let object = |line: &str| {
        assert!(!line.chars().any(|c| c < ' '), "{line:?}");
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        assert!(value.is_object(), "{line}");
        value
    };
    log.split_terminator('\n').map(object).collect()
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("unbroken").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn l_40_a_hundred_thousand_hostile_texts_make_as_many_lines() {
    const TEXTS: usize = 100_000;
    let written = Written::default();
    let into = written.clone();
    let log = telemetry::json("info", move || into.clone()).expect("a log");
    let mut draw = Draw::new(40);
    let texts: Vec<String> = (0..TEXTS).map(|_| nasty(&mut draw)).collect();
    tracing::subscriber::with_default(log, || {
        for (number, text) in texts.iter().enumerate() {
            match number % 3 {
                0 => tracing::info!(tool.name = %text, "called"),
                1 => tracing::info!(client.name = ?text, "called"),
                _ => tracing::info_span!("request", user.agent = text.as_str()).in_scope(|| tracing::info!("{text}")),
            }
        }
    });
    let log = String::from_utf8(written.0.lock().expect("unbroken").clone()).expect("text");
    let lines = objects(&log);
    assert_eq!(lines.len(), TEXTS);
    for (line, text) in lines.iter().zip(&texts).step_by(3) {
        assert_eq!(line["tool.name"], json!(text), "nothing is lost of it either");
    }
    say(&format!("record: {TEXTS} hostile texts in {TEXTS} lines of the log"));
}

/// How many of them got as far as the endpoint: what a header cannot carry, no client sends.
async fn send_hostile(agent: &Agent, url: &str, draw: &mut Draw) -> usize {
    let mut answered = 0;
    let (tool, client) = (nasty(draw), nasty(draw));
    let params = json!({ "name": tool, "arguments": { "text": nasty(draw) }, "_meta": { "io.modelcontextprotocol/clientInfo": { "name": client, "version": nasty(draw) } } });
    for era in Era::ALL {
        let request = agent.at(url).message(era, "tools/call", params.clone(), "application/json, text/event-stream");
        if let Ok(answer) = request.header("user-agent", nasty(draw).replace(['\r', '\n', '\0', '\u{1b}'], "%")).send().await {
            assert!(answer.status() != 500, "{}", answer.text().await.expect("a text"));
            answered += 1;
        }
    }
    let path = format!(
        "POST /t/acme/mcp?{0} HTTP/1.1\r\nHost: {1}\r\nUser-Agent: a\x1b[31m\r\nConnection: close\r\n\r\n",
        "%0d%0a%1b",
        raw::authority(url)
    );
    raw::exchange(url, path).await;
    answered
}

#[tokio::test]
async fn l_40_names_and_headers_of_strangers_stay_in_their_line() {
    let app = TestApp::builder().unlimited().start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let (folder, port) = (Folder::new("log"), free_port().expect("a port"));
    std::fs::create_dir_all(&folder.0).expect("a folder");
    let file = folder.0.join("log");
    let mut starting = command(&["serve", "--listen", &format!("127.0.0.1:{port}")]);
    starting.envs(app.settings()).env(SPOOL_DIR, folder.0.join("spool")).env("TRUNKLINE_MAIL_SMTP_URL", "smtp://127.0.0.1:1");
    starting.env("TRUNKLINE_LOG_LEVEL", "debug").env("TRUNKLINE_LOG_FORMAT", "json");
    starting.stdout(File::create(&file).expect("a file")).stderr(Stdio::null());
    let mut server = Process::start(starting);
    let url = format!("http://127.0.0.1:{port}");
    eventually("the server is ready", SOON, async || {
        let answer = http().get(format!("{url}/readyz")).send().await.ok()?;
        (answer.status() == 200).then_some(())
    })
    .await;
    let mut draw = Draw::new(41);
    let at = format!("{url}/t/acme/mcp");
    let mut answered = 0;
    for _ in 0..100 {
        answered += send_hostile(&agent, &at, &mut draw).await;
    }
    server.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(server.wait(SOON), Some(0));
    let lines = objects(&std::fs::read_to_string(&file).expect("a log"));
    let of_requests = lines.iter().filter(|line| line["message"] == "answered");
    let calls: Vec<_> = of_requests.filter(|line| line["span"]["http.route"] == "/t/{tenant}/mcp").collect();
    assert!(answered > 50 && calls.len() >= answered, "{} of {answered} calls are in the log with their route", calls.len());
    assert!(lines.iter().all(|line| line["message"] != "forged"), "a line of somebody else's");
}
