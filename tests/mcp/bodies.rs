//! Bodies that nobody should send.

use serde_json::json;

use crate::support::{Agent, Answer, Era, TestApp, message, tools};

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
async fn a_body_that_is_not_json_is_a_parse_error() {
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
async fn a_body_that_is_not_one_message_is_an_invalid_request() {
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
async fn a_key_given_twice_in_params_is_not_read_one_way_or_the_other() {
    let app = TestApp::start().await;
    let agent = agent(&app).await;
    let body =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"nothing","name":"echo","arguments":{"text":"x"}}}"#;
    let answer = post(&agent, body).await;
    assert_eq!(answer.code(), -32602, "{}", answer.text);
}

#[tokio::test]
async fn numbers_and_texts_at_their_edges_are_read_or_refused_but_never_break_anything() {
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
async fn a_body_above_one_mebibyte_is_413_and_the_largest_below_is_served() {
    let app = TestApp::start().await;
    let agent = agent(&app).await;
    let mut body = message(Era::Handshake, "tools/list", json!({})).to_string();
    body.push_str(&" ".repeat(1024 * 1024 - body.len()));
    assert_eq!(post(&agent, body.clone()).await.status, 200);
    body.push(' ');
    assert_eq!(post(&agent, body).await.status, 413);
}
