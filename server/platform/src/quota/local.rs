//! The decision without Redis: the same arithmetic on this replica's share, in memory. Bounded: full buckets are forgotten.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use super::{
    Counters, Decision, Remaining,
    bucket::{Verdict, decide, remaining},
    charge::{Charge, Counter},
};

/// Buckets that are remembered at most; beyond, full ones are dropped first and then the call is refused.
const MAX_BUCKETS: usize = 200_000;
/// When to come back after the part of a day that is this replica's is used up.
const PART_USED_UP_MS: u64 = 60_000;

/// Buckets and counters of this replica.
#[derive(Debug)]
pub struct LocalBuckets {
    started: Instant,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    full_at_us: HashMap<String, f64>,
    /// What was used here without Redis, by day and counter.
    used: HashMap<(i64, String), u64>,
}

impl Default for LocalBuckets {
    fn default() -> Self {
        Self { started: Instant::now(), held: Mutex::default() }
    }
}

impl LocalBuckets {
    /// Decides over all buckets and counters of that day and charges all or none. `share` is this replica's part, above 0 and at most 1; `counters`
    /// knows what was left of the day. What runs at the same time is bounded by each replica for itself.
    pub fn admit(&self, charge: &Charge, counters: &Counters, day: i64, share: f64) -> Decision {
        let now = self.started.elapsed().as_secs_f64() * 1e6;
        let buckets = &charge.buckets;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.make_room(charge, day, now) {
            return Decision::Unavailable;
        }
        let verdicts: Vec<_> = buckets
            .iter()
            .map(|bucket| decide(bucket.rate.scaled(share), held.full_at_us.get(&bucket.key).copied(), now))
            .collect();
        if let Some(counter) = charge
            .counters
            .iter()
            .find(|counter| held.used_of(counter, day) + counter.amount > part(counters.last_left(counter, day), share))
        {
            let by = Remaining::of_day(counter.scope, counter.most);
            // The part of a day that is this replica's is used up; Redis may be back sooner than the next day.
            return Decision::Limited { by, retry_after_ms: PART_USED_UP_MS, degraded: true, strikes: 0 };
        }
        let longest = verdicts.iter().zip(buckets).filter_map(|(verdict, bucket)| match verdict {
            Verdict::Wait { us } => Some((*us, bucket)),
            Verdict::Admit { .. } => None,
        });
        if let Some((us, bucket)) = longest.max_by(|a, b| a.0.total_cmp(&b.0)) {
            let retry_after_ms = milliseconds(us);
            let by = Remaining { reset_ms: retry_after_ms, ..Remaining::of_rate(bucket.scope, bucket.rate) };
            return Decision::Limited { by, retry_after_ms, degraded: true, strikes: 0 };
        }
        let mut tightest: Option<Remaining> = None;
        for (verdict, bucket) in verdicts.into_iter().zip(buckets) {
            let Verdict::Admit { full_at_us } = verdict else { continue };
            held.full_at_us.insert(bucket.key.clone(), full_at_us);
            let remaining = u64::from(remaining(bucket.rate.scaled(share), full_at_us, now));
            if tightest.is_none_or(|tightest| remaining < tightest.remaining) {
                let reset_ms = milliseconds(full_at_us - now);
                tightest = Some(Remaining { remaining, reset_ms, ..Remaining::of_rate(bucket.scope, bucket.rate) });
            }
        }
        for counter in &charge.counters {
            *held.used.entry((day, counter.name.clone())).or_default() += counter.amount;
        }
        Decision::Admitted { left: tightest, degraded: true, crowded: false }
    }
}

impl Held {
    fn make_room(&mut self, charge: &Charge, day: i64, now: f64) -> bool {
        let fits =
            |held: &Self| held.full_at_us.len() + held.used.len() + charge.buckets.len() + charge.counters.len() <= MAX_BUCKETS;
        if !fits(self) {
            self.full_at_us.retain(|_, full_at| *full_at > now);
            self.used.retain(|(of, _), _| *of == day);
        }
        fits(self)
    }

    fn used_of(&self, counter: &Counter, day: i64) -> u64 {
        self.used.get(&(day, counter.name.clone())).copied().unwrap_or(0)
    }
}

/// This replica's part of what is left of a day.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "limits of a day are small against 2^52"
)]
fn part(left: u64, share: f64) -> u64 {
    (left as f64 * share).floor() as u64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a wait is positive and short")]
fn milliseconds(us: f64) -> u64 {
    (us / 1000.0).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::{Bucket, Rate, Scope};

    fn bucket(scope: Scope, key: &str, per_minute: u32) -> Bucket {
        Bucket { scope, key: key.into(), rate: Rate::per_minute(per_minute) }
    }

    #[test]
    fn refused_call_costs_nothing_in_any_bucket() {
        let local = LocalBuckets::default();
        let wide = bucket(Scope::Agent, "agent", 100);
        let both = Charge { buckets: vec![wide.clone(), bucket(Scope::AgentTool, "tool", 2)], ..Charge::default() };
        let admitted =
            (0..50).filter(|_| matches!(local.admit(&both, &Counters::default(), 0, 1.0), Decision::Admitted { .. })).count();
        assert_eq!(admitted, 2);
        let Decision::Admitted { left: Some(left), degraded, .. } = local.admit(&wide.into(), &Counters::default(), 0, 1.0)
        else {
            panic!("97 are left")
        };
        assert_eq!((left.remaining, degraded), (97, true));
    }

    #[test]
    fn share_of_a_replica_is_a_part_of_the_limit() {
        let local = LocalBuckets::default();
        let tool = bucket(Scope::AgentTool, "tool", 300).into();
        let admitted = (0..400)
            .filter(|_| matches!(local.admit(&tool, &Counters::default(), 0, 1.0 / 3.0), Decision::Admitted { .. }))
            .count();
        assert_eq!(admitted, 100);
    }
}
