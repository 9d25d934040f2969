//! What leaves: our headers and nobody else's, the secret to its URL, arguments mirrored as the schema says.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use trunkline_platform::{
    dialogue::Dialogue,
    upstream::{Reply, TraceContext, UpstreamError},
};
use trunkline_protocol::mcp::{Revision, mirrored::mirrored};

use super::{Ask, call, cells, exchange, revision_of, talkative, target, text, with_secret};
use crate::support::{
    TestApp,
    mcp_upstream::{McpUpstream, Speaks, Way, region_schema},
};

#[tokio::test]
async fn only_our_headers_leave() {
    let app = TestApp::start().await;
    for (speaks, way) in cells() {
        let upstream = McpUpstream::start(speaks, way).await;
        let target = with_secret(target(&upstream), "upstream-secret");
        let (dialogue, _heard) = talkative();
        let params = json!({ "name": "echo", "arguments": {}, "_meta": { "io.modelcontextprotocol/clientInfo": { "name": "caller-canary" } } });
        exchange(&app, &target, "tools/call", &params, &dialogue).await.expect("an answer");
        let known = BTreeSet::from([
            "accept",
            "accept-encoding",
            "content-length",
            "content-type",
            "host",
            "mcp-method",
            "mcp-name",
            "mcp-protocol-version",
            "mcp-session-id",
            "user-agent",
            "x-api-key",
        ]);
        let probe = upstream.seen_of("server/discover").len();
        for seen in upstream.seen() {
            let unknown: Vec<_> = seen.headers.keys().filter(|name| !known.contains(name.as_str())).collect();
            assert!(unknown.is_empty(), "{speaks:?} {way:?}: {unknown:?}");
            assert_eq!(seen.header("x-api-key"), Some("upstream-secret"));
            assert!(!seen.body.contains("caller-canary"), "{}", seen.body);
        }
        assert_eq!(probe, 1);
        let sent = upstream.seen_of("tools/call").remove(0);
        let meta = &sent.json["params"]["_meta"];
        let revision = revision_of(speaks);
        if revision.has_handshake() {
            let version = revision.has_version_header().then_some(revision.as_str());
            assert_eq!((sent.header("mcp-protocol-version"), sent.header("mcp-method")), (version, None));
        } else {
            assert_eq!((sent.header("mcp-method"), sent.header("mcp-name")), (Some("tools/call"), Some("echo")));
            assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "trunkline");
            let can = json!({ "elicitation": {}, "sampling": {}, "roots": {} });
            assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], can, "no extensions of the caller");
            assert_eq!(meta["io.modelcontextprotocol/logLevel"], "debug");
        }
        assert_eq!(meta["progressToken"], sent.json["id"]);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(Speaks::Both, Way::Json).await;
    let target = with_secret(target(&upstream), "upstream-secret");
    upstream.answer_with(Some(307));
    assert_eq!(call(&app, &target, "echo", json!({})).await.err(), Some(UpstreamError::Status(307)));
}

#[tokio::test]
async fn arguments_are_mirrored_as_the_schema_says() {
    let app = TestApp::start().await;
    let mirrored = mirrored(&region_schema()).expect("sound annotations");
    for way in [Way::Json, Way::Events] {
        let upstream = McpUpstream::start(Speaks::Only(Revision::V2026_07_28), way).await;
        let target = target(&upstream);
        for (arguments, headers) in [
            (json!({ "region": "eu", "count": 3, "deep": { "flag": true } }), vec!["region: eu", "count: 3", "flag: true"]),
            (json!({ "region": "Ünï ", "count": -7, "plain": "x" }), vec!["region: =?base64?w5xuw68g?=", "count: -7"]),
            (json!({ "region": null, "deep": { "flag": false } }), vec!["flag: false"]),
            (json!({ "region": "a\r\nEvil: 1" }), vec!["region: =?base64?YQ0KRXZpbDogMQ==?="]),
            (json!({}), vec![]),
        ] {
            let params = json!({ "name": "region", "arguments": arguments });
            let ask = Ask { mirrored: mirrored.clone(), ..Ask::call(&params) };
            let reply = ask.send(&app, &target, &Dialogue::silent()).await;
            assert_eq!(text(reply), "the headers fit", "{arguments}");
            let sent = upstream.seen_of("tools/call").pop().expect("a call");
            let mirrored: BTreeSet<_> = sent
                .headers
                .iter()
                .filter_map(|(name, value)| Some(format!("{}: {value}", name.strip_prefix("mcp-param-")?)))
                .collect();
            assert_eq!(mirrored, headers.into_iter().map(str::to_owned).collect(), "{arguments}");
        }
    }
}

#[tokio::test]
async fn names_that_headers_cannot_carry_are_encoded() {
    let app = TestApp::start().await;
    let upstream = McpUpstream::start(Speaks::Only(Revision::V2026_07_28), Way::Json).await;
    let target = target(&upstream);
    for uri in ["note://ä", "note:// x ", "note://a\r\nEvil: 1"] {
        let reply = exchange(&app, &target, "resources/read", &json!({ "uri": uri }), &Dialogue::silent()).await;
        assert!(matches!(reply, Ok(Reply::Result(_))), "{uri:?}: {reply:?}");
    }
}

#[tokio::test]
async fn trace_context_travels() {
    let app = TestApp::start().await;
    for (speaks, way) in cells() {
        let upstream = McpUpstream::start(speaks, way).await;
        let target = target(&upstream);
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = TraceContext { traceparent: traceparent.to_owned(), tracestate: Some("a=b".to_owned()) };
        let params = r#"{"name":"echo","arguments":{},"_meta":{"traceparent":"caller-canary"}}"#;
        let reply = Ask { trace: Some(trace), ..Ask::call(&params) }.send(&app, &target, &Dialogue::silent()).await;
        assert_eq!(text(reply), "{}");
        let sent = upstream.seen_of("tools/call").remove(0);
        assert_eq!((sent.header("traceparent"), sent.header("tracestate")), (Some(traceparent), Some("a=b")));
        let in_body = &sent.json["params"]["_meta"]["traceparent"];
        let expected = if revision_of(speaks).has_handshake() { Value::Null } else { json!(traceparent) };
        assert_eq!(*in_body, expected, "{speaks:?} {way:?}");
    }
}
