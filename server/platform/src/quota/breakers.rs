//! Breakers: an upstream that fails most of its calls is left alone for a while, by all agents of its tenant together. Each replica judges by
//! what it sees itself, so that a breaker needs nobody to open.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use crate::ids::{SourceId, TenantId};

/// Seconds that are looked at.
const WINDOW: usize = 10;
/// Calls within them below which nothing is said.
const ENOUGH: u32 = 20;
/// When to come back while that one call runs.
const PROBING_MS: u64 = 1_000;
/// Upstreams that are remembered.
const MOST: usize = 20_000;

/// How long a breaker that nobody uses is remembered.
const REMEMBERED: Duration = Duration::from_mins(10);

/// When an upstream is left alone, and for how long before one call tries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Share of failures among the calls of the last ten seconds, in percent. `None`: never.
    pub share: Option<u32>,
    /// In seconds.
    pub open_s: u32,
}

impl Terms {
    fn open_for(self) -> Duration {
        Duration::from_secs(self.open_s.into())
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self { share: Some(50), open_s: 5 }
    }
}

/// What is protected.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Protected {
    /// A source.
    Source(SourceId),
    /// The origin of HTTP tools, such as `https://api.example.com`.
    Origin(String),
}

/// How one stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Calls pass.
    Closed,
    /// None passes for so long.
    Open {
        /// In milliseconds.
        retry_after_ms: u64,
    },
    /// One tries.
    HalfOpen,
}

/// All breakers of this replica.
#[derive(Debug, Default)]
pub struct Breakers {
    all: RwLock<HashMap<(TenantId, Protected), Shared>>,
}

/// One, as calls that pass it hold it.
type Shared = Arc<Mutex<Breaker>>;

#[derive(Debug, Default)]
struct Breaker {
    /// Second (of the process), calls and failures in it.
    seconds: [(u64, u32, u32); WINDOW],
    open_until: Option<Instant>,
    is_probed: bool,
    used: Option<Instant>,
}

/// A call that may pass. Says how it went, or, dropped without, nothing.
#[derive(Debug)]
pub struct Passage {
    breaker: Arc<Mutex<Breaker>>,
    terms: Terms,
    is_probe: bool,
}

impl Breakers {
    /// May a call pass? If not, when to come back, in milliseconds.
    pub fn enter(&self, tenant: TenantId, what: Protected, terms: Terms) -> Result<Passage, u64> {
        let breaker = self.of(tenant, what);
        let now = Instant::now();
        let mut state = lock(&breaker);
        state.used = Some(now);
        let is_probe = match state.standing(now) {
            _ if terms.share.is_none() => false,
            Standing::Closed => false,
            Standing::Open { retry_after_ms } => return Err(retry_after_ms),
            Standing::HalfOpen if state.is_probed => return Err(PROBING_MS),
            Standing::HalfOpen => true,
        };
        state.is_probed |= is_probe;
        drop(state);
        Ok(Passage { breaker, terms, is_probe })
    }

    /// How it stands here.
    pub fn standing(&self, tenant: TenantId, what: &Protected) -> Standing {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        // A copy of the key: rare, and not on the path of a call.
        all.get(&(tenant, what.clone())).map_or(Standing::Closed, |breaker| lock(breaker).standing(Instant::now()))
    }

    /// Those of a tenant that are not closed.
    pub fn open_of(&self, tenant: TenantId) -> Vec<(Protected, Standing)> {
        let (all, now) = (self.all.read().unwrap_or_else(PoisonError::into_inner), Instant::now());
        let of_tenant = all.iter().filter(|((of, _), _)| *of == tenant);
        let standing = of_tenant.map(|((_, what), breaker)| (what.clone(), lock(breaker).standing(now)));
        standing.filter(|(_, standing)| *standing != Standing::Closed).collect()
    }

    /// How many are not closed.
    pub fn count_open(&self) -> usize {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.values().filter(|breaker| lock(breaker).open_until.is_some()).count()
    }

    fn of(&self, tenant: TenantId, what: Protected) -> Arc<Mutex<Breaker>> {
        let key = (tenant, what);
        if let Some(breaker) = self.all.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Arc::clone(breaker);
        }
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            // What nobody has used for a while says nothing any more.
            let is_old = |at: Instant| at.elapsed() > REMEMBERED;
            all.retain(|_, breaker| !lock(breaker).used.is_none_or(is_old));
        }
        Arc::clone(all.entry(key).or_default())
    }
}

impl Passage {
    /// The call has ended.
    pub fn note(self, failed: bool) {
        let now = Instant::now();
        let mut state = lock(&self.breaker);
        if self.is_probe {
            if failed {
                state.open_until = Some(now + self.terms.open_for());
            } else {
                *state = Breaker { used: state.used, ..Breaker::default() };
            }
        } else if state.open_until.is_none() {
            state.count(now, failed, self.terms);
        }
        // What began before it opened says nothing about now. `drop` lets the next one try.
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if self.is_probe {
            lock(&self.breaker).is_probed = false;
        }
    }
}

impl Breaker {
    fn standing(&self, now: Instant) -> Standing {
        match self.open_until {
            None => Standing::Closed,
            Some(until) if until <= now => Standing::HalfOpen,
            Some(until) => {
                let left = u64::try_from((until - now).as_millis()).unwrap_or(u64::MAX);
                Standing::Open { retry_after_ms: left.max(1) }
            }
        }
    }

    fn count(&mut self, now: Instant, failed: bool, terms: Terms) {
        let second = second(now);
        let index = usize::try_from(second).unwrap_or(0) % WINDOW;
        let slot = &mut self.seconds[index];
        if slot.0 != second {
            *slot = (second, 0, 0);
        }
        slot.1 += 1;
        slot.2 += u32::from(failed);
        let recent = self.seconds.iter().filter(|(at, ..)| second - at.min(&second) < WINDOW as u64);
        let (calls, failures) = recent.fold((0, 0), |(calls, failures), (_, c, f)| (calls + c, failures + f));
        if failed && calls >= ENOUGH && terms.share.is_some_and(|share| failures * 100 >= calls * share) {
            self.open_until = Some(now + terms.open_for());
        }
    }
}

/// Seconds since the first time that somebody asked.
fn second(now: Instant) -> u64 {
    static BEGAN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    // From 10 on, so that an unused slot is never recent.
    now.saturating_duration_since(*BEGAN.get_or_init(|| now)).as_secs() + WINDOW as u64
}

fn lock(breaker: &Mutex<Breaker>) -> std::sync::MutexGuard<'_, Breaker> {
    breaker.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passage(breakers: &Breakers, tenant: TenantId) -> Result<Passage, u64> {
        breakers.enter(tenant, Protected::Origin("https://a.example".into()), Terms::default())
    }

    fn tenant() -> TenantId {
        TenantId::new(chrono::DateTime::UNIX_EPOCH)
    }

    #[test]
    fn opens_at_half_of_twenty_and_only_for_its_tenant() {
        let (breakers, acme, globex) = (Breakers::default(), tenant(), tenant());
        for i in 0..20 {
            passage(&breakers, acme).expect("closed").note(i % 2 == 1);
        }
        assert!(passage(&breakers, acme).is_err());
        assert!(passage(&breakers, globex).is_ok());
        assert_eq!(breakers.count_open(), 1);
    }

    #[test]
    fn few_failures_or_few_calls_say_nothing() {
        let (breakers, acme) = (Breakers::default(), tenant());
        for _ in 0..19 {
            passage(&breakers, acme).expect("closed").note(true);
        }
        assert!(passage(&breakers, acme).is_ok(), "19 calls");
        let (breakers, acme) = (Breakers::default(), tenant());
        for i in 0..100 {
            passage(&breakers, acme).expect("closed").note(i % 3 == 0);
        }
        assert!(passage(&breakers, acme).is_ok(), "a third");
    }

    #[test]
    fn one_that_is_never_left_alone_stays_closed_and_others_have_their_own_share() {
        let (breakers, acme) = (Breakers::default(), tenant());
        let enter = |share| breakers.enter(acme, Protected::Origin("https://a.example".into()), Terms { share, open_s: 1 });
        for _ in 0..100 {
            enter(None).expect("never").note(true);
        }
        assert!(enter(None).is_ok());
        let (breakers, acme) = (Breakers::default(), tenant());
        let enter = |share| breakers.enter(acme, Protected::Origin("https://a.example".into()), Terms { share, open_s: 1 });
        for i in 0..19 {
            enter(Some(10)).expect("few calls").note(i < 2);
        }
        enter(Some(10)).expect("closed").note(true);
        let left = enter(Some(10)).expect_err("open");
        assert!((1..=1_000).contains(&left), "{left}");
    }

    #[test]
    fn one_tries_at_a_time_and_closes_it() {
        let (breakers, acme) = (Breakers::default(), tenant());
        for _ in 0..20 {
            passage(&breakers, acme).expect("closed").note(true);
        }
        let breaker = breakers.of(acme, Protected::Origin("https://a.example".into()));
        lock(&breaker).open_until = Some(Instant::now());
        let probe = passage(&breakers, acme).expect("half open");
        assert!(passage(&breakers, acme).is_err(), "one tries");
        drop(probe);
        passage(&breakers, acme).expect("the next one tries").note(false);
        assert_eq!(breakers.standing(acme, &Protected::Origin("https://a.example".into())), Standing::Closed);
    }
}
