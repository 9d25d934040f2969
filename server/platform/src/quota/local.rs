//! The decision without Redis: the same arithmetic on this replica's share, in memory. Bounded: full buckets are forgotten.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use super::{
    Decision, Remaining,
    bucket::{Bucket, Verdict, decide, remaining},
};

/// Buckets that are remembered at most; beyond, full ones are dropped first and then the call is refused.
const MAX_BUCKETS: usize = 200_000;

/// Buckets of this replica.
#[derive(Debug)]
pub struct LocalBuckets {
    started: Instant,
    full_at_us: Mutex<HashMap<String, f64>>,
}

impl Default for LocalBuckets {
    fn default() -> Self {
        Self { started: Instant::now(), full_at_us: Mutex::default() }
    }
}

impl LocalBuckets {
    /// Decides over all buckets and charges all or none. `share` is this replica's part, above 0 and at most 1.
    pub fn admit(&self, buckets: &[Bucket], share: f64) -> Decision {
        let now = self.started.elapsed().as_secs_f64() * 1e6;
        let mut stored = self.full_at_us.lock().unwrap_or_else(PoisonError::into_inner);
        if stored.len() + buckets.len() > MAX_BUCKETS {
            stored.retain(|_, full_at| *full_at > now);
            if stored.len() + buckets.len() > MAX_BUCKETS {
                return Decision::Unavailable;
            }
        }
        let verdicts: Vec<_> =
            buckets.iter().map(|bucket| decide(bucket.rate.scaled(share), stored.get(&bucket.key).copied(), now)).collect();
        let longest = verdicts.iter().zip(buckets).filter_map(|(verdict, bucket)| match verdict {
            Verdict::Wait { us } => Some((*us, bucket)),
            Verdict::Admit { .. } => None,
        });
        if let Some((us, bucket)) = longest.max_by(|a, b| a.0.total_cmp(&b.0)) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a wait is positive and short")]
            let retry_after_ms = (us / 1000.0).ceil() as u64;
            let by = Remaining { scope: bucket.scope, rate: bucket.rate, remaining: 0, reset_ms: retry_after_ms };
            return Decision::Limited { by, retry_after_ms, degraded: true };
        }
        let mut tightest: Option<Remaining> = None;
        for (verdict, bucket) in verdicts.into_iter().zip(buckets) {
            let Verdict::Admit { full_at_us } = verdict else { continue };
            stored.insert(bucket.key.clone(), full_at_us);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and short")]
            let reset_ms = ((full_at_us - now) / 1000.0).ceil() as u64;
            let left = remaining(bucket.rate.scaled(share), full_at_us, now);
            if tightest.is_none_or(|tightest| left < tightest.remaining) {
                tightest = Some(Remaining { scope: bucket.scope, rate: bucket.rate, remaining: left, reset_ms });
            }
        }
        match tightest {
            Some(left) => Decision::Admitted { left, degraded: true },
            None => Decision::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::{Rate, Scope};

    fn bucket(scope: Scope, key: &str, per_minute: u32) -> Bucket {
        Bucket { scope, key: key.into(), rate: Rate::per_minute(per_minute) }
    }

    #[test]
    fn refused_call_costs_nothing_in_any_bucket() {
        let local = LocalBuckets::default();
        let wide = bucket(Scope::Agent, "agent", 100);
        let both = [wide.clone(), bucket(Scope::AgentTool, "tool", 2)];
        let admitted = (0..50).filter(|_| matches!(local.admit(&both, 1.0), Decision::Admitted { .. })).count();
        assert_eq!(admitted, 2);
        let Decision::Admitted { left, degraded } = local.admit(&[wide], 1.0) else { panic!("97 are left") };
        assert_eq!((left.remaining, degraded), (97, true));
    }

    #[test]
    fn share_of_a_replica_is_a_part_of_the_limit() {
        let local = LocalBuckets::default();
        let tool = [bucket(Scope::AgentTool, "tool", 300)];
        let admitted = (0..400).filter(|_| matches!(local.admit(&tool, 1.0 / 3.0), Decision::Admitted { .. })).count();
        assert_eq!(admitted, 100);
    }
}
