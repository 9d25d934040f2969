//! The list of all background work, with who does it and how often.

use std::time::Duration;

use trunkline_platform::{Platform, accounts, jobs};

use crate::lifecycle::Tasks;

/// Sessions and links that have run out are refused at once; their rows may wait for this.
const FORGET_EVERY: Duration = Duration::from_mins(15);

/// Starts all of it.
pub fn start(tasks: &mut Tasks, platform: &Platform) {
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
}
