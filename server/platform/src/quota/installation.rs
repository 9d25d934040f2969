//! The bucket of the whole installation. Its key cannot lie in a tenant's slot, so replicas take tokens out of it ahead of need: about a
//! hundred milliseconds' worth, in the background. What is admitted is exact but for what replicas hold.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Charge, Decision, Rate, Remaining, Scope, bucket::Bucket};
use crate::{Platform, redis::Script};

static LEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lease.lua")));

/// How much is held, in time.
const WORTH: Duration = Duration::from_millis(100);

/// Tokens that this replica holds.
#[derive(Debug, Default)]
pub struct Installation {
    held: AtomicI64,
    low: Notify,
}

/// A token of the installation's bucket.
#[derive(Debug)]
pub struct Token(());

impl Installation {
    /// Takes a token, if the installation is limited; else what refuses, and when to come back (ms).
    pub fn take(&self, limit: Option<Rate>) -> Result<Option<Token>, (Remaining, u64)> {
        let Some(rate) = limit else { return Ok(None) };
        let before = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| (held > 0).then_some(held - 1));
        if before.is_err() || before.is_ok_and(|held| held <= wanted(rate) / 2) {
            self.low.notify_one();
        }
        if before.is_ok() {
            return Ok(Some(Token(())));
        }
        let reset_ms = u64::try_from(WORTH.as_millis()).unwrap_or(u64::MAX);
        Err((Remaining { reset_ms, ..Remaining::of_rate(Scope::Installation, rate) }, reset_ms))
    }

    /// Nothing ran: it is there for the next call.
    pub fn put_back(&self, Token(()): Token) {
        self.held.fetch_add(1, Ordering::Relaxed);
    }
}

/// A hundred milliseconds' worth, at least one.
fn wanted(rate: Rate) -> i64 {
    (i64::from(rate.per_minute) / 600).clamp(1, i64::from(rate.burst))
}

/// Keeps this replica in tokens. Runs until told to stop; nothing to do where the installation is not limited.
pub async fn run_lease(platform: Platform, stop: CancellationToken) {
    let Some(rate) = platform.settings.quota.installation else {
        stop.cancelled().await;
        return;
    };
    let most = wanted(rate);
    loop {
        let missing = most - platform.installation.held.load(Ordering::Relaxed);
        let taken = if missing > 0 { lease(&platform, rate, missing).await } else { 0 };
        platform.installation.held.fetch_add(taken, Ordering::Relaxed);
        // Woken when few are left; by itself as often as they come in.
        let wait = async {
            let full = missing <= taken;
            let pause = if full { WORTH } else { WORTH / 4 };
            if full {
                tokio::select! { () = platform.installation.low.notified() => {}, () = tokio::time::sleep(pause) => {} }
            } else {
                tokio::time::sleep(pause).await;
            }
        };
        if stop.run_until_cancelled(wait).await.is_none() {
            return;
        }
    }
}

/// As many as there are. Without Redis from this replica's share.
async fn lease(platform: &Platform, rate: Rate, wanted: i64) -> i64 {
    let key = platform.redis.global_key("{installation}:q");
    let mut script = LEASE.prepare_invoke();
    script.key(key).arg(rate.interval_us()).arg(rate.burst).arg(wanted);
    if let Ok(taken) = platform.redis.run::<i64>(&script).await {
        return taken;
    }
    let one: Charge = Bucket { scope: Scope::Installation, key: "installation".into(), rate }.into();
    let share = platform.replicas.share();
    let admitted = (0..wanted)
        .take_while(|_| matches!(platform.local_buckets.admit(&one, &platform.counters, 0, share), Decision::Admitted { .. }));
    i64::try_from(admitted.count()).unwrap_or(0)
}
