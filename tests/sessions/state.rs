//! `requestState`: what a caller brings back with its answers. Good for the request it was given for, for a while, once.

use chrono::TimeDelta;
use serde_json::{Value, json};
use trunkline_protocol::mcp::Revision;

use super::{EVERYTHING, acme, ada, call};
use crate::support::{
    Answer, Draw, TestApp,
    mcp_upstream::{McpUpstream, Speaks, Way},
    wire::Wire,
};

/// Calls up to the question; its state.
pub(super) async fn question(wire: &Wire, params: &Value) -> (String, Value) {
    let answer = wire.send(1, "tools/call", params.clone()).await;
    assert_eq!(answer.json["result"]["resultType"], "input_required", "{}", answer.text);
    let requests = answer.json["result"]["inputRequests"].as_object().cloned().unwrap_or_default();
    let responses: serde_json::Map<_, _> = requests.keys().map(|key| (key.clone(), ada())).collect();
    let state = answer.json["result"]["requestState"].as_str().expect("a state").to_owned();
    (state, responses.into())
}

/// The same call with answers and that state.
pub(super) async fn back(wire: &Wire, mut params: Value, state: &str, responses: &Value) -> Answer {
    params["requestState"] = json!(state);
    params["inputResponses"] = responses.clone();
    wire.send(2, "tools/call", params).await
}

#[track_caller]
fn refused(what: &str, answer: &Answer) {
    assert!(answer.status == 200 && answer.code() == -32602, "{what}: {} {}", answer.status, answer.text);
    assert!(answer.text.contains("requestState"), "{what} says why: {}", answer.text);
}

/// Everything that can be wrong with a state. `params` asks for input.
async fn tampering(app: &TestApp, wire: &Wire, others: &[(&str, Wire)], params: &Value, calls: impl Fn() -> usize) {
    let (state, responses) = question(wire, params).await;
    let before = calls();
    let mut draw = Draw::new(17);
    for _ in 0..40 {
        let at = usize::try_from(draw.below(state.len() as u64)).expect("small");
        let mut flipped = state.clone().into_bytes();
        flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
        let flipped = String::from_utf8(flipped).expect("text");
        if flipped != state {
            refused("a flipped bit", &back(wire, params.clone(), &flipped, &responses).await);
        }
    }
    for (what, tampered) in [
        ("empty", String::new()),
        ("truncated", state[..state.len() - 1].to_owned()),
        ("half", state[..state.len() / 2].to_owned()),
        ("without its beginning", state[4..].to_owned()),
        ("longer", format!("{state}AAAA")),
        ("twice", format!("{state}{state}")),
        ("padded", format!("{state}=")),
        ("with spaces", format!(" {state} ")),
        ("plain text", "request-state".to_owned()),
        ("long", "A".repeat(200_000)),
    ] {
        refused(what, &back(wire, params.clone(), &tampered, &responses).await);
    }
    for wrong in [json!(7), json!(null), json!({}), json!([state])] {
        let mut params = params.clone();
        params["requestState"] = wrong.clone();
        params["inputResponses"] = responses.clone();
        let answer = wire.send(2, "tools/call", params).await;
        if !wrong.is_null() {
            assert_eq!(answer.code(), -32602, "{wrong}: {}", answer.text);
        }
    }
    let before = if params["name"] == "ask" { before + 1 } else { before };
    for (who, other) in others {
        refused(who, &back(other, params.clone(), &state, &responses).await);
    }
    let mut other_arguments = params.clone();
    other_arguments["arguments"] = json!({ "x": 1 });
    refused("other arguments", &back(wire, other_arguments, &state, &responses).await);
    assert!(calls() <= before, "nothing reached the upstream");

    let answer = back(wire, params.clone(), &state, &responses).await;
    assert!(answer.json["result"]["content"][0]["text"].as_str().is_some_and(|text| text.contains("ada")), "{}", answer.text);
    let after = calls();
    for _ in 0..3 {
        refused("used twice", &back(wire, params.clone(), &state, &responses).await);
    }
    assert_eq!(calls(), after, "nothing reached the upstream");

    let (state, responses) = question(wire, params).await;
    app.clock.advance(TimeDelta::seconds(601));
    refused("expired", &back(wire, params.clone(), &state, &responses).await);
    let (state, responses) = question(wire, params).await;
    app.clock.advance(TimeDelta::seconds(300));
    let mut spaced = params.clone();
    spaced["arguments"] = json!({});
    assert!(back(wire, spaced, &state, &responses).await.json["result"]["content"].is_array(), "in time it is good");
}

/// Callers that are not the one, each allowed to make the same call.
async fn others(app: &TestApp, wire: &Wire, upstream: Option<&McpUpstream>) -> Vec<(&'static str, Wire)> {
    let tenant = app.tenant("other").await;
    match upstream {
        Some(upstream) => drop(tenant.source("theirs", &upstream.url()).await),
        None => tenant.conformance().await,
    }
    vec![("another tenant", wire.of(&tenant.agent("agent", EVERYTHING).await))]
}

#[tokio::test]
async fn t_17_state_of_the_fixtures_is_bound_to_its_request() {
    let app = TestApp::start().await;
    let (acme, agent) = acme(&app).await;
    let wire = Wire::stateless(&agent);
    let mut others = others(&app, &wire, None).await;
    others.push(("another agent", wire.of(&acme.agent("colleague", EVERYTHING).await)));
    others.push(("another key", wire.of(&acme.key(&agent, EVERYTHING).await)));
    let toolset = acme.toolset("some", &["test_input_required_result_request_state"]).await;
    others.push(("a toolset's endpoint", wire.of(&agent.at(&toolset))));
    let params = call("test_input_required_result_request_state", json!({}));
    let (state, _) = question(&wire, &params).await;
    let mut other_tool = params.clone();
    other_tool["name"] = json!("test_input_required_result_tampered_state");
    refused("another tool", &back(&wire, other_tool, &state, &json!({ "confirm": ada() })).await);
    let read = json!({ "uri": "test://static-text", "requestState": state, "inputResponses": {} });
    refused("another method", &wire.send(3, "resources/read", read).await);
    // The question is whether one confirms, not who one is.
    let confirmed = json!({ "confirm": { "action": "accept", "content": { "ok": true } } });
    let answer = back(&wire, params.clone(), &state, &confirmed).await;
    assert!(answer.text.contains("state-ok"), "{}", answer.text);
    refused("used twice", &back(&wire, params.clone(), &state, &confirmed).await);
    for (who, other) in &others {
        let (state, _) = question(&wire, &params).await;
        refused(who, &back(other, params.clone(), &state, &confirmed).await);
        assert!(back(&wire, params.clone(), &state, &confirmed).await.text.contains("state-ok"), "{who} did not use it up");
    }
}

#[tokio::test]
async fn t_17_state_of_an_upstream_that_keeps_none_is_bound_to_its_request() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(Speaks::Only(Revision::V2026_07_28), Way::Json).await;
    let acme = app.tenant("acme").await;
    acme.source("theirs", &upstream.url()).await;
    let agent = acme.agent("agent", EVERYTHING).await;
    let wire = Wire::stateless(&agent);
    let mut others = others(&app, &wire, Some(&upstream)).await;
    others.push(("another agent", wire.of(&acme.agent("colleague", EVERYTHING).await)));
    let calls = || upstream.seen_of("tools/call").len();
    tampering(&app, &wire, &others, &call("ask", json!({})), calls).await;
    // What went upstream was its own state, and nothing of ours.
    let returned = upstream
        .seen_of("tools/call")
        .into_iter()
        .filter_map(|seen| seen.json["params"]["requestState"].as_str().map(str::to_owned));
    for state in returned {
        assert_eq!(state, "[]");
    }
}

#[tokio::test]
async fn t_17_state_of_a_call_that_waits_is_bound_to_its_request() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(Speaks::Only(Revision::V2025_11_25), Way::Events).await;
    let acme = app.tenant("acme").await;
    acme.source("theirs", &upstream.url()).await;
    let agent = acme.agent("agent", EVERYTHING).await;
    let wire = Wire::stateless(&agent);
    let mut others = others(&app, &wire, Some(&upstream)).await;
    others.push(("another agent", wire.of(&acme.agent("colleague", EVERYTHING).await)));
    let calls = || upstream.seen_of("tools/call").len();
    tampering(&app, &wire, &others, &call("ask", json!({})), calls).await;
}

#[tokio::test]
async fn a_state_that_could_not_be_brought_back_is_refused_before_anybody_answers() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(Speaks::Only(Revision::V2026_07_28), Way::Json).await;
    upstream.add_tool(json!({ "name": "big_state", "inputSchema": { "type": "object" } }));
    let acme = app.tenant("acme").await;
    acme.source("theirs", &upstream.url()).await;
    let wire = Wire::stateless(&acme.agent("agent", EVERYTHING).await);
    let params = call("big_state", json!({ "bytes": 60_000 }));
    let (state, responses) = question(&wire, &params).await;
    let answer = back(&wire, params, &state, &responses).await;
    assert!(answer.text.contains("60000 came back"), "{:.400}", answer.text);
    for bytes in [66_000, 500_000] {
        let answer = wire.send(1, "tools/call", call("big_state", json!({ "bytes": bytes }))).await;
        assert_eq!((answer.status, answer.error_class()), (200, "upstream_too_large"), "{bytes}: {:.400}", answer.text);
        assert_eq!(answer.json["result"]["isError"], true, "{bytes}");
    }
}
