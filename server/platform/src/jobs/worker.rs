//! Does what is due. Any number of workers may run, in any number of processes.

use std::time::Duration;

use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use super::{HOOKS, Job, KINDS, hook, open, store};
use crate::{Platform, error::Result, mail::SendError};

/// Between two looks at an empty queue.
const POLL: Duration = Duration::from_millis(500);
/// Longest run of one job; well within its lease.
const DEADLINE: Duration = Duration::from_secs(45);
const LEASE: TimeDelta = TimeDelta::seconds(60);
/// After the last failed attempt, half an hour after the first, a job is dead.
const ATTEMPTS: i32 = 6;

/// Servers of tenants that one replica waits for at the same time.
const HOOK_WORKERS: usize = 4;

/// Who waits for whom: a server of a tenant that hangs keeps no letter waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Letters, and whatever else is ours alone.
    Own,
    /// Servers of tenants.
    Hooks,
}

/// Works until told to stop; the job at hand is finished first.
pub async fn run(platform: Platform, stop: CancellationToken) {
    for kind in KINDS {
        // Known as none before the first.
        platform.metrics.count_given_up(kind, 0);
    }
    let hooks = (0..HOOK_WORKERS).map(|_| work(&platform, Lane::Hooks, &stop));
    tokio::join!(work(&platform, Lane::Own, &stop), futures_util::future::join_all(hooks));
}

async fn work(platform: &Platform, lane: Lane, stop: &CancellationToken) {
    let mut away = false;
    while !stop.is_cancelled() {
        let now_away = match run_lane(platform, lane).await {
            Ok(_) => false,
            Err(error) => {
                // Once per outage, not twice a second.
                if !away {
                    tracing::error!(error = &error as &dyn std::error::Error, "jobs wait: the queue cannot be read");
                }
                true
            }
        };
        platform.metrics.note_round("jobs", now_away);
        if away && !now_away {
            tracing::info!("jobs go on");
        }
        away = now_away;
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// Does all that is due by now; tells how many jobs were tried.
pub async fn run_due(platform: &Platform) -> Result<usize> {
    Ok(run_lane(platform, Lane::Own).await? + run_lane(platform, Lane::Hooks).await?)
}

async fn run_lane(platform: &Platform, lane: Lane) -> Result<usize> {
    let mut tried = 0;
    while run_next(platform, lane).await? {
        tried += 1;
    }
    Ok(tried)
}

/// A failed attempt.
enum Failure {
    Temporary(String),
    Permanent(String),
}

async fn run_next(platform: &Platform, lane: Lane) -> Result<bool> {
    let now = platform.clock.now();
    let mut tx = platform.db.system().await?;
    let leased = store::lease(&mut tx, lane, now, now + LEASE).await?;
    tx.commit().await?;
    let Some(leased) = leased else { return Ok(false) };

    let outcome = match open(platform, leased.id, leased.payload) {
        // Beyond the last attempt only when a worker died doing it each time.
        Ok(_) if leased.attempts > ATTEMPTS => Err(Failure::Permanent("the worker stopped during each attempt".to_owned())),
        Ok(job) => match tokio::time::timeout(DEADLINE, perform(platform, job)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::Temporary("took too long".to_owned())),
        },
        // Another release's job, or another key: a replica that can open it may come along.
        Err(_) => Err(Failure::Temporary("cannot be opened by this replica".to_owned())),
    };

    let now = platform.clock.now();
    let mut tx = platform.db.system().await?;
    match outcome {
        Ok(()) => store::delete(&mut tx, leased.id).await?,
        Err(Failure::Temporary(error)) if leased.attempts < ATTEMPTS => {
            tracing::warn!(job.id = %leased.id, job.kind = leased.kind, job.attempts = leased.attempts, error, "a job will be tried again");
            store::postpone(&mut tx, leased.id, now + backoff(leased.attempts), &error).await?;
        }
        Err(Failure::Temporary(error) | Failure::Permanent(error)) => {
            if leased.kind == HOOKS {
                // Somebody else's server, and no fault of ours.
                tracing::warn!(job.id = %leased.id, job.kind = leased.kind, job.attempts = leased.attempts, error, "a hook was given up");
            } else {
                tracing::error!(job.id = %leased.id, job.kind = leased.kind, job.attempts = leased.attempts, error, "a job failed for good");
            }
            let kind = KINDS.into_iter().find(|kind| *kind == leased.kind).unwrap_or("other");
            platform.metrics.count_given_up(kind, 1);
            store::bury(&mut tx, leased.id, now, &error).await?;
        }
    }
    tx.commit().await?;
    Ok(true)
}

async fn perform(platform: &Platform, job: Job) -> Result<(), Failure> {
    match job {
        Job::SendLetter { to, letter } => {
            platform.mailer.send(&to, &letter, platform.clock.now()).await.map_err(|error| match error {
                SendError::Temporary(text) => Failure::Temporary(text),
                SendError::Permanent(text) => Failure::Permanent(text),
            })
        }
        Job::PostHook(hook) => match hook::post(platform, &hook).await {
            Ok(()) => Ok(()),
            Err(refused) if refused.is_final => Err(Failure::Permanent(refused.why)),
            Err(refused) => Err(Failure::Temporary(refused.why)),
        },
        Job::Decoy => Ok(()),
    }
}

/// 5 s, 20 s, 80 s, about 5 min, about 21 min.
fn backoff(attempts: i32) -> TimeDelta {
    TimeDelta::seconds(5 << (2 * (attempts - 1).clamp(0, 8)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_dead_half_an_hour_after_its_first_attempt() {
        let waits: Vec<_> = (1..ATTEMPTS).map(|n| backoff(n).num_seconds()).collect();
        assert_eq!(waits, [5, 20, 80, 320, 1280]);
    }
}
