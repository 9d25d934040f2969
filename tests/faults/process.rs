//! A process that is told to end twice, and one whose processor is wanted by those who guess passwords.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trunkline::services::free_port;

use super::timed;
use crate::support::{
    Era, Gate, Replica, SOON, SPOOL_DIR, TestApp, Upstream, Visitor, address_of, by_way_of, eventually, figure, full,
    middle_and_p99, private::Folder, tools,
};

/// What comes sooner is taken for the same wish.
const BURST: Duration = Duration::from_millis(700);

#[tokio::test]
async fn f_32_a_second_signal_ends_it_at_once_and_the_spool_is_whole() {
    let (app, upstream) = (TestApp::builder().unlimited().start().await, Upstream::start().await);
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    acme.tool("hang", tools::within_ms(30_000, tools::get(&upstream.url("/hang")))).await;
    let agent = acme.agent("agent", "tools:read").await;
    let gate = Gate::open(&address_of(&app.database().app)).await;
    let (spool, port) = (Folder::new("spool"), free_port().expect("a port"));
    let (dir, database) = (spool.0.display().to_string(), by_way_of(gate.addr.port(), &app.database().app));
    let settings = [(SPOOL_DIR, &*dir), ("TRUNKLINE_DATABASE_URL", &*database), ("TRUNKLINE_SHUTDOWN_GRACE_S", "60")];
    let mut took = Vec::new();
    let mut answered = 0;
    for (first, second) in [(Signal::SIGTERM, Signal::SIGTERM), (Signal::SIGINT, Signal::SIGINT)] {
        let mut replica = Replica::start_with(&app, port, &settings).await;
        let there = agent.at(&format!("{}/t/acme/mcp", replica.url));
        eventually("its snapshot is warm", SOON, async || there.echo("x").await.is_ok().then_some(())).await;
        answered += 1;
        // What is answered now is in the spool only.
        gate.close();
        for _ in 0..20 {
            timed(&there).await;
            answered += 1;
        }
        let hanging = there.message(Era::Stateless, "tools/call", json!({ "name": "hang", "arguments": {} }), "application/json");
        let running = tokio::spawn(async move { hanging.send().await.is_ok() });
        eventually("a call runs", SOON, async || (upstream.seen().len() == took.len() + 1).then_some(())).await;
        replica.process().signal(first);
        tokio::time::sleep(BURST).await;
        assert!(!replica.process().has_ended(), "the first signal waits for the call");
        replica.process().signal(second);
        let asked = Instant::now();
        let code = replica.process().wait(SOON);
        took.push(asked.elapsed());
        assert_eq!(code, Some(130));
        assert!(!running.await.expect("no panic"), "nobody was waited for");
        gate.reopen(&address_of(&app.database().app)).await;
    }
    // Whoever starts there next ships what they have left.
    let replica = Replica::start_with(&app, port, &settings).await;
    let mut sql = app.sql().await;
    eventually("all answers are in the record", SOON, async || {
        let ok: i64 =
            sqlx::query_scalar("SELECT count(*) FROM app.calls WHERE outcome = 'ok'").fetch_one(&mut sql).await.expect("calls");
        (ok == answered).then_some(())
    })
    .await;
    crate::record::reconcile(&mut sql).await;
    let slowest = took.iter().max().expect("two");
    figure("F32", &format!("gone {slowest:.1?} after the second signal; {answered} answered calls all in the record afterwards"));
    assert!(*slowest < Duration::from_secs(2), "{took:?}");
    replica.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_38_a_flood_of_passwords_is_refused_and_calls_go_on() {
    let app = TestApp::builder().unlimited().start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    timed(&agent).await;
    let seconds = if full() { 20 } else { 3 };
    let calls = async || {
        let (began, mut took) = (Instant::now(), Vec::new());
        while began.elapsed() < Duration::from_secs(seconds) {
            took.push(timed(&agent).await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        took
    };
    let mut before = calls().await;
    let stop = CancellationToken::new();
    let mut flood = JoinSet::new();
    // Two hundred a second, one of each visitor: more than can be checked, and more than may wait.
    for n in 0..200 {
        let (visitor, stop) = (Visitor::new(&app.url), stop.clone());
        flood.spawn(async move {
            visitor.get("/login").await.ok();
            let mut due =
                tokio::time::interval_at((Instant::now() + Duration::from_millis(5 * n)).into(), Duration::from_secs(1));
            let mut statuses = Vec::new();
            while stop.run_until_cancelled(due.tick()).await.is_some() {
                let page = visitor.log_in("owner@acme.example", "not this one at all").await;
                assert!(page.status != 503 || !page.header("retry-after").is_empty());
                statuses.push(page.status);
            }
            statuses
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut during = calls().await;
    stop.cancel();
    let statuses: Vec<u16> = flood.join_all().await.into_iter().flatten().collect();
    let refused = statuses.iter().filter(|status| **status == 503).count();
    let checked = statuses.len() - refused;
    let ((p50, p99), (p50_during, p99_during)) = (middle_and_p99(&mut before), middle_and_p99(&mut during));
    figure(
        "F38",
        &format!(
            "{checked} passwords checked, {refused} refused with 503; calls p50 {p50:.1?} and p99 {p99:.1?}, meanwhile {p50_during:.1?} and {p99_during:.1?} ({:.1} x)",
            p99_during.as_secs_f64() / p99.as_secs_f64()
        ),
    );
    assert!(refused > 0 && checked > 0, "{checked} {refused}");
    assert!(p99_during < Duration::from_secs(2), "{p99_during:?}");
    Visitor::signed_in(&app.url, "owner@acme.example").await.get("/t/acme").await.ok();
}
