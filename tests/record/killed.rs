//! L-01 and L-02: a process that is killed under load, again and again. Whoever had an answer finds it in the record, once; what reached an
//! upstream that it may have changed is there too, also if nobody had an answer.

use std::time::Duration;

use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;
use trunkline::services::free_port;
use trunkline_platform::catalog::{HttpMethod, Place};
use trunkline_protocol::oauth::scope::Effect;

use super::{
    driver::{drive, not_once},
    entries::reconcile,
};
use crate::support::{
    Draw, Replica, SOON, SPOOL_DIR, TestApp, Upstream, eventually, figure, private::Folder, process::run, tools,
};

/// Rounds of `make test`; `make faults` has more.
const ROUNDS: u64 = 10;

fn rounds() -> u64 {
    std::env::var("TRUNKLINE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS)
}

async fn count(sql: &mut PgConnection, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(sql).await.expect("a count")
}

#[tokio::test]
async fn f_31_l_01_l_02_what_was_answered_or_begun_outlives_kill_9() {
    let (app, upstream) = (
        // No call may be refused: an unoptimised replica that has just started waits for Redis, however busy the machine is.
        TestApp::builder()
            .unlimited()
            .set("QUOTA_WRITE_PER_MINUTE", 6_000_000)
            .set("QUOTA_WRITE_BURST", 6_000_000)
            .set("REDIS_DECISION_MS", 10_000)
            .set("REDIS_TIMEOUT_MS", 10_000)
            .start()
            .await,
        Upstream::start().await,
    );
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    // Slow enough to be cut while it runs.
    let write = tools::http(HttpMethod::Get, &upstream.url("/slow/20"), &[("text", Place::Query)]);
    acme.tool("write", tools::with_effect(Effect::Write, write)).await;
    let agent = acme.agent("agent", "tools:write").await;
    let spool = Folder::new("spool");
    let spool_dir = spool.0.display().to_string();
    let port = free_port().expect("a port");
    let at = agent.at(&format!("http://127.0.0.1:{port}/t/acme/mcp"));
    let mut draw = Draw::new(0x5eed);
    let (mut sent, mut delivered) = (0, Vec::new());
    let rounds = rounds();
    for _ in 0..rounds {
        let replica = Replica::start_with(&app, port, &[(SPOOL_DIR, &spool_dir)]).await;
        let stop = CancellationToken::new();
        let life = Duration::from_millis(200 + draw.below(800));
        let killing = async {
            tokio::time::sleep(life).await;
            replica.kill();
            stop.cancel();
        };
        let (journal, ()) = tokio::join!(drive(&at, &["echo", "write"], 8, Duration::ZERO, &stop), killing);
        assert!(journal.refused.is_empty(), "{:?}", journal.refused);
        sent += journal.sent.len();
        delivered.extend(journal.delivered);
    }
    assert!(delivered.len() as u64 > rounds, "{} of {sent}", delivered.len());

    // Whoever starts there next ships what the last one has left.
    let replica = Replica::start_with(&app, port, &[(SPOOL_DIR, &spool_dir)]).await;
    let mut sql = app.sql().await;
    eventually("all answers are in the record", SOON * 2, async || not_once(&mut sql, &delivered).await.is_empty().then_some(()))
        .await;
    replica.stop();
    let writes = count(&mut sql, "SELECT count(*) FROM app.calls WHERE tool_name = 'write'").await;
    let reached = i64::try_from(upstream.seen().len()).expect("a count");
    assert!(reached <= writes, "{reached} calls reached the upstream, {writes} are in the record");
    assert!(reached >= i64::try_from(rounds).expect("few"), "only {reached} calls reached the upstream");
    let cut = count(&mut sql, "SELECT count(*) FROM app.calls WHERE error = 'process_ended' AND outcome = 'unknown'").await;
    assert!(cut > 0, "no call was cut while its tool ran");
    reconcile(&mut sql).await;
    eventually("everything has its place in the chain", SOON, async || {
        (count(&mut sql, "SELECT count(*) FROM app.audit_unchained").await == 0).then_some(())
    })
    .await;
    let verified = run(&["audit", "verify", "--tenant", "acme"], app.settings(), &spool.0);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let kept = delivered.len();
    figure(
        "F31",
        &format!(
            "{rounds} kills, {sent} calls sent, {kept} answered and all kept once, {reached} reached what they may have changed, {cut} of them cut and kept as unknown"
        ),
    );
}
