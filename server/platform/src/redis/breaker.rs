//! When to stop asking: after a few failures in a row, then one question per half second until one is answered.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Instant,
};

const FAILURES_TO_OPEN: u32 = 3;
const PROBE_EVERY_MS: u64 = 500;

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

    pub(super) fn note(&self, answered: bool) {
        if answered {
            if self.failures.swap(0, Ordering::Relaxed) >= FAILURES_TO_OPEN {
                tracing::info!("redis answers again");
            }
        } else if self.failures.fetch_add(1, Ordering::Relaxed) + 1 == FAILURES_TO_OPEN {
            self.next_probe_ms.store(self.now_ms() + PROBE_EVERY_MS, Ordering::Relaxed);
            tracing::warn!("redis does not answer; asking once per half second");
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
