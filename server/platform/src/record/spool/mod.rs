//! The crash-safe spool: what a call leaves is on this machine's disk before its answer leaves, and goes to Postgres from there.
//!
//! Calls put orders into a bounded queue; one thread makes batches of them (`thread`), an embedded store keeps them (`disk`), the shipper reads
//! them back in order. A store that fails is given up and opened anew; meanwhile new calls are refused.

mod disk;
mod thread;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::{
    disk::{Disk, Fault, Found},
    thread::{Order, Thread, What},
};
use super::{Durability, Full, NotKept, Settings, Spool};
use crate::{call::Entry, health::Status, ids::EntryId};

/// Calls that may be on their way at once. Each has room for its intent and its entry in the queue.
pub const CAPACITY: usize = 65_536;
/// Longest wait for an entry to be kept. It is kept all the same when the disk can be written again, but the answer says so.
const KEEP_WITHIN: Duration = Duration::from_secs(3);
/// Share of the room from which new calls are refused: those that run need theirs.
const FULL_AT: (u64, u64) = (4, 5);

/// What the calls, the thread and the shipper share.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    disk: Mutex<Option<Arc<Disk>>>,
    /// Entries that wait for Postgres, and their size.
    waiting: AtomicU64,
    bytes: AtomicU64,
    refused: AtomicU64,
    /// Since when something waits and nothing has left.
    stalled: Mutex<Option<Instant>>,
    /// Was it opened? Before that there is no server, and nobody calls.
    started: std::sync::atomic::AtomicBool,
    arrived: Notify,
    broken: Notify,
    /// The thread has ended: nothing will be kept any more.
    ended: CancellationToken,
}

impl Shared {
    fn disk(&self) -> Option<Arc<Disk>> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, disk: Disk) {
        *self.disk.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(disk));
    }

    fn count_in(&self, bytes: u64) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.stalled.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
    }

    /// Something has left: what still waits does so from now on.
    fn count_out(&self, entries: u64, bytes: u64) {
        let before = self.waiting.fetch_sub(entries, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        *self.stalled.lock().unwrap_or_else(PoisonError::into_inner) = (before > entries).then(Instant::now);
    }

    fn is_broken(&self) -> bool {
        self.started.load(Ordering::Acquire) && self.disk.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= self.room()
    }

    /// Bytes from which new calls are refused.
    fn room(&self) -> u64 {
        self.settings.max_bytes / FULL_AT.1 * FULL_AT.0
    }
}

/// The end that calls put entries into.
#[derive(Debug)]
struct DiskSpool {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
}

impl Spool for DiskSpool {
    fn reserve(&self) -> Result<Reservation, Full> {
        if self.shared.is_broken() || self.shared.is_full() {
            return Err(Full);
        }
        let room = || self.orders.clone().try_reserve_owned().map_err(|_| Full);
        let durability = (self.shared.settings.durability, self.shared.settings.effects);
        Ok(Reservation { entry: room()?, intent: Some(room()?), intended: None, durability })
    }

    fn status(&self) -> Status {
        if self.shared.is_broken() || self.shared.is_full() {
            Status::Unhealthy
        } else if self.shared.refused.load(Ordering::Relaxed) > 0 {
            Status::Degraded
        } else {
            Status::Healthy
        }
    }

    fn fill(&self) -> (u64, u64) {
        (self.shared.bytes.load(Ordering::Relaxed), self.shared.room())
    }

    fn stalled(&self) -> Option<Duration> {
        self.shared.stalled.lock().unwrap_or_else(PoisonError::into_inner).map(|since| since.elapsed())
    }
}

/// A place in the record. Dropped without an entry, it is free again.
#[derive(Debug)]
pub struct Reservation {
    entry: mpsc::OwnedPermit<Order>,
    intent: Option<mpsc::OwnedPermit<Order>>,
    intended: Option<EntryId>,
    /// Of calls that change nothing, and of those that may.
    durability: (Durability, Durability),
}

impl Reservation {
    /// Says that the call is about to change something. When this returns, the intent outlives this process: if the call is never completed,
    /// the next one makes an entry of it.
    pub async fn intend(&mut self, entry: &Entry) -> Result<(), NotKept> {
        let Some(room) = self.intent.take() else { return Ok(()) };
        self.intended = Some(entry.id);
        let what = What::Intend { id: entry.id, bytes: disk::encode(entry) };
        kept(room, what, self.durability.1).await
    }

    /// Puts the entry in its place. The answer may leave when this returns well. If not, the entry is not lost, but not safe yet either.
    pub async fn complete(self, entry: &Entry) -> Result<(), NotKept> {
        let (room, what, durability) = self.order(entry);
        kept(room, what, durability).await
    }

    /// The same for nobody who waits.
    pub fn hand_over(self, entry: &Entry) {
        let (room, what, durability) = self.order(entry);
        room.send(Order { what, sync: durability == Durability::Disk, done: None });
    }

    fn order(self, entry: &Entry) -> (mpsc::OwnedPermit<Order>, What, Durability) {
        let durability = if self.intended.is_some() { self.durability.1 } else { self.durability.0 };
        (self.entry, What::Keep { intent: self.intended, bytes: disk::encode(entry) }, durability)
    }
}

async fn kept(room: mpsc::OwnedPermit<Order>, what: What, durability: Durability) -> Result<(), NotKept> {
    let (done, told) = oneshot::channel();
    room.send(Order { what, sync: durability == Durability::Disk, done: Some(done) });
    match tokio::time::timeout(KEEP_WITHIN, told).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(NotKept),
    }
}

/// The end that entries come out of. Nothing is on disk before it is started.
#[derive(Debug)]
pub(super) struct Outlet {
    shared: Arc<Shared>,
    orders: Option<mpsc::Receiver<Order>>,
    thread: Option<std::thread::JoinHandle<()>>,
    stop: CancellationToken,
    /// Last position that has left; the first that was free when this was opened.
    shipped: u64,
    opened_at: u64,
}

/// Both ends.
pub(super) fn open(settings: Settings) -> (Arc<dyn Spool>, Outlet) {
    let (sender, receiver) = mpsc::channel(2 * CAPACITY);
    let shared = Arc::new(Shared {
        settings,
        disk: Mutex::default(),
        waiting: AtomicU64::default(),
        bytes: AtomicU64::default(),
        refused: AtomicU64::default(),
        stalled: Mutex::default(),
        started: false.into(),
        arrived: Notify::new(),
        broken: Notify::new(),
        ended: CancellationToken::new(),
    });
    let outlet = Outlet {
        shared: Arc::clone(&shared),
        orders: Some(receiver),
        thread: None,
        stop: CancellationToken::new(),
        shipped: 0,
        opened_at: 0,
    };
    (Arc::new(DiskSpool { shared, orders: sender }), outlet)
}

/// Entries on their way out.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// By position. What cannot be read is there without an entry.
    pub(super) entries: Vec<(u64, Option<Entry>, Vec<u8>)>,
}

impl Load {
    /// All positions.
    pub(super) fn positions(&self) -> Vec<u64> {
        self.entries.iter().map(|(position, ..)| *position).collect()
    }
}

impl Outlet {
    /// Opens the folder, takes over what the process before has left in it, and begins to write. On the runtime that lives as long as the process.
    pub(super) fn start(&mut self) -> crate::Result<()> {
        self.open().map_err(crate::Error::internal)
    }

    fn open(&mut self) -> Result<(), Fault> {
        let Some(orders) = self.orders.take() else { return Ok(()) };
        let disk = Disk::open(&self.shared.settings.dir)?;
        let found = disk.recover()?;
        self.adopt(&found);
        self.shared.put(disk);
        self.shared.started.store(true, Ordering::Release);
        let thread = Thread { shared: Arc::clone(&self.shared), orders, next: found.next, stop: self.stop.clone() };
        let runtime = Handle::current();
        let named = std::thread::Builder::new().name("record".to_owned());
        self.thread = Some(named.spawn(move || thread.run(&runtime))?);
        Ok(())
    }

    fn adopt(&mut self, found: &Found) {
        (self.shipped, self.opened_at) = (found.shipped, found.next);
        self.shared.waiting.store(found.waiting, Ordering::Relaxed);
        self.shared.bytes.store(found.bytes, Ordering::Relaxed);
        self.shared.refused.store(found.refused, Ordering::Relaxed);
        if found.waiting > 0 {
            *self.shared.stalled.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            tracing::info!(waiting = found.waiting, cut = found.cut, "entries of the process before are in the spool");
        }
        if found.refused > 0 {
            tracing::warn!(refused = found.refused, "the spool has entries that the database refused");
        }
    }

    /// Waits until an entry has been kept, or none can be any more.
    pub(super) async fn arrived(&self) {
        self.shared.ended.run_until_cancelled(self.shared.arrived.notified()).await;
    }

    /// Can nothing be kept any more? The process has to start anew then.
    pub(super) fn has_ended(&self) -> bool {
        self.shared.ended.is_cancelled()
    }

    /// Entries that wait, and those the database refused.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.shared.waiting.load(Ordering::Relaxed), self.shared.refused.load(Ordering::Relaxed))
    }

    /// First position that was free when this process began.
    pub(super) fn opened_at(&self) -> u64 {
        self.opened_at
    }

    /// Under which name positions are counted in Postgres.
    pub(super) async fn name(&self) -> crate::Result<Uuid> {
        self.with_disk(Disk::name).await
    }

    /// Counts under a new name: the folder is a copy, or older than what Postgres knows of it.
    pub(super) async fn rename(&self) -> crate::Result<Uuid> {
        let name = Uuid::from_bytes(crate::random::bytes());
        self.with_disk(move |disk| disk.rename(name)).await?;
        Ok(name)
    }

    /// The oldest entries that wait.
    pub(super) async fn read(&self, most: usize) -> crate::Result<Load> {
        let after = self.shipped;
        self.with_disk(move |disk| {
            let read = disk.read(after, most)?;
            let entries = read.into_iter().map(|(position, bytes)| (position, disk::decode(&bytes), bytes)).collect();
            Ok(Load { entries })
        })
        .await
    }

    /// Puts an entry aside that the database refuses.
    pub(super) async fn set_aside(&self, position: u64, bytes: Vec<u8>) -> crate::Result<()> {
        if self.with_disk(move |disk| disk.set_aside(position, &bytes)).await? {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Forgets entries that are in Postgres, or aside.
    pub(super) async fn forget(&mut self, load: &Load) -> crate::Result<()> {
        let positions = load.positions();
        let Some(last) = positions.last().copied() else { return Ok(()) };
        self.with_disk(move |disk| disk.forget(&positions)).await?;
        self.shipped = last;
        let bytes: usize = load.entries.iter().map(|(.., bytes)| bytes.len()).sum();
        self.shared.count_out(load.entries.len() as u64, bytes as u64);
        Ok(())
    }

    /// Ends the thread when it has written what waits.
    pub(super) async fn stop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // It ends by itself; one that panicked has said so.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    /// Asks the store, where waiting for a disk holds nobody up. A store that fails is given up by the thread.
    async fn with_disk<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Disk) -> Result<T, Fault> + Send + 'static,
    ) -> crate::Result<T> {
        let Some(disk) = self.shared.disk() else {
            return Err(crate::Error::unavailable("spool", "it cannot be written at the moment"));
        };
        let asked = tokio::task::spawn_blocking(move || ask(&disk)).await.map_err(crate::Error::internal)?;
        asked.map_err(|fault| {
            drop(self.shared.disk.lock().unwrap_or_else(PoisonError::into_inner).take());
            self.shared.broken.notify_one();
            crate::Error::unavailable("spool", fault)
        })
    }
}
