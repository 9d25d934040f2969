//! M-42: one trace for each request of a user, from the caller through us to whoever is asked; told to a collector that nobody waits for.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};
use trunkline_platform::catalog::{Executor, FunctionTool, HttpMethod, NewVersion, Origin, Place};
use trunkline_protocol::mcp::Revision;

use crate::support::{
    Agent, Answer, Builder, Era, SOON, TestApp, Upstream,
    collector::{Collector, Manner, attributes},
    eventually,
    mcp_upstream::{McpUpstream, Speaks, Way},
    process, tools,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// `traceparent` in its parts: trace, span, flags.
fn parts(traceparent: &str) -> [&str; 3] {
    let parts: Vec<_> = traceparent.split('-').collect();
    let ["00", trace, span, flags] = parts[..] else { panic!("{traceparent}") };
    [trace, span, flags]
}

/// A header of a head.
fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn told_to(collector: &Collector, ratio: &str) -> Builder {
    TestApp::builder().set("TELEMETRY_OTLP_ENDPOINT", collector.url()).set("TELEMETRY_SAMPLE_RATIO", ratio)
}

async fn call(agent: &Agent, era: Era, tool: &str, arguments: Value, meta: Value) -> Answer {
    agent.send(era, "tools/call", json!({ "name": tool, "arguments": arguments, "_meta": meta })).await
}

/// The span of that tool's call and its children, by their names.
async fn told(collector: &Collector, tool: &str) -> (Span, BTreeMap<String, Vec<Span>>) {
    eventually("spans", SOON, async || {
        let spans = collector.spans();
        let server = spans.iter().find(|span| span.name == format!("tools/call {tool}"))?.clone();
        let mut children = BTreeMap::<_, Vec<_>>::new();
        for span in spans.into_iter().filter(|span| span.parent_span_id == server.span_id) {
            children.entry(span.name.clone()).or_default().push(span);
        }
        Some((server, children))
    })
    .await
}

async fn trace_ids(app: &TestApp) -> BTreeMap<String, Option<String>> {
    let rows = eventually("the record", SOON, async || {
        let rows: Vec<(String, Option<String>)> =
            sqlx::query_as("SELECT tool_name, trace_id FROM app.calls").fetch_all(&mut app.sql().await).await.expect("rows");
        (!rows.is_empty()).then_some(rows)
    });
    rows.await.into_iter().collect()
}

fn function(upstream: &Upstream) -> NewVersion {
    let function = FunctionTool {
        code: "export default async ({ base }) => { await fetch(base + '/json'); return 'done'; }".to_owned(),
        input_schema: json!({ "type": "object" }),
        hosts: vec![Origin::parse(&upstream.url("")).expect("a host")],
        secret_header: None,
        timeout_ms: 5000,
        keep_logs: false,
    };
    NewVersion { executor: Executor::Function(function), ..tools::echo() }
}

#[tokio::test]
async fn one_request_is_one_trace_from_the_caller_to_the_upstream() {
    process::binary();
    let (collector, upstream) = (Collector::start(Manner::Takes).await, Upstream::start().await);
    let [modern, legacy] = [Speaks::Only(Revision::V2026_07_28), Speaks::Only(Revision::V2025_11_25)]
        .map(|speaks| McpUpstream::start(speaks, Way::Json));
    let (modern, legacy) = (modern.await, legacy.await);
    let app = told_to(&collector, "0").set("TELEMETRY_HEADERS", "x-api-key=header-canary").start().await;
    let acme = app.tenant("acme").await;
    let of = [("q", Place::Query)];
    let secret = tools::with_secret("x-secret", "secret-canary", tools::http(HttpMethod::Get, &upstream.url("/slow/50"), &of));
    acme.tool("plain", secret).await;
    acme.tool("broken", tools::get(&upstream.url("/status/503"))).await;
    acme.tool("code", function(&upstream)).await;
    acme.source("modern", &modern.url()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let meta = json!({ "traceparent": traceparent("01"), "tracestate": "vendor=state", "baggage": "user=baggage-canary" });

    let answer = call(&agent, Era::Stateless, "plain", json!({ "q": "argument-canary" }), meta.clone()).await;
    assert!(answer.is_ok(), "{}", answer.text);
    let (server, children) = told(&collector, "plain").await;
    assert_eq!((hex(&server.trace_id).as_str(), hex(&server.parent_span_id).as_str()), (TRACE, PARENT));
    assert_eq!((server.kind, server.flags & 0x3ff, server.trace_state.as_str()), (2, 0x301, "vendor=state"));
    let names: BTreeSet<_> = children.keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(["GET", "admission", "auth", "record"]));
    // What the upstream was told is the span of just that request.
    let seen = upstream.seen().into_iter().find(|seen| seen.line.starts_with("GET /slow")).expect("a request");
    let [trace, span, flags] = parts(header(&seen.head, "traceparent").expect("a trace"));
    assert_eq!((trace, span, flags), (TRACE, hex(&children["GET"][0].span_id).as_str(), "01"));
    assert_eq!((header(&seen.head, "tracestate"), header(&seen.head, "baggage")), (Some("vendor=state"), None));
    for child in children.values().flatten() {
        assert!(child.start_time_unix_nano >= server.start_time_unix_nano, "{child:?} in {server:?}");
        assert!(child.end_time_unix_nano <= server.end_time_unix_nano, "{child:?} in {server:?}");
    }
    let get = &children["GET"][0];
    assert!(get.end_time_unix_nano - get.start_time_unix_nano >= 50_000_000, "{get:?}");
    let port = upstream.addr.port().to_string();
    let expected = [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("server.address", "127.0.0.1"),
        ("server.port", &port),
    ];
    assert_eq!(attributes(&get.attributes), expected.map(|(key, text)| (key.to_owned(), text.to_owned())).into());
    let said = attributes(&server.attributes);
    let (agent_id, tenant_id) = (agent.id.to_string(), acme.id.to_string());
    for (key, text) in [
        ("gen_ai.operation.name", "execute_tool"),
        ("gen_ai.tool.name", "plain"),
        ("mcp.agent.id", &agent_id),
        ("mcp.client.name", "suite"),
        ("mcp.method.name", "tools/call"),
        ("mcp.protocol.version", "2026-07-28"),
        ("mcp.result", "ok"),
        ("trunkline.tenant.id", &tenant_id),
    ] {
        assert_eq!(said.get(key).map(String::as_str), Some(text), "{key}: {said:?}");
    }
    assert_eq!(collector.resource()["service.name"], "trunkline");

    // An upstream's failure is an error of both; several requests are several spans.
    call(&agent, Era::Stateless, "broken", json!({}), meta.clone()).await;
    let (server, children) = told(&collector, "broken").await;
    assert_eq!(attributes(&server.attributes)["error.type"], "upstream_status");
    assert_eq!(attributes(&children["GET"][0].attributes)["error.type"], "503");
    assert!([&server, &children["GET"][0]].into_iter().all(|span| span.status.as_ref().is_some_and(|status| status.code == 2)));

    // A function's own requests.
    let answer = call(&agent, Era::Handshake, "code", json!({ "base": upstream.url("") }), meta.clone()).await;
    assert!(answer.is_ok(), "{}", answer.text);
    let (_, children) = told(&collector, "code").await;
    let seen = upstream.seen().into_iter().find(|seen| seen.line == "GET /json").expect("a request");
    assert_eq!(parts(header(&seen.head, "traceparent").expect("a trace"))[1], hex(&children["GET"][0].span_id));

    // MCP servers, in the body where their era has it there.
    let tool = json!({ "text": "argument-canary" });
    let answer = call(&agent, Era::Stateless, "echo", tool.clone(), meta.clone()).await;
    assert!(answer.is_ok(), "{}", answer.text);
    let (_, children) = told(&collector, "echo").await;
    let seen = modern.seen_of("tools/call").pop().expect("a call");
    let sent = seen.header("traceparent").expect("a trace").to_owned();
    assert_eq!((seen.json["params"]["_meta"]["traceparent"].as_str(), parts(&sent)[0]), (Some(sent.as_str()), TRACE));
    assert!(children["POST"].iter().any(|span| hex(&span.span_id) == parts(&sent)[1]), "{sent}: {children:?}");
    assert!(seen.json["params"]["_meta"].get("baggage").is_none() && seen.header("baggage").is_none());
    let beta = app.tenant("beta").await;
    beta.source("legacy", &legacy.url()).await;
    let other = beta.agent("agent", "tools:read").await;
    // The header of an HTTP request is as good.
    let request = other.message(Era::Handshake, "tools/call", json!({ "name": "slow", "arguments": {} }), "application/json");
    let answer = Answer::read(request.header("traceparent", traceparent("01")).send().await.expect("an answer")).await;
    assert!(answer.is_ok(), "{}", answer.text);
    let (server, children) = told(&collector, "slow").await;
    assert_eq!(hex(&server.parent_span_id), PARENT);
    let seen = legacy.seen_of("tools/call").pop().expect("a call");
    let sent = parts(seen.header("traceparent").expect("a trace"));
    assert!(children["POST"].iter().any(|span| hex(&span.span_id) == sent[1]), "{sent:?}: {children:?}");

    // A word of the caller's that is no tool is in no span.
    call(&agent, Era::Stateless, "name-canary", json!({}), meta).await;
    eventually("the refused call", SOON, async || collector.spans().iter().any(|span| span.name == "tools/call").then_some(()))
        .await;
    let ids: BTreeSet<_> = collector.spans().iter().map(|span| span.span_id.clone()).collect();
    assert_eq!(ids.len(), collector.spans().len(), "each span has an id of its own");
    assert!(trace_ids(&app).await.values().all(|id| id.as_deref() == Some(TRACE)), "{:?}", trace_ids(&app).await);
    let key = |head: &String| head.contains("x-api-key: header-canary") && head.starts_with("post /v1/traces ");
    assert!(collector.heads().iter().all(key), "{:?}", collector.heads());
    let sent = String::from_utf8_lossy(&collector.raw()).replace("header-canary", "");
    for canary in ["canary", "/slow", "/status", "q=", &agent.key] {
        assert!(!sent.contains(canary), "{canary} in {sent}");
    }
    assert_eq!(app.counted("trunkline_spans_exported").await, collector.spans().len() as u64);
    assert_eq!(app.counted("trunkline_spans_dropped").await, 0);
}

#[tokio::test]
async fn the_caller_decides_what_is_kept_and_without_one_the_share_does() {
    let (collector, upstream) = (Collector::start(Manner::Takes).await, Upstream::start().await);
    let sent = |nth: usize| upstream.seen()[nth].head.clone();
    let ok = async |agent: &Agent, meta: Value| {
        let answer = call(agent, Era::Stateless, "plain", json!({}), meta).await;
        assert!(answer.is_ok(), "{}", answer.text);
    };
    // None of ours, and what its caller does not keep goes on as it came.
    let app = told_to(&collector, "0").start().await;
    let acme = app.tenant("acme").await;
    acme.tool("plain", tools::get(&upstream.url("/plain"))).await;
    let agent = acme.agent("agent", "tools:read").await;
    ok(&agent, json!({})).await;
    assert_eq!(parts(header(&sent(0), "traceparent").expect("a trace"))[2], "00");
    ok(&agent, json!({ "traceparent": traceparent("00") })).await;
    assert_eq!(header(&sent(1), "traceparent"), Some(traceparent("00").as_str()));
    // All of ours.
    let all = app.with_settings(&[("TELEMETRY_SAMPLE_RATIO", "1")]).await;
    let ours = agent.at(&agent.url.replace(&app.url, &all.url));
    ok(&ours, json!({ "traceparent": traceparent("00") })).await;
    assert_eq!(header(&sent(2), "traceparent"), Some(traceparent("00").as_str()));
    ok(&ours, json!({ "traceparent": "00-nonsense" })).await;
    let begun = sent(3);
    let [trace, span, flags] = parts(header(&begun, "traceparent").expect("a trace"));
    let (server, children) = told(&collector, "plain").await;
    assert_eq!((hex(&server.trace_id).as_str(), server.parent_span_id.len(), flags), (trace, 0, "01"));
    assert_eq!(hex(&children["GET"][0].span_id), span);
    assert_eq!(collector.spans().iter().filter(|span| span.name.starts_with("tools/call")).count(), 1, "and of no other call");
    eventually("its id in the record", SOON, async || {
        let found: Option<i64> = sqlx::query_scalar("SELECT count(*) FROM app.calls WHERE trace_id = $1 HAVING count(*) = 1")
            .bind(trace)
            .fetch_optional(&mut app.sql().await)
            .await
            .expect("rows");
        found
    })
    .await;
    // Without a collector a caller's trace goes on, and none begins.
    let none = app.with_settings(&[("TELEMETRY_OTLP_ENDPOINT", "")]).await;
    let untold = agent.at(&agent.url.replace(&app.url, &none.url));
    ok(&untold, json!({})).await;
    ok(&untold, json!({ "traceparent": traceparent("01") })).await;
    assert_eq!(header(&sent(4), "traceparent"), None);
    assert_eq!(header(&sent(5), "traceparent"), Some(traceparent("01").as_str()));
}

#[tokio::test]
async fn f_41_a_collector_that_misbehaves_costs_calls_nothing() {
    let collector = Collector::start(Manner::Hangs).await;
    let app = told_to(&collector, "1").unlimited().start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let slowest = async |agent: &Agent| {
        let mut slowest = Duration::ZERO;
        for _ in 0..10 {
            let began = Instant::now();
            assert!(agent.echo("text").await.is_ok());
            slowest = slowest.max(began.elapsed());
        }
        slowest
    };
    let dropped = async |app: &TestApp, least: u64| {
        eventually("spans are dropped", SOON * 3, async || {
            Some(app.counted("trunkline_spans_dropped").await).filter(|count| *count >= least)
        })
        .await
    };
    // Far less than the five seconds after which a request to it is given up.
    let hanging = slowest(&agent).await;
    assert!(hanging < Duration::from_secs(3), "{hanging:?}");
    eventually("it is asked", SOON, async || (!collector.heads().is_empty()).then_some(())).await;
    assert!(slowest(&agent).await < Duration::from_secs(3));
    // What it refuses for good is dropped at once, and counted.
    collector.behave(Manner::Status(400));
    let before = dropped(&app, 1).await;
    assert!(slowest(&agent).await < Duration::from_secs(3));
    dropped(&app, before + 40).await;
    // What it may take later is tried again; an answer that is none is taken for a yes.
    collector.behave(Manner::Status(503));
    let asked = collector.heads().len();
    assert!(agent.echo("again").await.is_ok());
    eventually("it is asked again", SOON, async || (collector.heads().len() >= asked + 2).then_some(())).await;
    collector.behave(Manner::Takes);
    eventually("the same batch", SOON, async || (!collector.spans().is_empty()).then_some(())).await;
    eventually("it is counted", SOON, async || (app.counted("trunkline_spans_exported").await == 4).then_some(())).await;
    collector.behave(Manner::Refuses(1_000_000));
    let (before, taken) = (app.counted("trunkline_spans_dropped").await, app.counted("trunkline_spans_exported").await);
    assert!(agent.echo("refused").await.is_ok());
    assert_eq!(dropped(&app, before + 1).await, before + 4, "no more than there were");
    assert_eq!(app.counted("trunkline_spans_exported").await, taken);
    collector.behave(Manner::Lies);
    assert!(agent.echo("lied").await.is_ok());
    eventually("they count as taken", SOON, async || (app.counted("trunkline_spans_exported").await == taken + 4).then_some(()))
        .await;
    // It is gone.
    drop(collector);
    assert!(slowest(&agent).await < Duration::from_secs(3));
    dropped(&app, before + 44).await;
}

#[tokio::test]
async fn what_waits_is_sent_when_the_process_stops() {
    let collector = Collector::start(Manner::Takes).await;
    let app = told_to(&collector, "1").start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    assert!(acme.agent("agent", "tools:read").await.echo("last words").await.is_ok());
    drop(app);
    assert!(collector.spans().iter().any(|span| span.name == "tools/call echo"));
}
