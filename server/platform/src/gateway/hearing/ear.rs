//! One source's ear: who listens, and to what.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::upstream::Wanted;

/// Somebody who reconnects should not cost a stream.
const LINGER: Duration = Duration::from_secs(5);

/// The ear.
#[derive(Debug, Default)]
pub(super) struct Ear {
    held: Mutex<Held>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Held {
    by: usize,
    /// Since when nobody listens.
    left: Option<Instant>,
    uris: HashMap<String, usize>,
}

impl Ear {
    /// One more listens, to these resources too.
    pub(super) fn join(&self, uris: &[String]) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.by += 1;
        held.left = None;
        for uri in uris {
            *held.uris.entry(uri.clone()).or_default() += 1;
        }
        drop(held);
        if !uris.is_empty() {
            self.changed.notify_one();
        }
    }

    /// One less does.
    pub(super) fn leave(&self, uris: &[String]) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.by = held.by.saturating_sub(1);
        held.left = (held.by == 0).then(Instant::now);
        for uri in uris {
            if let Some(count) = held.uris.get_mut(uri) {
                *count -= 1;
                if *count == 0 {
                    held.uris.remove(uri);
                }
            }
        }
        drop(held);
        self.changed.notify_one();
    }

    /// What is wanted at the moment; `None` if nobody listens any more.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let uris: BTreeSet<_> = held.uris.keys().cloned().collect();
        (held.by > 0).then(|| Wanted { tools: true, prompts: true, resources: true, uris: uris.into_iter().collect() })
    }

    fn left(&self) -> Option<Instant> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).left
    }

    /// Waits until something else is wanted than `now`. May be dropped and called again: no change is lost.
    pub(super) async fn differs(&self, now: &Wanted) {
        loop {
            match (self.wanted(), self.left()) {
                (Some(wanted), _) if wanted == *now => self.changed.notified().await,
                (None, Some(left)) if left.elapsed() < LINGER => {
                    tokio::select! {
                        () = tokio::time::sleep_until(left + LINGER) => {}
                        () = self.changed.notified() => {}
                    }
                }
                _ => return,
            }
        }
    }
}
