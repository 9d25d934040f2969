//! Postgres stopped and started: calls go on from memory, and every one is recorded afterwards, once.

use std::time::{Duration, Instant};

use trunkline::services::{Keep, PrivatePostgres};
use trunkline_platform::{db, secret::Plaintext};
use url::Url;

use super::{
    driver::{drive, not_once},
    entries::reconcile,
    spools::{address, through as past},
};
use crate::support::{
    Database, Gate, PASSWORD, Replica, SOON, SPOOL_DIR, TestApp, Visitor, eventually, figure, http, private::Folder, tools,
};

fn target(url: &Plaintext) -> String {
    let url = Url::parse(url.reveal()).expect("a URL");
    format!("{}:{}", url.host_str().expect("a host"), url.port().expect("a port"))
}

/// The same URL, through the gate.
fn through(gate: &Gate, url: &Plaintext) -> Plaintext {
    let mut url = Url::parse(url.reveal()).expect("a URL");
    url.set_port(Some(gate.addr.port())).expect("a port");
    Plaintext::new(url.into())
}

async fn start(folder: &Folder) -> PrivatePostgres {
    let dir = folder.0.clone();
    tokio::task::spawn_blocking(move || PrivatePostgres::start(&dir, Keep::Nothing).expect("a cluster")).await.expect("no panic")
}

#[tokio::test]
async fn f_01_calls_go_on_without_postgres_and_none_is_lost_or_doubled() {
    let folder = Folder::new("cluster");
    let postgres = start(&folder).await;
    let gate = Gate::open(&target(&postgres.admin_url())).await;
    let (admin, server) = (through(&gate, &postgres.admin_url()), through(&gate, &postgres.app_url()));
    db::migrate(&admin, &server).await.expect("migrated");
    // Seeded by a patient one; the other has the settings that hold by default.
    let mut patient = TestApp::builder().on(Database::foreign(&admin, &server)).start().await;
    let mut app = patient.with_settings(&[("DATABASE_ACQUIRE_TIMEOUT_MS", "1500")]).await;
    patient.expect_error("jobs wait");
    app.expect_error("jobs wait");
    let acme = patient.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let agent = agent.at(&agent.url.replace(&patient.url, &app.url));
    eventually("its connections are warm", SOON, async || {
        (Visitor::new(&app.url).log_in("owner@acme.example", PASSWORD).await.status == 303).then_some(())
    })
    .await;
    let owner = Visitor::signed_in(&app.url, "owner@acme.example").await;
    owner.get("/t/acme/members").await.ok();
    for _ in 0..10 {
        assert!(agent.echo("x").await.is_ok());
    }

    gate.close();
    tokio::task::spawn_blocking(move || postgres.stop()).await.expect("stopped");
    for round in 0..50 {
        let asked = Instant::now();
        let answer = agent.echo("x").await;
        assert!(answer.is_ok(), "call {round}: {} {}", answer.status, answer.text);
        assert!(asked.elapsed() < Duration::from_secs(1), "call {round}: {:?}", asked.elapsed());
    }
    let visitor = Visitor::new(&app.url);
    assert_eq!(visitor.get("/login").await.status, 200, "the form needs no database");
    for path in ["/t/acme", "/t/acme/members"] {
        let asked = Instant::now();
        let page = owner.get(path).await;
        assert!(page.status == 503 && asked.elapsed() < Duration::from_secs(2), "{path}: {} {:?}", page.status, asked.elapsed());
    }
    let asked = Instant::now();
    let page = visitor.log_in("owner@acme.example", PASSWORD).await;
    assert_eq!((page.status, page.header("retry-after").is_empty()), (503, false));
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    let health = http().get(format!("{}/health", app.url)).send().await.expect("an answer");
    assert_eq!(health.status(), 503);
    assert_eq!(http().get(format!("{}/healthz", app.url)).send().await.expect("an answer").status(), 200);

    let postgres = start(&folder).await;
    gate.reopen(&target(&postgres.admin_url())).await;
    let back = Instant::now();
    eventually("pages are back", SOON, async || (owner.get("/t/acme/members").await.status == 200).then_some(())).await;
    assert!(agent.echo("x").await.is_ok());
    let mut sql = app.sql().await;
    eventually("all entries have arrived", SOON, async || {
        let found: i64 = sqlx::query_scalar("SELECT count(*) FROM app.calls").fetch_one(&mut sql).await.expect("a count");
        (found >= 61).then_some(())
    })
    .await;
    assert!(back.elapsed() < SOON);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(reconcile(&mut sql).await, std::collections::BTreeMap::from([("ok".to_owned(), 61)]));
    drop(sql);
    drop(app);
    drop(patient);
    tokio::task::spawn_blocking(move || postgres.stop()).await.expect("stopped");
}

/// L-03: an outage under load. Longer with `make faults`.
#[tokio::test]
async fn f_01_l_03_calls_go_on_through_an_outage_and_memory_stays_flat() {
    let seconds = std::env::var("TRUNKLINE_OUTAGE_S").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(4);
    let app = TestApp::builder().unlimited().start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let gate = Gate::open(&address(&app.database().app)).await;
    let (spool, port) = (Folder::new("spool"), trunkline::services::free_port().expect("a port"));
    let settings = [(SPOOL_DIR, spool.0.display().to_string()), ("TRUNKLINE_DATABASE_URL", past(&gate, &app.database().app))];
    let settings = [(settings[0].0, &*settings[0].1), (settings[1].0, &*settings[1].1)];
    let replica = Replica::start_with(&app, port, &settings).await;
    let at = agent.at(&format!("{}/t/acme/mcp", replica.url));
    let warm = |seconds| {
        let stop = tokio_util::sync::CancellationToken::new();
        let at = at.clone();
        async move {
            let ending = async {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                stop.cancel();
            };
            // 200 calls a second, if the machine can.
            tokio::join!(drive(&at, &["echo"], 8, Duration::from_millis(40), &stop), ending).0
        }
    };
    let before = warm(2).await;
    let memory = replica.memory();
    gate.close();
    let away = warm(seconds).await;
    let grown = replica.memory().saturating_sub(memory);
    if seconds > 35 {
        let ready = http().get(format!("{}/readyz", replica.url)).send().await.expect("an answer");
        assert_eq!(ready.status(), 503, "new traffic is kept away half a minute after the database went");
    }
    assert!(before.refused.is_empty() && away.refused.is_empty(), "{:?} {:?}", before.refused, away.refused);
    assert_eq!(away.delivered.len(), away.sent.len());
    assert!(grown < 64 << 20, "{} MiB more memory", grown >> 20);
    gate.reopen(&address(&app.database().app)).await;
    let back = Instant::now();
    let mut sql = app.sql().await;
    eventually("all entries have arrived", Duration::from_secs(30), async || {
        not_once(&mut sql, &away.delivered).await.is_empty().then_some(())
    })
    .await;
    let (arrived, calls) = (back.elapsed(), away.delivered.len());
    assert!(not_once(&mut sql, &before.delivered).await.is_empty());
    replica.stop();
    reconcile(&mut sql).await;
    let grown = grown >> 10;
    figure(
        "F01",
        &format!(
            "Postgres away for {seconds} s, {calls} calls kept, there {arrived:.1?} after its return, {grown} KiB more memory"
        ),
    );
}
