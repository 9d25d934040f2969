//! A replica is killed: what was in flight on it is lost and said to be lost; everything else goes on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::json;

use super::{acme, at, call};
use crate::support::{
    Agent, Answer, Replica, SOON, TestApp, eventually, say,
    wire::{Events, Wire, progress},
};

#[tokio::test]
async fn a_stream_whose_replica_was_killed_gives_what_there_was_and_an_end() {
    let app = TestApp::start().await;
    let (_, agent) = acme(&app).await;
    let doomed = Replica::start(&app).await;
    let there = Wire::begin(&at(&agent, &doomed.url), "2025-11-25").await;
    let mut cut = Events::open(there.call("k", "slow_compute", json!({ "seconds": 60 }))).await;
    let primed = cut.event().await.and_then(|event| event.id).expect("an event to resume from");
    let first = cut.until("notifications/progress").await;
    assert_eq!(first["params"]["progress"], 1.0);
    doomed.kill();
    assert!(cut.rest().await.iter().all(|message| message.get("id").is_none()), "it breaks off");
    let last = cut.last.clone().expect("an id");

    let here = there.at(&app.url);
    let asked = Instant::now();
    for (from, seen) in [(&primed, vec![1.0]), (&last, vec![])] {
        let mut resumed = here.listen(Some(from)).await;
        assert_eq!(resumed.status, 200);
        let rest = resumed.rest().await;
        assert!(progress(&rest).starts_with(&seen), "{rest:?}");
        let end = rest.last().expect("an end");
        assert!(end["id"] == "k" && end["error"]["message"].as_str().is_some_and(|text| text.contains("not known")), "{end}");
    }
    assert!(asked.elapsed() < Duration::from_secs(20), "soon: {:?}", asked.elapsed());
    assert!(here.send(2, "tools/call", call("test_simple_text", json!({}))).await.is_ok(), "the session goes on");
}

#[tokio::test]
async fn a_replica_that_lives_is_not_taken_for_dead_by_those_who_resume_elsewhere() {
    let app = TestApp::start().await;
    let second = app.replica().await;
    let (_, agent) = acme(&app).await;
    let here = Wire::begin(&agent, "2025-11-25").await;
    // Silent for longer than a dead one would be waited for.
    let mut cut = Events::open(here.call("s", "test_elicitation", json!({ "message": "?" }))).await;
    cut.until("elicitation/create").await;
    let last = cut.last.clone().expect("an id");
    let question = cut.last.clone();
    drop(cut);
    assert!(question.is_some());
    let mut resumed = here.at(&second.url).listen(Some(&last)).await;
    assert!(resumed.is_quiet(Duration::from_secs(7)).await);
}

/// A client in a session that calls through any replica, one after the other, and comes back elsewhere when a call fails.
struct Client {
    wires: Vec<Wire>,
    calls: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

/// What a client noticed.
#[derive(Debug, Default)]
struct Noticed {
    good: usize,
    /// Calls that broke off while their replica was killed.
    lost: usize,
}

impl Client {
    async fn run(self, number: usize) -> Noticed {
        let (mut noticed, mut turn) = (Noticed::default(), number);
        while !self.stop.load(Ordering::Relaxed) {
            turn += 1;
            let wire = &self.wires[turn % self.wires.len()];
            let text = format!("client {number} call {turn}");
            // The same ids for all of them.
            let sent = wire.request(turn, "tools/call", call("greet", json!({ "name": text }))).send().await;
            let response = match sent {
                Ok(response) => response,
                // Nobody listens there now: nothing was in flight.
                Err(error) if error.is_connect() => continue,
                Err(_) => {
                    noticed.lost += 1;
                    continue;
                }
            };
            let status = response.status().as_u16();
            let Ok(body) = response.text().await else {
                noticed.lost += 1;
                continue;
            };
            assert!(status == 200 && body.contains(&format!("Hello, {text}!")), "client {number}: {status} {body}");
            noticed.good += 1;
            self.calls.fetch_add(1, Ordering::Relaxed);
        }
        noticed
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_killed_one_by_one_under_load_cost_a_session_the_calls_in_flight_there() {
    const CLIENTS: usize = 12;
    let app = TestApp::builder().unlimited().start().await;
    let (_, agent) = acme(&app).await;
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(Replica::start(&app).await);
    }
    let endpoints: Vec<Agent> = replicas.iter().map(|replica| at(&agent, &replica.url)).collect();
    let (calls, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let wire = Wire::begin(&endpoints[number % 3], "2025-11-25").await;
        let wires = endpoints.iter().map(|endpoint| wire.of(endpoint)).collect();
        let client = Client { wires, calls: Arc::clone(&calls), stop: Arc::clone(&stop) };
        clients.push(tokio::spawn(client.run(number)));
    }
    let more = async |count: usize| {
        let before = calls.load(Ordering::Relaxed);
        let enough = async || (calls.load(Ordering::Relaxed) >= before + count).then_some(());
        eventually("calls go on", SOON * 2, enough).await;
    };
    more(200).await;
    let kills = replicas.len();
    for number in 0..kills {
        let replica = replicas.remove(0);
        let port = replica.port();
        replica.kill();
        more(200).await;
        replicas.push(Replica::start_at(&app, port).await);
        more(100).await;
        say(&format!("replica {number} was killed and came back; {} calls so far", calls.load(Ordering::Relaxed)));
    }
    stop.store(true, Ordering::Relaxed);
    let noticed: Vec<Noticed> = join_all(clients).await.into_iter().map(|client| client.expect("no panic")).collect();
    let lost: usize = noticed.iter().map(|noticed| noticed.lost).sum();
    let good: usize = noticed.iter().map(|noticed| noticed.good).sum();
    say(&format!("{CLIENTS} session clients, {kills} replicas killed: {good} calls answered, {lost} lost in flight"));
    // A client has one call in flight; it loses at most that one of each replica that is killed.
    assert!(noticed.iter().all(|noticed| noticed.lost <= kills && noticed.good > 0), "{noticed:?}");
    let answer: Answer = Wire::begin(&endpoints[0], "2025-11-25").await.send(1, "tools/list", json!({})).await;
    assert_eq!(answer.status, 200);
}
