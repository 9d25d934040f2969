//! When to stop asking: after a few failures in a row, until a question in the background is answered.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Instant,
};

const FAILURES_TO_OPEN: u32 = 3;
/// Where nothing asks in the background (a command that does its work and ends), what is to be done asks by itself.
const PROBE_EVERY_MS: u64 = 500;
/// How long those wait for the background, which asks every half second.
const PATIENCE_MS: u64 = 1_500;

/// Counts failures in a row. Lock-free: it is asked on every call.
#[derive(Debug)]
pub(super) struct Breaker {
    started: Instant,
    failures: AtomicU32,
    /// Milliseconds after `started` at which the next question is allowed while open.
    next_probe_ms: AtomicU64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { started: Instant::now(), failures: AtomicU32::new(0), next_probe_ms: AtomicU64::new(0) }
    }
}

impl Breaker {
    pub(super) fn is_open(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= FAILURES_TO_OPEN
    }

    /// True if closed, and for one caller per half second while open.
    pub(super) fn may_ask(&self) -> bool {
        if !self.is_open() {
            return true;
        }
        let now = self.now_ms();
        let next = self.next_probe_ms.load(Ordering::Relaxed);
        now >= next
            && self.next_probe_ms.compare_exchange(next, now + PROBE_EVERY_MS, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// True if closed: a call never waits to find out whether it may be asked again.
    pub(super) fn may_decide(&self) -> bool {
        !self.is_open()
    }

    /// Somebody asks in the background.
    pub(super) fn probes(&self) {
        self.next_probe_ms.store(self.now_ms() + PATIENCE_MS, Ordering::Relaxed);
    }

    pub(super) fn note(&self, answered: bool) {
        if answered {
            if self.failures.swap(0, Ordering::Relaxed) >= FAILURES_TO_OPEN {
                tracing::info!("redis answers again");
            }
        } else if self.failures.fetch_add(1, Ordering::Relaxed) + 1 == FAILURES_TO_OPEN {
            self.next_probe_ms.store(self.now_ms() + PROBE_EVERY_MS, Ordering::Relaxed);
            tracing::warn!("redis does not answer in time; asking once per half second");
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_three_failures_and_closes_on_the_first_answer() {
        let breaker = Breaker::default();
        breaker.note(false);
        breaker.note(false);
        assert!(breaker.may_ask() && !breaker.is_open());
        breaker.note(false);
        assert!(breaker.is_open() && !breaker.may_ask());
        breaker.note(true);
        assert!(!breaker.is_open() && breaker.may_ask());
    }
}
