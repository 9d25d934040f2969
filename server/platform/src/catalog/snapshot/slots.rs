//! Snapshots of this replica: each is loaded once, by the first who needs it, and again when its tenant has changed.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use super::{Snapshot, read::read};
use crate::{
    Platform,
    accounts::TenantSlug,
    catalog::store,
    connections::Moment,
    db::TenantTx,
    error::{Error, Result},
    ids::{SourceId, TenantId},
};

/// Snapshots unused for this long are dropped, in seconds.
const IDLE_S: i64 = 600;
/// Longest a "there is no such tenant" is believed, in seconds, and how many are remembered.
const ABSENT_S: i64 = 10;
const MAX_ABSENT: usize = 10_000;

/// The snapshot of the tenant of that transaction.
pub(crate) async fn of_tenant(platform: &Platform, tx: &mut TenantTx) -> Result<Current> {
    let slug = store::slug(tx).await?;
    platform.snapshots.get(platform, &slug).await?.ok_or(Error::not_found("tenant"))
}

#[derive(Debug, Default)]
struct Slot {
    current: ArcSwapOption<(u64, Snapshot)>,
    loading: Mutex<()>,
    used_at: AtomicI64,
}

/// All snapshots of this replica.
#[derive(Debug, Default)]
pub struct Snapshots {
    slots: RwLock<HashMap<String, Arc<Slot>>>,
    absent: RwLock<HashMap<String, i64>>,
}

/// A snapshot that is being used.
#[derive(Debug, Clone)]
pub struct Current(Arc<(u64, Snapshot)>);

impl Current {
    /// The moment that it is of.
    pub(crate) fn moment(&self) -> Moment {
        (self.0.0, self.0.1.epoch.clone())
    }
}

impl std::ops::Deref for Current {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0.1
    }
}

impl Snapshots {
    /// The tenant's snapshot, loaded if there is none or a change was heard of. `None`: no such tenant.
    pub async fn get(&self, platform: &Platform, slug: &str) -> Result<Option<Current>> {
        let now = platform.clock.now().timestamp();
        let known = self.slots.read().unwrap_or_else(PoisonError::into_inner).get(slug).cloned();
        if let Some(slot) = &known {
            slot.used_at.store(now, Ordering::Relaxed);
            if let Some(current) = slot.current.load_full().filter(|current| is_fresh(platform, current)) {
                return Ok(Some(Current(current)));
            }
        }
        // Strangers choose these names: what cannot be one costs nothing, and what is not one is asked for once in a while.
        if known.is_none() && (slug.parse::<TenantSlug>().is_err() || self.is_absent(slug, now)) {
            return Ok(None);
        }
        let slot = known.unwrap_or_else(|| self.slot(slug, now));
        let found = load(platform, slug, &slot, None).await?;
        if found.is_none() {
            self.slots.write().unwrap_or_else(PoisonError::into_inner).remove(slug);
            self.note_absent(slug, now);
        }
        Ok(found)
    }

    /// The slot in which the first request loads and the others wait.
    fn slot(&self, slug: &str, now: i64) -> Arc<Slot> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry(slug.to_owned()).or_default();
        slot.used_at.store(now, Ordering::Relaxed);
        Arc::clone(slot)
    }

    /// Loads again, because Redis knows another epoch than `stale`.
    pub async fn reload(&self, platform: &Platform, slug: &str, stale: &str) -> Result<Option<Current>> {
        let slot = self.slots.read().unwrap_or_else(PoisonError::into_inner).get(slug).cloned();
        match slot {
            Some(slot) => load(platform, slug, &slot, Some(stale)).await,
            None => self.get(platform, slug).await,
        }
    }

    /// Drops what has not been used lately. Called by a background tick.
    pub fn drop_idle(&self, now: i64) {
        self.slots
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, slot| now - slot.used_at.load(Ordering::Relaxed) < IDLE_S);
        self.absent.write().unwrap_or_else(PoisonError::into_inner).retain(|_, until| *until > now);
    }

    /// Tenants that are in memory.
    pub fn tenants(&self) -> Vec<TenantId> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.values().filter_map(|slot| slot.current.load().as_ref().map(|current| current.1.tenant)).collect()
    }

    fn is_absent(&self, slug: &str, now: i64) -> bool {
        self.absent.read().unwrap_or_else(PoisonError::into_inner).get(slug).is_some_and(|until| *until > now)
    }

    fn note_absent(&self, slug: &str, now: i64) {
        let mut absent = self.absent.write().unwrap_or_else(PoisonError::into_inner);
        if absent.len() >= MAX_ABSENT {
            absent.clear();
        }
        absent.insert(slug.to_owned(), now + ABSENT_S);
    }
}

fn is_fresh(platform: &Platform, current: &(u64, Snapshot)) -> bool {
    platform.generations.of(current.1.tenant) == current.0
}

/// One load at a time per tenant; who waited takes what the other loaded. Not cut when the caller goes away.
async fn load(platform: &Platform, slug: &str, slot: &Slot, stale: Option<&str>) -> Result<Option<Current>> {
    let _guard = slot.loading.lock().await;
    let before = slot.current.load_full();
    let good = |current: &(u64, Snapshot)| is_fresh(platform, current) && stale.is_none_or(|stale| current.1.epoch != stale);
    if let Some(current) = before.clone().filter(|current| good(current)) {
        return Ok(Some(Current(current)));
    }
    let Some(loaded) = read(platform, slug, before.as_deref().map(|current| &current.1)).await? else {
        slot.current.store(None);
        return Ok(None);
    };
    let loaded = Arc::new(loaded);
    slot.current.store(Some(Arc::clone(&loaded)));
    if let Some(before) = &before {
        forget_changed(platform, &before.1, &loaded.1);
    }
    Ok(Some(Current(loaded)))
}

/// Connections and sessions of a source that is reached otherwise now, or not at all, end with the snapshot that knew them.
fn forget_changed(platform: &Platform, before: &Snapshot, now: &Snapshot) {
    let is_same = |id: &SourceId, edition| now.sources.get(id).is_some_and(|loaded| loaded.edition() == edition);
    for (id, _) in before.sources.iter().filter(|(id, loaded)| !is_same(id, loaded.edition())) {
        platform.upstreams.forget(before.tenant, *id);
    }
}
