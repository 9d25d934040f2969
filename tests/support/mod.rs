//! What tests act with: an installation of their own, actors with verbs, and the world around it.

mod agent;
mod app;
mod authenticator;
mod catalog;
mod cluster;
pub(crate) mod collector;
mod evil;
mod logs;
pub(crate) mod mcp_client;
pub(crate) mod mcp_upstream;
pub(crate) mod oauth;
pub(crate) mod openid;
pub(crate) mod private;
pub(crate) mod process;
mod proxy;
pub(crate) mod published;
pub(crate) mod raw;
mod replica;
pub(crate) mod seed;
mod services;
pub(crate) mod signer;
pub(crate) mod stdio;
pub(crate) mod tools;
pub(crate) mod upstream;
mod visitor;
pub(crate) mod wire;

use std::{
    io::Write as _,
    sync::OnceLock,
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

pub(crate) use agent::{Agent, Answer, Era, http, message};
pub(crate) use app::{Builder, PASSWORD, SPOOL_DIR, Tenant, TestApp};
pub(crate) use authenticator::Authenticator;
pub(crate) use cluster::OwnCluster;
pub(crate) use private::{Gate, OwnRedis};
pub(crate) use proxy::SlowProxy;
pub(crate) use replica::Replica;
pub(crate) use services::{Database, Kind, address_of, by_way_of, run as run_sql, shared};
pub(crate) use upstream::Upstream;
pub(crate) use visitor::{Page, SESSION, Visitor, link};

/// Longest wait for something that should happen soon. Generous: the machine may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Where the world around the installations lives: it goes on while a test blocks, and while an installation stops.
pub(crate) fn world() -> &'static Runtime {
    static WORLD: OnceLock<Runtime> = OnceLock::new();
    WORLD.get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime"))
}

/// Asks again and again until there is an answer. Panics with `what` when there is none in time.
pub(crate) async fn eventually<T>(what: &str, within: Duration, mut question: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = Instant::now();
    loop {
        if let Some(answer) = question().await {
            return answer;
        }
        assert!(asked.elapsed() < within, "{what}: not within {} s", within.as_secs_f32());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A line of the run's report. Not captured, so that it is seen when everything is well.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Is there time for runs of full length? `make faults` says so.
pub(crate) fn full() -> bool {
    std::env::var("TRUNKLINE_FULL").is_ok_and(|value| value == "1")
}

/// What a fault of the matrix came to. It is said, and kept for the table of `make faults`.
pub(crate) fn figure(row: &str, text: &str) {
    say(&format!("figure {row}: {text}"));
    let Some(path) = std::env::var_os("TRUNKLINE_FIGURES") else { return };
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("a file for figures");
    // In one piece: tests say theirs at the same time.
    file.write_all(format!("{row} {}\n", text.replace('\n', " ")).as_bytes()).expect("the figure is written");
}

/// The middle of some times, and the one that 99 of 100 do not exceed.
pub(crate) fn middle_and_p99(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort_unstable();
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1))).copied();
    (at(50).unwrap_or_default(), at(99).unwrap_or_default())
}

/// The same draw of numbers in every run, so that a failure can be repeated.
pub(crate) struct Draw(u64);

impl Draw {
    /// From that seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound` (SplitMix64).
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
