//! L-20: what the record says of a call, and that nothing in it tells what the call was about.

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use sha2::{Digest as _, Sha256};
use trunkline_platform::catalog::{NewVersion, Price};

use super::chain::signed;
use crate::support::{Era, TestApp, Upstream, private::Folder, process::run, tools};

/// Tools as they are listed, byte for byte.
#[derive(Deserialize)]
struct Listed<'t> {
    #[serde(borrow)]
    result: Tools<'t>,
}

#[derive(Deserialize)]
struct Tools<'t> {
    #[serde(borrow)]
    tools: Vec<&'t RawValue>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Calls of one export, by their tools.
fn exported(app: &TestApp, folder: &Folder) -> Vec<Value> {
    let output = run(&["export", "calls", "--tenant", "acme", "--format", "jsonl"], app.settings(), &folder.0);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn of<'c>(calls: &'c [Value], tool: &str, outcome: &str) -> Vec<&'c Value> {
    calls.iter().filter(|call| call["tool"] == tool && call["outcome"] == outcome).collect()
}

#[tokio::test]
async fn l_20_the_record_has_every_field_and_no_content() {
    let (folder, upstream) = (Folder::new("fields"), Upstream::start().await);
    let app =
        TestApp::builder().set("REGION", "eu-central").set("AUDIT_CHECKPOINT_DIR", folder.0.display().to_string()).start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", NewVersion { price: Price::per_call(250), ..tools::echo() }).await;
    acme.tool("fails", tools::get(&upstream.url("/status/503"))).await;
    acme.tool("works", tools::get(&upstream.url("/json"))).await;
    let agent = acme.agent("agent", "tools:read").await;
    let listed = agent.list(Era::Stateless).await.text;
    let canary = json!({ "text": "argument-canary" });
    for (tool, arguments) in [
        ("echo", canary.clone()),
        ("echo", json!({ "text": "argument-canary" })),
        ("echo", json!({ "text": "another" })),
        ("echo", json!({ "wrong": "argument-canary" })),
        ("nothing", canary.clone()),
        ("fails", json!({})),
        ("works", json!({})),
    ] {
        agent.call(Era::Stateless, tool, arguments).await;
    }
    signed(&app, 7).await;
    let calls = exported(&app, &folder);
    for call in &calls {
        for member in
            ["seq", "id", "tenant", "agent", "tool", "decision", "outcome", "bytes_in", "bytes_out", "duration_ms", "cost_micro"]
        {
            assert!(!call[member].is_null(), "{member} of {call}");
        }
        let whole: Value = serde_json::from_str(call["entry"].as_str().expect("the entry")).expect("JSON");
        assert!(whole["request_id"].as_str().is_some_and(|id| !id.is_empty()) && whole["call"]["key"].is_string(), "{whole}");
        assert_eq!(
            (&call["network"], &call["region"], &call["revision"]),
            (&json!("127.0.0.0/24"), &json!("eu-central"), &json!("2026-07-28"))
        );
        assert!(
            !call["jsonrpc_id"].is_null() && call["arguments_digest"].as_str().is_some_and(|digest| digest.len() == 64),
            "{call}"
        );
    }
    // The same arguments are the same, others are not, also of calls that did not come to a tool; and nobody without the key can tell which.
    let digest = |call: &Value| call["arguments_digest"].as_str().expect("a digest").to_owned();
    let [first, second, third] = of(&calls, "echo", "ok")[..] else { panic!("{calls:?}") };
    assert_eq!(digest(first), digest(second));
    assert_ne!(digest(first), digest(third));
    assert_ne!(digest(of(&calls, "echo", "tool_error")[0]), digest(first));
    assert_eq!(digest(of(&calls, "nothing", "denied")[0]), digest(first));
    for guess in [canary.to_string(), "argument-canary".to_owned()] {
        assert_ne!(digest(first), hex(&Sha256::digest(guess)));
    }
    // It is the HMAC under the tenant's key, of which the database has a wrapped form only.
    let wrapped: Vec<Vec<u8>> = sqlx::query_scalar("SELECT wrapped FROM app.tenant_keys WHERE purpose = 'record'")
        .fetch_all(&mut app.sql().await)
        .await
        .expect("keys");
    assert_eq!(wrapped.len(), 1);
    let place = format!("record|{}", acme.id);
    let key = app.platform.master_key.unwrap_key(&place, &wrapped[0]).expect("the key");
    let expected = hex(&key.mac(br#"{"text":"argument-canary"}"#));
    assert_eq!(digest(first), expected);
    // The definition is the one that the agent was shown.
    let listed: Listed<'_> = serde_json::from_str(&listed).expect("a list");
    let shown = listed.result.tools.iter().find(|tool| tool.get().contains(r#""name":"echo""#)).expect("echo is listed");
    assert_eq!(first["definition_digest"], json!(hex(&Sha256::digest(shown.get()))));
    assert!(of(&calls, "nothing", "denied")[0]["definition_digest"].is_null());
    let status = |tool: &str, outcome: &str| of(&calls, tool, outcome)[0]["upstream_status"].clone();
    assert_eq!(
        (status("fails", "upstream_error"), status("works", "ok"), status("echo", "ok")),
        (json!("5xx"), json!("2xx"), Value::Null)
    );
    // Where the upstream is may be told, where the caller is may not.
    let all = serde_json::to_string(&calls).expect("JSON").replace(&format!("http://{}", upstream.addr), "");
    assert!(!all.contains("canary") && !all.contains("127.0.0.1"), "{all}");
}
