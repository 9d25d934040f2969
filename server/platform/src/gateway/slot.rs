//! How many calls run at the same time on this replica: of one tool, so that a slow upstream holds its own callers and nobody else's; and
//! of all tools, so that their answers fit into memory.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use crate::{Platform, catalog::snapshot::LoadedTool};

/// Calls of one tool.
pub(super) const MOST_PER_TOOL: u32 = 256;
/// Calls of all tools.
const MOST: u32 = 4_096;

/// A running call. Its place is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    of_tool: Arc<AtomicU32>,
    of_all: Arc<AtomicU32>,
}

impl Slot {
    /// A place, if there is one.
    pub(super) fn take(platform: &Platform, tool: &LoadedTool) -> Option<Self> {
        let (of_tool, of_all) = (Arc::clone(&tool.running), Arc::clone(&platform.running));
        if !enter(&of_all, MOST) {
            return None;
        }
        if !enter(&of_tool, MOST_PER_TOOL) {
            of_all.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Self { of_tool, of_all })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.of_tool.fetch_sub(1, Ordering::Relaxed);
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
