//! Bodies that nobody should send.

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::support::{Agent, Answer, Era, TestApp, message, raw, tools};

async fn agent(app: &TestApp) -> Agent {
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    acme.agent("agent", "tools:read").await
}

async fn post(agent: &Agent, body: impl Into<reqwest::Body>) -> Answer {
    let request = agent.request().header("content-type", "application/json").body(body);
    Answer::read(request.send().await.expect("an answer")).await
}

#[tokio::test]
async fn f_25_t_05_a_body_that_is_not_json_is_a_parse_error() {
    let app = TestApp::start().await;
    let agent = agent(&app).await;
    for body in [
        &b""[..],
        b"{",
        b"{}x",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        br#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":1e}}"#,
        br#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}"#,
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"x\":\"\xff\"}",
    ] {
        let answer = post(&agent, body).await;
        let shown = String::from_utf8_lossy(body);
        assert_eq!((answer.status, answer.code()), (400, -32700), "{shown}: {}", answer.text);
        assert!(answer.json.get("id").is_none(), "{shown}");
    }
    assert!(agent.echo("x").await.is_ok(), "nothing was broken by it");
}

#[tokio::test]
async fn t_05_a_body_that_is_not_one_message_is_an_invalid_request() {
    let app = TestApp::start().await;
    let agent = agent(&app).await;
    let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    let deep_objects = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    for body in [
        "[]",
        r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},7]"#,
        "{}",
        "7",
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        &deep,
        &deep_objects,
    ] {
        let answer = post(&agent, body.to_owned()).await;
        assert_eq!((answer.status, answer.code()), (400, -32600), "{:.80}: {}", body, answer.text);
    }
}

#[tokio::test]
async fn t_05_a_key_given_twice_in_params_is_not_read_one_way_or_the_other() {
    let app = TestApp::start().await;
    let agent = agent(&app).await;
    let body =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"nothing","name":"echo","arguments":{"text":"x"}}}"#;
    let answer = post(&agent, body).await;
    assert_eq!(answer.code(), -32602, "{}", answer.text);
}

#[tokio::test]
async fn f_25_numbers_and_texts_at_their_edges_are_read_or_refused_but_never_break_anything() {
    let app = TestApp::start().await;
    let agent = agent(&app).await;
    for arguments in [
        r#"{"text":"\u0000"}"#,
        r#"{"text":"\ud800"}"#,
        r#"{"text":1e400}"#,
        r#"{"text":-0}"#,
        r#"{"text":123456789012345678901234567890}"#,
        r#"{"":""}"#,
        "[]",
        "null",
        "7",
        r#""text""#,
    ] {
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{{"name":"echo","arguments":{arguments}}}}}"#);
        let answer = post(&agent, body).await;
        assert!(matches!(answer.status, 200 | 400), "{arguments}: {} {}", answer.status, answer.text);
    }
    assert!(agent.echo("x").await.is_ok());
}

#[tokio::test]
async fn t_07_a_body_above_one_mebibyte_is_413_and_the_largest_below_is_served() {
    let app = TestApp::start().await;
    let agent = agent(&app).await;
    let mut body = message(Era::Handshake, "tools/list", json!({})).to_string();
    body.push_str(&" ".repeat(1024 * 1024 - body.len()));
    assert_eq!(post(&agent, body.clone()).await.status, 200);
    body.push(' ');
    assert_eq!(post(&agent, body).await.status, 413);
}

#[tokio::test]
async fn f_25_t_05_depth_is_bounded_and_the_connection_stays_usable() {
    let app = TestApp::start().await;
    let agent = agent(&app).await;
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"x":{open}{close}}}}}"#)
    };
    // The message and its parameters are two levels.
    assert_eq!(post(&agent, nested(62)).await.status, 200);
    for depth in [63, 64, 1_000, 300_000] {
        let answer = post(&agent, nested(depth)).await;
        assert_eq!((answer.status, answer.code()), (400, -32600), "{depth}: {}", answer.text);
    }
    let mut stream = raw::connect(&agent.url).await;
    for (body, status) in [("{", 400), ("7", 400), (nested(100).as_str(), 400), (nested(1).as_str(), 200)] {
        let head = format!(
            "POST /t/acme/mcp HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            raw::authority(&agent.url),
            agent.key,
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.expect("the connection is open");
        assert_eq!(raw::read(&mut stream).await.status(), status, "{body:.80}");
    }
}
