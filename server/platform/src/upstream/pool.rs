//! The sessions of this process. Where nobody can be asked anything, all calls share one session per link; where a caller can be asked, each
//! call has one to itself while it runs, and leaves it to the next. A session is opened once, however many wait for it, and ended over there
//! when nobody has used it for a while. What one tenant, or one upstream, may have of them leaves room for all others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::StreamExt as _;
use tokio::{
    sync::Mutex as Turn,
    time::{Instant, timeout_at},
};

use super::{
    UpstreamError,
    error::Fault,
    link::{Link, lock},
    session::{self, Session, Setup},
};

/// Most sessions of this process.
const MOST: usize = 512;
/// Most sessions of one tenant.
const MOST_OF_TENANT: usize = 64;
/// Sessions that calls have to themselves may be so many of one link, in whatever setups, of one tenant and of all. More callers than these
/// cannot be asked; there is always room to share a session.
const MOST_OWN: Bounds = Bounds { link: 32, tenant: 48, all: 384 };
/// Sessions that calls share; a link has two of them at most.
const MOST_SHARED: Bounds = Bounds { link: usize::MAX, tenant: MOST_OF_TENANT, all: MOST };
/// Sessions that wait to be ended; beyond them the upstream's own expiry has to do.
const MOST_ENDING: usize = 1024;
/// Sessions that are ended at the same time.
const ENDED_TOGETHER: usize = 16;

/// How many sessions there may be before one more is opened.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    link: usize,
    tenant: usize,
    all: usize,
}

/// All sessions of this process.
#[derive(Debug, Default)]
pub(super) struct Pool {
    slots: Mutex<HashMap<(u64, Setup), Arc<Slot>>>,
    ending: Arc<Mutex<Vec<Ending>>>,
}

/// The sessions of one link and setup.
#[derive(Debug)]
struct Slot {
    link: Arc<Link>,
    /// One handshake for a shared session at a time.
    opening: Turn<()>,
    state: Mutex<State>,
    ending: Arc<Mutex<Vec<Ending>>>,
}

#[derive(Debug)]
struct State {
    shared: Option<Arc<Session>>,
    /// Those that calls left, the last used at the end.
    free: Vec<(Arc<Session>, Instant)>,
    /// Those that calls have to themselves.
    lent: usize,
    used: Instant,
    /// Its link is not wanted any more.
    is_closed: bool,
}

#[derive(Debug)]
struct Ending {
    link: Arc<Link>,
    session: Arc<Session>,
}

/// A session for the time of one call.
#[derive(Debug)]
pub(super) struct Lease {
    session: Arc<Session>,
    slot: Arc<Slot>,
    is_own: bool,
    worth: Worth,
}

/// What a session is good for after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    Good,
    Spoiled,
    Gone,
}

impl Pool {
    /// A session of that link for that setup; opened if there is none.
    pub(super) async fn obtain(&self, link: &Arc<Link>, setup: &Setup, deadline: Instant) -> Result<Lease, Fault> {
        if setup.has_questions() {
            let slot = self.slot(link, setup)?;
            if let Some(lease) = slot.lend() {
                return Ok(lease);
            }
            if let Some(counted) = self.begin(&slot) {
                let session = Arc::new(session::open(link, setup, deadline).await?);
                return Ok(counted.into_lease(session));
            }
        }
        let setup = setup.without_questions();
        let slot = self.slot(link, &setup)?;
        if let Some(lease) = slot.share() {
            return Ok(lease);
        }
        let _turn = timeout_at(deadline, slot.opening.lock()).await.map_err(|_| UpstreamError::Timeout)?;
        if let Some(lease) = slot.share() {
            return Ok(lease);
        }
        self.make_room(link, MOST_SHARED)?;
        let session = Arc::new(session::open(link, &setup, deadline).await?);
        lock(&slot.state).shared = Some(Arc::clone(&session));
        Ok(Lease { session, slot: Arc::clone(&slot), is_own: false, worth: Worth::Spoiled })
    }

    /// Ends what nobody has used for so long.
    pub(super) async fn sweep(&self, idle: Duration) {
        lock(&self.slots).retain(|_, slot| {
            slot.trim(idle);
            !(slot.is_empty() && Arc::strong_count(slot) == 1)
        });
        let ending = std::mem::take(&mut *lock(&self.ending));
        futures_util::stream::iter(ending)
            .for_each_concurrent(ENDED_TOGETHER, |ending| async move { ending.session.end(&ending.link).await })
            .await;
    }

    /// Drops what belongs to links that are no longer wanted. Calls that run keep their session to their end.
    pub(super) fn drop_links(&self, is_unwanted: impl Fn(&Link) -> bool) {
        lock(&self.slots).retain(|_, slot| {
            let is_unwanted = is_unwanted(&slot.link);
            if is_unwanted {
                slot.close();
            }
            !is_unwanted
        });
    }

    /// Does the link have a session?
    pub(super) fn has_any(&self, link: &Link) -> bool {
        lock(&self.slots).keys().any(|(number, _)| *number == link.number)
    }

    fn slot(&self, link: &Arc<Link>, setup: &Setup) -> Result<Arc<Slot>, UpstreamError> {
        let mut slots = lock(&self.slots);
        let key = (link.number, setup.clone());
        if !slots.contains_key(&key) && slots.len() >= 2 * MOST {
            slots.retain(|_, slot| !(slot.is_empty() && Arc::strong_count(slot) == 1));
            if slots.len() >= 2 * MOST {
                return Err(UpstreamError::Busy);
            }
        }
        Ok(Arc::clone(slots.entry(key).or_insert_with(|| {
            let state = State { shared: None, free: Vec::new(), lent: 0, used: Instant::now(), is_closed: false };
            let ending = Arc::clone(&self.ending);
            Arc::new(Slot { link: Arc::clone(link), opening: Turn::default(), state: Mutex::new(state), ending })
        })))
    }

    /// May a call have one more to itself? Then it counts from now on.
    fn begin(&self, slot: &Arc<Slot>) -> Option<Counted> {
        let slots = lock(&self.slots);
        make_room(&slots, &slot.link, MOST_OWN).ok()?;
        lock(&slot.state).lent += 1;
        Some(Counted(Arc::clone(slot)))
    }

    /// The same for one to share. It does not count before it is open, so it may happen that one too many is opened, but rarely.
    fn make_room(&self, link: &Link, bounds: Bounds) -> Result<(), UpstreamError> {
        make_room(&lock(&self.slots), link, bounds)
    }
}

/// Room for one more session of that link: of those that are too many, the one that was idle longest goes.
fn make_room(slots: &HashMap<(u64, Setup), Arc<Slot>>, link: &Link, bounds: Bounds) -> Result<(), UpstreamError> {
    room_among(bounds.link, || slots.values().filter(|slot| slot.link.number == link.number))?;
    room_among(bounds.tenant, || slots.values().filter(|slot| slot.link.tenant == link.tenant))?;
    room_among(bounds.all, || slots.values())
}

fn room_among<'s, I: Iterator<Item = &'s Arc<Slot>>>(most: usize, slots: impl Fn() -> I) -> Result<(), UpstreamError> {
    if slots().map(|slot| slot.count()).sum::<usize>() < most {
        return Ok(());
    }
    let oldest = slots().filter_map(|slot| Some((slot.idlest()?, slot))).max_by_key(|(idle, _)| *idle);
    let (_, slot) = oldest.ok_or(UpstreamError::Busy)?;
    slot.drop_idlest();
    Ok(())
}

impl Slot {
    /// The session that all share.
    fn share(self: &Arc<Self>) -> Option<Lease> {
        let mut state = lock(&self.state);
        state.used = Instant::now();
        let session = state.shared.clone()?;
        Some(Lease { session, slot: Arc::clone(self), is_own: false, worth: Worth::Spoiled })
    }

    /// A session that another call has left.
    fn lend(self: &Arc<Self>) -> Option<Lease> {
        let mut state = lock(&self.state);
        let (session, _) = state.free.pop()?;
        state.lent += 1;
        Some(Lease { session, slot: Arc::clone(self), is_own: true, worth: Worth::Spoiled })
    }

    fn count(&self) -> usize {
        let state = lock(&self.state);
        usize::from(state.shared.is_some()) + state.free.len() + state.lent
    }

    fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// How long its idlest session has been idle.
    fn idlest(&self) -> Option<Duration> {
        let state = lock(&self.state);
        let shared = state.shared.as_ref().filter(|session| Arc::strong_count(session) == 1).map(|_| state.used);
        shared.into_iter().chain(state.free.first().map(|(_, used)| *used)).min().map(|used| used.elapsed())
    }

    fn drop_idlest(&self) {
        let mut state = lock(&self.state);
        let session = if state.free.is_empty() { state.shared.take() } else { Some(state.free.remove(0).0) };
        drop(state);
        if let Some(session) = session {
            self.end_later(session);
        }
    }

    /// Drops what nobody has used for so long.
    fn trim(&self, idle: Duration) {
        while self.idlest().is_some_and(|longest| longest >= idle) {
            self.drop_idlest();
        }
    }

    /// Drops what no call has to itself.
    fn close(&self) {
        let mut state = lock(&self.state);
        state.is_closed = true;
        let free = std::mem::take(&mut state.free).into_iter().map(|(session, _)| session);
        let sessions: Vec<_> = state.shared.take().into_iter().chain(free).collect();
        drop(state);
        for session in sessions {
            self.end_later(session);
        }
    }

    fn end_later(&self, session: Arc<Session>) {
        let mut ending = lock(&self.ending);
        if session.has_id() && ending.len() < MOST_ENDING {
            ending.push(Ending { link: Arc::clone(&self.link), session });
        }
    }
}

/// A session that is being opened counts; one that could not be opened does not.
struct Counted(Arc<Slot>);

impl Counted {
    fn into_lease(self, session: Arc<Session>) -> Lease {
        // The lease counts from now on, and this one does not any more.
        lock(&self.0.state).lent += 1;
        Lease { session, slot: Arc::clone(&self.0), is_own: true, worth: Worth::Spoiled }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        lock(&self.0.state).lent -= 1;
    }
}

impl Lease {
    pub(super) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Does this call have the session to itself?
    pub(super) fn is_own(&self) -> bool {
        self.is_own
    }

    /// The call ended well, and nothing of it goes on over there. Otherwise nobody gets the session that it had to itself.
    pub(super) fn is_good(&mut self) {
        self.worth = Worth::Good;
    }

    /// The upstream does not know the session any more.
    pub(super) fn is_gone(&mut self) {
        self.worth = Worth::Gone;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = lock(&self.slot.state);
        state.used = Instant::now();
        if !self.is_own {
            let is_this = state.shared.as_ref().is_some_and(|shared| Arc::ptr_eq(shared, &self.session));
            if self.worth == Worth::Gone && is_this {
                state.shared = None;
            }
            return;
        }
        state.lent -= 1;
        match self.worth {
            Worth::Good if !state.is_closed => {
                let now = state.used;
                state.free.push((Arc::clone(&self.session), now));
            }
            Worth::Good | Worth::Spoiled => {
                drop(state);
                self.slot.end_later(Arc::clone(&self.session));
            }
            // Whoever forgot this one has forgotten the others too.
            Worth::Gone => state.free.clear(),
        }
    }
}
