//! What a collector gets beside traces: the numbers of `/metrics`, and the log, whose lines name the trace of their call.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    common::v1::any_value::Value as Any,
    logs::v1::LogRecord,
    metrics::v1::{Metric, metric::Data, number_data_point::Value as Number},
};
use serde_json::{Value, json};
use trunkline::services::free_port;

use super::exposition;
use crate::support::{
    Agent, Era, Replica, SOON, SPOOL_DIR, TestApp,
    collector::{Collector, Manner, attributes},
    eventually, full, http,
    private::Folder,
    tools,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// An echo that belongs to a trace which its caller does not keep.
async fn echo(agent: &Agent) {
    let meta = json!({ "traceparent": format!("00-{TRACE}-b7ad6b7169203331-00") });
    let params = json!({ "name": "echo", "arguments": { "text": "x" }, "_meta": meta });
    let answer = agent.send(Era::Stateless, "tools/call", params).await;
    assert!(answer.is_ok(), "{}", answer.text);
}

/// The sum of that name, by status.
fn sums(metrics: &[Metric], name: &str) -> BTreeMap<String, i64> {
    let found = metrics.iter().find(|metric| metric.name == name).and_then(|metric| metric.data.clone());
    let Some(Data::Sum(sum)) = found else { return BTreeMap::new() };
    assert!(sum.is_monotonic && sum.aggregation_temporality == 2, "{sum:?}");
    let points = sum.data_points.into_iter().map(|point| {
        assert!(point.start_time_unix_nano > 0 && point.time_unix_nano >= point.start_time_unix_nano, "{point:?}");
        let Some(Number::AsInt(value)) = point.value else { panic!("{point:?}") };
        (attributes(&point.attributes).remove("status").unwrap_or_default(), value)
    });
    points.collect()
}

#[tokio::test]
async fn the_collector_is_told_the_numbers_that_prometheus_could_read() {
    let collector = Collector::start(Manner::Takes).await;
    let app = TestApp::builder().set("TELEMETRY_OTLP_ENDPOINT", collector.url()).set("TELEMETRY_METRICS_S", 1).start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    for _ in 0..3 {
        echo(&agent).await;
    }
    let metrics = eventually("three calls are told", SOON, async || {
        let metrics = collector.metrics();
        (sums(&metrics, "mcp_tool_calls").get("ok") == Some(&3)).then_some(metrics)
    })
    .await;
    let text = http().get(format!("{}/metrics", app.ops_url)).send().await.expect("an answer").text().await.expect("text");
    let mut exported: BTreeSet<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    // Found out by this question, and told with the next numbers.
    assert!(exported.remove("trunkline_not_ready"), "{exported:?}");
    assert!(!exposition::read(&text).metrics.is_empty());
    assert_eq!(metrics.iter().map(|metric| metric.name.as_str()).collect::<BTreeSet<_>>(), exported);
    let Some(Data::Histogram(seconds)) =
        metrics.iter().find(|metric| metric.name == "mcp_tool_call_duration_seconds").and_then(|metric| metric.data.clone())
    else {
        panic!("{metrics:?}")
    };
    let point = &seconds.data_points[0];
    assert_eq!((point.count, point.bucket_counts.iter().sum::<u64>()), (3, 3), "{point:?}");
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
}

fn text(line: &LogRecord) -> &str {
    match line.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(Any::StringValue(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[tokio::test]
async fn lines_of_a_call_name_its_trace_in_the_log_and_at_the_collector() {
    let collector = Collector::start(Manner::Takes).await;
    let app = TestApp::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let folder = Folder::new("log");
    let printed = File::create(folder.0.join("log")).expect("a file");
    let spool = folder.0.join("spool").display().to_string();
    let settings = [
        (SPOOL_DIR, &*spool),
        ("TRUNKLINE_TELEMETRY_OTLP_ENDPOINT", &*collector.url()),
        ("TRUNKLINE_LOG_LEVEL", "info,trunkline_web=debug"),
        ("TRUNKLINE_LOG_FORMAT", "json"),
    ];
    let replica = Replica::start_telling(&app, free_port().expect("a port"), &settings, Some(&printed)).await;
    echo(&agent.at(&format!("{}/t/acme/mcp", replica.url))).await;

    let line = eventually("the line of that call", SOON, async || {
        collector.lines().into_iter().find(|line| hex(&line.trace_id) == TRACE)
    })
    .await;
    let fields = attributes(&line.attributes);
    assert_eq!((text(&line), line.severity_number, line.severity_text.as_str()), ("answered", 5, "DEBUG"));
    assert_eq!((fields["trace.id"].as_str(), fields["http.request.method"].as_str()), (TRACE, "POST"));
    assert!(!fields["request.id"].is_empty() && !fields["jsonrpc.id"].is_empty(), "{fields:?}");
    replica.stop();
    let log = std::fs::read_to_string(folder.0.join("log")).expect("the log");
    let lines: Vec<Value> =
        log.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let same = lines.iter().find(|line| line["span"]["trace.id"] == TRACE).expect("a line of that call");
    assert_eq!((&same["message"], &same["span"]["request.id"]), (&json!("answered"), &json!(fields["request.id"])));
    // The last words too.
    let told: BTreeSet<_> = collector.lines().iter().map(|line| text(line).to_owned()).collect();
    assert!(lines.iter().filter(|line| line["level"] == "INFO").count() > 0 && told.len() > 1, "{told:?}");
}

#[tokio::test]
async fn a_collector_that_hangs_slows_neither_calls_nor_the_end() {
    let collector = Collector::start(Manner::Hangs).await;
    let app = TestApp::builder().unlimited().start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let folder = Folder::new("spool");
    let spool = folder.0.display().to_string();
    let settings = [
        (SPOOL_DIR, &*spool),
        ("TRUNKLINE_TELEMETRY_OTLP_ENDPOINT", &*collector.url()),
        ("TRUNKLINE_TELEMETRY_METRICS_S", "1"),
        ("TRUNKLINE_LOG_LEVEL", "info,trunkline_web=debug"),
    ];
    let replica = Replica::start_with(&app, free_port().expect("a port"), &settings).await;
    let there = agent.at(&format!("{}/t/acme/mcp", replica.url));
    let before = replica.memory();
    let asked = Instant::now();
    let calls = if full() { 10_000 } else { 500 };
    for _ in 0..calls {
        echo(&there).await;
    }
    // Who waited for the collector would wait for five seconds, or for as long as a batch is gathered.
    assert!(asked.elapsed() < Duration::from_millis(500) * calls, "{:?}", asked.elapsed());
    assert!(replica.memory() < before + (32 << 20), "what waits is bounded");
    let ended = Instant::now();
    replica.stop();
    assert!(ended.elapsed() < Duration::from_secs(15), "{:?}", ended.elapsed());
}
