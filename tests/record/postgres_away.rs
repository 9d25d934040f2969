//! Postgres stopped and started: calls go on from memory, and every one is recorded afterwards, once.

use std::time::{Duration, Instant};

use trunkline::services::{Keep, PrivatePostgres};
use trunkline_platform::{db, secret::Plaintext};
use url::Url;

use super::entries::reconcile;
use crate::support::{Database, Gate, PASSWORD, SOON, TestApp, Visitor, eventually, http, private::Folder, tools};

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
async fn calls_go_on_without_postgres_and_none_is_lost_or_doubled() {
    let folder = Folder::new("cluster");
    let postgres = start(&folder).await;
    let gate = Gate::open(&target(&postgres.admin_url())).await;
    let (admin, server) = (through(&gate, &postgres.admin_url()), through(&gate, &postgres.app_url()));
    db::migrate(&admin, &server).await.expect("migrated");
    let mut app =
        TestApp::builder().on(Database::foreign(&admin, &server)).set("DATABASE_ACQUIRE_TIMEOUT_MS", 1_500).start().await;
    app.expect_error("jobs wait");
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
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
    tokio::task::spawn_blocking(move || postgres.stop()).await.expect("stopped");
}
