//! The connection doctor: the hops of each client's handshake, per tenant, and what stopped the one that did not arrive.
//!
//! Kept in Redis for some days and bounded in number: it explains, it proves nothing. Telling never delays an answer; what cannot be kept is
//! not kept, and counted.

mod attempt;
mod finding;
mod refused;
mod step;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use redis::cmd;

pub use attempt::{Attempt, attempts};
pub use finding::Finding;
pub(crate) use refused::{Refused, of as refused};
pub use step::{Fault, Hop, Step};

use crate::{
    Platform,
    actor::{Member, Permission},
    error::Result,
    ids::TenantId,
};

/// Steps that a tenant keeps.
const MOST: usize = 400;
/// Steps of one place that wait until it is known whose they are.
const MOST_UNPLACED: usize = 12;
const KEPT_S: u64 = 7 * 24 * 3600;
/// A place belongs to the tenant that it touched last for so long.
const PLACED_S: u64 = 15 * 60;
/// Steps that are being kept at the same time on this replica.
pub(crate) const MOST_AT_ONCE: usize = 64;
const PURPOSE: &str = "handshake";

/// Who takes a step, as far as can be seen.
#[derive(Debug, Clone, Default)]
pub struct Walker {
    /// Its network address, from which its place is derived. Not kept.
    pub address: String,
    /// What it calls itself: its `User-Agent`, or the name it registered.
    pub program: String,
    /// The client, once it has an id.
    pub client_id: Option<String>,
    /// The grant, once there is one.
    pub grant: Option<String>,
}

/// What it did.
#[derive(Debug, Clone)]
pub struct Told {
    /// Which hop.
    pub hop: Hop,
    /// Why it failed; `None`: it went well.
    pub fault: Option<Fault>,
    /// What is worth telling beside it, in words. Never a secret.
    pub detail: Option<String>,
}

impl Told {
    /// It went well.
    pub fn well(hop: Hop) -> Self {
        Self { hop, fault: None, detail: None }
    }

    /// It failed.
    pub fn failed(hop: Hop, fault: Fault) -> Self {
        Self { hop, fault: Some(fault), detail: None }
    }

    /// With these words beside it.
    #[must_use]
    pub fn because(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

/// Keeps a step, in the background. Without a tenant it goes to the one that the same place has touched lately or touches next.
pub fn tell(platform: &Platform, tenant: Option<TenantId>, walker: Walker, told: Told) {
    let Ok(permit) = std::sync::Arc::clone(&platform.handshakes).try_acquire_owned() else {
        platform.metrics.untold_handshakes.inc();
        return;
    };
    let place = platform.master_key.mac(PURPOSE, walker.address.as_bytes());
    let step = Step {
        at_ms: platform.clock.now().timestamp_millis(),
        hop: told.hop,
        fault: told.fault,
        place: BASE64_URL_SAFE_NO_PAD.encode(&place[..6]),
        program: walker.program,
        client_id: walker.client_id,
        grant: walker.grant,
        detail: told.detail,
        times: 1,
    };
    let its = platform.clone();
    platform.conversations.spawn(async move {
        if let Err(error) = keep(&its, tenant, step.tidy()).await {
            its.metrics.untold_handshakes.inc();
            tracing::debug!(%error, "a step of a handshake is not kept");
        }
        drop(permit);
    });
}

/// The latest attempts of clients to connect, the newest first.
pub async fn list(platform: &Platform, actor: &Member) -> Result<Vec<Attempt>> {
    actor.require(Permission::View)?;
    let key = platform.redis.tenant_key(actor.tenant, "handshakes");
    let kept: Vec<String> = platform.redis.command(cmd("LRANGE").arg(key).arg(0).arg(MOST)).await?;
    let steps: Vec<Step> = kept.iter().filter_map(|step| serde_json::from_str(step).ok()).collect();
    Ok(attempts(steps, platform.clock.now().timestamp_millis()))
}

async fn keep(platform: &Platform, tenant: Option<TenantId>, step: Step) -> std::result::Result<(), crate::redis::Away> {
    let redis = &platform.redis;
    let (at, waiting) =
        (redis.global_key(&format!("handshake:at:{}", step.place)), redis.global_key(&format!("handshake:of:{}", step.place)));
    let tenant = match tenant {
        Some(tenant) => {
            redis.command::<()>(cmd("SET").arg(&at).arg(tenant.to_string()).arg("EX").arg(PLACED_S)).await?;
            Some(tenant)
        }
        None => redis.command::<Option<String>>(cmd("GET").arg(&at)).await?.and_then(|tenant| tenant.parse().ok()),
    };
    let Some(tenant) = tenant else { return push(platform, &waiting, &step, MOST_UNPLACED, PLACED_S).await };
    let key = redis.tenant_key(tenant, "handshakes");
    let earlier: Option<Vec<String>> = redis.command(cmd("RPOP").arg(&waiting).arg(MOST_UNPLACED)).await?;
    for earlier in earlier.into_iter().flatten().filter_map(|step| serde_json::from_str(&step).ok()) {
        push(platform, &key, &earlier, MOST, KEPT_S).await?;
    }
    refused::count(platform, tenant, &step).await?;
    push(platform, &key, &step, MOST, KEPT_S).await
}

/// Adds a step at the head of a list that stays short. What repeats the step before is counted there instead, so that a client that tries
/// again for ever does not push out everything else.
async fn push(
    platform: &Platform,
    key: &str,
    step: &Step,
    most: usize,
    kept_s: u64,
) -> std::result::Result<(), crate::redis::Away> {
    let redis = &platform.redis;
    let head: Option<String> = redis.command(cmd("LINDEX").arg(key).arg(0)).await?;
    let before = head.and_then(|head| serde_json::from_str::<Step>(&head).ok()).filter(|before| step.repeats(before));
    let times = before.as_ref().map_or(1, |before| before.times.saturating_add(step.times));
    let text = serde_json::to_string(&Step { times, ..step.clone() }).unwrap_or_default();
    if before.is_some() {
        redis.command::<()>(cmd("LSET").arg(key).arg(0).arg(text)).await?;
    } else {
        redis.command::<()>(cmd("LPUSH").arg(key).arg(text)).await?;
        redis.command::<()>(cmd("LTRIM").arg(key).arg(0).arg(most.saturating_sub(1))).await?;
    }
    redis.command(cmd("EXPIRE").arg(key).arg(kept_s)).await
}
