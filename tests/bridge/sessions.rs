//! Sessions with upstreams of the handshake era: whose they are, how many, and how they end.

use std::{collections::BTreeSet, time::Duration};

use chrono::DateTime;
use futures_util::future::join_all;
use serde_json::json;
use trunkline_platform::{
    dialogue::{Dialogue, Said},
    ids::{SourceId, TenantId},
    upstream::{IDLE, Target},
};
use trunkline_protocol::mcp::Revision;

use super::{call, exchange, listener, sweep, target, text, with_secret};
use crate::support::{
    SOON, TestApp, eventually,
    mcp_upstream::{McpUpstream, Speaks, Way},
};

const OLD: Speaks = Speaks::Only(Revision::V2025_11_25);

#[tokio::test]
async fn m_13_nothing_of_an_upstream_is_shared_between_tenants_sources_or_credentials() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(OLD, Way::Events).await;
    let base = target(&upstream);
    let (mut other_tenant, mut other_source) = (base.clone(), base.clone());
    other_tenant.tenant = TenantId::new(DateTime::UNIX_EPOCH);
    other_source.source = SourceId::new(DateTime::UNIX_EPOCH);
    let targets = [base.clone(), other_tenant, other_source, with_secret(base.clone(), "one"), with_secret(base.clone(), "two")];
    for _ in 0..2 {
        for (number, target) in targets.iter().enumerate() {
            let said = text(call(&app, target, "echo", json!({ "caller": number })).await);
            assert_eq!(said, format!(r#"{{"caller":{number}}}"#));
        }
    }
    let mut seen = vec![BTreeSet::new(); targets.len()];
    for call in upstream.seen_of("tools/call") {
        let number = call.json["params"]["arguments"]["caller"].as_u64().expect("a number");
        let secret = call.header("x-api-key").unwrap_or_default().to_owned();
        let expected = ["", "", "", "one", "two"][usize::try_from(number).expect("small")];
        assert_eq!(secret, expected, "each sends its own secret");
        let session = call.header("mcp-session-id").expect("a session").to_owned();
        seen[usize::try_from(number).expect("small")].insert(session);
    }
    assert!(seen.iter().all(|sessions| sessions.len() == 1), "each has one session: {seen:?}");
    let all: BTreeSet<_> = seen.iter().flatten().collect();
    assert_eq!(all.len(), targets.len(), "and no two the same: {seen:?}");
    assert_eq!(upstream.seen_of("server/discover").len(), targets.len(), "nor a verdict");
    let ports: BTreeSet<_> =
        upstream.seen().iter().map(|seen| (seen.port, seen.header("mcp-session-id").map(str::to_owned))).collect();
    let in_sessions: Vec<_> = ports.iter().filter(|(_, session)| session.is_some()).collect();
    for (port, session) in &in_sessions {
        assert!(in_sessions.iter().all(|(other, its)| other != port || its == session), "nor a connection: {ports:?}");
    }
}

#[tokio::test]
async fn many_calls_at_once_shake_hands_once() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(OLD, Way::Json).await;
    let target = target(&upstream);
    let calls = (0..40).map(|number| {
        let (app, target) = (&app, &target);
        async move { (text(call(app, target, "echo", json!({ "n": number })).await), number) }
    });
    for (said, number) in join_all(calls).await {
        assert_eq!(said, format!(r#"{{"n":{number}}}"#), "each gets its own answer");
    }
    assert_eq!((upstream.seen_of("initialize").len(), upstream.sessions().len()), (1, 1));
    assert!(upstream.sessions().values().all(|session| session.is_ready));
}

#[tokio::test]
async fn callers_that_can_be_asked_the_same_share_a_session() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(OLD, Way::Json).await;
    let target = target(&upstream);
    let params = json!({ "name": "echo", "arguments": {} });
    for capabilities in [
        r#"{"elicitation":{}}"#,
        r#"{"elicitation":{"form":{}},"x-unknown":1}"#,
        r#"{"elicitation":{},"extensions":{"io.modelcontextprotocol/tasks":{}},"tasks":{}}"#,
        r#"{"elicitation":{"form":{},"url":{}}}"#,
        r#"{"sampling":{"tools":{}},"roots":{"listChanged":true}}"#,
    ] {
        let mut listener = listener(capabilities);
        listener.log_level = None;
        let (dialogue, _heard) = Dialogue::open(listener);
        exchange(&app, &target, "tools/call", &params, &dialogue).await.expect("an answer");
    }
    let declared: BTreeSet<_> = upstream.sessions().values().map(|session| session.capabilities.to_string()).collect();
    let expected = [
        r#"{"elicitation":{"form":{},"url":{}}}"#,
        r#"{"elicitation":{}}"#,
        r#"{"roots":{},"sampling":{"tools":{}}}"#,
        // The probe's own.
        "{}",
    ];
    assert_eq!(declared, expected.map(str::to_owned).into());
    assert_eq!(upstream.sessions().len(), 4);
}

#[tokio::test]
async fn a_question_beside_the_answers_reaches_the_caller_whose_call_it_is() {
    let app = TestApp::start().await;
    for revision in [Revision::V2025_06_18, Revision::V2025_11_25] {
        let upstream = McpUpstream::start(Speaks::Only(revision), Way::Events).await;
        let target = target(&upstream);
        for _ in 0..2 {
            let callers = (0..20).map(|number: u32| {
                let (app, target) = (&app, &target);
                async move {
                    let mut listener = listener(r#"{"elicitation":{}}"#);
                    listener.log_level = None;
                    let (dialogue, mut heard) = Dialogue::open(listener);
                    let about = format!("caller {number}");
                    let params = json!({ "name": "ask_aside", "arguments": { "about": about } });
                    let call = async {
                        let reply = exchange(app, target, "tools/call", &params, &dialogue).await;
                        drop(dialogue);
                        text(reply)
                    };
                    let answer = async {
                        let mut asked = 0;
                        while let Some(said) = heard.next().await {
                            let Said::Question(question) = said else { panic!("{said:?}") };
                            assert!(question.params.get().contains(&format!("\"{about}\"")), "{about}: {}", question.params);
                            let answer = json!({ "action": "accept", "content": { "name": about } }).to_string();
                            let answer = serde_json::value::RawValue::from_string(answer).expect("JSON");
                            question.answer.send(Ok(answer)).expect("somebody waits");
                            asked += 1;
                        }
                        asked
                    };
                    let (said, asked) = tokio::join!(call, answer);
                    assert!(said.contains(&format!("\"{about}\"")) && asked == 1, "{about}: {said}");
                }
            });
            join_all(callers).await;
        }
        let own = upstream.sessions().values().filter(|session| session.capabilities != json!({})).count();
        assert!(own <= 20, "{revision:?}: those of the first round serve the second: {own}");
    }
}

#[tokio::test]
async fn nobody_gets_the_session_of_a_call_that_ended_badly() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(OLD, Way::Events).await;
    let mut target = target(&upstream);
    let mut listener = listener(r#"{"elicitation":{}}"#);
    listener.log_level = None;
    let (dialogue, _heard) = Dialogue::open(listener);
    let params = |tool: &str| json!({ "name": tool, "arguments": {} });
    for _ in 0..2 {
        exchange(&app, &target, "tools/call", &params("echo"), &dialogue).await.expect("an answer");
    }
    target.deadline = Duration::from_millis(300);
    exchange(&app, &target, "tools/call", &params("silent"), &dialogue).await.expect_err("nothing");
    exchange(&app, &target, "tools/call", &params("echo"), &dialogue).await.expect("an answer");
    let calls = upstream.seen_of("tools/call");
    let sessions: Vec<_> = calls.iter().map(|seen| seen.header("mcp-session-id").expect("a session")).collect();
    assert_eq!((sessions[0], sessions[1]), (sessions[1], sessions[2]));
    assert_ne!(sessions[2], sessions[3]);
    sweep(&app, IDLE).await;
    assert_eq!(upstream.ended(), [sessions[0]], "it is ended over there");
}

#[tokio::test]
async fn an_upstream_without_a_stream_beside_its_answers_is_asked_for_it_once() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(OLD, Way::Json).await.without_streams(405);
    let target = target(&upstream);
    for capabilities in [r#"{"elicitation":{}}"#, r#"{"sampling":{}}"#, r#"{"roots":{}}"#] {
        let (dialogue, _heard) = Dialogue::open(listener(capabilities));
        let params = json!({ "name": "echo", "arguments": {} });
        assert_eq!(text(exchange(&app, &target, "tools/call", &params, &dialogue).await), "{}");
    }
    assert_eq!(upstream.seen().iter().filter(|seen| seen.http_method == "GET").count(), 1);
}

#[tokio::test]
async fn a_session_that_the_upstream_forgot_is_opened_again_once() {
    let app = TestApp::start().await;
    for revision in [Revision::V2025_03_26, Revision::V2025_06_18, Revision::V2025_11_25] {
        let upstream = McpUpstream::start(Speaks::Only(revision), Way::Events).await;
        let target = target(&upstream);
        assert_eq!(text(call(&app, &target, "echo", json!({})).await), "{}");
        upstream.forget_sessions();
        let calls = join_all((0..10).map(|_| call(&app, &target, "echo", json!({})))).await;
        assert!(calls.into_iter().all(|reply| text(reply) == "{}"), "nobody notices");
        assert_eq!(upstream.seen_of("initialize").len(), 2, "{revision:?}: one handshake for all of them");
    }
}

#[tokio::test]
async fn an_upstream_without_sessions_is_fine() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(OLD, Way::Json).await.without_sessions();
    let target = target(&upstream);
    for _ in 0..3 {
        assert_eq!(text(call(&app, &target, "echo", json!({})).await), "{}");
    }
    assert_eq!(upstream.seen_of("initialize").len(), 1);
    assert!(upstream.seen().iter().all(|seen| seen.header("mcp-session-id").is_none()));
}

#[tokio::test]
async fn idle_sessions_are_ended_over_there() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(OLD, Way::Json).await;
    let target = target(&upstream);
    assert_eq!(text(call(&app, &target, "echo", json!({})).await), "{}");
    sweep(&app, IDLE).await;
    assert_eq!(upstream.ended().len(), 0, "not idle yet");
    let slow = async {
        let reply = call(&app, &target, "slow", json!({ "steps": 20 })).await;
        assert_eq!(text(reply), "slowly done");
    };
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        sweep(&app, Duration::ZERO).await;
        assert_eq!(upstream.ended().len(), 0, "somebody uses it");
    };
    tokio::join!(slow, meanwhile);
    sweep(&app, Duration::ZERO).await;
    assert_eq!((upstream.ended().len(), upstream.sessions().len()), (1, 0));
    assert_eq!(text(call(&app, &target, "echo", json!({})).await), "{}", "another is opened");
    app.platform.upstreams.forget(target.tenant, target.source);
    sweep(&app, IDLE).await;
    assert_eq!((upstream.ended().len(), upstream.sessions().len()), (2, 0), "a source that changed ends its sessions");
}

#[tokio::test]
async fn sessions_are_bounded_and_the_oldest_goes() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(OLD, Way::Json).await;
    let tenants: Vec<_> = (0..9).map(|_| TenantId::new(DateTime::UNIX_EPOCH)).collect();
    for number in 0..520 {
        let mut target = target(&upstream);
        target.tenant = tenants[number % tenants.len()];
        assert_eq!(text(call(&app, &target, "echo", json!({})).await), "{}");
    }
    sweep(&app, IDLE).await;
    assert_eq!((upstream.sessions().len(), upstream.ended().len()), (512, 8));
    assert!(upstream.ended().contains(&"session-0".to_owned()), "the oldest");
}

#[tokio::test]
async fn a_tenant_with_many_sessions_displaces_its_own_only() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(OLD, Way::Json).await;
    let (other, base) = (target(&upstream), target(&upstream));
    assert_eq!(text(call(&app, &other, "echo", json!({})).await), "{}");
    for _ in 0..70 {
        let target = Target { source: SourceId::new(DateTime::UNIX_EPOCH), ..base.clone() };
        assert_eq!(text(call(&app, &target, "echo", json!({})).await), "{}");
    }
    sweep(&app, IDLE).await;
    assert_eq!((upstream.sessions().len(), upstream.ended().len()), (1 + 64, 6));
    assert!(upstream.sessions().contains_key("session-0"), "the other tenant's, though it is the oldest");
}

#[tokio::test]
async fn calls_that_wait_for_answers_leave_room_for_all_others() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(OLD, Way::Events).await;
    let (mine, other) = (target(&upstream), target(&upstream));
    let setups = [r#"{"elicitation":{}}"#, r#"{"elicitation":{},"roots":{}}"#, r#"{"elicitation":{},"sampling":{}}"#];
    let params = json!({ "name": "ask", "arguments": {} });
    let waiting = (0..60).map(|number: usize| {
        let mut target = mine.clone();
        if number.is_multiple_of(2) {
            target.source = other.source;
        }
        let (dialogue, heard) = Dialogue::open(listener(setups[number % setups.len()]));
        let (app, params) = (&app, &params);
        async move {
            let _heard = heard;
            exchange(app, &target, "tools/call", params, &dialogue).await
        }
    });
    let own = || upstream.sessions().values().filter(|session| session.capabilities != json!({})).count();
    let others = async {
        eventually("they wait", SOON, async || (own() >= 48 - 4).then_some(())).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(own() <= 48, "not all of them can be asked: {}", own());
        for target in [&mine, &other] {
            assert_eq!(text(call(&app, target, "echo", json!({})).await), "{}");
        }
    };
    tokio::select! {
        _ = join_all(waiting) => panic!("nobody answers them"),
        () = others => {}
    }
}
