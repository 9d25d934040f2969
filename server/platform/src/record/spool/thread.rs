//! The one thread that writes: takes what waits, makes one batch of it, and tells everybody in it when it is kept.

use std::{sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    disk::{Change, Disk, Fault},
};
use crate::ids::EntryId;

/// Most changes of one batch.
const BATCH: usize = 1_024;
/// How often a broken store is opened anew.
const REOPEN_EVERY: Duration = Duration::from_millis(500);
/// Readers of a store that is given up have this long.
const READERS: (usize, Duration) = (200, Duration::from_millis(10));

/// What somebody wants to have written.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) what: What,
    /// Survive the end of the machine too?
    pub(super) sync: bool,
    /// Told when it is kept.
    pub(super) done: Option<oneshot::Sender<()>>,
}

#[derive(Debug)]
pub(super) enum What {
    Intend { id: EntryId, bytes: Vec<u8> },
    Keep { intent: Option<EntryId>, bytes: Vec<u8> },
}

/// An order that has its place.
struct Placed {
    change: Change,
    sync: bool,
    done: Option<oneshot::Sender<()>>,
}

/// What the thread works with.
pub(super) struct Thread {
    pub(super) shared: Arc<Shared>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) next: u64,
    pub(super) stop: CancellationToken,
}

impl Thread {
    /// Until told to stop, then what is left.
    pub(super) fn run(mut self, runtime: &Handle) {
        give_way();
        let mut orders = Vec::with_capacity(BATCH);
        loop {
            let stopping = runtime.block_on(self.wait(&mut orders));
            let placed = self.place(&mut orders);
            self.write(runtime, placed);
            if stopping && self.orders.is_empty() {
                break;
            }
        }
        // The lock of the folder goes with it.
        drop(take(&self.shared));
    }

    /// Waits for orders. True when there will be no more.
    async fn wait(&mut self, orders: &mut Vec<Order>) -> bool {
        tokio::select! {
            biased;
            count = self.orders.recv_many(orders, BATCH) => count == 0,
            () = self.stop.cancelled() => true,
            () = self.shared.broken.notified() => false,
        }
    }

    fn place(&mut self, orders: &mut Vec<Order>) -> Vec<Placed> {
        let place = |Order { what, sync, done }| {
            let change = match what {
                What::Intend { id, bytes } => Change::Intend { id, bytes },
                What::Keep { intent, bytes } => {
                    self.next += 1;
                    Change::Keep { position: self.next - 1, intent, bytes }
                }
            };
            Placed { change, sync, done }
        };
        orders.drain(..).map(place).collect()
    }

    /// Writes what has its place, for as long as it takes. Who waits for it gives up sooner; the entry stays.
    fn write(&self, runtime: &Handle, batch: Vec<Placed>) {
        let disk = self.shared.disk();
        let written = match &disk {
            Some(disk) if !batch.is_empty() => commit(disk, &batch),
            Some(_) => Ok(()),
            None => Err(None),
        };
        drop(disk);
        if let Err(fault) = written {
            if let Some(fault) = fault {
                tracing::error!(error = %fault, "the record cannot be written; calls are refused until it can");
            }
            if !self.open_anew(runtime, &batch) {
                tracing::error!(
                    entries = batch.len(),
                    "entries were lost: the spool could not be written when the process stopped"
                );
                return;
            }
        }
        self.tell(batch);
    }

    /// Gives the store up and opens it anew until it takes the batch: an error of the disk is never tried again on the same files. False if
    /// the process stops first.
    fn open_anew(&self, runtime: &Handle, batch: &[Placed]) -> bool {
        let given_up = take(&self.shared);
        for _ in 0..READERS.0 {
            if given_up.as_ref().is_none_or(|disk| Arc::strong_count(disk) == 1) {
                break;
            }
            std::thread::sleep(READERS.1);
        }
        drop(given_up);
        loop {
            match Disk::open(&self.shared.settings.dir).and_then(|disk| write_all(&disk, batch).map(|()| disk)) {
                Ok(disk) => {
                    tracing::warn!("the record can be written again");
                    self.shared.put(disk);
                    return true;
                }
                Err(fault) => tracing::debug!(error = %fault, "the record still cannot be written"),
            }
            let wait = async { self.stop.run_until_cancelled(tokio::time::sleep(REOPEN_EVERY)).await };
            if runtime.block_on(wait).is_none() {
                return false;
            }
        }
    }

    fn tell(&self, batch: Vec<Placed>) {
        let mut arrived = false;
        for Placed { change, done, .. } in batch {
            if let Change::Keep { bytes, .. } = change {
                self.shared.count_in(bytes.len() as u64);
                arrived = true;
            }
            if let Some(done) = done {
                // Who has stopped waiting has answered already.
                let _ = done.send(());
            }
        }
        if arrived {
            self.shared.arrived.notify_one();
        }
    }
}

impl Drop for Thread {
    /// Also when it panics: the process must not go on without it.
    fn drop(&mut self) {
        self.shared.ended.cancel();
    }
}

/// Where calls are answered on the same core, this thread begins when they have nothing to do, and finds what all of them have left meanwhile:
/// one batch instead of many. On a core of its own it begins at once.
#[cfg(target_os = "linux")]
fn give_way() {
    use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy};
    let batch = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
    // 47 of 99 is a niceness of 0, as the others have. Refused somewhere, it is as before.
    if let Ok(priority) = 47_u8.try_into() {
        let native = thread_priority::thread_native_id();
        let _ = set_thread_priority_and_policy(native, ThreadPriority::Crossplatform(priority), batch);
    }
}

#[cfg(not(target_os = "linux"))]
fn give_way() {}

fn commit(disk: &Disk, batch: &[Placed]) -> Result<(), Option<Fault>> {
    write_all(disk, batch).map_err(Some)
}

fn write_all(disk: &Disk, batch: &[Placed]) -> Result<(), Fault> {
    if batch.is_empty() {
        return Ok(());
    }
    disk.commit(batch.iter().map(|placed| &placed.change), batch.iter().any(|placed| placed.sync))
}

fn take(shared: &Shared) -> Option<Arc<Disk>> {
    shared.disk.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
}
