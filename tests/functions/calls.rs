//! A function as agents meet it.

use serde_json::json;

use super::{function, idle, start, taking};
use crate::support::{Era, SOON, TestApp, eventually, private::Folder, process};

#[tokio::test]
async fn an_agent_calls_a_function() {
    let app = start().await;
    let acme = app.tenant("acme").await;
    let schema = json!({ "type": "object", "properties": { "a": { "type": "integer" } }, "required": ["a"], "additionalProperties": false });
    let code = "export default async ({ a }) => ({ twice: a * 2, when: typeof Date.now() })";
    acme.tool("twice", taking(schema.clone(), function(code, &[]))).await;
    acme.tool("plain", function("export default () => 'as text'", &[])).await;
    let agent = acme.agent("agent", "tools:read").await;
    for era in Era::ALL {
        let answer = agent.call(era, "twice", json!({ "a": 21 })).await;
        assert!(answer.is_ok(), "{}", answer.text);
        assert_eq!(answer.json["result"]["structuredContent"], json!({ "twice": 42, "when": "number" }), "{}", answer.text);
        assert_eq!(agent.call(era, "plain", json!({})).await.result(), "as text");
        let misfit = agent.call(era, "twice", json!({ "a": "x" })).await;
        assert_eq!(misfit.error_class(), "invalid_arguments");
    }
    // One process is enough for one after the other, and is kept for a while.
    assert_eq!(idle(&app).len(), 1);
}

#[tokio::test]
async fn errors_reach_the_agent_with_their_line() {
    let app = start().await;
    let acme = app.tenant("acme").await;
    acme.tool("broken", function("export default (input) => {\n  return input.a.b;\n}", &[])).await;
    acme.tool("no_code", function("export default (", &[])).await;
    let agent = acme.agent("agent", "tools:read").await;
    let thrown = agent.call(Era::Stateless, "broken", json!({})).await;
    assert_eq!(thrown.error_class(), "tool_threw", "{}", thrown.text);
    assert!(thrown.result().contains("TypeError") && thrown.result().contains("(line 2)"), "{}", thrown.text);
    assert_eq!(agent.call(Era::Stateless, "no_code", json!({})).await.error_class(), "tool_threw");
}

#[tokio::test]
async fn x_07_a_killed_process_ends_its_call_and_no_other() {
    let app = start().await;
    let acme = app.tenant("acme").await;
    acme.tool("wait", function("export default () => new Promise((done) => setTimeout(() => done('done'), 4000))", &[])).await;
    acme.tool("quick", function("export default () => 'quick'", &[])).await;
    let agent = acme.agent("agent", "tools:read").await;
    assert_eq!(agent.call(Era::Stateless, "quick", json!({})).await.result(), "quick");
    let [process] = idle(&app)[..] else { panic!("one process") };
    let waiting = tokio::spawn({
        let agent = agent.clone();
        async move { agent.call(Era::Stateless, "wait", json!({})).await }
    });
    eventually("the call runs", SOON, async || idle(&app).is_empty().then_some(())).await;
    crate::support::process::send(process, nix::sys::signal::Signal::SIGKILL);
    let answer = waiting.await.expect("no panic");
    assert_eq!(answer.error_class(), "tool_crashed", "{}", answer.text);
    assert_eq!(agent.call(Era::Stateless, "quick", json!({})).await.result(), "quick");
    // It is in the record as what it was.
    let mut sql = app.sql().await;
    let found = eventually("its entry", SOON, async || {
        let found: Option<(String, Option<String>)> =
            sqlx::query_as("SELECT outcome, error FROM app.calls WHERE tool_name = 'wait'")
                .fetch_optional(&mut sql)
                .await
                .expect("rows");
        found
    })
    .await;
    assert_eq!(found, ("unknown".to_owned(), Some("tool_crashed".to_owned())));
}

#[tokio::test]
async fn an_idle_process_that_was_killed_is_not_used() {
    let app = start().await;
    let acme = app.tenant("acme").await;
    acme.tool("quick", function("export default () => 'quick'", &[])).await;
    let agent = acme.agent("agent", "tools:read").await;
    assert!(agent.call(Era::Stateless, "quick", json!({})).await.is_ok());
    let [process] = idle(&app)[..] else { panic!("one process") };
    crate::support::process::send(process, nix::sys::signal::Signal::SIGKILL);
    eventually("it is gone", SOON, async || {
        let status = std::fs::read_to_string(super::proc_file(process, "stat")).unwrap_or_default();
        (status.is_empty() || status.contains(") Z ")).then_some(())
    })
    .await;
    let again = agent.call(Era::Stateless, "quick", json!({})).await;
    assert!(again.is_ok(), "{}", again.text);
    assert!(!idle(&app).contains(&process));
}

#[tokio::test]
async fn x_08_tenants_share_no_process() {
    crate::support::process::binary();
    let app = crate::support::TestApp::builder().unlimited().start().await;
    let (acme, beta) = (app.tenant("acme").await, app.tenant("beta").await);
    let code =
        "export default () => { const seen = String(globalThis.canary); globalThis.canary = 'acme was here'; return seen; }";
    let mut agents = Vec::new();
    for tenant in [&acme, &beta] {
        tenant.tool("canary", function(code, &[])).await;
        agents.push(tenant.agent("agent", "tools:read").await);
    }
    let mut of_tenant = [Vec::new(), Vec::new()];
    let rounds = std::env::var("TRUNKLINE_ROUNDS").map_or(20, |rounds| rounds.parse().expect("a number"));
    for round in 0..rounds {
        let (agent, before) = (&agents[round % 2], idle(&app));
        let answer = agent.call(Era::Stateless, "canary", json!({})).await;
        assert_eq!(answer.result(), "undefined", "{}", answer.text);
        let used: Vec<u32> = idle(&app).into_iter().filter(|one| !before.contains(one)).collect();
        of_tenant[round % 2].extend(used);
    }
    // Each got one of its own in its first round, and used it from then on.
    assert_eq!(of_tenant.map(|used| used.len()), [1, 1]);
}

#[tokio::test]
async fn x_08_a_place_changes_hands_by_a_new_process() {
    crate::support::process::binary();
    let app = crate::support::TestApp::builder().set("FUNCTIONS_PROCESSES", 1).start().await;
    let (acme, beta) = (app.tenant("acme").await, app.tenant("beta").await);
    let mut agents = Vec::new();
    for tenant in [&acme, &beta] {
        tenant.tool("quick", function("export default () => 'quick'", &[])).await;
        agents.push(tenant.agent("agent", "tools:read").await);
    }
    let mut last = Vec::new();
    for round in 0..6 {
        assert!(agents[round % 2].call(Era::Stateless, "quick", json!({})).await.is_ok());
        let now = idle(&app);
        assert!(now.len() == 1 && now != last, "{now:?} after {last:?}");
        last = now;
    }
}

#[tokio::test]
async fn the_engine_is_compiled_before_the_first_call_where_there_are_functions() {
    process::binary();
    let compiled = |folder: &str| {
        let mut folders = vec![std::path::PathBuf::from(folder)];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() { folders.push(entry.path()) } else { files += 1 }
            }
        }
        files
    };
    let (app, cache) = (TestApp::start().await, Folder::new("engine"));
    let at = |name: &str| cache.0.join(name).display().to_string();
    // Nobody has a function: nothing is compiled for nobody.
    let (none, some) = (at("none"), at("some"));
    let idle_replica = app.with_settings(&[("FUNCTIONS_CACHE_DIR", none.as_str())]).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(compiled(&none), 0);
    drop(idle_replica);
    let acme = app.tenant("acme").await;
    acme.tool("hello", function("export default () => 'hello'", &[])).await;
    let replica = app.with_settings(&[("FUNCTIONS_CACHE_DIR", some.as_str())]).await;
    eventually("it is compiled", SOON * 2, async || (compiled(&some) > 0).then_some(())).await;
    assert!(idle(&app).is_empty() && replica.platform.sandboxes.idle_processes().is_empty(), "nobody's process stays");
}
