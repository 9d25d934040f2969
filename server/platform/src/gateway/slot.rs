//! How much runs at the same time on this replica: calls of one tool and requests for what one source has beside tools, so that a slow
//! upstream holds its own callers and nobody else's; and all of it, so that the answers fit into memory.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use super::{Refusal, SOON_MS};
use crate::{
    Platform,
    quota::{Of, Remaining, Scope, Seated},
};

/// Calls of one tool; requests for prompts, resources and completions of one source.
pub(super) const MOST_AT_ONCE: u32 = 256;
/// All of them.
const MOST: u32 = 4_096;

/// Something that runs. Its place is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    of_one: Arc<AtomicU32>,
    of_all: Arc<AtomicU32>,
    /// Its places on all replicas together.
    pub(super) seated: Option<Seated>,
}

impl Slot {
    /// A place among what runs of one tool or source, if there is one.
    pub(super) fn take(platform: &Platform, running: &Arc<AtomicU32>) -> Option<Self> {
        let (of_one, of_all) = (Arc::clone(running), Arc::clone(&platform.running));
        if !enter(&of_all, MOST) {
            return None;
        }
        if !enter(&of_one, MOST_AT_ONCE) {
            of_all.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Self { of_one, of_all, seated: None })
    }

    /// It has ended. Returns when places that are scarce are free again.
    pub(super) async fn leave(mut self) {
        if let Some(seated) = self.seated.take() {
            seated.leave().await;
        }
    }

    /// Why there is none.
    pub(super) fn refusal() -> Refusal {
        Refusal::Limited {
            by: Remaining::at_once(Scope::Concurrency(Of::Tool), MOST_AT_ONCE),
            retry_after_ms: SOON_MS,
            as_result: false,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.of_one.fetch_sub(1, Ordering::Relaxed);
        self.of_all.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts one more, unless there are too many.
fn enter(running: &AtomicU32, most: u32) -> bool {
    let before = running.fetch_add(1, Ordering::Relaxed);
    if before >= most {
        running.fetch_sub(1, Ordering::Relaxed);
    }
    before < most
}
