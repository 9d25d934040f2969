//! Hearing of changes from the sources: one stream per source and replica, as long as a client here keeps a stream open for changes. What is
//! missed is found by the refresh that happens anyway.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::Caller;
use crate::{
    Platform,
    bus::Word,
    catalog::source::{self, SourceKind},
    error::ErrorKind,
    ids::{SourceId, TenantId},
    upstream::{Change, Target, Wanted},
};

/// Sources that one replica hears of at the same time. Of others it learns when they are refreshed.
const MOST: usize = 512;
/// Changes that wait.
const WAITING: usize = 64;
/// Changes that come together are one.
const SETTLE: Duration = Duration::from_millis(200);
/// Wait after a source that cannot be heard.
const AGAIN: Duration = Duration::from_secs(30);
/// Somebody who reconnects should not cost a stream.
const LINGER: Duration = Duration::from_secs(5);

/// What this replica hears of.
#[derive(Debug, Default)]
pub struct Hearing(Mutex<HashMap<(TenantId, SourceId), Arc<Ear>>>);

#[derive(Debug, Default)]
struct Ear {
    held: Mutex<Held>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Held {
    by: usize,
    uris: HashMap<String, usize>,
}

/// A client's wish to hear of its sources. Gone when dropped.
#[derive(Default)]
pub(super) struct Hold {
    ears: Vec<(Arc<Ear>, Vec<String>)>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        for (ear, uris) in &self.ears {
            let mut held = ear.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.by = held.by.saturating_sub(1);
            for uri in uris {
                if let Some(count) = held.uris.get_mut(uri) {
                    *count -= 1;
                    if *count == 0 {
                        held.uris.remove(uri);
                    }
                }
            }
            drop(held);
            ear.changed.notify_one();
        }
    }
}

impl Hold {
    /// Hears of the caller's sources, and of these resources of them, from now on and instead of what was wanted before.
    pub(super) fn renew<'u>(&mut self, platform: &Platform, caller: &Caller, uris: impl Iterator<Item = &'u String>) {
        // The new wish stands before the old one ends, so that nothing in common is closed in between.
        *self = hold(platform, caller, uris);
    }
}

fn hold<'u>(platform: &Platform, caller: &Caller, uris: impl Iterator<Item = &'u String>) -> Hold {
    let mut of_source: HashMap<SourceId, Vec<String>> = HashMap::new();
    for uri in uris {
        if let Ok(item) = super::find_resource(caller, uri) {
            of_source.entry(item.source).or_default().push(uri.clone());
        }
    }
    let tenant = caller.snapshot.tenant;
    let over_network = caller.snapshot.sources().filter(|loaded| matches!(loaded.source.kind, SourceKind::Mcp { .. }));
    let mut ears = Vec::new();
    let mut known = platform.hearing.0.lock().unwrap_or_else(PoisonError::into_inner);
    for id in over_network.map(|loaded| loaded.source.id) {
        let ear = match known.get(&(tenant, id)) {
            Some(ear) => Arc::clone(ear),
            None if known.len() >= MOST => continue,
            None => {
                let ear = Arc::<Ear>::default();
                known.insert((tenant, id), Arc::clone(&ear));
                platform.conversations.spawn(listen(platform.clone(), Arc::from(caller.slug()), tenant, id, Arc::clone(&ear)));
                ear
            }
        };
        let uris = of_source.remove(&id).unwrap_or_default();
        let mut held = ear.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.by += 1;
        for uri in &uris {
            *held.uris.entry(uri.clone()).or_default() += 1;
        }
        drop(held);
        if !uris.is_empty() {
            ear.changed.notify_one();
        }
        ears.push((ear, uris));
    }
    Hold { ears }
}

impl Ear {
    /// What is wanted at the moment; `None` if nobody listens any more.
    fn wanted(&self) -> Option<Wanted> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let uris: BTreeSet<_> = held.uris.keys().cloned().collect();
        (held.by > 0).then(|| Wanted { tools: true, prompts: true, resources: true, uris: uris.into_iter().collect() })
    }

    /// Waits until something else is wanted than `now`.
    async fn differs(&self, now: &Wanted) {
        loop {
            self.changed.notified().await;
            match self.wanted() {
                Some(wanted) if wanted == *now => {}
                Some(_) => return,
                None => {
                    tokio::time::sleep(LINGER).await;
                    if self.wanted().as_ref() != Some(now) {
                        return;
                    }
                }
            }
        }
    }
}

async fn listen(platform: Platform, slug: Arc<str>, tenant: TenantId, id: SourceId, ear: Arc<Ear>) {
    loop {
        let wanted = {
            // Decided under the lock under which others join.
            let mut known = platform.hearing.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(wanted) = ear.wanted() else {
                known.remove(&(tenant, id));
                return;
            };
            wanted
        };
        let failed = match target(&platform, &slug, id).await {
            Some(target) => Box::pin(hear(&platform, tenant, id, &target, &ear, wanted.clone())).await,
            // Switched off, or gone: perhaps it comes back.
            None => true,
        };
        if failed {
            tokio::select! {
                () = platform.closing.cancelled() => {}
                () = tokio::time::sleep(AGAIN) => {}
                () = ear.differs(&wanted) => {}
            }
        }
        if platform.closing.is_cancelled() {
            return;
        }
    }
}

async fn target(platform: &Platform, slug: &str, id: SourceId) -> Option<Target> {
    let snapshot = platform.snapshots.get(platform, slug).await.ok()??;
    let source = snapshot.source(id)?;
    snapshot.target(source).ok()?
}

/// Hears until something else is wanted. True if it cannot be heard.
async fn hear(platform: &Platform, tenant: TenantId, id: SourceId, target: &Target, ear: &Ear, wanted: Wanted) -> bool {
    let (sender, mut changes) = mpsc::channel(WAITING);
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let watching = platform.upstreams.watch(&platform.egress, target, wanted.clone(), sender, stop);
    tokio::pin!(watching);
    loop {
        tokio::select! {
            ended = &mut watching => {
                if let Err(error) = &ended {
                    tracing::debug!(source.id = %id, %error, "a source is not heard; its lists are still refreshed");
                }
                return ended.is_err();
            }
            () = ear.differs(&wanted) => return false,
            () = platform.closing.cancelled() => return false,
            Some(change) = changes.recv() => {
                let mut lists = note(platform, tenant, change);
                tokio::time::sleep(SETTLE).await;
                while let Ok(change) = changes.try_recv() {
                    lists |= note(platform, tenant, change);
                }
                if lists {
                    refresh(platform, tenant, id).await;
                }
            }
        }
    }
}

/// Tells the clients of this replica; the others hear the source themselves. True if a list has to be read again.
fn note(platform: &Platform, tenant: TenantId, change: Change) -> bool {
    match change {
        Change::Resource(uri) => {
            platform.bus.say_here(Word::ResourceUpdated { tenant: tenant.uuid(), uri });
            false
        }
        Change::Tools | Change::Prompts | Change::Resources => true,
    }
}

async fn refresh(platform: &Platform, tenant: TenantId, id: SourceId) {
    match source::refresh(platform, tenant, id).await {
        Ok(_) => {}
        // Another replica heard it too and is doing it.
        Err(error) if matches!(error.kind(), ErrorKind::Conflict(_)) => {}
        Err(error) => {
            tracing::warn!(source.id = %id, error = &error as &dyn std::error::Error, "a source that changed was not refreshed");
        }
    }
}
