//! Epochs: how a change of agents, keys, tools or limits is noticed before the next call, on every replica.
//!
//! A tenant's epoch is an opaque word in Redis. Whoever changes the tenant replaces it; what a replica holds in memory remembers the word
//! it was loaded under, and admission compares the two in the round trip it makes anyway. Postgres' NOTIFY says the same a little later,
//! so that a change is also noticed without Redis. `generation` is the local half: it counts what this replica has heard.

use std::{
    collections::HashMap,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::broadcast;

use crate::{
    Platform,
    ids::TenantId,
    redis::{Away, Redis},
};

/// Longest life of an epoch in Redis, in seconds. When it lapses, replicas reload once.
const TTL_S: u64 = 30 * 24 * 3600;

/// Changes that wait for a slow listener, who then assumes the worst.
const MOST_CHANGES: usize = 1_024;

/// What this replica has heard of changes.
#[derive(Debug)]
pub struct Generations {
    changed: RwLock<HashMap<TenantId, u64>>,
    changes: broadcast::Sender<TenantId>,
    /// Changes of what belongs to no tenant.
    installation: AtomicU64,
    started: Instant,
    /// Milliseconds after `started` at which a source of changes was last known to work.
    heard_ms: AtomicU64,
}

impl Default for Generations {
    fn default() -> Self {
        Self {
            changed: RwLock::default(),
            changes: broadcast::channel(MOST_CHANGES).0,
            installation: AtomicU64::new(0),
            started: Instant::now(),
            heard_ms: AtomicU64::new(0),
        }
    }
}

impl Generations {
    /// Counts up with each change heard of.
    pub fn of(&self, tenant: TenantId) -> u64 {
        self.changed.read().unwrap_or_else(PoisonError::into_inner).get(&tenant).copied().unwrap_or(0)
    }

    /// Tenants of which changes are heard, from now on.
    pub fn listen(&self) -> broadcast::Receiver<TenantId> {
        self.changes.subscribe()
    }

    /// A change was heard of.
    pub fn advance(&self, tenant: TenantId) {
        self.count(tenant);
        // Nobody may be listening.
        let _ = self.changes.send(tenant);
    }

    /// Counts up with each change heard of in what belongs to no tenant: the keys that sign tokens.
    pub fn of_installation(&self) -> u64 {
        self.installation.load(Ordering::Acquire)
    }

    /// Such a change was heard of, or may have been missed.
    pub fn advance_installation(&self) {
        self.installation.fetch_add(1, Ordering::AcqRel);
    }

    fn count(&self, tenant: TenantId) {
        *self.changed.write().unwrap_or_else(PoisonError::into_inner).entry(tenant).or_default() += 1;
    }

    /// A source of changes works: Postgres' listener has answered, or Redis has compared an epoch.
    pub fn hear(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_ms.store(now, Ordering::Relaxed);
    }

    /// How long a change could have gone unnoticed.
    pub fn unheard_for(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.heard_ms.load(Ordering::Relaxed)))
    }

    /// Changes may have been missed, of any tenant.
    pub fn advance_all(&self, tenants: impl Iterator<Item = TenantId>) {
        tenants.for_each(|tenant| self.advance(tenant));
    }
}

/// Says that a committed change makes memory stale. Called by every verb after its commit; if Redis is away, NOTIFY has to do.
pub async fn changed(platform: &Platform, tenant: TenantId) {
    announce(platform, tenant).await;
}

/// The same; true if from now on the next request on every replica knows, false if the others have to wait for Postgres to tell them.
pub async fn announce(platform: &Platform, tenant: TenantId) -> bool {
    platform.generations.advance(tenant);
    let epoch = fresh();
    let mut command = redis::cmd("SET");
    command.arg(key(&platform.redis, tenant)).arg(&epoch).arg("EX").arg(TTL_S);
    if let Err(away) = platform.redis.command::<()>(&command).await {
        tracing::warn!(tenant.id = %tenant, error = %away, "a change is announced through Postgres only");
        return false;
    }
    true
}

/// The tenant's epoch, made if there is none. Empty while Redis is away: it matches nothing, so the first call after it reloads.
pub(crate) async fn read(redis: &Redis, tenant: TenantId) -> String {
    let key = key(redis, tenant);
    let mut get_or_set = redis::cmd("SET");
    get_or_set.arg(&key).arg(fresh()).arg("NX").arg("EX").arg(TTL_S);
    if redis.command::<Option<String>>(&get_or_set).await.is_err() {
        return String::new();
    }
    match redis.command(redis::cmd("GET").arg(&key)).await {
        Ok(epoch) => epoch,
        // A key of another type is nothing of ours, and would make every snapshot stale for good.
        Err(Away::Failed(error)) if error.code() == Some("WRONGTYPE") => {
            let epoch = fresh();
            let mut set = redis::cmd("SET");
            set.arg(&key).arg(&epoch).arg("EX").arg(TTL_S);
            redis.command::<()>(&set).await.map_or_else(|_| String::new(), |()| epoch)
        }
        Err(_) => String::new(),
    }
}

/// Where it is kept.
pub(crate) fn key(redis: &Redis, tenant: TenantId) -> String {
    redis.tenant_key(tenant, "epoch")
}

fn fresh() -> String {
    crate::random::base62(16)
}
