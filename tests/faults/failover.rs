//! The primary is killed and its standby takes over: nothing that was acknowledged is lost, and nothing has to be started again.

use std::{
    path::Path,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use sqlx::{Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;
use trunkline::services::{Keep, PrivatePostgres};
use trunkline_platform::{
    Platform,
    actor::Member,
    agents::{self, NewAgent},
    db,
    secret::Plaintext,
};

use super::{postgres::processes, timed};
use crate::support::{Database, Gate, SOON, TestApp, address_of, by_way_of, eventually, figure, private::Folder, process, tools};

/// Writes that fail are tried again after this.
const PAUSE: Duration = Duration::from_millis(50);

async fn start(dir: &Path) -> PrivatePostgres {
    let dir = dir.to_owned();
    let started = tokio::task::spawn_blocking(move || PrivatePostgres::start(&dir, Keep::Nothing).expect("a cluster"));
    started.await.expect("no panic")
}

/// A copy of the cluster in that folder, which follows it.
async fn follow(primary: &PrivatePostgres, from: &Path, to: &Path) -> PrivatePostgres {
    for name in ["postgres-admin.password", "postgres-app.password"] {
        std::fs::copy(from.join(name), to.join(name)).expect("the same passwords");
    }
    let data = to.join("postgres");
    let mut copying = Command::new("pg_basebackup");
    copying.args([
        "--write-recovery-conf",
        "--checkpoint=fast",
        "--no-sync",
        "--dbname",
        primary.admin_url().reveal(),
        "--pgdata",
    ]);
    let copied = copying.arg(&data).output().expect("pg_basebackup runs");
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let given = Command::new("chown").arg("-R").arg("--reference").args([&from.join("postgres"), &data]).status();
    assert!(given.expect("chown runs").success());
    start(to).await
}

/// What became of the writes.
#[derive(Debug, Default)]
struct Writes {
    acknowledged: Vec<String>,
    failed: usize,
    /// The longest time between two that were acknowledged.
    longest: Duration,
}

/// Makes agents one after the other until told to stop.
async fn write(platform: Platform, owner: Member, writes: Arc<Mutex<Writes>>, stop: CancellationToken) {
    let mut last = Instant::now();
    for number in 0.. {
        if stop.is_cancelled() {
            return;
        }
        let name = format!("agent {number}");
        let made = agents::create(&platform, &owner, NewAgent::parse(&name, "", "tools:read").expect("an agent")).await;
        {
            let mut writes = writes.lock().unwrap_or_else(PoisonError::into_inner);
            if made.is_ok() {
                writes.acknowledged.push(name);
                writes.longest = writes.longest.max(last.elapsed());
                last = Instant::now();
            } else {
                writes.failed += 1;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_04_a_standby_takes_over_and_nothing_acknowledged_is_lost() {
    let (first, second) = (Folder::new("primary"), Folder::new("standby"));
    let primary = start(&first.0).await;
    db::migrate(&primary.admin_url(), &primary.app_url()).await.expect("migrated");
    let standby = follow(&primary, &first.0, &second.0).await;
    let mut sql = PgConnection::connect(primary.admin_url().reveal()).await.expect("the primary answers");
    eventually("it follows", SOON, async || {
        let following: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")
            .fetch_one(&mut sql)
            .await
            .expect("the activity");
        (following == 1).then_some(())
    })
    .await;
    // What is acknowledged is on both.
    for statement in [
        "ALTER ROLE trunkline_app SET synchronous_commit = 'on'",
        "ALTER SYSTEM SET synchronous_standby_names = '*'",
        "SELECT pg_reload_conf()",
    ] {
        sqlx::raw_sql(statement).execute(&mut sql).await.expect(statement);
    }
    let gate = Gate::open(&address_of(primary.admin_url().reveal())).await;
    let through = |url: Plaintext| Plaintext::new(by_way_of(gate.addr.port(), url.reveal()));
    let database = Database::foreign(&through(primary.admin_url()), &through(primary.app_url()));
    let mut patient = TestApp::builder().unlimited().on(database).start().await;
    let mut app = patient.with_settings(&[("DATABASE_ACQUIRE_TIMEOUT_MS", "1000")]).await;
    for one in [&mut patient, &mut app] {
        one.expect_error("jobs wait");
    }
    let acme = patient.tenant("acme").await;
    acme.tool("echo", tools::echo()).await;
    let agent = acme.agent("agent", "tools:read").await;
    let agent = agent.at(&agent.url.replace(&patient.url, &app.url));
    timed(&agent).await;

    let (writes, stop) = (Arc::<Mutex<Writes>>::default(), CancellationToken::new());
    let acknowledged = || writes.lock().unwrap_or_else(PoisonError::into_inner).acknowledged.len();
    let writing = app.runtime().spawn(write(app.platform.clone(), acme.owner.clone(), Arc::clone(&writes), stop.clone()));
    eventually("some are written", SOON, async || (acknowledged() >= 20).then_some(())).await;
    for id in processes(&first.0) {
        process::send(id, Signal::SIGKILL);
    }
    gate.close();
    // Some find a server that only reads.
    gate.reopen(&address_of(standby.admin_url().reveal())).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let before = acknowledged();
    let mut calls = 0;
    for _ in 0..20 {
        timed(&agent).await;
        calls += 1;
    }
    let mut sql = PgConnection::connect(standby.admin_url().reveal()).await.expect("the standby answers");
    // Nobody follows it, so it must not wait for anybody.
    sqlx::raw_sql("ALTER SYSTEM SET synchronous_standby_names = ''").execute(&mut sql).await.expect("set");
    sqlx::raw_sql("SELECT pg_reload_conf(), pg_promote()").execute(&mut sql).await.expect("promoted");
    eventually("writes go on", Duration::from_secs(10), async || (acknowledged() >= before + 20).then_some(())).await;
    stop.cancel();
    writing.await.expect("no panic");
    let names: Vec<String> = sqlx::query_scalar("SELECT name FROM app.agents").fetch_all(&mut sql).await.expect("agents");
    let writes = std::mem::take(&mut *writes.lock().unwrap_or_else(PoisonError::into_inner));
    let lost: Vec<_> = writes.acknowledged.iter().filter(|name| !names.contains(name)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    eventually("every call is recorded", SOON, async || {
        let found: i64 = sqlx::query_scalar("SELECT count(*) FROM app.calls").fetch_one(&mut sql).await.expect("calls");
        (found > calls).then_some(())
    })
    .await;
    figure(
        "F04",
        &format!(
            "{} writes acknowledged and none lost, {} refused, {:.1?} between the last before and the first after; {calls} calls meanwhile",
            writes.acknowledged.len(),
            writes.failed,
            writes.longest
        ),
    );
    assert!(writes.failed > 0 && writes.longest < Duration::from_secs(15), "{writes:?}");
    drop(sql);
    drop(app);
    drop(patient);
    tokio::task::spawn_blocking(move || drop((primary, standby))).await.expect("stopped");
}
