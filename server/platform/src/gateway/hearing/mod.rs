//! Hearing of changes from the sources: one stream per source and replica, as long as a client here keeps a stream open for changes. What is
//! missed is found by the refresh that happens anyway.

mod ear;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{broadcast, mpsc},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::Caller;
use crate::{
    Platform,
    bus::Word,
    catalog::source::{self, Reached, Source, SourceKind},
    error::ErrorKind,
    ids::{SourceId, TenantId},
    upstream::{Change, Target, Wanted},
};
use ear::Ear;

/// Sources that one replica hears of at the same time. Of others it learns when they are refreshed.
const MOST: usize = 512;
/// Changes that wait.
const WAITING: usize = 64;
/// Changes that come together are one.
const SETTLE: Duration = Duration::from_millis(200);
/// Between two looks at one source, however often it says that its lists have changed. The first word after a quiet time is not kept
/// waiting, and the last one is never lost.
const LEAST: Duration = Duration::from_secs(10);
/// Before a look that somebody else's was in the way of. Theirs may have begun before the change.
const AFTER_OTHERS: Duration = Duration::from_secs(1);
/// Wait after a source that cannot be heard.
const AGAIN: Duration = Duration::from_secs(30);

/// What this replica hears of.
#[derive(Debug, Default)]
pub struct Hearing(Mutex<HashMap<(TenantId, SourceId), Arc<Ear>>>);

/// A client's wish to hear of its sources. Gone when dropped.
#[derive(Default)]
pub(super) struct Hold {
    ears: Vec<(Arc<Ear>, Vec<String>)>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        for (ear, uris) in &self.ears {
            ear.leave(uris);
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
    let is_heard = |source: &Source| source.enabled && matches!(source.kind, SourceKind::Mcp { .. });
    // Nobody's account is used to listen for others.
    let over_network = caller.snapshot.sources().filter(|loaded| is_heard(&loaded.source) && loaded.provider.is_none());
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
        ear.join(&uris);
        ears.push((ear, uris));
    }
    Hold { ears }
}

async fn listen(platform: Platform, slug: Arc<str>, tenant: TenantId, id: SourceId, ear: Arc<Ear>) {
    // Listened to before the source is looked at, so that no change hides in between.
    let generations = platform.generations.listen();
    let mut source = Heard { tenant, id, slug, generations, is_unsure: false, due: None, looked_at: None };
    loop {
        let Some(wanted) = wanted_or_left(&platform, &ear, (tenant, id)) else {
            // What was heard is not forgotten with those who listened.
            if source.due.is_some() {
                refresh(&platform, tenant, id).await;
            }
            return;
        };
        let began = Instant::now();
        let (edition, failed) = match source.reached(&platform).await {
            Some((edition, reached)) => {
                let target = reached.working(&platform).await;
                (Some(edition), Box::pin(source.hear(&platform, edition, &target, &ear, wanted.clone())).await)
            }
            // Switched off, or gone: perhaps it comes back.
            None => (None, true),
        };
        // Until it is heard again anything may change: there is no hurry, but it is looked for. One that was never heard misses nothing.
        if !failed || began.elapsed() >= AGAIN {
            source.look_at(Instant::now() + LEAST);
        }
        if failed {
            source.rest(&platform, &ear, &wanted, edition).await;
        }
        if platform.closing.is_cancelled() {
            return;
        }
    }
}

/// What is wanted of that source. If nothing is any more, who comes next begins anew.
fn wanted_or_left(platform: &Platform, ear: &Ear, key: (TenantId, SourceId)) -> Option<Wanted> {
    // Decided under the lock under which others join.
    let mut known = platform.hearing.0.lock().unwrap_or_else(PoisonError::into_inner);
    let wanted = ear.wanted();
    if wanted.is_none() {
        known.remove(&key);
    }
    wanted
}

/// Of a source, and of its secret.
type Edition = (i32, i32);

/// A source that is heard.
struct Heard {
    tenant: TenantId,
    id: SourceId,
    slug: Arc<str>,
    generations: broadcast::Receiver<TenantId>,
    /// The tenant has changed since the source was last looked at.
    is_unsure: bool,
    /// When its lists are read again, if they have changed.
    due: Option<Instant>,
    looked_at: Option<Instant>,
}

impl Heard {
    /// How it is reached now, and since which edition of it; `None` if it is switched off, gone or cannot be read.
    async fn reached(&self, platform: &Platform) -> Option<(Edition, Reached)> {
        let snapshot = platform.snapshots.get(platform, &self.slug).await.ok()??;
        let loaded = snapshot.source(self.id).filter(|loaded| loaded.source.enabled && loaded.provider.is_none())?;
        Some((loaded.edition(), snapshot.reached(loaded, platform.clock.now()).ok()??))
    }

    /// Waits until it is not of that edition any more. May be dropped and called again: no change is lost.
    async fn moved(&mut self, platform: &Platform, edition: Option<Edition>) {
        loop {
            if !self.is_unsure {
                self.is_unsure = match self.generations.recv().await {
                    Ok(tenant) => tenant == self.tenant,
                    Err(broadcast::error::RecvError::Lagged(_)) => true,
                    Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
                };
                continue;
            }
            let found = self.reached(platform).await.map(|(edition, _)| edition);
            self.is_unsure = false;
            if found != edition {
                return;
            }
        }
    }

    /// Waits before it is tried again.
    async fn rest(&mut self, platform: &Platform, ear: &Ear, wanted: &Wanted, edition: Option<Edition>) {
        tokio::select! {
            () = platform.closing.cancelled() => {}
            () = tokio::time::sleep(AGAIN) => {}
            () = ear.differs(wanted) => {}
            () = self.moved(platform, edition) => {}
        }
    }

    /// Hears until something else is wanted, or the source is reached otherwise. True if it cannot be heard.
    async fn hear(&mut self, platform: &Platform, edition: Edition, target: &Target, ear: &Ear, wanted: Wanted) -> bool {
        let (sender, mut changes) = mpsc::channel(WAITING);
        let stop = CancellationToken::new();
        let _stop = stop.clone().drop_guard();
        let watching = platform.upstreams.watch(&platform.egress, target, wanted.clone(), sender, stop);
        tokio::pin!(watching);
        let failed = loop {
            let due = self.due;
            tokio::select! {
                ended = &mut watching => {
                    if let Err(error) = &ended {
                        tracing::debug!(source.id = %self.id, %error, "a source is not heard; its lists are still refreshed");
                    }
                    break ended.is_err();
                }
                () = ear.differs(&wanted) => break false,
                () = self.moved(platform, Some(edition)) => break false,
                () = platform.closing.cancelled() => break false,
                Some(change) = changes.recv() => self.note(platform, change),
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.look(platform).await,
            }
        };
        while let Ok(change) = changes.try_recv() {
            self.note(platform, change);
        }
        failed
    }

    /// Tells the clients of this replica; the others hear the source themselves. A list is read again before they are told.
    fn note(&mut self, platform: &Platform, change: Change) {
        match change {
            Change::Resource(uri) => platform.bus.say_here(Word::ResourceUpdated { tenant: self.tenant.uuid(), uri }),
            Change::Tools | Change::Prompts | Change::Resources => {
                let soon = Instant::now() + SETTLE;
                self.look_at(self.looked_at.map_or(soon, |looked_at| soon.max(looked_at + LEAST)));
            }
        }
    }

    /// Its lists are read then, if not sooner.
    fn look_at(&mut self, then: Instant) {
        self.due = Some(self.due.map_or(then, |due| due.min(then)));
    }

    async fn look(&mut self, platform: &Platform) {
        let is_done = refresh(platform, self.tenant, self.id).await;
        let now = Instant::now();
        self.due = (!is_done).then(|| now + AFTER_OTHERS);
        self.looked_at = Some(now);
    }
}

/// False if somebody else was at it.
async fn refresh(platform: &Platform, tenant: TenantId, id: SourceId) -> bool {
    match source::refresh(platform, tenant, id).await {
        Ok(_) => true,
        Err(error) if matches!(error.kind(), ErrorKind::Conflict(_)) => false,
        Err(error) => {
            tracing::warn!(source.id = %id, error = &error as &dyn std::error::Error, "a source that changed was not refreshed");
            true
        }
    }
}
