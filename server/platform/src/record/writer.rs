//! The writer: takes entries out of the spool in batches and puts each into Postgres once, with its sums and its position in the same transaction.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    spool::{Load, Outlet},
    store,
};
use crate::{Error, Platform, call::Entry, quota::budgets};

/// Most entries of one transaction.
const BATCH: usize = 1_000;
/// How long a batch waits for company.
const LINGER: Duration = Duration::from_millis(100);
/// First and longest wait before a failed batch is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Longest wait for one batch; the server's own limit on statements is shorter.
const DEADLINE: Duration = Duration::from_secs(15);
/// How long entries may take to leave when the process stops. What is left then is in the spool, for the next one.
const FLUSH_WITHIN: Duration = Duration::from_secs(15);

/// The end of the spool that entries come out of.
#[derive(Debug)]
pub struct Writer {
    outlet: Outlet,
    /// Known once Postgres was asked.
    name: Option<Uuid>,
}

impl Writer {
    pub(super) fn new(outlet: Outlet) -> Self {
        Self { outlet, name: None }
    }

    /// Opens the spool and takes over what the process before has left in it. Before the first call, on the runtime that lives as long as the
    /// process.
    pub fn start(&mut self) -> crate::Result<()> {
        self.outlet.start()
    }

    /// Ships what is there, until nothing is.
    async fn flush(&mut self, platform: &Platform) -> crate::Result<()> {
        while self.ship_batch(platform).await? > 0 {}
        Ok(())
    }

    /// Ships whole batches, and what is left. What comes meanwhile waits for company as the others did: shipped at once it would be a
    /// transaction of a handful of entries, and another, for as long as calls come.
    async fn ship_whole_batches(&mut self, platform: &Platform) -> crate::Result<()> {
        while self.ship_batch(platform).await? == BATCH {}
        Ok(())
    }

    /// How many entries were shipped.
    async fn ship_batch(&mut self, platform: &Platform) -> crate::Result<usize> {
        let load = self.outlet.read(BATCH).await?;
        let (waiting, _) = self.outlet.counts();
        platform.metrics.record_queue.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        let count = load.entries.len();
        if count > 0 {
            self.ship(platform, load).await?;
        }
        Ok(count)
    }

    async fn ship(&mut self, platform: &Platform, mut load: Load) -> crate::Result<()> {
        let name = self.known_as(platform).await?;
        read_contexts(platform, &mut load).await;
        let load = Arc::new(load);
        let refused = match within_deadline(platform, name, Arc::clone(&load)).await {
            Err(error) if error.is_about_data() => {
                tracing::error!(error = %error, source = ?error, entries = load.entries.len(), "a batch was refused; writing one by one");
                self.sort_out(platform, name, &load).await?
            }
            outcome => outcome.map(|()| unreadable(&load))?,
        };
        for (position, bytes) in refused {
            platform.metrics.records_refused.inc();
            self.outlet.set_aside(position, bytes).await?;
        }
        let written: Vec<&Entry> = load.entries.iter().filter_map(|(_, entry, _)| entry.as_ref()).collect();
        // Before the spool forgets them: a process that is killed here does it once more. Without Redis nothing is settled, nor admitted that
        // costs money; what is reserved by then is read from the record when its time is over.
        if let Err(away) = budgets::settle(platform, &written).await {
            tracing::warn!(error = %away, "what calls have cost is not in their budgets yet");
        }
        self.outlet.forget(&load).await?;
        platform.contexts.forget(written.iter().map(|entry| entry.id));
        platform.keys_seen.remember(written.iter().copied());
        platform.metrics.records_written.inc_by(written.len() as u64);
        Ok(())
    }

    /// The name under which Postgres counts this spool's positions. A folder that is older than what Postgres knows is a copy, or was put back
    /// from a backup: under its old name, new entries would look as if they were there.
    async fn known_as(&mut self, platform: &Platform) -> crate::Result<Uuid> {
        if let Some(name) = self.name {
            return Ok(name);
        }
        let mut name = self.outlet.name().await?;
        let position = store::register(platform, name).await?;
        if position >= self.outlet.opened_at() {
            tracing::warn!(
                position,
                opened_at = self.outlet.opened_at(),
                "the spool is older than the database; it gets another name"
            );
            name = self.outlet.rename().await?;
            store::register(platform, name).await?;
        }
        self.name = Some(name);
        Ok(name)
    }

    /// Writes entries one by one, so that only those that the database refuses are left out. Those are put aside before the position goes on.
    async fn sort_out(&self, platform: &Platform, name: Uuid, load: &Load) -> crate::Result<Vec<(u64, Vec<u8>)>> {
        for (position, entry, bytes) in &load.entries {
            let Some(entry) = entry else {
                self.outlet.set_aside(*position, bytes.clone()).await?;
                continue;
            };
            let one = Arc::new(Load { entries: vec![(*position, Some(entry.clone()), bytes.clone())] });
            match within_deadline(platform, name, one).await {
                Err(error) if error.is_about_data() => {
                    platform.metrics.records_refused.inc();
                    tracing::error!(entry.id = %entry.id, tenant.id = %entry.tenant, error = %error, source = ?error, "an entry was refused by the database");
                    self.outlet.set_aside(*position, bytes.clone()).await?;
                }
                outcome => outcome?,
            }
        }
        Ok(Vec::new())
    }
}

/// What was counted of these calls meanwhile; the same if they are shipped again.
async fn read_contexts(platform: &Platform, load: &mut Load) {
    platform.contexts.settled(load.entries.iter().filter_map(|(_, entry, _)| entry.as_ref()).map(|entry| entry.id)).await;
    for entry in load.entries.iter_mut().filter_map(|(_, entry, _)| entry.as_mut()) {
        entry.context = platform.contexts.of(entry.id);
    }
}

/// What this version cannot read.
fn unreadable(load: &Load) -> Vec<(u64, Vec<u8>)> {
    let unreadable = load.entries.iter().filter(|(_, entry, _)| entry.is_none());
    unreadable.map(|(position, _, bytes)| (*position, bytes.clone())).collect()
}

/// Writes a batch in a task of its own, which is never cut, and waits for it only so long: a server that hangs must not hold the spool. What such
/// a task writes after all is not written twice: the position says so.
async fn within_deadline(platform: &Platform, name: Uuid, load: Arc<Load>) -> crate::Result<()> {
    let platform = platform.clone();
    #[expect(clippy::disallowed_methods, reason = "the writer owns it, and outlives it")]
    let task = tokio::spawn(async move { store::write(&platform, name, &load.entries).await });
    match tokio::time::timeout(DEADLINE, task).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => Err(Error::internal(panic)),
        Err(elapsed) => Err(Error::unavailable("database", elapsed)),
    }
}

/// Ships until told to stop, then what is left. Returns before that only if nothing can be kept any more.
pub async fn run(platform: Platform, mut writer: Writer, stop: CancellationToken) {
    let mut wait = RETRY.0;
    // What the process before has left does not wait for company.
    let mut waits = false;
    while !stop.is_cancelled() && !writer.outlet.has_ended() {
        if waits {
            let arrived = stop.run_until_cancelled(writer.outlet.arrived()).await;
            if arrived.is_none() {
                break;
            }
            tokio::time::sleep(LINGER).await;
        }
        match writer.ship_whole_batches(&platform).await {
            Ok(()) => (wait, waits) = (RETRY.0, true),
            Err(error) => {
                waits = false;
                platform.metrics.record_retries.inc();
                tracing::warn!(error = %error, source = ?error, waiting = writer.outlet.counts().0, "records wait");
                if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                    break;
                }
                wait = (wait * 2).min(RETRY.1);
            }
        }
    }
    drain(&platform, writer).await;
}

/// The last batches, in the time that is left.
async fn drain(platform: &Platform, mut writer: Writer) {
    let flushed = tokio::time::timeout(FLUSH_WITHIN, writer.flush(platform)).await;
    writer.outlet.stop().await;
    let (waiting, _) = writer.outlet.counts();
    if waiting > 0 || !matches!(flushed, Ok(Ok(()))) {
        tracing::warn!(waiting, "records stay in the spool until the next start");
    }
}
