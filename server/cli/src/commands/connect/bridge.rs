//! From lines to messages and back, until one of the two sides is gone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    endpoint::Endpoint,
    failure::Failure,
    listener,
    message::{Id, Kind, Message},
    schemas::Schemas,
    session::{Beginning, Sessions},
    stdio::{self, Line, Output},
};
use crate::{lifecycle::Signals, terminal};

/// Requests that run at once.
const MOST_RUNNING: usize = 64;
/// Requests that run or wait for their turn; more are refused.
const MOST_TAKEN: usize = 256;
/// Notifications and answers that are under way; the client is not read beyond that.
const MOST_TOLD: usize = 64;
/// What running requests get when the client is gone.
const GRACE: Duration = Duration::from_secs(5);
/// What all get for their last words.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(2);

/// One request that runs, or the requests of one batch.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) is_stateless: bool,
    is_subscription: bool,
    /// It is over, and nobody is told.
    pub(super) dropped: CancellationToken,
    /// Its client wants no answer any more, and the endpoint is told.
    pub(super) taken_back: CancellationToken,
    /// The endpoint has it.
    pub(super) reached: CancellationToken,
}

/// Everything that messages need on their way.
#[derive(Debug)]
pub(super) struct Bridge {
    pub(super) endpoint: Endpoint,
    pub(super) output: Output,
    pub(super) sessions: Sessions,
    pub(super) schemas: Schemas,
    /// Requests whose turn it is.
    pub(super) turns: Semaphore,
    told: Arc<Semaphore>,
    running: Mutex<HashMap<String, Arc<Running>>>,
    tasks: TaskTracker,
    /// The program ends.
    pub(super) cut: CancellationToken,
}

/// Runs until standard input ends, standard output is closed, or a signal comes.
pub(super) async fn run(endpoint: Endpoint) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let mut input = stdio::input();
    let (output, written) = Output::open();
    terminal::complain(format!("connect: speaking for {}", endpoint.url()));
    let bridge = Arc::new(Bridge::new(endpoint, output.clone()));
    bridge.tasks.spawn(listener::listen(Arc::clone(&bridge)));
    let feed = async {
        while let Some(line) = input.recv().await {
            bridge.take(line).await;
        }
    };
    tokio::select! {
        () = feed => bridge.finish().await,
        _ = signals.next() => {}
        () = output.gone() => {}
    }
    bridge.cut.cancel();
    bridge.tasks.close();
    // Last words of one that does not read stay unsaid.
    let _ = tokio::time::timeout(LAST_WORDS_WITHIN, bridge.tasks.wait()).await;
    bridge.sessions.end().await;
    drop(bridge);
    written.finish(output).await;
    Ok(())
}

impl Bridge {
    fn new(endpoint: Endpoint, output: Output) -> Self {
        Self {
            sessions: Sessions::new(endpoint.clone()),
            endpoint,
            output,
            schemas: Schemas::default(),
            turns: Semaphore::new(MOST_RUNNING),
            told: Arc::new(Semaphore::new(MOST_TOLD)),
            running: Mutex::default(),
            tasks: TaskTracker::new(),
            cut: CancellationToken::new(),
        }
    }

    /// One line. What must come before the next one is waited for; everything else goes on beside it.
    async fn take(self: &Arc<Self>, line: Line) {
        let message = match Message::read(line) {
            None => return,
            Some(Err(error)) => return self.output.message(&error.to_body(None)).await,
            Some(Ok(message)) => message,
        };
        match &message.kind {
            Kind::Request(request) => {
                let ids = vec![request.id.clone()];
                let beginning = if message.begins_session() { Some(self.sessions.begin().await) } else { None };
                self.start(message, ids, beginning).await;
            }
            Kind::Batch(ids) if !ids.is_empty() => {
                let ids = ids.clone();
                self.start(message, ids, None).await;
            }
            Kind::Notification { method, .. } if method == "notifications/initialized" => self.tell(&message).await,
            Kind::Notification { .. } | Kind::Response | Kind::Batch(_) => {
                let Ok(permit) = Arc::clone(&self.told).acquire_owned().await else { return };
                let bridge = Arc::clone(self);
                self.tasks.spawn(async move {
                    tokio::select! {
                        () = bridge.cut.cancelled() => {}
                        () = bridge.tell(&message) => {}
                    }
                    drop(permit);
                });
            }
        }
    }

    async fn start(self: &Arc<Self>, message: Message, ids: Vec<Id>, beginning: Option<Beginning>) {
        let running = Arc::new(Running {
            is_stateless: message.is_stateless(),
            is_subscription: matches!(&message.kind, Kind::Request(request) if request.method == "subscriptions/listen"),
            dropped: CancellationToken::new(),
            taken_back: CancellationToken::new(),
            reached: CancellationToken::new(),
        });
        if let Err(failure) = self.enter(&ids, &running) {
            return self.fail(&ids, &failure).await;
        }
        let bridge = Arc::clone(self);
        self.tasks.spawn(async move {
            bridge.exchange(&message, ids.clone(), &running, beginning).await;
            bridge.leave(&ids);
            running.reached.cancel();
        });
    }

    /// Answers requests with an error.
    pub(super) async fn fail(&self, ids: &[Id], failure: &Failure) {
        for id in ids {
            self.output.message(&failure.error().to_body(Some(&id.0))).await;
        }
    }

    /// The request with that id, if it runs.
    pub(super) fn running(&self, key: &str) -> Option<Arc<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn enter(&self, ids: &[Id], running: &Arc<Running>) -> Result<(), Failure> {
        let mut all = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() + ids.len() > MOST_TAKEN {
            return Err(Failure::Busy);
        }
        let keys: Vec<_> = ids.iter().map(|id| Id::key(&id.0)).collect();
        if keys.iter().any(|key| all.contains_key(key)) {
            return Err(Failure::Twice);
        }
        all.extend(keys.into_iter().map(|key| (key, Arc::clone(running))));
        Ok(())
    }

    fn leave(&self, ids: &[Id]) {
        let mut all = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            all.remove(&Id::key(&id.0));
        }
    }

    /// The client says nothing more. What runs may end; subscriptions never would.
    async fn finish(&self) {
        let all: Vec<_> = self.running.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for subscription in all.iter().filter(|running| running.is_subscription) {
            subscription.dropped.cancel();
        }
        let idle = async {
            while !self.running.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
                || self.told.available_permits() < MOST_TOLD
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = tokio::time::timeout(GRACE, idle).await;
    }
}
