//! The list of all background work, with who does it and how often.

use std::time::Duration;

use trunkline_platform::{
    Platform, accounts, catalog, jobs,
    quota::replicas,
    record::{self, Writer},
};

use crate::lifecycle::Tasks;

/// Sessions and links that have run out are refused at once; their rows may wait for this.
const FORGET_EVERY: Duration = Duration::from_mins(15);
/// Replicas count each other; three missed beats and one counts no more.
const BEAT_EVERY: Duration = Duration::from_secs(5);
/// Tenants that nobody calls leave memory.
const DROP_IDLE_EVERY: Duration = Duration::from_mins(1);
/// Partitions are made three months ahead.
const PARTITIONS_EVERY: Duration = Duration::from_hours(6);

/// Starts all of it.
pub fn start(tasks: &mut Tasks, platform: &Platform, writer: Writer) {
    let jobs_platform = platform.clone();
    tasks.spawn("jobs", |stop| async move {
        jobs::run(jobs_platform, stop).await;
        Ok(())
    });
    let accounts_platform = platform.clone();
    tasks.spawn("expired sessions", |stop| async move {
        while stop.run_until_cancelled(tokio::time::sleep(FORGET_EVERY)).await.is_some() {
            if let Err(error) = accounts::forget_expired(&accounts_platform).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "expired sessions stay until the next round");
            }
        }
        Ok(())
    });
    let record_platform = platform.clone();
    tasks.spawn("record", |stop| async move {
        record::run(record_platform, writer, stop).await;
        Ok(())
    });
    let listening_platform = platform.clone();
    tasks.spawn("changes of other replicas", |stop| async move {
        catalog::listen::run(listening_platform, stop).await;
        Ok(())
    });
    let beating_platform = platform.clone();
    tasks.spawn("heartbeat", |stop| async move {
        loop {
            if let Err(error) = replicas::beat(&beating_platform).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "no heartbeat");
            }
            if stop.run_until_cancelled(tokio::time::sleep(BEAT_EVERY)).await.is_none() {
                break;
            }
        }
        if let Err(error) = replicas::leave(&beating_platform).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "left without a good-bye");
        }
        Ok(())
    });
    let idle_platform = platform.clone();
    tasks.spawn("idle tenants", |stop| async move {
        while stop.run_until_cancelled(tokio::time::sleep(DROP_IDLE_EVERY)).await.is_some() {
            idle_platform.snapshots.drop_idle(idle_platform.clock.now().timestamp());
        }
        Ok(())
    });
    let partition_platform = platform.clone();
    tasks.spawn("partitions", |stop| async move {
        loop {
            if let Err(error) = record::ensure_partitions(&partition_platform).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "partitions could not be made ahead");
            }
            if stop.run_until_cancelled(tokio::time::sleep(PARTITIONS_EVERY)).await.is_none() {
                return Ok(());
            }
        }
    });
}
