//! What operators are given in `deploy/`: rules, their tests and a dashboard, which know what replicas export and nothing else.
//!
//! Each check is a function from texts to complaints, and is shown a fault first.

mod collector;
mod exposition;
mod promql;
mod trouble;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};
use trunkline_platform::call::Outcome;

use self::exposition::Exported;
use crate::support::{Era, SOON, TestApp, eventually, http, tools};

/// What Prometheus itself adds: whether and how fast it was answered, and what its rules say.
const OF_PROMETHEUS: &[&str] = &["up", "scrape_duration_seconds", "ALERTS"];

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("deploy")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(deploy().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn dashboard() -> Value {
    serde_json::from_str(&read("grafana/trunkline.json")).expect("JSON")
}

/// What a replica exports after a call that went well and one that was refused.
async fn exported() -> Exported {
    let app = TestApp::builder().start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    assert!(agent.echo("text").await.is_ok());
    assert!(!agent.call(Era::Stateless, "nosuch", json!({})).await.is_ok());
    let text = eventually("both calls are counted", SOON, async || {
        let answer = http().get(format!("{}/metrics", app.ops_url)).send().await.expect("an answer");
        let text = answer.text().await.expect("text");
        let are_counted = ["ok", "denied"].iter().all(|status| text.contains(&format!("calls_total{{status=\"{status}\"}} 1")));
        are_counted.then_some(text)
    });
    exposition::read(&text.await)
}

#[tokio::test]
async fn readme_rules_and_dashboard_name_what_is_exported() {
    let exported = exported().await;
    assert_eq!(exposition::documented(&read("README.md")), exported.metrics, "the table of metrics in deploy/README.md");

    let rules = read("prometheus/rules.yaml");
    let recorded = named(&rules, "record");
    let known: BTreeSet<&str> =
        exported.samples.iter().map(String::as_str).chain(recorded).chain(OF_PROMETHEUS.iter().copied()).collect();
    let fault = [r#"rate(trunkline_nonsense_total{status="well"}[5m]) > 0"#.to_owned()];
    assert_eq!(unknown(&fault, &known), ["no metric trunkline_nonsense_total", "no outcome well"]);

    let ruled = expressions(&rules);
    assert_eq!(ruled.len(), rules.matches("- record: ").count() + rules.matches("- alert: ").count());
    assert_eq!(unknown(&ruled, &known), [""; 0], "in rules.yaml");
    let shown = queries(&dashboard());
    assert_eq!(unknown(&shown, &known), [""; 0], "in trunkline.json");

    // A metric that nobody looks at tells nobody anything.
    let seen: BTreeSet<String> = shown.iter().flat_map(|query| promql::metrics(query)).collect();
    let unseen = exported.metrics.keys().filter(|name| !seen.iter().any(|seen| seen.starts_with(name.as_str())));
    assert_eq!(unseen.collect::<Vec<_>>(), [""; 0], "not on the dashboard");
}

#[test]
fn each_alert_says_what_to_do_and_is_played() {
    let incomplete = "      - alert: Bare\n        expr: up == 0\n        labels: {severity: loud}\n";
    assert_eq!(unfinished(incomplete), ["Bare: for", "Bare: severity", "Bare: summary", "Bare: description"]);
    let half = "      - {alertname: Quiet, eval_time: 1m}\n      - alertname: Loud\n        eval_time: 1m\n        exp_alerts:\n";
    assert_eq!(unplayed(&["Quiet", "Loud"], half), ["Quiet never fires", "Loud is never quiet"]);

    let (rules, tests) = (read("prometheus/rules.yaml"), read("prometheus/rules_test.yaml"));
    let alerts = named(&rules, "alert");
    assert!(alerts.len() > 20, "{alerts:?}");
    assert_eq!(unfinished(&rules), [""; 0]);
    assert_eq!(unplayed(&alerts, &tests), [""; 0]);
}

#[test]
fn promtool_accepts_the_rules_and_their_tests() {
    assert!(!promtool(&["check", "rules", "prometheus.yaml"]).status.success(), "it takes anything for rules");
    for arguments in
        [["check", "config", "prometheus.yaml"], ["check", "rules", "rules.yaml"], ["test", "rules", "rules_test.yaml"]]
    {
        let output = promtool(&arguments);
        let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "promtool {arguments:?}: {said}{complained}");
    }
}

#[test]
fn panels_are_explained_and_take_the_data_source_that_is_chosen() {
    let fault = json!({ "panels": [{ "title": "Bare", "type": "stat", "datasource": { "uid": "abc" } }, { "type": "row" }] });
    assert_eq!(careless(&fault), ["Bare: description", "Bare: unit", "Bare: data source", "Bare: targets"]);
    let dashboard = dashboard();
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 20));
    assert_eq!(careless(&dashboard), [""; 0]);
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let names: Vec<_> = variables.iter().filter_map(|variable| variable["name"].as_str()).collect();
    assert_eq!(names, ["datasource", "job", "instance"]);
}

/// The names after `- kind: ` in rules.
fn named<'r>(rules: &'r str, kind: &str) -> Vec<&'r str> {
    rules.lines().filter_map(|line| line.trim_start().strip_prefix("- ")?.strip_prefix(kind)?.strip_prefix(": ")).collect()
}

/// The expressions of rules: on the line of their key, or indented below it.
fn expressions(rules: &str) -> Vec<String> {
    let (mut found, mut lines) = (Vec::new(), rules.lines().peekable());
    while let Some(line) = lines.next() {
        let Some(first) = line.trim_start().strip_prefix("expr: ") else { continue };
        let mut text = first.trim_start_matches('|').to_owned();
        while let Some(more) = lines.next_if(|more| first == "|" && indent(more) > indent(line)) {
            text.push_str(more);
            text.push('\n');
        }
        found.push(text);
    }
    found
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The queries of panels, and those that variables take their values from.
fn queries(dashboard: &Value) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let targets = list(&dashboard["panels"]).iter().flat_map(|panel| list(&panel["targets"])).collect::<Vec<_>>();
    let shown = targets.iter().map(|target| target["expr"].as_str().expect("a query").to_owned());
    let variables = list(&dashboard["templating"]["list"]);
    let asked = variables.iter().filter_map(|variable| variable["query"]["query"].as_str()?.strip_prefix("label_values("));
    let asked = asked.map(|query| query.rsplit_once(',').expect("a metric and a label").0.to_owned());
    shown.chain(asked).collect()
}

/// Metrics and outcomes that there are not.
fn unknown(expressions: &[String], known: &BTreeSet<&str>) -> Vec<String> {
    let metrics: BTreeSet<_> = expressions.iter().flat_map(|expression| promql::metrics(expression)).collect();
    let outcomes: BTreeSet<_> = expressions.iter().flat_map(|expression| promql::outcomes(expression)).collect();
    let metrics = metrics.iter().filter(|name| !known.contains(name.as_str())).map(|name| format!("no metric {name}"));
    let outcomes = outcomes.iter().filter(|word| Outcome::find(word).is_none()).map(|word| format!("no outcome {word}"));
    metrics.chain(outcomes).collect()
}

/// What alerts lack: how long it has to last, how loud it is, what to do first, what is the matter.
fn unfinished(rules: &str) -> Vec<String> {
    let wanted: [(&str, &[&str]); 4] = [
        ("for", &["        for: "]),
        ("severity", &["        labels: {severity: critical}", "        labels: {severity: warning}"]),
        ("summary", &["          summary: "]),
        ("description", &["          description: "]),
    ];
    let alerts = rules.split("      - alert: ").skip(1).map(|rule| (rule.lines().next().unwrap_or_default(), rule));
    let lacks = alerts.flat_map(|(name, rule)| {
        let lacking = wanted.iter().filter(|(_, keys)| !keys.iter().any(|key| rule.contains(key)));
        lacking.map(move |(what, _)| format!("{name}: {what}")).collect::<Vec<_>>()
    });
    lacks.collect()
}

/// Alerts that no test sees firing, or none sees quiet.
fn unplayed(alerts: &[&str], tests: &str) -> Vec<String> {
    let fires = |name: &str| {
        let begin = format!("- alertname: {name}\n");
        let mut cases = tests.split(begin.as_str()).skip(1);
        cases.any(|case| case.lines().nth(1).is_some_and(|line| line.trim() == "exp_alerts:"))
    };
    let is_quiet = |name: &str| tests.contains(&format!("- {{alertname: {name}, eval_time: "));
    let never = alerts.iter().filter(|name| !fires(name)).map(|name| format!("{name} never fires"));
    let always = alerts.iter().filter(|name| !is_quiet(name)).map(|name| format!("{name} is never quiet"));
    never.chain(always).collect()
}

/// Panels without explanation, unit or queries, and those that know a data source of somebody's.
fn careless(dashboard: &Value) -> Vec<String> {
    let is_told = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let is_chosen = |part: &Value| part["datasource"]["uid"].as_str() == Some("${datasource}");
    let panels = dashboard["panels"].as_array().expect("panels").iter().filter(|panel| panel["type"].as_str() != Some("row"));
    let complaints = panels.flat_map(|panel| {
        let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        let checks = [
            ("description", is_told(&panel["description"])),
            ("unit", is_told(&panel["fieldConfig"]["defaults"]["unit"])),
            ("data source", is_chosen(panel) && targets.iter().all(is_chosen)),
            ("targets", !targets.is_empty()),
        ];
        let title = panel["title"].as_str().unwrap_or("a panel without a title").to_owned();
        checks.into_iter().filter(|(_, is_well)| !is_well).map(move |(what, _)| format!("{title}: {what}"))
    });
    complaints.collect()
}

/// Runs it beside the rules.
fn promtool(arguments: &[&str]) -> Output {
    let output = Command::new("promtool").args(arguments).current_dir(deploy().join("prometheus")).output();
    output.expect("promtool runs; `scripts/install.sh test` installs it")
}
