//! Requests that two servers could read in two ways, or that are none: refused, with the connection they came on.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Agent, TestApp, figure, raw, tools};

/// Nothing more is expected after such a silence.
const SILENCE: Duration = Duration::from_millis(500);

/// The statuses of all answers to what is sent on one connection, and whether the other side closed it.
async fn speak(url: &str, bytes: &[u8]) -> (Vec<u16>, bool, String) {
    let mut stream = raw::connect(url).await;
    // The other side may answer and close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let (text, is_closed) = hear(&mut stream).await;
    let statuses = text.split("HTTP/1.").skip(1).filter_map(|answer| answer.get(2..5)?.parse().ok()).collect();
    (statuses, is_closed, text)
}

async fn hear(stream: &mut TcpStream) -> (String, bool) {
    let (mut heard, mut bytes) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        match tokio::time::timeout(SILENCE, stream.read(&mut bytes)).await {
            Ok(Ok(length @ 1..)) => heard.extend_from_slice(&bytes[..length]),
            Ok(_) => return (String::from_utf8_lossy(&heard).into_owned(), true),
            Err(_) => return (String::from_utf8_lossy(&heard).into_owned(), false),
        }
    }
}

async fn agent(app: &TestApp) -> Agent {
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    acme.agent("agent", "tools:read").await
}

#[tokio::test]
async fn f_27_what_could_be_read_in_two_ways_is_refused_with_its_connection() {
    let app = TestApp::start().await;
    let agent = agent(&app).await;
    let host = raw::authority(&agent.url).to_owned();
    let head = format!(
        "POST /t/acme/mcp HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n",
        agent.key
    );
    // What somebody wants to be taken for a request of the next client.
    let next = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let chunked = format!("0\r\n\r\n{next}");
    let with = |headers: &str, body: &str| format!("{head}{headers}\r\n{body}").into_bytes();
    let length = chunked.len();
    let probes = [
        ("a length and chunks", with(&format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"), &chunked)),
        ("chunks and a length", with(&format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"), &chunked)),
        ("two lengths", with(&format!("Content-Length: 0\r\nContent-Length: {length}\r\n"), &next)),
        ("a list of lengths", with("Content-Length: 0, 5\r\n", &next)),
        ("a length with a sign", with("Content-Length: +0\r\n", &next)),
        ("a length below nothing", with("Content-Length: -1\r\n", &next)),
        ("a length in words", with("Content-Length: 0x0\r\n", &next)),
        ("an unknown coding", with("Transfer-Encoding: xchunked\r\n", &chunked)),
        ("chunks that are not the last coding", with("Transfer-Encoding: chunked, identity\r\n", &chunked)),
        ("chunks twice", with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", &chunked)),
        ("a space before the colon", with("Transfer-Encoding : chunked\r\n", &chunked)),
        ("a folded line", with("X-Folded: a\r\n Transfer-Encoding: chunked\r\n", &chunked)),
        ("a null in a value", with("X-Null: a\0b\r\n", &next)),
        ("a return in a value", with("X-Return: a\rTransfer-Encoding: chunked\r\n", &next)),
        (
            "chunks in HTTP/1.0",
            String::from_utf8(with("Transfer-Encoding: chunked\r\n", &chunked))
                .expect("text")
                .replacen("HTTP/1.1", "HTTP/1.0", 1)
                .into_bytes(),
        ),
        ("a size that is none", with("Transfer-Encoding: chunked\r\n", &format!("0x0\r\n\r\n{next}"))),
        ("a size beyond numbers", with("Transfer-Encoding: chunked\r\n", &format!("10000000000000000\r\n{next}"))),
        ("another host", format!("GET http://evil.example/healthz HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()),
    ];
    let mut refused = 0;
    for (what, probe) in &probes {
        let (statuses, is_closed, text) = speak(&agent.url, probe).await;
        let is_refused = matches!(statuses[..], [400 | 403]) && (is_closed || *what == "another host");
        assert!(is_refused || (statuses.is_empty() && is_closed), "{what}: {statuses:?}, closed: {is_closed}\n{text}");
        refused += 1;
    }
    // Lines without a return are what RFC 9112 lets a server take. It is one request then, and what follows is another.
    let (statuses, ..) = speak(&agent.url, next.replace("\r\n", "\n").as_bytes()).await;
    assert!(matches!(statuses[..], [200 | 400] | []), "{statuses:?}");
    let (statuses, ..) = speak(&agent.url, next.as_bytes()).await;
    assert_eq!(statuses, [200], "and nobody else is concerned");
    figure(
        "F27",
        &format!("{refused} of {} requests refused with their connection; lines without a return are read", probes.len()),
    );
}

#[tokio::test]
async fn f_28_nobody_speaks_another_version_of_the_protocol() {
    let app = TestApp::start().await;
    let agent = agent(&app).await;
    let host = raw::authority(&agent.url).to_owned();
    // A preface with its settings, and an upgrade: what follows would be resets and continuations without end.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00".to_vec();
    let reset = b"\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08".repeat(10_000);
    let (statuses, is_closed, text) = speak(&agent.url, &[preface, reset].concat()).await;
    assert!(is_closed && statuses.iter().all(|status| (400..600).contains(status)), "{statuses:?} {text}");
    let upgrade = format!(
        "GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    );
    let (statuses, _, text) = speak(&agent.url, upgrade.as_bytes()).await;
    assert!(matches!(statuses[..], [200 | 400]) && !text.contains("101 "), "{statuses:?} {text}");
    assert!(agent.echo("x").await.is_ok());
    figure("F28", "HTTP/2 is not spoken: a preface is refused with its connection, an upgrade is not taken");
}

#[tokio::test]
async fn f_29_heads_that_nobody_needs_are_refused() {
    let app = TestApp::start().await;
    let agent = agent(&app).await;
    let host = raw::authority(&agent.url).to_owned();
    let request = |lines: &str| format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n").into_bytes();
    for (what, probe) in [
        ("a mebibyte in one line", request(&format!("X-Large: {}\r\n", "x".repeat(1 << 20)))),
        ("a thousand lines", request(&"X-Many: x\r\n".repeat(1_000))),
        ("a control character", request("X-Control: a\x07b\r\n")),
        ("a name with a space", request("X Name: x\r\n")),
        ("a mebibyte of a path", format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "x".repeat(1 << 20)).into_bytes()),
    ] {
        let (statuses, is_closed, text) = speak(&agent.url, &probe).await;
        let is_refused = statuses.len() <= 1 && statuses.iter().all(|status| matches!(status, 400 | 414 | 431));
        assert!(is_refused && is_closed, "{what}: {statuses:?}, closed: {is_closed} {text:.300}");
        figure("F29", &format!("{what}: {}", statuses.first().map_or("closed".to_owned(), ToString::to_string)));
    }
    assert!(agent.echo("x").await.is_ok());
}
