//! The command line: what it says when it is used wrongly, where the key may come from, and `--check`.

use std::{collections::BTreeMap, process::Output};

use nix::sys::signal::Signal;
use serde_json::json;
use trunkline_protocol::mcp::Revision;

use crate::support::{
    Era, SOON, TestApp, eventually,
    mcp_upstream::{McpUpstream, Speaks, Way},
    private::Folder,
    process::{Process, command, run},
    stdio::Connected,
    tools,
};

fn connect(arguments: &[&str], key: Option<&str>, folder: &Folder) -> Output {
    let arguments: Vec<_> = ["connect"].iter().chain(arguments).copied().collect();
    let key = key.map(|key| ("TRUNKLINE_KEY".to_owned(), key.to_owned()));
    run(&arguments, &key.into_iter().collect::<BTreeMap<_, _>>(), &folder.0)
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn bad_usage_is_exit_code_2_with_what_would_be_right() {
    let folder = Folder::new("connect-usage");
    for (arguments, key, words) in [
        (&[][..], Some("k"), "/t/<tenant>/mcp"),
        (&["acme"], Some("k"), "https://…/t/<tenant>/mcp"),
        (&["http://x.example/t/a/mcp"], Some("k"), "--allow-http"),
        (&["https://u:p@x.example/t/a/mcp"], Some("k"), "a password in it"),
        (&["https://x.example/t/a/mcp"], None, "TRUNKLINE_KEY"),
        (&["https://x.example/t/a/mcp"], Some("two words"), "no key in it"),
        (&["https://x.example/t/a/mcp", "--key-file", "none"], None, "cannot be read"),
        (&["https://x.example/t/a/mcp", "--key", "k"], None, "--key"),
    ] {
        let output = connect(arguments, key, &folder);
        let complaint = said(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {complaint}");
        assert!(complaint.contains(words) && output.stdout.is_empty(), "{arguments:?}: {complaint}");
        assert!(!complaint.contains("two words"), "{complaint}");
    }
}

#[tokio::test]
async fn check_says_what_it_found_and_exits_by_it() {
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    acme.tool("time", tools::time()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let folder = Folder::new("connect-check");
    let well = connect(&[&agent.url, "--check"], Some(&agent.key), &folder);
    let found = said(&well.stdout);
    assert!(well.status.success() && found.contains("2 tools: echo, time") && found.contains("2026-07-28"), "{found}");

    std::fs::write(folder.0.join("key"), format!("{}\n", agent.key)).expect("a file");
    let from_file = connect(&[&agent.url, "--check", "--key-file", "key"], Some("wrong"), &folder);
    assert!(from_file.status.success(), "{}", said(&from_file.stderr));

    let refused = connect(&[&agent.url, "--check"], Some("wrong"), &folder);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0));
    assert!(said(&refused.stderr).contains("TRUNKLINE_KEY"), "{}", said(&refused.stderr));

    let old = McpUpstream::start(Speaks::Only(Revision::V2025_11_25), Way::Events).await;
    let with_handshake = connect(&[&old.url(), "--check"], Some("k"), &folder);
    let found = said(&with_handshake.stdout);
    assert!(with_handshake.status.success() && found.contains("2025-11-25") && found.contains("echo"), "{found}");
    assert_eq!(old.ended().len(), 1);
}

#[tokio::test]
async fn a_signal_ends_it_with_its_session_and_an_answer_for_what_runs() {
    let server = McpUpstream::start(Speaks::Only(Revision::V2025_11_25), Way::Events).await;
    let mut connected = Connected::in_session(&server.url(), "k", "2025-11-25", json!({})).await;
    connected.request(Era::Handshake, 1, "tools/call", json!({ "name": "hang", "arguments": {} })).await;
    eventually("it runs", SOON, async || (server.seen_of("tools/call").len() == 1).then_some(())).await;
    connected.signal(Signal::SIGTERM);
    let began = std::time::Instant::now();
    assert_eq!(connected.answer(1).await["error"]["code"], 5031);
    // Standard input is still open: it does not wait for it.
    assert_eq!(connected.wait().await, Some(0));
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    assert_eq!(server.ended().len(), 1);
}

#[tokio::test]
async fn it_ends_when_nobody_reads_it() {
    let server = McpUpstream::start(Speaks::Only(Revision::V2025_11_25), Way::Json).await;
    let mut starting = command(&["connect", &server.url()]);
    let (input, mut output) = std::io::pipe().expect("a pipe");
    let (reader, closed) = std::io::pipe().expect("a pipe");
    drop(reader);
    starting.env("TRUNKLINE_KEY", "k").stdin(input).stdout(closed).stderr(std::process::Stdio::null());
    let mut process = Process::start(starting);
    std::io::Write::write_all(&mut output, b"{}\n").expect("it reads");
    assert_eq!(process.wait(SOON), Some(0));
}
