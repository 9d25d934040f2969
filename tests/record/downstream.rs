//! The requests that were made for a call are in its entry, each with its own duration: where to and how it ended, never what it was about.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use trunkline_platform::{
    catalog::{Executor, FunctionTool, NewVersion, Origin},
    ids::EntryId,
    quota::{
        breakers::Protected,
        resilience::{self, Resilience},
    },
};

use super::chain::signed;
use crate::support::{
    Era, TestApp, Upstream,
    mcp_upstream::{McpUpstream, Speaks, Way},
    private::Folder,
    process::{self, run},
    tools,
};

/// One request as it was kept.
#[derive(Debug, serde::Deserialize)]
struct Kept {
    method: String,
    to: String,
    status: Option<u16>,
    error: Option<String>,
    at_us: i64,
    took_us: i64,
}

impl Kept {
    fn end(&self) -> (&str, Option<u16>, Option<&str>) {
        (&self.method, self.status, self.error.as_deref())
    }
}

/// What was kept of the last call of each tool, and the time of its work.
async fn kept(app: &TestApp) -> BTreeMap<String, (Vec<Kept>, i64)> {
    let rows: Vec<(String, Option<Value>, i64)> =
        sqlx::query_as("SELECT tool_name, downstream->'requests', upstream_us FROM app.calls ORDER BY id")
            .fetch_all(&mut app.sql().await)
            .await
            .expect("rows");
    let read = |requests: Option<Value>| requests.map(|all| serde_json::from_value(all).expect("requests")).unwrap_or_default();
    rows.into_iter().map(|(tool, requests, us)| (tool, (read(requests), us))).collect()
}

fn function(code: &str, host: &str) -> NewVersion {
    let function = FunctionTool {
        code: code.to_owned(),
        input_schema: json!({ "type": "object" }),
        hosts: vec![Origin::parse(host).expect("a host")],
        secret_header: None,
        timeout_ms: 5000,
        keep_logs: false,
    };
    NewVersion { executor: Executor::Function(function), ..tools::echo() }
}

#[tokio::test]
async fn requests_of_a_call_are_kept_with_their_durations_and_proven() {
    process::binary();
    let (folder, upstream) = (Folder::new("downstream"), Upstream::start().await);
    let theirs = McpUpstream::start(Speaks::Both, Way::Json).await;
    let app = TestApp::builder().set("AUDIT_CHECKPOINT_DIR", folder.0.display()).start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    acme.tool("waits", tools::get(&upstream.url("/slow/300?of=path-canary"))).await;
    acme.tool("again", tools::get(&upstream.url("/status/503"))).await;
    acme.tool("hangs", tools::within_ms(300, tools::get(&upstream.url("/hang")))).await;
    acme.tool("nobody", tools::get("http://127.0.0.1:1/")).await;
    let code = "export default async ({ base }) => {
        await fetch(base + '/slow/200');
        await Promise.all([fetch(base + '/json', { method: 'POST' }), fetch(base + '/status/404')]);
        return 'done';
    }";
    acme.tool("code", function(code, &upstream.url(""))).await;
    acme.source("theirs", &theirs.url()).await;
    let (actor, origin) = (acme.owner.clone(), Protected::Origin(format!("http://{}", upstream.addr)));
    let terms = Resilience { retries: 2, ..Resilience::default() };
    app.act(move |platform| async move { resilience::set(&platform, &actor, &origin, terms).await }).await.expect("set");
    let agent = acme.agent("agent", "tools:read").await;
    let (none, text, base) = (json!({}), json!({ "text": "argument-canary" }), json!({ "base": upstream.url("") }));
    let calls = [
        ("echo", &text),
        ("waits", &none),
        ("again", &none),
        ("hangs", &none),
        ("nobody", &none),
        ("code", &base),
        ("slow", &none),
    ];
    for (tool, arguments) in calls {
        let answer = agent.call(Era::Stateless, tool, arguments.clone()).await;
        assert!(answer.json["result"].is_object(), "{tool}: {}", answer.text);
    }
    signed(&app, 7).await;
    let kept = kept(&app).await;
    let ends = |tool: &str| kept[tool].0.iter().map(Kept::end).collect::<Vec<_>>();
    assert_eq!(ends("echo"), [], "it asks nobody");
    assert_eq!(ends("waits"), [("GET", Some(200), None)]);
    assert_eq!(ends("again"), [("GET", Some(503), None); 3], "each try by itself");
    // Whoever was faster: the request's own deadline, or the call's.
    let [("GET", None, Some("timeout" | "given_up"))] = ends("hangs")[..] else { panic!("{:?}", kept["hangs"]) };
    assert!(ends("nobody").iter().all(|end| *end == ("GET", None, Some("unreachable"))) && !ends("nobody").is_empty());
    let mut of_code = ends("code");
    of_code[1..].sort_unstable();
    assert_eq!(of_code, [("GET", Some(200), None), ("GET", Some(404), None), ("POST", Some(200), None)]);
    assert!(ends("slow").contains(&("POST", Some(200), None)), "{:?}", kept["slow"]);
    for (tool, (requests, upstream_us)) in &kept {
        for request in requests {
            assert!(request.at_us >= 0 && request.took_us >= 0, "{tool}: {request:?}");
            assert!(request.at_us + request.took_us <= upstream_us + 1_000, "{tool}: {request:?} within {upstream_us}");
            assert!(request.to.starts_with("http://127.0.0.1:") && request.to.matches('/').count() == 2, "{tool}: {request:?}");
        }
    }
    let (waits, code) = (&kept["waits"].0[0], &kept["code"].0);
    assert!(waits.took_us >= 300_000 && waits.to == format!("http://{}", upstream.addr), "{waits:?}");
    assert!(code[0].took_us >= 200_000 && code[1].at_us >= code[0].at_us + code[0].took_us, "one after the other: {code:?}");
    // The chain knows them, and so does an export that is checked without the database.
    let lines = run(&["export", "calls", "--tenant", "acme", "--format", "jsonl"], app.settings(), &folder.0);
    let text = String::from_utf8(lines.stdout).expect("UTF-8");
    assert!(text.contains(r#""downstream":{"requests":["#), "{text}");
    assert!(!text.contains("canary") && !text.contains("/slow") && !text.contains("/json"), "{text}");
    let verified = run(&["audit", "verify", "--tenant", "acme"], app.settings(), &folder.0);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    // And the page of a call shows them.
    let id: EntryId = sqlx::query_scalar("SELECT id FROM app.calls WHERE tool_name = 'code'")
        .fetch_one(&mut app.sql().await)
        .await
        .expect("a call");
    let page = acme.owner_browser().await.get(&format!("/t/acme/logs/{id}")).await.ok();
    for part in ["Requests made for it", &format!("POST http://{}", upstream.addr), "404"] {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
}
