//! The record: every call, allowed or not, becomes one entry, and every entry reaches Postgres once.
//!
//! A call reserves its place before its tool runs, so that completing it cannot fail: with a full queue new calls are refused and nothing
//! is dropped. The queue is memory for now, so entries live as long as the process; the crash-safe spool takes its place behind `Spool`.

mod keys;
mod store;
mod writer;

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::call::Entry;

pub use keys::{KeysSeen, note_key_use};
pub use writer::{Writer, run};

/// Entries that may wait for Postgres. At 2,000 calls a second this bridges half a minute; beyond, calls are refused.
pub const CAPACITY: usize = 65_536;

/// No place is left for another entry: Postgres has been away for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record is full")]
pub struct Full;

/// Where entries go on their way to Postgres.
pub trait Spool: Send + Sync + std::fmt::Debug {
    /// A place for one entry, or `Full`.
    fn reserve(&self) -> Result<Reservation, Full>;
}

/// A place in the record. Dropped without an entry, it is free again.
#[derive(Debug)]
pub struct Reservation(mpsc::OwnedPermit<Entry>);

impl Reservation {
    /// Puts the entry in its place. The answer may leave after this.
    pub fn complete(self, entry: Entry) {
        self.0.send(entry);
    }
}

/// A bounded queue in memory.
#[derive(Debug)]
struct Queue(mpsc::Sender<Entry>);

impl Spool for Queue {
    fn reserve(&self) -> Result<Reservation, Full> {
        self.0.clone().try_reserve_owned().map(Reservation).map_err(|_| Full)
    }
}

/// The record's two ends: where calls put entries, and the writer that takes them out.
pub fn open() -> (Arc<dyn Spool>, Writer) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    (Arc::new(Queue(sender)), Writer::new(receiver))
}

/// Makes sure that the partitions of this month and the next three exist. Called by a background tick.
pub async fn ensure_partitions(platform: &crate::Platform) -> crate::Result<()> {
    let mut tx = platform.db.system().await?;
    store::ensure_partitions(&mut tx).await?;
    tx.commit().await
}
