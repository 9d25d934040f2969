//! What outlives the request that began it: parked calls, tasks, questions that wait, sources that are heard.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::{context::TokioContext, sync::CancellationToken, task::TaskTracker};

/// Longest wait for what was cut to be gone.
const CUT_WITHIN: Duration = Duration::from_secs(2);

/// Conversations of this process. They run on the runtime on which this was made, whoever begins them: the runtime of a worker of the
/// listener ends with its last connection, and a conversation has none.
#[derive(Debug)]
pub struct Conversations {
    runtime: Handle,
    running: TaskTracker,
    cut: CancellationToken,
}

impl Conversations {
    /// On this runtime.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub(crate) fn here() -> Self {
        Self { runtime: Handle::current(), running: TaskTracker::new(), cut: CancellationToken::new() }
    }

    /// Begins one.
    pub(crate) fn spawn(&self, conversation: impl Future<Output = ()> + Send + 'static) {
        let cut = self.cut.clone();
        let whole = async move {
            // One that is cut is dropped, and with it what it had to record.
            cut.run_until_cancelled_owned(conversation).await;
        };
        self.running.spawn_on(whole, &self.runtime);
    }

    /// Work that may become one: its timers belong to the runtime that stays, whoever drives it at first.
    pub(crate) fn may_outlive<F: Future>(&self, work: F) -> TokioContext<F> {
        TokioContext::new(work, self.runtime.clone())
    }

    /// How many go on.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Does none go on?
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Waits for all of them, at most that long; then cuts those that are left, and tells how many.
    pub async fn finish(&self, grace: Duration) -> usize {
        self.running.close();
        if tokio::time::timeout(grace, self.running.wait()).await.is_ok() {
            return 0;
        }
        let left = self.running.len();
        self.cut.cancel();
        // What does not yield cannot be cut, and is not waited for.
        let _ = tokio::time::timeout(CUT_WITHIN, self.running.wait()).await;
        left
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn one_outlives_the_runtime_that_began_it() {
        let conversations = Arc::new(Conversations::here());
        let done = Arc::<AtomicBool>::default();
        let (its_conversations, its_done) = (Arc::clone(&conversations), Arc::clone(&done));
        let worker = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                its_conversations.spawn(async move {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    its_done.store(true, Ordering::Relaxed);
                });
            });
        });
        worker.join().expect("no panic");
        assert_eq!(conversations.finish(Duration::from_secs(5)).await, 0);
        assert!(done.load(Ordering::Relaxed), "it went on to its end");
    }

    #[tokio::test]
    async fn what_takes_too_long_is_cut_and_dropped() {
        let conversations = Conversations::here();
        let held = Arc::new(());
        let its = Arc::clone(&held);
        conversations.spawn(async move {
            std::future::pending::<()>().await;
            drop(its);
        });
        assert_eq!(conversations.finish(Duration::from_millis(20)).await, 1);
        assert!(conversations.is_empty() && Arc::strong_count(&held) == 1);
    }
}
