//! How many credentials a tenant's endpoints refuse: counted per minute and per hour for a day, so that alerts see what is out of the ordinary.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use redis::cmd;

use super::step::{Fault, Step};
use crate::{Platform, ids::TenantId, redis::Away};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// What is usual is learnt from so many hours before the one that runs.
const LEARNT_HOURS: i64 = 24;
/// Minutes that count as now.
const NOW_MINUTES: i64 = 10;
const KEPT_S: u64 = 26 * 3600;

/// Refused credentials of a tenant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Refused {
    /// Within the last ten minutes.
    pub(crate) now: i64,
    /// Within ten minutes of the day before, on the average.
    pub(crate) usual: f64,
}

impl Fault {
    /// Was a credential shown that is not taken? All others are mistakes of who sets something up.
    const fn is_refused_credential(self) -> bool {
        matches!(
            self,
            Self::NotACredential
                | Self::ExpiredOrRevoked
                | Self::OtherResource
                | Self::NotProven
                | Self::NotCertified
                | Self::UnknownClient
                | Self::ClientAuthentication
                | Self::CodeExpired
                | Self::CodeUsed
                | Self::VerifierMismatch
                | Self::RefreshReused
                | Self::AgentStopped
                | Self::GrantEnded
                | Self::AssertionRefused
        )
    }
}

/// Counts a step, if it is one of them.
pub(super) async fn count(platform: &Platform, tenant: TenantId, step: &Step) -> Result<(), Away> {
    if !step.fault.is_some_and(Fault::is_refused_credential) {
        return Ok(());
    }
    let (redis, key) = (&platform.redis, key(platform, tenant));
    for field in [field('m', step.at_ms / MINUTE_MS), field('h', step.at_ms / HOUR_MS)] {
        redis.command::<()>(cmd("HINCRBY").arg(&key).arg(field).arg(1)).await?;
    }
    redis.command(cmd("EXPIRE").arg(&key).arg(KEPT_S)).await
}

/// How many there are, and how many there usually are. Forgets what is older than is learnt from.
pub(crate) async fn of(platform: &Platform, tenant: TenantId, now: DateTime<Utc>) -> Result<Refused, Away> {
    let (redis, key) = (&platform.redis, key(platform, tenant));
    let counts: HashMap<String, i64> = redis.command(cmd("HGETALL").arg(&key)).await?;
    let (minute, hour) = (now.timestamp_millis() / MINUTE_MS, now.timestamp_millis() / HOUR_MS);
    let old = counts.keys().filter(|field| is_old(field, minute, hour)).collect::<Vec<_>>();
    if !old.is_empty() {
        redis.command::<()>(cmd("HDEL").arg(&key).arg(old)).await?;
    }
    let sum = |kind, from, to| (from..to).filter_map(|at| counts.get(&field(kind, at))).sum::<i64>();
    let learnt = sum('h', hour - LEARNT_HOURS, hour);
    Ok(Refused { now: sum('m', minute - NOW_MINUTES, minute + 1), usual: average(learnt) })
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^52")]
fn average(learnt: i64) -> f64 {
    learnt as f64 / (LEARNT_HOURS * 60 / NOW_MINUTES) as f64
}

fn is_old(field: &str, minute: i64, hour: i64) -> bool {
    let at = |kind| field.strip_prefix(kind)?.parse::<i64>().ok();
    at('m').is_some_and(|at| at < minute - NOW_MINUTES) || at('h').is_some_and(|at| at < hour - LEARNT_HOURS)
}

fn field(kind: char, at: i64) -> String {
    format!("{kind}{at}")
}

fn key(platform: &Platform, tenant: TenantId) -> String {
    platform.redis.tenant_key(tenant, "refused")
}
