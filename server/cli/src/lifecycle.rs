//! How a process lives and ends: background work with an owner, signals, and the order of stopping.
//!
//! Stopping: not ready any more → the port closes → running requests finish → background work flushes → pools close. A second signal
//! ends the process at once.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::{Id, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::config::Shutdown;
use crate::wiring::Installation;

/// What background work gets for its last words.
const FLUSH_WITHIN: Duration = Duration::from_secs(20);
/// `timeout`, `make` and terminals signal a process and its group: what comes this soon is the same wish, not a second one.
const BURST: Duration = Duration::from_millis(500);
/// As a shell reports a process that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Background work, each with a name. One that ends by itself is a fault, and the owner hears of it.
#[derive(Debug, Default)]
pub struct Tasks {
    stop: CancellationToken,
    running: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    /// Starts a task. It gets the token that tells it to finish.
    pub fn spawn<F>(&mut self, name: &'static str, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let handle = self.running.spawn(task(self.stop.clone()));
        self.names.insert(handle.id(), name);
    }

    /// Waits for a task to end by itself, and says which and why. Never, if all go on.
    pub async fn crashed(&mut self) -> anyhow::Error {
        let Some(ended) = self.running.join_next_with_id().await else { return std::future::pending().await };
        let (id, reason) = match ended {
            Ok((id, Ok(()))) => (id, anyhow::anyhow!("it returned")),
            Ok((id, Err(error))) => (id, error),
            Err(error) => (error.id(), anyhow::anyhow!("it panicked")),
        };
        reason.context(format!("background task `{}` ended", self.names.get(&id).unwrap_or(&"?")))
    }

    /// Tells all to finish and waits for them, but not for ever.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let finished = async { while self.running.join_next().await.is_some() {} };
        if tokio::time::timeout(FLUSH_WITHIN, finished).await.is_err() {
            let names: Vec<_> = self.names.values().collect();
            tracing::error!(tasks = ?names, "background work did not finish in time and is cut");
        }
    }
}

/// SIGTERM and SIGINT. From its making on they do not end the process by themselves.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Starts listening.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Waits for the next one that comes after a while.
    async fn next_after(&mut self, pause: Duration) -> &'static str {
        let since = Instant::now();
        loop {
            let signal = self.next().await;
            if since.elapsed() >= pause {
                return signal;
            }
        }
    }
}

/// Runs until a signal, or until something that must run has ended. `broken` resolves when something outside did.
pub async fn run(
    mut installation: Installation,
    mut signals: Signals,
    shutdown: Shutdown,
    broken: impl Future<Output = anyhow::Error>,
) -> anyhow::Result<()> {
    let outcome = tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "stopping");
            Ok(())
        }
        error = installation.crashed() => Err(error),
        error = broken => Err(error),
    };
    if let Err(error) = &outcome {
        tracing::error!(error = format!("{error:#}"), "stopping, because something that must run has ended");
    }
    tokio::select! {
        () = installation.stop(shutdown) => tracing::info!("stopped"),
        signal = signals.next_after(BURST) => {
            tracing::warn!(signal, "second signal: leaving at once");
            std::process::exit(INTERRUPTED);
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn crashed_task_is_named() {
        let mut tasks = Tasks::default();
        tasks.spawn("patient", |stop| async move {
            stop.cancelled().await;
            Ok(())
        });
        tasks.spawn("hasty", |_| async { anyhow::bail!("no more") });
        let error = format!("{:#}", tasks.crashed().await);
        assert_eq!(error, "background task `hasty` ended: no more");
        tasks.spawn("clumsy", |_| async { panic!("as this test wants") });
        assert!(format!("{:#}", tasks.crashed().await).contains("`clumsy` ended: it panicked"));
        tasks.stop().await;
    }
}
