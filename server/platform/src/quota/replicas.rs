//! How many replicas share a limit while Redis is away: each writes its heartbeat and counts the others.

use std::sync::atomic::{AtomicU32, Ordering};

use super::store;
use crate::{Platform, Result, ids::ReplicaId};

/// Never assume more replicas than this: a share of nothing would refuse everything.
const MOST: u32 = 8;

/// This replica among the others.
#[derive(Debug)]
pub struct Replicas {
    id: ReplicaId,
    alive: AtomicU32,
}

impl Replicas {
    /// A replica that knows of nobody else yet.
    pub fn new(id: ReplicaId) -> Self {
        Self { id, alive: AtomicU32::new(1) }
    }

    /// This replica's id; a new one with every start.
    pub fn id(&self) -> ReplicaId {
        self.id
    }

    /// This replica's part of every limit.
    pub fn share(&self) -> f64 {
        1.0 / f64::from(self.alive.load(Ordering::Relaxed).clamp(1, MOST))
    }
}

/// One heartbeat. Called by a background tick every five seconds.
pub async fn beat(platform: &Platform) -> Result<()> {
    let mut tx = platform.db.system().await?;
    let (alive, theirs) = store::beat(&mut tx, platform.replicas.id, platform.clock.now()).await?;
    // Its answer took less than what matters here.
    platform.metrics.clock_skew_ms.set((platform.clock.now() - theirs).num_milliseconds());
    tx.commit().await?;
    platform.replicas.alive.store(u32::try_from(alive).unwrap_or(MOST), Ordering::Relaxed);
    Ok(())
}

/// Says good-bye, so that the others' shares grow at once.
pub async fn leave(platform: &Platform) -> Result<()> {
    let mut tx = platform.db.system().await?;
    store::leave(&mut tx, platform.replicas.id).await?;
    tx.commit().await
}
