//! What this process keeps of one upstream for one tenant and one credential: connections of its own and what the era probe found. Nothing of
//! it is ever used for anybody else.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Mutex as Turn, time::Instant};

use super::{Server, Target, wire::Wire};
use crate::ids::{SourceId, TenantId};

/// How long the probe's verdict holds.
const VERDICT_HOLDS: Duration = Duration::from_mins(10);

/// Whose link it is. Another URL or another credential is another upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LinkKey {
    pub(super) tenant: TenantId,
    pub(super) source: SourceId,
    url: String,
    /// Header and digest of the secret.
    credential: Option<(String, Vec<u8>)>,
}

impl LinkKey {
    pub(super) fn of(target: &Target) -> Self {
        let credential = target.header.as_ref();
        let credential = credential.map(|(name, secret)| (name.as_str().to_owned(), secret.digest().as_bytes().to_vec()));
        Self { tenant: target.tenant, source: target.source, url: target.url.to_string(), credential }
    }
}

/// One upstream as one tenant reaches it.
#[derive(Debug)]
pub(super) struct Link {
    /// Tells links apart that had the same key at different times.
    pub(super) number: u64,
    /// Whose it is.
    pub(super) tenant: TenantId,
    pub(super) wire: Wire,
    /// One probe at a time.
    pub(super) probing: Turn<()>,
    verdict: Mutex<Option<(Instant, Arc<Server>)>>,
    used: Mutex<Instant>,
    next_id: AtomicU64,
    /// Sessions over there have no stream beside their answers.
    pub(super) has_no_stream: AtomicBool,
}

impl Link {
    pub(super) fn new(number: u64, tenant: TenantId, wire: Wire) -> Self {
        Self {
            number,
            tenant,
            wire,
            probing: Turn::default(),
            verdict: Mutex::default(),
            used: Mutex::new(Instant::now()),
            next_id: AtomicU64::new(1),
            has_no_stream: AtomicBool::new(false),
        }
    }

    /// A request id that this link has not used yet.
    pub(super) fn next_id(&self) -> String {
        self.next_id.fetch_add(1, Ordering::Relaxed).to_string()
    }

    /// What the last probe found, while it holds.
    pub(super) fn verdict(&self) -> Option<Arc<Server>> {
        let verdict = lock(&self.verdict);
        verdict.as_ref().filter(|(since, _)| since.elapsed() < VERDICT_HOLDS).map(|(_, server)| Arc::clone(server))
    }

    /// Keeps what a probe found, or that it holds no more.
    pub(super) fn set_verdict(&self, server: Option<Arc<Server>>) {
        if server.is_none() {
            self.has_no_stream.store(false, Ordering::Relaxed);
        }
        *lock(&self.verdict) = server.map(|server| (Instant::now(), server));
    }

    pub(super) fn touch(&self) {
        *lock(&self.used) = Instant::now();
    }

    pub(super) fn idle(&self) -> Duration {
        lock(&self.used).elapsed()
    }
}

/// A poisoned lock has whole values all the same: nothing here panics between two writes.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
