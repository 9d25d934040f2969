//! The decision in Redis: one script, one round trip, by the server's clock.

use std::sync::LazyLock;

use redis::Script;

use super::{Decision, Remaining, SessionKeys, bucket::Bucket, bucket::remaining};
use crate::{Platform, epoch, ids::TenantId, redis::Away};

static ADMIT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("admit.lua")));

pub(super) async fn admit(
    platform: &Platform,
    tenant: TenantId,
    epoch: &str,
    session: Option<&SessionKeys>,
    buckets: &[Bucket],
) -> Result<Decision, Away> {
    let mut script = ADMIT.prepare_invoke();
    // A snapshot that was loaded without Redis has no epoch and is out of date by definition; `''` would mean "do not compare".
    script.key(epoch::key(&platform.redis, tenant)).arg(if epoch.is_empty() { "none" } else { epoch });
    match session {
        Some(keys) => script.key(&keys.session).key(&keys.index).arg(&keys.id).arg(keys.idle_s),
        None => script.arg("").arg(0),
    };
    for bucket in buckets {
        script.key(platform.redis.tenant_key(tenant, &bucket.key)).arg(bucket.rate.interval_us()).arg(bucket.rate.burst);
    }
    let answer: Vec<i64> = platform.redis.run(&script).await?;
    platform.generations.hear();
    Ok(read(&answer, buckets).unwrap_or(Decision::Stale))
}

/// Reads the script's answer; `None` for anything it does not say.
fn read(answer: &[i64], buckets: &[Bucket]) -> Option<Decision> {
    match *answer {
        [3] => Some(Decision::NoSession),
        [1, now, ref full_at @ ..] => {
            let left = tightest(now, full_at, buckets)?;
            Some(Decision::Admitted { left, degraded: false })
        }
        [2, index, wait_us, now, ref full_at @ ..] => {
            let index = usize::try_from(index).ok()?.checked_sub(1)?;
            let by = left(now, *full_at.get(index)?, buckets.get(index)?);
            let retry_after_ms = u64::try_from(wait_us).ok()?.div_ceil(1000);
            Some(Decision::Limited { by: Remaining { remaining: 0, ..by }, retry_after_ms, degraded: false })
        }
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds since 2025 fit 52 bits for a century")]
fn left(now: i64, full_at: i64, bucket: &Bucket) -> Remaining {
    Remaining {
        scope: bucket.scope,
        rate: bucket.rate,
        remaining: remaining(bucket.rate.scaled(1.0), full_at as f64, now as f64),
        reset_ms: u64::try_from(full_at - now).unwrap_or(0).div_ceil(1000),
    }
}

fn tightest(now: i64, full_at: &[i64], buckets: &[Bucket]) -> Option<Remaining> {
    buckets.iter().zip(full_at).map(|(bucket, &full_at)| left(now, full_at, bucket)).min_by_key(|left| left.remaining)
}
