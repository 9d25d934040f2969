//! L-06: the same entries delivered again, by a copy of a spool, and two processes that want the same one.

use std::{path::Path, time::Duration};

use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;
use trunkline::services::free_port;

use super::{
    driver::{drive, not_once},
    entries::reconcile,
};
use crate::support::{
    Gate, Replica, SOON, SPOOL_DIR, TestApp, eventually,
    private::Folder,
    process::{command, run},
    tools,
};

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").args(["-a", "--sparse=always"]).arg(from.join(".")).arg(to).status();
    assert!(copied.expect("cp runs").success());
}

async fn calls(sql: &mut PgConnection) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM app.calls").fetch_one(sql).await.expect("a count")
}

/// The address of a database without its host.
pub(super) fn through(gate: &Gate, url: &str) -> String {
    let mut url = url::Url::parse(url).expect("a URL");
    url.set_host(Some("127.0.0.1")).expect("a host");
    url.set_port(Some(gate.addr.port())).expect("a port");
    url.into()
}

pub(super) fn address(url: &str) -> String {
    let url = url::Url::parse(url).expect("a URL");
    format!("{}:{}", url.host_str().expect("a host"), url.port().unwrap_or(5432))
}

#[tokio::test]
async fn l_06_a_copied_spool_counts_nothing_twice_and_loses_nothing_new() {
    let app = TestApp::builder().unlimited().start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let gate = Gate::open(&address(&app.database().app)).await;
    let database = through(&gate, &app.database().app);
    let (spool, copies) = (Folder::new("spool"), [Folder::new("copy"), Folder::new("copy")]);
    let port = free_port().expect("a port");
    let at = agent.at(&format!("http://127.0.0.1:{port}/t/acme/mcp"));
    let start = async |dir: &Folder| {
        let dir = dir.0.display().to_string();
        Replica::start_with(&app, port, &[(SPOOL_DIR, &dir), ("TRUNKLINE_DATABASE_URL", &database)]).await
    };
    let round = async || {
        let stop = CancellationToken::new();
        let ending = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            stop.cancel();
        };
        let (journal, ()) = tokio::join!(drive(&at, &["echo"], 4, Duration::ZERO, &stop), ending);
        assert!(journal.refused.is_empty() && !journal.delivered.is_empty(), "{:?}", journal.refused);
        journal.delivered
    };
    let replica = start(&spool).await;
    // Its snapshot is warm before Postgres goes away.
    assert!(at.echo("x").await.is_ok());
    gate.close();
    let mut delivered = round().await;
    replica.kill();
    // The same entries three times: from the spool itself, and from two copies of it.
    for dir in &copies {
        copy(&spool.0, &dir.0);
    }
    gate.reopen(&address(&app.database().app)).await;
    let mut sql = app.sql().await;
    for dir in [&spool, &copies[0], &copies[1]] {
        let replica = start(dir).await;
        eventually("all entries have arrived", SOON, async || not_once(&mut sql, &delivered).await.is_empty().then_some(()))
            .await;
        // Positions that the copy gives now have been given before.
        delivered.extend(round().await);
        eventually("and those after them", SOON, async || not_once(&mut sql, &delivered).await.is_empty().then_some(())).await;
        replica.stop();
    }
    reconcile(&mut sql).await;
    assert_eq!(calls(&mut sql).await, i64::try_from(delivered.len()).expect("a count") + 1);
    let names: i64 = sqlx::query_scalar("SELECT count(*) FROM app.spools").fetch_one(&mut sql).await.expect("a count");
    assert!(names >= 3, "copies count under names of their own: {names}");
}

#[tokio::test]
async fn a_spool_has_one_process() {
    let app = TestApp::start().await;
    let folder = Folder::new("config");
    let mut settings = app.settings().clone();
    settings.insert("TRUNKLINE_MAIL_SMTP_URL".to_owned(), "smtp://127.0.0.1:1".to_owned());
    let refused = run(&["serve", "--listen", "127.0.0.1:0"], &settings, &folder.0);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("audit.spool_dir") && text.contains("another process"), "{text}");
    settings.insert(SPOOL_DIR.to_owned(), "/dev/null/spool".to_owned());
    let refused = command(&["serve", "--listen", "127.0.0.1:0"]).envs(&settings).output().expect("the binary runs");
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("audit.spool_dir"), "{text}");
}
