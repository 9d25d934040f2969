//! Counters of a day and of budgets: what Redis does not know of them is read from the record, once, before anything is charged.

use std::{
    collections::HashMap,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
};

use tokio::sync::Mutex;

use super::{
    Decision, Question, budgets,
    charge::{Counter, DAY_S},
    shared::{self, Said},
    store,
};
use crate::{
    Platform,
    error::{Error, Result},
};

/// A counter that is not there, another day, and both once more at midnight.
const ATTEMPTS: usize = 5;
/// Counters whose last value is remembered.
const MOST_REMEMBERED: usize = 50_000;

/// What this replica knows of counters.
#[derive(Debug, Default)]
pub struct Counters {
    /// How far the day by Redis' clock is ahead of ours.
    ahead: AtomicI64,
    /// One at a time reads the record: who waited finds the counter there.
    seeding: Mutex<()>,
    /// What was left when Redis last said so, by day and counter: what replicas share without it.
    left: RwLock<HashMap<(i64, String), u64>>,
}

impl Counters {
    /// The day as Redis has it (days since 1970), as far as is known.
    pub fn today(&self, platform: &Platform) -> i64 {
        platform.clock.now().timestamp().div_euclid(DAY_S) + self.ahead.load(Ordering::Relaxed)
    }

    /// What was left of a counter when it was last heard of; all of it if it never was.
    pub(super) fn last_left(&self, counter: &Counter, day: i64) -> u64 {
        let left = self.left.read().unwrap_or_else(PoisonError::into_inner);
        left.get(&(day, counter.name.clone())).copied().unwrap_or(counter.most).min(counter.most)
    }

    pub(super) fn remember(&self, counter: &Counter, day: i64, left: u64) {
        let mut all = self.left.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_REMEMBERED {
            all.retain(|(of, _), _| *of == day);
            if all.len() >= MOST_REMEMBERED {
                all.clear();
            }
        }
        all.insert((day, counter.name.clone()), left);
    }

    fn told(&self, platform: &Platform, day: i64) {
        self.ahead.store(day - platform.clock.now().timestamp().div_euclid(DAY_S), Ordering::Relaxed);
    }
}

/// Asks until there is a decision.
pub(super) async fn ask(platform: &Platform, question: &Question<'_>) -> Result<Decision> {
    for _ in 0..ATTEMPTS {
        let day = platform.counters.today(platform);
        match shared::ask(platform, question, day).await? {
            Said::Decided(decision) => return Ok(decision),
            Said::OtherDay(day) => platform.counters.told(platform, day),
            Said::Unknown(_) => {
                let _one = platform.counters.seeding.lock().await;
                // Somebody else may have been here.
                match shared::ask(platform, question, day).await? {
                    Said::Decided(decision) => return Ok(decision),
                    Said::OtherDay(day) => platform.counters.told(platform, day),
                    Said::Unknown(places) => seed(platform, question, day, &places).await?,
                }
            }
        }
    }
    Err(Error::internal("the counters of the day cannot be begun"))
}

/// Begins the counters at those places with what the record has of that day.
async fn seed(platform: &Platform, question: &Question<'_>, day: i64, places: &[usize]) -> Result<()> {
    let charge = question.charge;
    let of_budgets = places.iter().filter_map(|place| charge.budgets.get(place.checked_sub(charge.counters.len())?));
    for reservation in of_budgets {
        budgets::begin(platform, question.tenant, reservation, day).await?;
    }
    let mut used = Vec::with_capacity(places.len());
    let mut tx = platform.db.tenant(question.tenant).await?;
    for &place in places {
        let Some(counter) = charge.counters.get(place) else { continue };
        used.push((place, store::used_on(&mut tx, counter.of, day * DAY_S).await?));
    }
    tx.commit().await?;
    if used.is_empty() { Ok(()) } else { Ok(shared::seed(platform, question.tenant, day, charge, &used).await?) }
}
