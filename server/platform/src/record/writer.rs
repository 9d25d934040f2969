//! The writer: takes entries in batches and puts each into Postgres once, with its sums in the same transaction.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::store;
use crate::{Error, Platform, call::Entry};

/// Most entries of one transaction.
const BATCH: usize = 1_000;
/// How long a batch waits for company.
const LINGER: Duration = Duration::from_millis(100);
/// First and longest wait before a failed batch is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Longest wait for one batch; the server's own limit on statements is shorter.
const DEADLINE: Duration = Duration::from_secs(15);
/// How long entries may take to leave when the process stops.
const FLUSH_WITHIN: Duration = Duration::from_secs(15);

/// The end of the queue that entries come out of.
#[derive(Debug)]
pub struct Writer {
    receiver: mpsc::Receiver<Entry>,
    batch: Vec<Entry>,
}

impl Writer {
    pub(super) fn new(receiver: mpsc::Receiver<Entry>) -> Self {
        Self { receiver, batch: Vec::with_capacity(BATCH) }
    }

    /// Writes what is there, without waiting for more. Returns how many entries were written.
    pub async fn flush(&mut self, platform: &Platform) -> crate::Result<usize> {
        let mut written = 0;
        loop {
            while self.batch.len() < BATCH {
                let Ok(entry) = self.receiver.try_recv() else { break };
                self.batch.push(entry);
            }
            if self.batch.is_empty() {
                return Ok(written);
            }
            written += self.write(platform).await?;
        }
    }

    /// Writes the batch; keeps it when that fails for any reason but the entries themselves.
    async fn write(&mut self, platform: &Platform) -> crate::Result<usize> {
        let batch = Arc::new(std::mem::take(&mut self.batch));
        let written = within_deadline(platform, Arc::clone(&batch)).await;
        if written.is_err() {
            // A task that is still at it has its own hold; what it writes after all is not written twice.
            self.batch = Arc::try_unwrap(batch).unwrap_or_else(|held| held.to_vec());
            written?;
            return Ok(0);
        }
        platform.keys_seen.remember(&batch);
        platform.metrics.records_written.inc_by(batch.len() as u64);
        platform.metrics.record_queue.set(i64::try_from(self.receiver.len()).unwrap_or(i64::MAX));
        Ok(batch.len())
    }
}

/// Writes a batch in a task of its own, which is never cut, and waits for it only so long: a server that hangs must not hold the queue.
async fn within_deadline(platform: &Platform, batch: Arc<Vec<Entry>>) -> crate::Result<()> {
    let platform = platform.clone();
    #[expect(clippy::disallowed_methods, reason = "the writer owns it, and outlives it")]
    let task = tokio::spawn(async move { write_or_sort_out(&platform, &batch).await });
    match tokio::time::timeout(DEADLINE, task).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => Err(Error::internal(panic)),
        Err(elapsed) => Err(Error::unavailable("database", elapsed)),
    }
}

/// Writes a batch. If the database refuses values in it, the entries are written one by one, so that only those it refuses are left out.
async fn write_or_sort_out(platform: &Platform, batch: &[Entry]) -> crate::Result<()> {
    match store::write(platform, batch).await {
        Err(error) if error.is_about_data() => {
            tracing::error!(error = %error, source = ?error, entries = batch.len(), "a batch was refused; writing one by one");
        }
        outcome => return outcome,
    }
    for entry in batch {
        match store::write(platform, std::slice::from_ref(entry)).await {
            Err(error) if error.is_about_data() => {
                platform.metrics.records_refused.inc();
                tracing::error!(entry.id = %entry.id, tenant.id = %entry.tenant, error = %error, source = ?error, "an entry was refused by the database");
            }
            outcome => outcome?,
        }
    }
    Ok(())
}

/// Writes until told to stop, then what is left.
pub async fn run(platform: Platform, mut writer: Writer, stop: CancellationToken) {
    let mut wait = RETRY.0;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            received = writer.receiver.recv_many(&mut writer.batch, BATCH), if writer.batch.is_empty() => {
                if received == 0 {
                    return;
                }
                tokio::time::sleep(LINGER).await;
            }
            () = std::future::ready(()), if !writer.batch.is_empty() => {}
        }
        match writer.flush(&platform).await {
            Ok(_) => wait = RETRY.0,
            Err(error) => {
                platform.metrics.record_retries.inc();
                tracing::warn!(error = %error, waiting = writer.batch.len() + writer.receiver.len(), "records wait for the database");
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(wait) => wait = (wait * 2).min(RETRY.1),
                }
            }
        }
    }
    drain(&platform, writer).await;
}

/// The last batches, in the time that is left.
async fn drain(platform: &Platform, mut writer: Writer) {
    writer.receiver.close();
    let left = tokio::time::timeout(FLUSH_WITHIN, async {
        while let Err(error) = writer.flush(platform).await {
            tracing::warn!(error = %error, "records wait for the database while the process stops");
            tokio::time::sleep(RETRY.0).await;
        }
    });
    if left.await.is_err() {
        tracing::error!(
            entries = writer.batch.len() + writer.receiver.len(),
            "records were lost: the database was away when the process stopped"
        );
    }
}
