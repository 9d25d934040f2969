//! What works, works with every revision and both ways of answering.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_platform::{
    dialogue::{Dialogue, Heard, Said},
    upstream::{InputRequired, ItemKind, Reply, Retry, UpstreamError},
};
use trunkline_protocol::mcp::Revision;

use super::{Ask, call, cells, exchange, list, listener, probe, result, revision_of, talkative, target, text};
use crate::support::{
    SOON, TestApp, eventually,
    mcp_upstream::{McpUpstream, Speaks, Way},
};

#[tokio::test]
async fn the_era_is_probed_once_and_kept() {
    let app = TestApp::start().await;
    for (speaks, way) in cells() {
        let upstream = McpUpstream::start(speaks, way).await;
        let target = target(&upstream);
        let server = probe(&app, &target).await.expect("a server");
        assert_eq!(server.revision, revision_of(speaks), "{speaks:?} {way:?}");
        assert_eq!(server.instructions.as_deref(), Some("Be kind."));
        assert!(server.info.as_ref().is_some_and(|info| info.get().contains("1.2.3")), "{server:?}");
        assert!(server.has("tools") && server.has("completions") && !server.has("experimental"));
        for _ in 0..3 {
            assert_eq!(text(call(&app, &target, "echo", json!({ "a": 1 })).await), r#"{"a":1}"#);
        }
        assert_eq!(upstream.seen_of("server/discover").len(), 1, "{speaks:?} {way:?}");
        let handshakes = usize::from(server.revision.has_handshake());
        assert_eq!(upstream.seen_of("initialize").len(), handshakes, "{speaks:?} {way:?}");
        assert_eq!(upstream.seen_of("notifications/initialized").len(), handshakes, "{speaks:?} {way:?}");
    }
}

#[tokio::test]
async fn lists_have_all_pages() {
    let app = TestApp::start().await;
    for (speaks, way) in cells() {
        let upstream = McpUpstream::start(speaks, way).await;
        let target = target(&upstream);
        for (kind, least) in
            [(ItemKind::Tools, 20), (ItemKind::Prompts, 1), (ItemKind::Resources, 7), (ItemKind::ResourceTemplates, 1)]
        {
            let items = list(&app, &target, kind).await.expect("a list");
            assert!(items.len() >= least, "{speaks:?} {way:?} {kind:?}: {}", items.len());
            if kind == ItemKind::Tools {
                assert!(items[0].get().contains(r#""x-unknown":{"kept":[1,2.5,null]}"#), "{}", items[0]);
            }
        }
    }
}

#[tokio::test]
async fn failures_come_as_they_are() {
    let app = TestApp::start().await;
    for (speaks, way) in cells() {
        let upstream = McpUpstream::start(speaks, way).await;
        let target = target(&upstream);
        let Ok(Reply::Error(error)) = call(&app, &target, "fail", json!({})).await else { panic!("no error") };
        assert_eq!((error.code, &*error.message), (4711, "it failed as wanted"), "{speaks:?} {way:?}");
        assert_eq!(error.data, Some(json!({ "why": "because" })));
        let failed = result(call(&app, &target, "tool_error", json!({})).await);
        assert!(failed.get().contains(r#""isError":true"#), "{failed}");
        let Ok(Reply::Error(error)) = call(&app, &target, "nothing", json!({})).await else { panic!("no error") };
        assert_eq!(error.code, -32602);
    }
}

#[tokio::test]
async fn prompts_resources_and_completions_are_reached() {
    let app = TestApp::start().await;
    for (speaks, way) in cells() {
        let upstream = McpUpstream::start(speaks, way).await;
        let (target, silent) = (target(&upstream), Dialogue::silent());
        let params = json!({ "name": "greet", "arguments": { "who": "Ada" } });
        let prompt = result(exchange(&app, &target, "prompts/get", &params, &silent).await);
        assert!(prompt.get().contains("Greet Ada."), "{prompt}");
        let params = json!({ "uri": "note://3" });
        let resource = result(exchange(&app, &target, "resources/read", &params, &silent).await);
        assert!(resource.get().contains("the text of note://3"), "{resource}");
        let params = json!({ "uri": "other://3" });
        let Ok(Reply::Error(error)) = exchange(&app, &target, "resources/read", &params, &silent).await else {
            panic!("no error")
        };
        assert_eq!(error.code, revision_of(speaks).resource_not_found_code());
        let params = json!({ "ref": { "type": "ref/prompt", "name": "greet" }, "argument": { "name": "who", "value": "a" } });
        let completion = result(exchange(&app, &target, "completion/complete", &params, &silent).await);
        assert!(completion.get().contains(r#"["ada","alan"]"#), "{completion}");
    }
}

#[tokio::test]
async fn progress_and_logs_reach_the_caller() {
    let app = TestApp::start().await;
    for (speaks, way) in cells() {
        let upstream = McpUpstream::start(speaks, way).await;
        let target = target(&upstream);
        let (dialogue, mut heard) = talkative();
        let params = json!({ "name": "slow", "arguments": { "steps": 3 } });
        assert_eq!(text(exchange(&app, &target, "tools/call", &params, &dialogue).await), "slowly done");
        let params = json!({ "name": "log", "arguments": {} });
        assert_eq!(text(exchange(&app, &target, "tools/call", &params, &dialogue).await), "logged");
        drop(dialogue);
        let (mut progress, mut logs) = (Vec::new(), Vec::new());
        while let Some(said) = heard.next().await {
            match said {
                Said::Progress(said) => progress.push((said.progress, said.total, said.message)),
                Said::Log(said) => logs.push(said.get().to_owned()),
                other => panic!("{other:?}"),
            }
        }
        if way == Way::Events {
            let last = ("3".into(), Some("3".into()), Some(r#""step 3""#.into()));
            assert_eq!((progress.len(), progress.last()), (3, Some(&last)), "{speaks:?}");
        }
        assert!(logs.len() == 2 && logs[1].contains(r#"{"text":"large"}"#), "{speaks:?} {way:?}: {logs:?}");
        let levels = upstream.seen_of("logging/setLevel");
        assert_eq!(levels.len(), usize::from(revision_of(speaks).has_handshake()), "{speaks:?} {way:?}");
    }
}

#[tokio::test]
async fn nobody_is_told_what_nobody_wants() {
    let app = TestApp::start().await;
    for (speaks, way) in cells() {
        let upstream = McpUpstream::start(speaks, way).await;
        let target = target(&upstream);
        call(&app, &target, "slow", json!({ "steps": 1 })).await.expect("done");
        call(&app, &target, "log", json!({})).await.expect("done");
        for seen in upstream.seen_of("tools/call") {
            assert!(!seen.body.contains("progressToken") && !seen.body.contains("logLevel"), "{}", seen.body);
        }
    }
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_in_its_eras_manner() {
    let app = TestApp::start().await;
    for (speaks, way) in cells() {
        let upstream = McpUpstream::start(speaks, way).await;
        let target = target(&upstream);
        call(&app, &target, "echo", json!({})).await.expect("probed");
        let (ask, silent) = (Ask::call(&r#"{"name":"slow","arguments":{"steps":500}}"#), Dialogue::silent());
        let cancelled = ask.cancelled.clone();
        let (reply, ()) = tokio::join!(ask.send(&app, &target, &silent), async {
            eventually("it runs", SOON, async || (upstream.seen_of("tools/call").len() == 2).then_some(())).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            cancelled.cancel();
        });
        assert_eq!(reply.err(), Some(UpstreamError::Cancelled), "{speaks:?} {way:?}");
        eventually("the upstream has hung up or knows", SOON, async || {
            let said = if revision_of(speaks).has_handshake() { upstream.cancelled() } else { upstream.hung_up() };
            (said == 1).then_some(())
        })
        .await;
    }
}

/// Answers every question with the same, until nothing can come any more.
async fn answer_all(heard: &mut Heard, answer: &str) -> Vec<String> {
    let mut methods = Vec::new();
    while let Some(said) = heard.next().await {
        if let Said::Question(question) = said {
            methods.push(question.method);
            let answer = serde_json::value::RawValue::from_string(answer.to_owned()).expect("JSON");
            question.answer.send(Ok(answer)).expect("somebody waits");
        }
    }
    methods
}

#[tokio::test]
async fn questions_are_asked_and_answered() {
    let app = TestApp::start().await;
    for (speaks, way) in cells() {
        let upstream = McpUpstream::start(speaks, way).await;
        let target = target(&upstream);
        for (tool, method) in [("ask", "elicitation/create"), ("sample", "sampling/createMessage"), ("roots", "roots/list")] {
            let answer = r#"{"action":"accept","content":{"name":"Ada"}}"#;
            let (dialogue, mut heard) = talkative();
            let params = json!({ "name": tool, "arguments": {} });
            if revision_of(speaks).has_handshake() {
                let asked = async {
                    let reply = exchange(&app, &target, "tools/call", &params, &dialogue).await;
                    drop(dialogue);
                    reply
                };
                let (reply, methods) = tokio::join!(asked, answer_all(&mut heard, answer));
                let said: Value = serde_json::from_str(&text(reply)).expect("JSON");
                assert_eq!((said, methods), (serde_json::from_str(answer).expect("JSON"), vec![method.to_owned()]));
            } else {
                let reply = exchange(&app, &target, "tools/call", &params, &dialogue).await;
                let Ok(Reply::InputRequired(InputRequired { requests: Some(requests), state })) = reply else {
                    panic!("{reply:?}")
                };
                assert!(requests.get().contains(method), "{requests}");
                let responses = format!(r#"{{"answer":{answer}}}"#);
                let responses = serde_json::value::RawValue::from_string(responses).expect("JSON");
                let ask = Ask { input: Some(Retry { responses: Some(responses), state }), ..Ask::call(&params) };
                let reply = ask.send(&app, &target, &dialogue).await;
                let said: Value = serde_json::from_str(&text(reply)).expect("JSON");
                assert_eq!(said, serde_json::from_str::<Value>(answer).expect("JSON"), "{speaks:?} {way:?}");
            }
        }
    }
}

#[tokio::test]
async fn m_15_questions_that_nobody_offered_to_answer_are_refused() {
    let app = TestApp::start().await;
    for (speaks, way) in cells() {
        let upstream = McpUpstream::start(speaks, way).await;
        let target = target(&upstream);
        for tool in ["ask", "sample", "roots", "odd_request"] {
            let (dialogue, mut heard) = Dialogue::open(listener("{}"));
            let params = json!({ "name": tool, "arguments": {} });
            let reply = exchange(&app, &target, "tools/call", &params, &dialogue).await;
            drop(dialogue);
            assert!(heard.next().await.is_none(), "{speaks:?} {way:?} {tool}: nobody is asked");
            match reply {
                Ok(Reply::Result(result)) => assert!(result.get().contains("-32601"), "{speaks:?} {tool}: {result}"),
                Ok(Reply::Error(error)) => assert!(matches!(error.code, -32021 | -32602), "{speaks:?} {tool}: {error:?}"),
                other => panic!("{speaks:?} {way:?} {tool}: {other:?}"),
            }
        }
        assert!(upstream.sessions().values().all(|session| session.capabilities == json!({})));
        for seen in upstream.seen_of("tools/call") {
            let declared = &seen.json["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
            assert!(declared.is_null() || *declared == json!({}), "{declared}");
        }
    }
}

#[tokio::test]
async fn a_question_stops_the_clock_of_its_call() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(Speaks::Only(Revision::V2025_11_25), Way::Events).await;
    let mut target = target(&upstream);
    call(&app, &target, "echo", json!({})).await.expect("probed");
    target.deadline = Duration::from_millis(600);
    let (dialogue, mut heard) = talkative();
    let params = json!({ "name": "ask_twice", "arguments": {} });
    let asked = async {
        let reply = exchange(&app, &target, "tools/call", &params, &dialogue).await;
        drop(dialogue);
        reply
    };
    let slowly = async {
        let mut answered = 0;
        while let Some(said) = heard.next().await {
            if let Said::Question(question) = said {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let answer = serde_json::value::RawValue::from_string(r#"{"action":"decline"}"#.to_owned()).expect("JSON");
                question.answer.send(Ok(answer)).expect("somebody waits");
                answered += 1;
            }
        }
        answered
    };
    let (reply, answered) = tokio::join!(asked, slowly);
    assert_eq!((text(reply).as_str(), answered), (r#"[{"action":"decline"},{"action":"decline"}]"#, 2));
}
