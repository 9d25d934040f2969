//! The life of this process: when it began, and whether it is about to end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use trunkline_platform::health::Health;

/// Shared by all listeners of the process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Vitals(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: Instant,
    draining: AtomicBool,
    health: Health,
}

impl Vitals {
    /// A process that has just begun.
    pub fn begin() -> Self {
        let health = Health::default();
        Self(Arc::new(Inner { started: Instant::now(), draining: AtomicBool::new(false), health }))
    }

    /// Seconds since then.
    pub fn uptime_s(&self) -> u64 {
        self.0.started.elapsed().as_secs()
    }

    /// From now on not ready for new traffic.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// Is it about to end?
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
    }

    /// The dependencies.
    pub fn health(&self) -> &Health {
        &self.0.health
    }
}
