//! `trunkline gate`: a server that works passes, and each way in which one does not is found and named.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use trunkline_platform::{
    egress::{self, Egress},
    gate::{self, Check, Demand, Plan, Verdict},
    ids::{SourceId, TenantId},
    upstream::Target,
};
use trunkline_protocol::mcp::Revision;

use crate::support::{
    mcp_upstream::{McpUpstream, Speaks, Way},
    private::Folder,
    process::run,
    say,
};

/// The gate on that address: its exit code and what it says as JSON.
async fn gate_on(url: &str, arguments: &[&str], secret: Option<&str>) -> (Option<i32>, Value) {
    let arguments: Vec<String> = ["gate", url, "--json"].iter().chain(arguments).map(|text| (*text).to_owned()).collect();
    let settings: BTreeMap<_, _> =
        secret.map(|secret| ("TRUNKLINE_GATE_SECRET".to_owned(), secret.to_owned())).into_iter().collect();
    let ran = tokio::task::spawn_blocking(move || {
        let folder = Folder::new("gate");
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run(&words, &settings, &folder.0)
    });
    let output = ran.await.expect("no panic");
    let said = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| json!(String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), said)
}

/// The check that failed, with what is wrong.
fn failure(report: &Value) -> (String, String) {
    let checks = report["checks"].as_array().unwrap_or_else(|| panic!("no checks: {report}"));
    let failed: Vec<_> = checks.iter().filter(|check| check["verdict"] == "failed").collect();
    let [failed] = failed[..] else { panic!("not one failure: {report}") };
    assert!(failed["advice"].as_str().is_some_and(|advice| !advice.is_empty()), "{report}");
    (failed["check"].as_str().expect("a check").to_owned(), failed["problem"].as_str().expect("a problem").to_owned())
}

#[tokio::test]
async fn a_server_that_works_passes_in_each_era_and_without_being_told_what_to_call() {
    for (speaks, revision) in [
        (Speaks::Only(Revision::V2026_07_28), "2026-07-28"),
        (Speaks::Only(Revision::V2025_11_25), "2025-11-25"),
        (Speaks::Only(Revision::V2025_03_26), "2025-03-26"),
        (Speaks::Both, "2026-07-28"),
    ] {
        let server = McpUpstream::start(speaks, Way::Events).await;
        let (code, report) = gate_on(&server.url(), &[], None).await;
        assert_eq!((code, &report["passed"], &report["revision"]), (Some(0), &json!(true), &json!(revision)), "{report}");
        // The one that says that it only reads; nothing that might change something was called.
        assert_eq!(report["tool"], "region");
        assert_eq!(server.seen_of("tools/call").len(), 1);
    }
}

#[tokio::test]
async fn each_way_to_be_broken_is_named_and_fails() {
    let server = McpUpstream::start(Speaks::Both, Way::Json).await;
    server.add_tool(json!({
        "name": "promised", "description": "Promises a number.", "inputSchema": { "type": "object" },
        "outputSchema": { "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] },
    }));
    let url = server.url();
    let wrong = r#"{"result":"{\"content\":[],\"structuredContent\":{\"n\":\"many\"}}"}"#;
    let unkept = r#"{"result":"{\"content\":[{\"type\":\"text\",\"text\":\"3\"}]}"}"#;
    let empty = r#"{"result":"{\"content\":[{\"type\":\"text\",\"text\":\" \"}]}"}"#;
    let given = r#"{"note":"bring an umbrella"}"#;
    let found = r#"{"result":"{\"content\":[],\"structuredContent\":{\"n\":3}}"}"#;
    for (arguments, check, problem) in [
        (&["--tool", "promised", "--arguments", wrong][..], "schema", "structuredContent/n is not"),
        (&["--tool", "promised", "--arguments", unkept], "schema", "gives none"),
        (&["--tool", "raw", "--arguments", empty], "content", "empty"),
        (&["--tool", "echo", "--arguments", given], "echo", "the request given back"),
        (&["--tool", "tool_error"], "result", "no luck"),
        (&["--tool", "fail"], "result", "4711"),
        (&["--tool", "wrong_id"], "call", "protocol"),
        (&["--tool", "nothing"], "call", "no tool named nothing"),
        (&["--tool", "region", "--expect-text", "tomorrow"], "expected", "tomorrow"),
        (&["--tool", "promised", "--arguments", found, "--expect", "/n=4"], "expected", "at /n stands “3”, not “4”"),
        (&["--tool", "slow", "--within-ms", "50"], "time", "more than 50 ms"),
        (&["--tool", "hang", "--timeout-ms", "500"], "call", "in time"),
    ] {
        let (code, report) = gate_on(&url, arguments, None).await;
        let (failed, why) = failure(&report);
        assert!(code == Some(1) && failed == check && why.contains(problem), "{arguments:?}: {code:?} {failed}: {why}");
    }
    for arguments in [
        &["--tool", "echo", "--arguments", given, "--may-echo"][..],
        &["--tool", "promised", "--arguments", found, "--expect", "/n=3"],
    ] {
        let (code, report) = gate_on(&url, arguments, None).await;
        assert_eq!(code, Some(0), "{arguments:?}: {report}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_or_wants_a_credential_does_not_get_past_the_handshake() {
    let server = McpUpstream::start(Speaks::Both, Way::Json).await;
    server.want_secret("authorization", "Bearer right");
    for (secret, passes) in [(None, false), (Some("wrong"), false), (Some("right"), true)] {
        let (code, report) = gate_on(&server.url(), &[], secret).await;
        if passes {
            assert_eq!(code, Some(0), "{report}");
        } else {
            let (failed, why) = failure(&report);
            assert!(code == Some(1) && failed == "handshake" && why.contains("credential"), "{code:?} {failed}: {why}");
            assert!(!report.to_string().contains("wrong\""), "the secret is told: {report}");
        }
    }
    let url = server.url();
    drop(server);
    let (code, report) = gate_on(&url, &[], None).await;
    assert_eq!((code, failure(&report).0.as_str()), (Some(1), "handshake"));
    // What was not reached is not said to be well.
    let skipped = report["checks"].as_array().expect("checks").iter().filter(|check| check["verdict"] == "skipped").count();
    assert_eq!(skipped, 9);
}

#[tokio::test]
async fn bad_usage_is_told_and_asks_nobody() {
    let server = McpUpstream::start(Speaks::Both, Way::Json).await;
    for (arguments, words) in [
        (&["--tool", "x", "--arguments", "[]"][..], "expected a JSON object"),
        (&["--arguments", "{}"], "--tool"),
        (&["--expect", "name=x"], "expected a JSON pointer"),
        (&["--within-ms", "0"], "0 is not in"),
        (&["--secret-file", "/nowhere"], "/nowhere"),
    ] {
        let (code, said) = gate_on(&server.url(), arguments, None).await;
        assert!(code == Some(2) && said.as_str().is_some_and(|said| said.contains(words)), "{arguments:?}: {code:?} {said}");
    }
    assert_eq!(gate_on("ftp://127.0.0.1/", &[], None).await.0, Some(2));
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn a_healthy_server_is_never_said_to_be_broken() {
    let runs = if std::env::var_os("TRUNKLINE_FULL").is_some() { 1_000 } else { 200 };
    let server = McpUpstream::start(Speaks::Both, Way::Json).await;
    let settings = egress::Settings { allow: vec!["127.0.0.0/8".parse().expect("a network")], allow_http: true };
    let (egress, upstreams) = (Egress::new(&settings).expect("a way out"), gate::alone());
    let (url, deadline) = (server.url().parse().expect("a URL"), Duration::from_secs(30));
    let target = Target { tenant: TenantId::NIL, source: SourceId::NIL, url, header: None, deadline };
    let plan =
        Plan { sample: None, within: Duration::from_secs(30), may_echo: false, expected: Vec::new(), demand: Demand::Everything };
    for round in 0..runs {
        let report = gate::run(&upstreams, &egress, &target, &plan).await;
        assert!(report.passed, "round {round}: {report:?}");
    }
    server.answer_with(Some(503));
    let report = gate::run(&upstreams, &egress, &target, &plan).await;
    assert_eq!((report.checks[0].check, report.checks[0].verdict), (Check::Handshake, Verdict::Failed));
    say(&format!("gate: {runs} runs on a healthy server passed, the first on a broken one did not"));
}
