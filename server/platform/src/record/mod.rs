//! The record: every call, allowed or not, becomes one entry, and every entry reaches Postgres once.
//!
//! A call reserves its place before its tool runs: with a full spool new calls are refused and nothing is dropped. Its entry is on disk before its
//! answer leaves (`spool`), and goes from there to Postgres, together with its position and in one transaction (`writer`).

mod keys;
mod spool;
mod store;
mod writer;

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::health::Status;

pub use keys::{KeysSeen, note_key_use};
pub use spool::{CAPACITY, Reservation};
pub use writer::{Writer, run};

/// What an entry outlives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, also by kill -9.
    Process,
    /// The end of the machine: it is synced to disk.
    Disk,
}

/// How the record is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Folder of the spool. One process at a time, and it has to outlive restarts.
    pub dir: PathBuf,
    /// Most bytes of entries that wait for Postgres. From four fifths on new calls are refused.
    pub max_bytes: u64,
    /// Of calls that change nothing.
    pub durability: Durability,
    /// Of calls of write and destructive tools, and of their intents.
    pub effects: Durability,
}

/// No place is left for another entry: Postgres has been away for too long, or the disk cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record is full")]
pub struct Full;

/// The entry is not safe: the disk cannot be written at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record cannot be written at the moment")]
pub struct NotKept;

/// Where entries go on their way to Postgres.
pub trait Spool: Send + Sync + std::fmt::Debug {
    /// A place for one entry, or `Full`.
    fn reserve(&self) -> Result<Reservation, Full>;
    /// Can it take calls, and has everything in it been taken by Postgres?
    fn status(&self) -> Status;
    /// Bytes that wait for Postgres, and those from which new calls are refused.
    fn fill(&self) -> (u64, u64);
    /// For how long something waits while nothing leaves; nothing if none waits.
    fn stalled(&self) -> Option<Duration>;
}

/// The record's two ends: where calls put entries, and the writer that takes them out.
pub fn open(settings: Settings) -> (Arc<dyn Spool>, Writer) {
    let (spool, outlet) = spool::open(settings);
    (spool, Writer::new(outlet))
}

/// Makes sure that the partitions of this month and the next three exist. Called by a background tick.
pub async fn ensure_partitions(platform: &crate::Platform) -> crate::Result<()> {
    let mut tx = platform.db.system().await?;
    store::ensure_partitions(&mut tx).await?;
    tx.commit().await
}
