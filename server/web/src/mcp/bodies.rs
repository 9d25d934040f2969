//! The room that large bodies of requests share. Each is bounded, and so is what all of them take together: who brings a large one when there is no
//! room is told to come again, before memory runs out for everybody. Small ones, as nearly all calls are, need no room.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// All large bodies of a process at one moment, in bytes.
const ROOM: usize = 128 * 1024 * 1024;
/// What counts as small.
const SMALL: usize = 64 * 1024;

/// The room. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Bodies(Arc<Semaphore>);

impl Default for Bodies {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM)))
    }
}

impl Bodies {
    /// Of one body, which has nothing in it yet.
    pub(super) fn room(&self) -> Room {
        Room { all: Arc::clone(&self.0), taken: None }
    }
}

/// What one body takes. Given back when dropped.
#[derive(Debug)]
pub(super) struct Room {
    all: Arc<Semaphore>,
    taken: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Takes what is missing for a body of that length. False: there is none.
    pub(super) fn grow_to(&mut self, length: usize) -> bool {
        if length <= SMALL {
            return true;
        }
        let missing = length - self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = u32::try_from(missing).ok().and_then(|missing| Arc::clone(&self.all).try_acquire_many_owned(missing).ok());
        match (&mut self.taken, more) {
            (_, None) => return false,
            (Some(taken), Some(more)) => taken.merge(more),
            (taken @ None, more) => *taken = more,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_given_back_and_small_bodies_take_nothing() {
        let bodies = Bodies::default();
        let (mut first, mut second, mut small) = (bodies.room(), bodies.room(), bodies.room());
        assert!(first.grow_to(SMALL) && first.grow_to(ROOM - SMALL - 10) && first.grow_to(ROOM - SMALL - 5));
        assert!(second.grow_to(SMALL + 5) && !second.grow_to(SMALL + 6) && small.grow_to(SMALL));
        drop(first);
        assert!(second.grow_to(ROOM) && !bodies.room().grow_to(SMALL + 1));
    }
}
