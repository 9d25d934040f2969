//! How many event streams an agent has open on this replica: no agent takes all connections.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::{Platform, ids::AgentId};

/// Streams for changes that one agent has open.
const MOST_LISTENING: usize = 10_000;
/// Streams that one agent goes on with after they were cut: each looks into Redis.
const MOST_RESUMED: usize = 64;

/// What a stream is open for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamUse {
    /// Changes.
    Listening,
    /// The rest of one that was cut.
    Resumed,
}

impl StreamUse {
    /// How many one agent may have.
    pub fn most(self) -> usize {
        match self {
            Self::Listening => MOST_LISTENING,
            Self::Resumed => MOST_RESUMED,
        }
    }
}

/// Open streams by agent.
#[derive(Debug, Default)]
pub struct Streams(Mutex<HashMap<(AgentId, StreamUse), usize>>);

/// An open stream. Not counted any more when dropped.
pub struct OpenStream {
    platform: Platform,
    key: (AgentId, StreamUse),
}

impl OpenStream {
    /// One more stream of that agent; `None` if it has as many as it may.
    pub fn enter(platform: &Platform, agent: AgentId, purpose: StreamUse) -> Option<Self> {
        let key = (agent, purpose);
        let mut open = platform.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(key).or_default();
        if *count >= purpose.most() {
            return None;
        }
        *count += 1;
        drop(open);
        Some(Self { platform: platform.clone(), key })
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut open = self.platform.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}
