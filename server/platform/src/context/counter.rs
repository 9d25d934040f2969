//! Counts what calls gave back, after their answers.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use tokio::sync::watch;

use super::{definition::Definition, model::charge, output::Output};
use crate::{call::Context, ids::EntryId, metrics::Metrics};

/// Outputs that wait to be counted, and their size. What does not fit is not counted.
const MOST_WAITING: usize = 4_096;
const MOST_BYTES: usize = 16 << 20;
/// Numbers that wait for the record's writer, which waits for Postgres. The oldest give way.
const MOST_KEPT: usize = 100_000;
/// Longest time that a batch of the record waits for its numbers.
const COUNT_WITHIN: Duration = Duration::from_secs(2);

/// What is to be counted of a call.
#[derive(Debug)]
pub struct Asked {
    /// What the call gave back.
    pub output: Output,
    /// What its tool is listed as.
    pub definition: Arc<Definition>,
    /// Price of a million tokens.
    pub input_micro: i64,
}

/// Where a call is on its way through the counter.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// The how many-th that was asked for.
    Waiting(u64),
    Counted(Context),
}

#[derive(Debug)]
struct Job {
    id: EntryId,
    number: u64,
    asked: Asked,
}

/// What calls and the thread share.
#[derive(Debug)]
struct Shared {
    stages: Mutex<BTreeMap<EntryId, Stage>>,
    /// Bytes that wait.
    bytes: AtomicUsize,
    /// How many have been counted, or could not be.
    done: watch::Sender<u64>,
}

/// Counts on a thread of its own, which begins with the first call that asks for it.
#[derive(Debug)]
pub struct Counter {
    shared: Arc<Shared>,
    jobs: OnceLock<Option<mpsc::SyncSender<Job>>>,
    asked: AtomicU64,
    metrics: Arc<Metrics>,
}

impl Counter {
    /// Nothing is counted yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let shared = Shared { stages: Mutex::default(), bytes: AtomicUsize::new(0), done: watch::Sender::new(0) };
        Self { shared: Arc::new(shared), jobs: OnceLock::new(), asked: AtomicU64::new(0), metrics }
    }

    /// Counts a call soon, if there is room. Before its entry is kept, so that the writer waits for it. Returns at once.
    pub fn ask(&self, id: EntryId, asked: Asked) {
        let size = asked.output.bytes();
        let before = self.shared.bytes.fetch_add(size, Ordering::Relaxed);
        let mut stages = self.shared.stages();
        // Under the lock, so that numbers are in the queue's order.
        let number = self.asked.load(Ordering::Relaxed) + 1;
        let job = Job { id, number, asked };
        let jobs = self.jobs.get_or_init(|| start(&self.shared)).as_ref().filter(|_| before.saturating_add(size) <= MOST_BYTES);
        if jobs.is_some_and(|jobs| jobs.try_send(job).is_ok()) {
            self.asked.store(number, Ordering::Relaxed);
            stages.insert(id, Stage::Waiting(number));
            if stages.len() > MOST_KEPT {
                stages.pop_first();
                self.metrics.contexts_not_counted.inc();
            }
        } else {
            self.shared.bytes.fetch_sub(size, Ordering::Relaxed);
            self.metrics.contexts_not_counted.inc();
        }
    }

    /// Waits until the last of those calls is counted, but not long. At once where none of them asked for it.
    pub async fn settled(&self, ids: impl IntoIterator<Item = EntryId>) {
        let last = {
            let stages = self.shared.stages();
            let waiting = |id| if let Some(Stage::Waiting(number)) = stages.get(&id) { Some(*number) } else { None };
            ids.into_iter().filter_map(waiting).max()
        };
        let Some(last) = last else { return };
        let mut done = self.shared.done.subscribe();
        // The sender is ours: it only ends by time.
        let _ = tokio::time::timeout(COUNT_WITHIN, done.wait_for(|done| *done >= last)).await;
    }

    /// What was counted of a call. The same until it is forgotten, or nothing.
    pub fn of(&self, id: EntryId) -> Option<Context> {
        match self.shared.stages().get(&id) {
            Some(Stage::Counted(context)) => Some(*context),
            _ => None,
        }
    }

    /// Forgets calls that are in the record.
    pub fn forget(&self, ids: impl IntoIterator<Item = EntryId>) {
        let mut stages = self.shared.stages();
        let missed =
            ids.into_iter().filter_map(|id| stages.remove(&id)).filter(|stage| matches!(stage, Stage::Waiting(_))).count();
        self.metrics.contexts_not_counted.inc_by(missed as u64);
    }
}

impl Shared {
    fn stages(&self) -> MutexGuard<'_, BTreeMap<EntryId, Stage>> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, jobs: &mpsc::Receiver<Job>) {
        while let Ok(Job { id, number, asked }) = jobs.recv() {
            let size = asked.output.bytes();
            // What somebody else's text does to a library must not end the counting of all others.
            let counted = catch_unwind(AssertUnwindSafe(|| {
                let output = asked.output.count()?;
                Some(charge(asked.input_micro, asked.definition.count(), output))
            }));
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            // Unless it was given up meanwhile.
            if let Some(context) = counted.ok().flatten()
                && let Some(stage) = self.stages().get_mut(&id)
            {
                *stage = Stage::Counted(context);
            }
            self.done.send_replace(number);
        }
    }
}

/// The thread, which ends with its counter. `None` where there can be no more threads.
fn start(shared: &Arc<Shared>) -> Option<mpsc::SyncSender<Job>> {
    let (sender, receiver) = mpsc::sync_channel(MOST_WAITING);
    let shared = Arc::clone(shared);
    let thread = std::thread::Builder::new().name("context".to_owned()).spawn(move || shared.run(&receiver));
    thread.inspect_err(|error| tracing::warn!(%error, "contexts are not counted")).ok().map(|_| sender)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn asked(text: &str) -> Asked {
        Asked {
            output: Output::Text(text.to_owned()),
            definition: Arc::new(Definition::new("{}".into())),
            input_micro: 1_000_000,
        }
    }

    fn id() -> EntryId {
        EntryId::new(DateTime::UNIX_EPOCH)
    }

    #[tokio::test]
    async fn numbers_are_there_until_they_are_forgotten() {
        let counter = Counter::new(Arc::default());
        let ids: Vec<_> = (0..50).map(|_| id()).collect();
        for id in &ids {
            counter.ask(*id, asked("hello world"));
        }
        counter.settled(ids.clone()).await;
        let expected = Context { tokens_definition: 1, tokens_out: 2, is_estimate: false, micro: 3 };
        assert!(ids.iter().all(|id| counter.of(*id) == Some(expected)));
        counter.forget(ids.clone());
        assert_eq!(counter.of(ids[0]), None);
        assert_eq!(counter.metrics.contexts_not_counted.get(), 0);
        counter.settled([id()]).await;
    }

    #[tokio::test]
    async fn what_does_not_fit_is_not_counted() {
        let counter = Counter::new(Arc::default());
        let (fits, large) = (id(), id());
        counter.ask(large, asked(&"x".repeat(MOST_BYTES + 1)));
        counter.ask(fits, asked("x"));
        counter.settled([large, fits]).await;
        assert!(counter.of(large).is_none() && counter.of(fits).is_some());
        assert_eq!(counter.metrics.contexts_not_counted.get(), 1);
        let nonsense = id();
        counter.ask(nonsense, Asked { output: Output::Result("[".into()), ..asked("") });
        counter.settled([nonsense]).await;
        counter.forget([nonsense]);
        assert_eq!((counter.of(nonsense), counter.metrics.contexts_not_counted.get()), (None, 2));
    }
}
