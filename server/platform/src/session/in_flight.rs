//! Requests of sessions that run on this replica, so that `notifications/cancelled` finds them, whichever replica it reaches.

use std::{
    collections::HashMap,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::Session;
use crate::{
    Platform,
    bus::{self, Word},
};

/// By session and JSON-RPC id.
#[derive(Debug, Default)]
pub struct InFlight {
    running: RwLock<HashMap<(String, String), (u64, CancellationToken)>>,
    next: AtomicU64,
}

/// A request that runs. Forgotten when dropped.
pub struct Running {
    platform: Platform,
    key: (String, String),
    number: u64,
}

impl Running {
    /// Notes a request. `request` is the id as it was written.
    pub fn enter(platform: &Platform, session: &Session, request: &str, cancel: CancellationToken) -> Self {
        let key = (super::key(platform, session.tenant, &session.id), request.to_owned());
        let in_flight = &platform.in_flight;
        let number = in_flight.next.fetch_add(1, Ordering::Relaxed);
        in_flight.running.write().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), (number, cancel));
        Self { platform: platform.clone(), key, number }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self.platform.in_flight.running.write().unwrap_or_else(PoisonError::into_inner);
        // A client that uses an id twice means its last request by it.
        if running.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            running.remove(&self.key);
        }
    }
}

impl InFlight {
    /// Cancels a request that runs here; false if none does.
    fn cancel(&self, key: &(String, String)) -> bool {
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        let found = running.get(key);
        if let Some((_, cancel)) = found {
            cancel.cancel();
        }
        found.is_some()
    }
}

/// A client takes a request of its session back. The other replicas are only told of one that does not run here.
pub async fn cancel(platform: &Platform, session: &Session, request: &str) {
    let key = (super::key(platform, session.tenant, &session.id), request.to_owned());
    if platform.in_flight.cancel(&key) {
        return;
    }
    let (session, request) = key;
    // What cannot be told to the others is logged there.
    let _ = bus::say(platform, Word::Cancelled { session, request }).await;
}

/// Listens for what other replicas say of sessions, until told to stop.
pub async fn run(platform: Platform, stop: CancellationToken) {
    let mut words = platform.bus.listen();
    while let Some(word) = stop.run_until_cancelled(words.recv()).await {
        match word {
            Ok(Word::Cancelled { session, request }) => {
                platform.in_flight.cancel(&(session, request));
            }
            Ok(Word::LogLevel { tenant, session, level }) => {
                if let (Some(session), Ok(level)) = (platform.sessions.known(tenant.into(), &session), level.parse()) {
                    session.note_log_level(level);
                }
            }
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "cancellations may have been missed"),
            Err(RecvError::Closed) => return,
        }
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("request", &self.key.1).finish_non_exhaustive()
    }
}
