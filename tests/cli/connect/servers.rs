//! In front of servers of every revision, well behaved and badly behaved: what no platform would do to it.

use serde_json::{Value, json};
use trunkline_protocol::mcp::Revision;

use crate::support::{
    Era, SOON, eventually,
    mcp_upstream::{McpUpstream, Speaks, Way},
    stdio::Connected,
};

const KEY: &str = "a-key";
const LEGACY: Revision = Revision::V2025_11_25;

async fn legacy(way: Way) -> (McpUpstream, Connected) {
    let server = McpUpstream::start(Speaks::Only(LEGACY), way).await;
    let capabilities = json!({ "elicitation": {}, "sampling": {}, "roots": {} });
    let connected = Connected::in_session(&server.url(), KEY, LEGACY.as_str(), capabilities).await;
    (server, connected)
}

async fn modern(way: Way) -> (McpUpstream, Connected) {
    let server = McpUpstream::start(Speaks::Only(Revision::V2026_07_28), way).await;
    let connected = Connected::start(&server.url(), KEY);
    (server, connected)
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {answer}"))
}

#[tokio::test]
async fn every_revision_and_both_forms_of_answers_pass_unchanged() {
    for (revision, way) in Revision::ALL.into_iter().flat_map(|revision| [(revision, Way::Json), (revision, Way::Events)]) {
        let server = McpUpstream::start(Speaks::Only(revision), way).await;
        let (era, mut connected) = if revision.has_handshake() {
            let connected = Connected::in_session(&server.url(), KEY, revision.as_str(), json!({})).await;
            (Era::Handshake, connected)
        } else {
            (Era::Stateless, Connected::start(&server.url(), KEY))
        };
        connected.request(era, 5, "tools/call", json!({ "name": "echo", "arguments": { "b": 1, "a": "ä" } })).await;
        let line = connected.next_line().await.expect("an answer");
        for kept in [r#""x-first":1.50"#, r#""x-inner":1e2"#, r#""x-last":{"b":1,"a":2}"#] {
            assert!(line.contains(kept), "{revision:?} {way:?}: {line}");
        }
        let sent = server.seen_of("tools/call").pop().expect("a call");
        let expected = revision.has_version_header().then_some(revision.as_str());
        assert_eq!(sent.header("mcp-protocol-version"), expected, "{revision:?}");
        assert_eq!(sent.header("authorization"), Some("Bearer a-key"));
        let ended = connected.end().await;
        assert_eq!(ended.code, Some(0), "{}", ended.complaints);
        assert_eq!(server.ended().len(), usize::from(revision.has_handshake()), "{revision:?}: the session is ended");
    }
}

#[tokio::test]
async fn a_question_of_the_server_and_its_answer_find_their_way() {
    let (_server, mut connected) = legacy(Way::Events).await;
    connected.request(Era::Handshake, 1, "tools/call", json!({ "name": "ask", "arguments": {} })).await;
    let question = connected.heard("elicitation/create").await;
    assert_eq!(question["params"]["message"], "What is your name?");
    let content = json!({ "action": "accept", "content": { "name": "Ada" } });
    connected.tell(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": content })).await;
    assert!(text(&connected.answer(1).await).contains("Ada"));
}

#[tokio::test]
async fn required_input_passes_as_it_is() {
    let (_server, mut connected) = modern(Way::Json).await;
    let mut call = json!({ "name": "ask", "arguments": {}, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": { "elicitation": {} } } });
    connected.tell(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call })).await;
    let required = connected.answer(1).await;
    assert_eq!(required["result"]["resultType"], "input_required", "{required}");
    call["requestState"] = required["result"]["requestState"].clone();
    call["inputResponses"] = json!({ "answer": { "action": "accept", "content": { "name": "Ada" } } });
    connected.tell(&json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call })).await;
    assert!(text(&connected.answer(2).await).contains("Ada"));
}

#[tokio::test]
async fn progress_comes_before_the_answer() {
    let (_server, mut connected) = legacy(Way::Events).await;
    let params = json!({ "name": "slow", "arguments": { "steps": 3 }, "_meta": { "progressToken": "t" } });
    connected.request(Era::Handshake, 1, "tools/call", params).await;
    for step in 1..=3 {
        let progress = connected.next().await;
        assert_eq!((&progress["method"], &progress["params"]["progress"]), (&json!("notifications/progress"), &json!(step)));
    }
    assert_eq!(text(&connected.next().await), "slowly done");
}

#[tokio::test]
async fn a_lost_session_is_begun_again_with_what_was_set_in_it() {
    let (server, mut connected) = legacy(Way::Events).await;
    connected.ask(Era::Handshake, 1, "logging/setLevel", json!({ "level": "warning" })).await;
    connected.ask(Era::Handshake, 2, "resources/subscribe", json!({ "uri": "note://1" })).await;
    connected.ask(Era::Handshake, 3, "resources/subscribe", json!({ "uri": "note://2" })).await;
    connected.ask(Era::Handshake, 4, "resources/unsubscribe", json!({ "uri": "note://2" })).await;
    eventually("the stream is open", SOON, async || (server.listening() == 1).then_some(())).await;
    server.forget_sessions();
    // Two at once: one new session for both.
    for id in [5, 6] {
        connected.request(Era::Handshake, id, "tools/call", json!({ "name": "echo", "arguments": { "id": id } })).await;
    }
    for id in [5, 6] {
        assert!(text(&connected.answer(id).await).contains(&id.to_string()));
    }
    let sessions = server.sessions();
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    let session = sessions.values().next().expect("a session");
    assert!(session.is_ready && session.level.as_deref() == Some("warning"), "{session:?}");
    assert_eq!(session.capabilities["sampling"], json!({}), "as the client said at first");
    let subscribed: Vec<_> =
        server.seen_of("resources/subscribe").iter().map(|seen| seen.json["params"]["uri"].clone()).collect();
    assert_eq!(subscribed, ["note://1", "note://2", "note://1"]);
    let ended = connected.end().await;
    assert!(ended.complaints.contains("begun again"), "{}", ended.complaints);
    assert_eq!(server.ended(), sessions.into_keys().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_session_that_cannot_be_begun_again_is_an_error() {
    let (server, mut connected) = legacy(Way::Json).await;
    server.forget_sessions();
    server.want_secret("x-never", "sent");
    let refused = connected.call(Era::Handshake, 1, "echo", json!({})).await;
    assert_eq!(refused["error"]["code"], 4010, "{refused}");
}

#[tokio::test]
async fn changes_come_on_the_stream_of_the_session_which_is_opened_again() {
    let (server, mut connected) = legacy(Way::Json).await;
    eventually("the stream is open", SOON, async || (server.listening() == 1).then_some(())).await;
    server.add_tool(json!({ "name": "new", "inputSchema": { "type": "object" } }));
    connected.heard("notifications/tools/list_changed").await;
    server.close_streams();
    eventually("the stream is closed", SOON, async || (server.listening() == 0).then_some(())).await;
    eventually("the stream is open again", SOON, async || (server.listening() == 1).then_some(())).await;
    server.change_lists();
    connected.heard("notifications/prompts/list_changed").await;
    // A server that forgets its sessions and closes its streams is reached again without any request of the client.
    server.forget_sessions();
    server.close_streams();
    eventually("there is a session again", SOON, async || (server.sessions().len() == 1).then_some(())).await;
    eventually("its stream is open", SOON, async || (server.listening() == 1).then_some(())).await;
}

#[tokio::test]
async fn a_stream_that_is_cut_is_resumed_in_a_session() {
    let (server, mut connected) = legacy(Way::Events).await;
    assert_eq!(text(&connected.call(Era::Handshake, 1, "cut", json!({})).await), "resumed");
    let resumed = server.seen().into_iter().find_map(|seen| seen.header("last-event-id").map(str::to_owned));
    assert!(resumed.is_some_and(|id| id.starts_with("event-")));
}

#[tokio::test]
async fn what_cannot_be_had_is_an_error_and_never_silence() {
    for era in Era::ALL {
        let (server, mut connected) = if era == Era::Stateless { modern(Way::Json).await } else { legacy(Way::Json).await };
        for (id, tool, code) in [(1, "gone", 5021), (2, "broken", 5023), (3, "wrong_id", 5021)] {
            let failed = connected.call(era, id, tool, json!({})).await;
            assert_eq!(failed["error"]["code"], code, "{era:?} {tool}: {failed}");
        }
        for (id, status) in [(10, 403), (11, 429), (12, 503), (13, 500)] {
            server.answer_with(Some(status));
            let failed = connected.call(era, id, "echo", json!({})).await;
            assert_eq!(failed["error"]["code"], i64::from(status) * 10, "{failed}");
            assert!(!failed.to_string().contains("upstream-canary"), "{failed}");
        }
        server.answer_with(None);
        assert!(text(&connected.call(era, 20, "echo", json!({ "a": 1 })).await).contains('1'));
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_for_each_request() {
    let port = trunkline::services::free_port().expect("a port");
    let mut connected = Connected::start(&format!("http://127.0.0.1:{port}/mcp"), KEY);
    for (id, era) in (1..).zip(Era::ALL) {
        let failed = connected.ask(era, id, "tools/list", json!({})).await;
        assert_eq!(failed["error"]["code"], 5020, "{failed}");
        assert_eq!(failed["error"]["data"]["retryable"], true);
    }
    assert_eq!(connected.end().await.code, Some(0));
}

#[tokio::test]
async fn arguments_are_mirrored_after_a_list_and_without_one() {
    let arguments = json!({ "region": "süd", "count": 3, "deep": { "flag": true } });
    let (server, mut connected) = modern(Way::Json).await;
    // The client knows the tool from elsewhere: refused once, listed, and called again.
    assert_eq!(text(&connected.call(Era::Stateless, 1, "region", arguments.clone()).await), "the headers fit");
    assert_eq!(server.seen_of("tools/call").len(), 2);
    let listed = server.seen_of("tools/list").len();
    assert_eq!(text(&connected.call(Era::Stateless, 2, "region", arguments.clone()).await), "the headers fit");
    assert_eq!((server.seen_of("tools/call").len(), server.seen_of("tools/list").len()), (3, listed));

    let mut connected = Connected::start(&server.url(), KEY);
    let mut cursor = None;
    for id in 1.. {
        let params = cursor.map_or_else(|| json!({}), |cursor: Value| json!({ "cursor": cursor }));
        let page = connected.ask(Era::Stateless, id, "tools/list", params).await;
        match &page["result"]["nextCursor"] {
            Value::Null => break,
            next => cursor = Some(next.clone()),
        }
    }
    let before = server.seen_of("tools/call").len();
    assert_eq!(text(&connected.call(Era::Stateless, 100, "region", arguments).await), "the headers fit");
    assert_eq!(server.seen_of("tools/call").len(), before + 1, "the list that passed by was enough");
}

#[tokio::test]
async fn cancelling_is_a_closed_stream_without_a_session_and_a_message_in_one() {
    for era in Era::ALL {
        let (server, mut connected) = if era == Era::Stateless { modern(Way::Events).await } else { legacy(Way::Events).await };
        let params = json!({ "name": "slow", "arguments": { "steps": 1_000 }, "_meta": { "progressToken": 1 } });
        let mut request = crate::support::message(era, "tools/call", params.clone());
        request["id"] = json!(1);
        request["params"]["_meta"]["progressToken"] = json!(1);
        connected.tell(&request).await;
        connected.heard("notifications/progress").await;
        let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } });
        connected.tell(&cancel).await;
        let is_told = era == Era::Handshake;
        eventually("it is cancelled", SOON, async || {
            (server.cancelled() == usize::from(is_told) && server.hung_up() == usize::from(!is_told)).then_some(())
        })
        .await;
        assert!(text(&connected.call(era, 2, "echo", json!({})).await).contains("{}"));
        let ended = connected.end().await;
        assert!(ended.messages.iter().all(|message| message["id"] != 1), "{era:?}: {ended:?}");
    }
}

#[tokio::test]
async fn a_subscription_stays_open_and_ends_with_its_answer_or_when_cancelled() {
    let (server, mut connected) = modern(Way::Events).await;
    let wanted = json!({ "notifications": { "toolsListChanged": true } });
    connected.request(Era::Stateless, 1, "subscriptions/listen", wanted.clone()).await;
    connected.heard("notifications/subscriptions/acknowledged").await;
    server.add_tool(json!({ "name": "new", "inputSchema": { "type": "object" } }));
    let change = connected.heard("notifications/tools/list_changed").await;
    assert_eq!(change["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 1);
    assert!(text(&connected.call(Era::Stateless, 2, "echo", json!({})).await).contains("{}"), "others go on beside it");
    server.close_streams();
    assert_eq!(connected.answer(1).await["result"]["resultType"], "complete");

    for id in [3, 4] {
        connected.request(Era::Stateless, id, "subscriptions/listen", wanted.clone()).await;
    }
    eventually("both are open", SOON, async || (server.listening() == 2).then_some(())).await;
    connected.tell(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 3 } })).await;
    eventually("one is closed", SOON, async || (server.listening() == 1).then_some(())).await;
    let began = std::time::Instant::now();
    let ended = connected.end().await;
    assert!(ended.code == Some(0) && began.elapsed().as_secs() < 4, "an open subscription does not delay the end: {ended:?}");
    eventually("the other is closed too", SOON, async || (server.listening() == 0).then_some(())).await;
}

#[tokio::test]
async fn an_id_that_runs_already_is_refused() {
    let (_server, mut connected) = modern(Way::Json).await;
    connected.request(Era::Stateless, 1, "tools/call", json!({ "name": "slow", "arguments": { "steps": 30 } })).await;
    connected.request(Era::Stateless, 1, "tools/call", json!({ "name": "echo", "arguments": {} })).await;
    assert_eq!(connected.next().await["error"]["code"], -32600);
    assert_eq!(text(&connected.next().await), "slowly done");
}

#[tokio::test]
async fn three_hundred_requests_at_once_are_all_answered() {
    let (server, mut connected) = modern(Way::Json).await;
    for id in 0..300 {
        connected.request(Era::Stateless, id, "tools/call", json!({ "name": "slow", "arguments": { "steps": 2 } })).await;
    }
    let (mut done, mut refused) = (0, 0);
    for id in 0..300 {
        match connected.answer(id).await {
            answer if answer["error"]["code"] == 4291 => refused += 1,
            answer if text(&answer) == "slowly done" => done += 1,
            answer => panic!("{answer}"),
        }
    }
    assert!(done >= 256 && done + refused == 300, "{done} done, {refused} refused");
    let ports: std::collections::BTreeSet<_> = server.seen().iter().map(|seen| seen.port).collect();
    // 64 at once; one that broke is replaced.
    assert!(ports.len() < 100, "{} connections", ports.len());
}

#[tokio::test]
async fn a_batch_of_the_oldest_revision_is_answered_whole() {
    let server = McpUpstream::start(Speaks::Only(Revision::V2025_03_26), Way::Json).await;
    let mut connected = Connected::in_session(&server.url(), KEY, "2025-03-26", json!({})).await;
    // This server takes none and is silent about why: each request of it has its answer all the same.
    let batch = json!([{ "jsonrpc": "2.0", "id": 1, "method": "ping" }, { "jsonrpc": "2.0", "id": 2, "method": "ping" }]);
    connected.tell(&batch).await;
    for id in [1, 2] {
        assert!(connected.answer(id).await["error"]["code"].is_i64());
    }
}
