//! In front of the platform.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Agent, Era, SOON, TestApp, Upstream, eventually, stdio::Connected, tools};

/// A tenant with an echo, a slow and a hanging tool, and its agent.
async fn agent(app: &TestApp, upstream: &Upstream) -> Agent {
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    acme.tool("slow", tools::get(&upstream.url("/slow/1000"))).await;
    acme.tool("hang", tools::within_ms(30_000, tools::get(&upstream.url("/hang")))).await;
    acme.agent("agent", "tools:read").await
}

async fn connect(agent: &Agent, era: Era) -> Connected {
    match era {
        Era::Stateless => Connected::start(&agent.url, &agent.key),
        Era::Handshake => Connected::in_session(&agent.url, &agent.key, era.revision(), json!({})).await,
    }
}

#[tokio::test]
async fn both_eras_list_and_call_over_stdio() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let agent = agent(&app, &upstream).await;
    for era in Era::ALL {
        let mut connected = connect(&agent, era).await;
        let listed = connected.ask(era, 1, "tools/list", json!({})).await;
        let names: Vec<_> = listed["result"]["tools"].as_array().expect("tools").iter().map(|tool| &tool["name"]).collect();
        assert_eq!(names, ["echo", "hang", "slow"], "{era:?}");
        let called = connected.call(era, 2, "echo", json!({ "text": "hello ä\n" })).await;
        assert_eq!(called["result"]["content"][0]["text"], "hello ä\n", "{era:?}: {called}");
        assert_eq!(called["result"]["resultType"].is_null(), era == Era::Handshake, "{called}");
        let unknown = connected.call(era, 3, "nothing", json!({})).await;
        assert_eq!(unknown["error"]["code"], -32602, "{era:?}");
        let ended = connected.end().await;
        assert_eq!((ended.code, ended.messages.len()), (Some(0), 0), "{ended:?}");
    }
}

#[tokio::test]
async fn discovery_is_passed_on_and_an_unknown_method_keeps_its_error() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let agent = agent(&app, &upstream).await;
    let mut connected = connect(&agent, Era::Stateless).await;
    let discovered = connected.ask(Era::Stateless, 1, "server/discover", json!({})).await;
    assert_eq!(discovered["result"]["supportedVersions"][0], "2026-07-28", "{discovered}");
    let unknown = connected.ask(Era::Stateless, 2, "no/such", json!({})).await;
    assert_eq!(unknown["error"]["code"], -32601, "{unknown}");
    let other = json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/list", "params": { "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2031-01-01", "io.modelcontextprotocol/clientCapabilities": {} } } });
    connected.tell(&other).await;
    assert_eq!(connected.answer(3).await["error"]["code"], -32022);
}

#[tokio::test]
async fn two_calls_at_once_are_answered_as_they_end() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let agent = agent(&app, &upstream).await;
    for era in Era::ALL {
        let mut connected = connect(&agent, era).await;
        connected.request(era, 1, "tools/call", json!({ "name": "slow", "arguments": {} })).await;
        connected.request(era, 2, "tools/call", json!({ "name": "echo", "arguments": { "text": "quick" } })).await;
        assert_eq!(connected.next().await["id"], 2, "{era:?}");
        let slow = connected.next().await;
        assert_eq!(slow["id"], 1, "{era:?}");
        assert_eq!(slow["result"]["content"][0]["text"], r#"{"slow":true}"#, "{slow}");
    }
}

#[tokio::test]
async fn a_bad_key_is_an_error_that_says_where_the_key_comes_from() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let agent = agent(&app, &upstream).await;
    let bad = format!("{}x", agent.key);
    for era in Era::ALL {
        let mut connected = Connected::start(&agent.url, &bad);
        let params =
            json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "s", "version": "1" } });
        let method = if era == Era::Stateless { "tools/list" } else { "initialize" };
        let refused = connected.ask(era, 1, method, params).await;
        assert_eq!(refused["error"]["code"], 4010, "{refused}");
        assert!(refused["error"]["message"].as_str().is_some_and(|text| text.contains("TRUNKLINE_KEY")), "{refused}");
        let ended = connected.end().await;
        assert_eq!(ended.code, Some(0));
        assert!(!refused.to_string().contains(&agent.key) && !ended.complaints.contains(&agent.key), "{}", ended.complaints);
    }
}

#[tokio::test]
async fn a_broken_line_is_an_error_and_the_next_one_works() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let agent = agent(&app, &upstream).await;
    let mut connected = connect(&agent, Era::Stateless).await;
    let too_long = vec![b'x'; 4 * 1024 * 1024 + 1];
    let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{}{}}}"#, "[".repeat(70), "]".repeat(70));
    for (line, code) in [
        (&b"{"[..], -32700),
        (b"\xff\xfe", -32700),
        (b"{}", -32600),
        (br#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
        (deep.as_bytes(), -32600),
        (&too_long, -32600),
    ] {
        connected.line(line).await;
        let error = connected.next().await;
        assert_eq!(error["error"]["code"], code, "{error}");
        assert!(error.get("id").is_none(), "{error}");
    }
    connected.line(b"").await;
    connected.line(b" \r").await;
    let called = connected.call(Era::Stateless, 7, "echo", json!({ "text": "still here" })).await;
    assert_eq!(called["result"]["content"][0]["text"], "still here");
    // Longer than the endpoint takes, but not than a line may be: the endpoint's words, with the request's id.
    let large = connected.call(Era::Stateless, 8, "echo", json!({ "text": "x".repeat(2 * 1024 * 1024) })).await;
    assert!(large["error"]["code"].is_i64(), "{large}");
    assert_eq!(connected.call(Era::Stateless, 9, "echo", json!({ "text": "y" })).await["result"]["content"][0]["text"], "y");
}

#[tokio::test]
async fn cancelling_ends_the_call_and_nothing_else_in_both_eras() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let agent = agent(&app, &upstream).await;
    for (index, era) in Era::ALL.into_iter().enumerate() {
        let mut connected = connect(&agent, era).await;
        connected.request(era, 1, "tools/call", json!({ "name": "hang", "arguments": {} })).await;
        connected.request(era, 2, "tools/call", json!({ "name": "slow", "arguments": {} })).await;
        eventually("the tool runs", SOON, async || {
            let hanging = upstream.seen().iter().filter(|seen| seen.line == "GET /hang").count();
            (hanging > index).then_some(())
        })
        .await;
        let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } });
        connected.tell(&cancel).await;
        eventually("the tool is left alone", SOON, async || (upstream.hung_up() > index).then_some(())).await;
        assert_eq!(connected.next().await["id"], 2, "{era:?}: what is cancelled has no answer");
        let ended = connected.end().await;
        assert_eq!((ended.code, ended.messages.len()), (Some(0), 0), "{era:?}: {ended:?}");
    }
}

#[tokio::test]
async fn what_runs_when_standard_input_ends_has_five_seconds() {
    let (app, upstream) = (TestApp::start().await, Upstream::start().await);
    let agent = agent(&app, &upstream).await;
    let mut connected = connect(&agent, Era::Handshake).await;
    for (id, tool) in [(1, "slow"), (2, "hang")] {
        connected.request(Era::Handshake, id, "tools/call", json!({ "name": tool, "arguments": {} })).await;
    }
    eventually("both run", SOON, async || (upstream.seen().len() == 2).then_some(())).await;
    let began = Instant::now();
    let ended = connected.end().await;
    assert!(began.elapsed() > Duration::from_secs(4) && began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(ended.code, Some(0));
    let of = |id: i64| ended.messages.iter().find(|message| message["id"] == id).unwrap_or_else(|| panic!("{ended:?}"));
    assert_eq!(of(1)["result"]["content"][0]["text"], r#"{"slow":true}"#);
    assert_eq!(of(2)["error"]["code"], 5031);
}
