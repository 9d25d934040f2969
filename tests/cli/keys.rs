//! Exchanging keys under calls: the installation's, and a tenant's.

use std::{
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{
    Agent, Era, SOON, Tenant, TestApp,
    process::{self, Process, command},
    tools,
    upstream::Upstream,
};

/// 32 bytes in base64, drawn once.
const NEXT: &str = "8m1Yx0b3v2l5o9QeT7uKz4WcNn6hJrPdSgFaB1CiHkE=";
const SECRET: &str = "upstream-secret-4711";
const SECRETS: usize = 300;

/// One tool with a secret that is called, and so many that are not.
async fn tools_with_secrets(acme: &Tenant<'_>, upstream: &Upstream, others: usize) {
    acme.tool("called", tools::with_secret("x-api-key", SECRET, tools::get(&upstream.url("/json")))).await;
    for number in 0..others {
        let other = tools::with_secret("x-api-key", &format!("other {number}"), tools::get(&upstream.url("/json")));
        acme.tool(&format!("tool-{number}"), other).await;
    }
}

/// Runs the command with settings that differ from those of the installation, beside everything else; what it says.
async fn keys(app: &TestApp, changed: &[(&str, &str)], arguments: &'static [&'static str]) -> String {
    let mut settings = app.settings().clone();
    settings.extend(changed.iter().map(|(name, value)| (format!("TRUNKLINE_{name}"), (*value).to_owned())));
    let running = tokio::task::spawn_blocking(move || process::run(arguments, &settings, &std::env::temp_dir()));
    let output = running.await.expect("it runs");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    text
}

/// Calls through these replicas until the work is done. No call may fail.
async fn calls_beside(agent: &Agent, replicas: &[&TestApp], work: impl Future<Output = ()>) {
    let (done, mut calls) = (AtomicBool::new(false), 0);
    let calling = async {
        while !done.load(Ordering::Relaxed) {
            for replica in replicas {
                let url = agent.url.replace(&agent_origin(agent), &replica.url);
                let answer = agent.at(&url).call(Era::Stateless, "called", json!({})).await;
                assert!(answer.is_ok(), "{}", answer.text);
                calls += 1;
            }
        }
    };
    let working = async {
        work.await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(calling, working);
    println!("keys: {calls} calls beside it, none failed");
}

fn agent_origin(agent: &Agent) -> String {
    agent.url.split("/t/").next().unwrap_or_default().to_owned()
}

fn all_had_the_secret(upstream: &Upstream) {
    let seen = upstream.seen();
    assert!(seen.iter().all(|seen| seen.head.contains(&format!("x-api-key: {SECRET}"))), "of {}", seen.len());
}

#[tokio::test]
async fn s_11_the_installation_s_key_is_exchanged_while_calls_go_on() {
    let app = TestApp::builder().unlimited().start().await;
    let upstream = Upstream::start().await;
    let acme = app.tenant("acme").await;
    tools_with_secrets(&acme, &upstream, 0).await;
    let agent = acme.agent("agent", "tools:read").await;
    let old = app.settings()["TRUNKLINE_SECRETS_KEY"].clone();
    assert!(agent.call(Era::Stateless, "called", json!({})).await.is_ok());

    // One replica knows the next key, the other has it already: both call, before and after everything is wrapped anew.
    let (knows, has) = ([("SECRETS_OTHER_KEYS", NEXT)], [("SECRETS_KEY", NEXT), ("SECRETS_OTHER_KEYS", old.as_str())]);
    let (first, second) = (app.with_settings(&knows).await, app.with_settings(&has).await);
    let exchange = async {
        let before = keys(&app, &has, &["keys", "status"]).await;
        assert!(before.contains("is still needed: it has wrapped 2 keys"), "{before}");
        let told = keys(&app, &has, &["keys", "rewrap"]).await;
        assert!(
            told.starts_with("4 keys were"),
            "two of the tenant, one that signs tokens, and one that signs the record: {told}"
        );
        let again = keys(&app, &has, &["keys", "rewrap"]).await;
        assert!(again.starts_with("0 keys were"), "{again}");
        let after = keys(&app, &has, &["keys", "status"]).await;
        assert!(after.contains("No other key is needed"), "{after}");
    };
    calls_beside(&agent, &[&first, &second], exchange).await;

    let alone = app.with_settings(&[("SECRETS_KEY", NEXT)]).await;
    calls_beside(&agent, &[&alone], async {}).await;
    all_had_the_secret(&upstream);
}

#[tokio::test]
async fn s_11_a_tenant_s_data_key_is_renewed_while_calls_go_on_and_after_being_cut() {
    let app = TestApp::builder().unlimited().start().await;
    let upstream = Upstream::start().await;
    let (acme, other) = (app.tenant("acme").await, app.tenant("other").await);
    tools_with_secrets(&acme, &upstream, SECRETS).await;
    other.tool("called", tools::with_secret("x-api-key", SECRET, tools::get(&upstream.url("/json")))).await;
    let agent = acme.agent("agent", "tools:read").await;
    let mut sql = app.sql().await;
    let before: Vec<Vec<u8>> = sqlx::query_scalar("SELECT sealed FROM app.credentials").fetch_all(&mut sql).await.expect("rows");
    let renewal = async {
        // Killed where it happens to be; the last one comes to its end.
        for ms in [60, 90, 120, 150] {
            let mut cut = command(&["keys", "renew", "acme"]);
            cut.envs(app.settings()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut cut = Process::start(cut);
            tokio::time::sleep(Duration::from_millis(ms)).await;
            cut.signal(Signal::SIGKILL);
            cut.wait(SOON);
        }
        let told = keys(&app, &[], &["keys", "renew", "acme"]).await;
        assert!(told.contains("the old key is destroyed"), "{told}");
    };
    calls_beside(&agent, &[&app], renewal).await;
    let after: Vec<Vec<u8>> = sqlx::query_scalar("SELECT sealed FROM app.credentials").fetch_all(&mut sql).await.expect("rows");
    let same = after.iter().filter(|sealed| before.contains(sealed)).count();
    assert_eq!((after.len(), same), (SECRETS + 2, 1), "all but the other tenant's");
    let left: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM app.tenant_keys k JOIN app.tenants t ON t.id = k.tenant_id WHERE t.slug = 'acme' AND k.purpose = 'secrets'",
    )
    .fetch_one(&mut sql)
    .await
    .expect("a count");
    assert_eq!(left, 1);
    calls_beside(&agent, &[&app, &app.replica().await], async {}).await;
    all_had_the_secret(&upstream);
}
