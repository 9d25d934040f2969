//! F30 of three replicas: each is stopped and started again under load, and no call fails or is missing from the record.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::Client;
use tokio::task::{JoinHandle, JoinSet, block_in_place};
use tokio_util::sync::CancellationToken;
use trunkline::services::free_port;
use trunkline_platform::catalog::HttpMethod;
use trunkline_protocol::oauth::scope::Effect;

use super::driver::{Journal, call, not_once};
use crate::support::{
    Agent, Replica, SOON, SPOOL_DIR, TestApp, Upstream, eventually, figure, http, private::Folder, tools, world,
};

const WORKERS: usize = 20;
/// Time between two looks of the balancer.
const LOOK: Duration = Duration::from_millis(100);

/// Calls per second: fewer in a run that shares the machine with others.
fn rate() -> u32 {
    if std::env::var("TRUNKLINE_FULL").is_ok_and(|value| value == "1") { 200 } else { 50 }
}

/// What stands before replicas: it asks each whether it is ready, and sends calls to those that are, in turns.
struct Balancer {
    ready: Arc<Mutex<Vec<String>>>,
    next: AtomicUsize,
    task: JoinHandle<()>,
}

impl Balancer {
    fn before(urls: Vec<String>) -> Self {
        let ready = Arc::new(Mutex::new(urls.clone()));
        let told = Arc::clone(&ready);
        let task = world().spawn(async move {
            loop {
                let mut now = Vec::new();
                for url in &urls {
                    let asked = http().get(format!("{url}/readyz")).timeout(Duration::from_secs(1)).send().await;
                    if asked.is_ok_and(|answer| answer.status() == 200) {
                        now.push(url.clone());
                    }
                }
                *told.lock().unwrap_or_else(PoisonError::into_inner) = now;
                tokio::time::sleep(LOOK).await;
            }
        });
        Self { ready, next: AtomicUsize::new(0), task }
    }

    fn next(&self) -> String {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready[self.next.fetch_add(1, Ordering::Relaxed) % ready.len()].clone()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Calls at that rate until told to stop. Nobody tries again.
async fn drive(agent: &Agent, balancer: &Arc<Balancer>, stop: &CancellationToken) -> Journal {
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().expect("a client");
    let pace = Duration::from_secs(1) * u32::try_from(WORKERS).expect("a number") / rate();
    let mut running = JoinSet::new();
    for worker in 0..WORKERS {
        let (agent, client, balancer, stop) = (agent.clone(), client.clone(), Arc::clone(balancer), stop.clone());
        running.spawn(async move {
            let (mut journal, mut due) = (Journal::default(), tokio::time::Instant::now());
            for round in 0.. {
                if stop.is_cancelled() {
                    break;
                }
                let (id, tool) = (format!("roll-{worker}-{round}"), ["echo", "write", "slow"][round % 3]);
                let there = agent.at(&format!("{}/t/acme/mcp", balancer.next()));
                journal.sent.push(id.clone());
                match call(&client, &there, tool, &id).await {
                    Some((200, body)) if body["result"]["content"].is_array() => journal.delivered.push(id),
                    Some((status, body)) => journal.refused.push((status, body["error"]["code"].as_i64().unwrap_or_default())),
                    None => {}
                }
                due += pace;
                tokio::time::sleep_until(due).await;
            }
            journal
        });
    }
    let mut journal = Journal::default();
    while let Some(ended) = running.join_next().await {
        journal.add(ended.expect("no panic"));
    }
    journal
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn f_30_a_rolling_restart_of_three_replicas_fails_and_loses_no_call() {
    let app = TestApp::builder()
        .unlimited()
        .set("QUOTA_WRITE_PER_MINUTE", 6_000_000)
        .set("QUOTA_WRITE_BURST", 6_000_000)
        .set("REDIS_DECISION_MS", 10_000)
        .set("REDIS_TIMEOUT_MS", 10_000)
        .start()
        .await;
    let upstream = Upstream::start().await;
    let acme = app.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    acme.tool("write", tools::with_effect(Effect::Write, tools::http(HttpMethod::Post, &upstream.url("/slow/20"), &[]))).await;
    // Longer than the time between "not ready" and the end of listening would be without a grace.
    acme.tool("slow", tools::get(&upstream.url("/slow/600"))).await;
    let agent = acme.agent("agent", "tools:write").await;

    let spools = [(); 3].map(|()| Folder::new("spool"));
    let ports = [(); 3].map(|()| free_port().expect("a port"));
    let start = async |which: usize| {
        let spool = spools[which].0.display().to_string();
        let settings = [(SPOOL_DIR, &*spool), ("TRUNKLINE_SHUTDOWN_DELAY_S", "1"), ("TRUNKLINE_SHUTDOWN_GRACE_S", "60")];
        Replica::start_with(&app, ports[which], &settings).await
    };
    let mut replicas = [start(0).await, start(1).await, start(2).await];
    let balancer = Arc::new(Balancer::before(replicas.iter().map(|replica| replica.url.clone()).collect()));
    let (stop, began) = (CancellationToken::new(), Instant::now());
    let rolling = async {
        for (which, replica) in replicas.iter_mut().enumerate() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            block_in_place(|| replica.end());
            *replica = start(which).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.cancel();
    };
    let (journal, ()) = tokio::join!(drive(&agent, &balancer, &stop), rolling);
    let took = began.elapsed();
    let missed: Vec<_> = journal.sent.iter().filter(|id| !journal.delivered.contains(id)).collect();
    assert!(missed.is_empty(), "{missed:?} of {} have no result: {:?}", journal.sent.len(), journal.refused);
    let mut sql = app.sql().await;
    eventually("every call is in the record once", SOON * 2, async || {
        not_once(&mut sql, &journal.delivered).await.is_empty().then_some(())
    })
    .await;
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM app.calls").fetch_one(&mut sql).await.expect("a count");
    assert_eq!(usize::try_from(rows).expect("a count"), journal.sent.len());
    assert!(journal.sent.len() > 100, "{} calls", journal.sent.len());
    let calls = journal.sent.len();
    figure(
        "F30",
        &format!(
            "three replicas restarted in turn within {:.0} s; {calls} calls, none failed, all recorded once",
            took.as_secs_f64()
        ),
    );
    replicas.into_iter().for_each(Replica::stop);
}
