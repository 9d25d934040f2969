//! Hearing of changes: what a client that keeps a stream open is told, in either era. Only of what it may see, and only while it may.

use std::{collections::HashSet, time::Duration};

use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        mpsc,
    },
    time::{Instant, MissedTickBehavior},
};

use super::{Caller, hearing::Hold};
use crate::{Platform, bus::Word, dialogue::ItemKind, ids::TenantId, session};

/// Changes come in groups: a list is looked at once for all of them.
const SETTLE: Duration = Duration::from_millis(50);
/// What is not heard in time is looked for: whether the caller is still one, whether a list differs.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What a client wants to hear of.
#[derive(Debug, Clone, Default)]
pub struct Interest {
    /// Changes of the list of tools.
    pub tools: bool,
    /// Changes of the list of prompts.
    pub prompts: bool,
    /// Changes of the list of resources.
    pub resources: bool,
    /// Changes of these resources. In a session: those it has subscribed to.
    pub uris: HashSet<String>,
    /// Changes of these tasks.
    pub tasks: HashSet<String>,
}

/// Something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A list: `tools`, `prompts` or `resources`.
    List(&'static str),
    /// A resource.
    Resource(String),
    /// A task: it as it is now, as JSON.
    Task(String),
}

/// Ears for changes. Opened before it is looked at what is there, they miss nothing that changes after it.
#[derive(Debug)]
pub struct Ears {
    tenants: broadcast::Receiver<TenantId>,
    words: broadcast::Receiver<Word>,
}

impl Ears {
    /// Hears from now on.
    pub fn open(platform: &Platform) -> Self {
        Self { tenants: platform.generations.listen(), words: platform.bus.listen() }
    }
}

/// Nobody is told any more: nobody listens, or the caller is no caller any more.
struct Over;

/// Tells of changes until nobody listens, the caller is no caller any more, or the process stops. What it does now and then is boxed: there
/// are ten thousand of these, and nearly all of them wait.
pub async fn watch(platform: Platform, caller: Caller, interest: Interest, mut ears: Ears, changes: mpsc::Sender<Change>) {
    let closing = platform.closing.clone();
    let tenant = caller.snapshot.tenant;
    let (seen, hold) = (Seen::of(&caller), Hold::default());
    let mut watch = Watch { platform, caller, interest, seen, hold, changes: changes.clone() };
    Box::pin(watch.renew_subscriptions()).await;
    let mut look_at = tokio::time::interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
    look_at.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let told = tokio::select! {
            () = changes.closed() => return,
            () = closing.cancelled() => return,
            changed = ears.tenants.recv() => match changed {
                Ok(changed) if changed != tenant => continue,
                Ok(_) | Err(RecvError::Lagged(_)) => Box::pin(watch.look()).await,
                Err(RecvError::Closed) => return,
            },
            word = ears.words.recv() => match word {
                Ok(word) if word.tenant() != Some(tenant.uuid()) => continue,
                Ok(word) => Box::pin(watch.hear(word)).await,
                Err(RecvError::Lagged(missed)) => Box::pin(watch.tell_all(missed)).await,
                Err(RecvError::Closed) => return,
            },
            _ = look_at.tick() => Box::pin(watch.look()).await,
        };
        if told.is_err() {
            return;
        }
    }
}

/// A client that is told of changes.
struct Watch {
    platform: Platform,
    caller: Caller,
    interest: Interest,
    seen: Seen,
    hold: Hold,
    changes: mpsc::Sender<Change>,
}

impl Watch {
    /// Looks whether the caller is still one, and whether a list differs.
    async fn look(&mut self) -> Result<(), Over> {
        tokio::time::sleep(SETTLE).await;
        let fresh = self.caller.again(&self.platform).await.ok_or(Over)?;
        let changed = fresh.snapshot.epoch != self.caller.snapshot.epoch;
        self.caller = fresh;
        if changed {
            self.hold.renew(&self.platform, &self.caller, self.interest.uris.iter());
        }
        let now = Seen::of(&self.caller);
        for list in self.seen.differences(&now, &self.interest) {
            self.tell(Change::List(list)).await?;
        }
        self.seen = now;
        Ok(())
    }

    async fn hear(&mut self, word: Word) -> Result<(), Over> {
        let is_own = |session: &str| self.caller.session.as_ref().is_some_and(|own| own.id == session);
        match word {
            Word::SubscriptionsChanged { session, .. } if is_own(&session) => self.renew_subscriptions().await,
            Word::SessionEnded { session, .. } if is_own(&session) => return Err(Over),
            word => {
                if let Some(change) = heard(&self.platform, &self.caller, &self.interest, word).await {
                    self.tell(change).await?;
                }
            }
        }
        Ok(())
    }

    /// Everything that may have changed without being heard.
    async fn tell_all(&self, missed: u64) -> Result<(), Over> {
        tracing::warn!(missed, "changes may have been missed; all of them are told");
        let (caller, interest) = (&self.caller, &self.interest);
        for uri in interest.uris.iter().filter(|uri| super::find_resource(caller, uri).is_ok()) {
            self.tell(Change::Resource(uri.clone())).await?;
        }
        for task in &interest.tasks {
            if let Some(task) = super::tasks::told(&self.platform, caller, task).await {
                self.tell(Change::Task(task)).await?;
            }
        }
        Ok(())
    }

    async fn tell(&self, change: Change) -> Result<(), Over> {
        self.changes.send(change).await.map_err(|_| Over)
    }

    /// A session's subscriptions may be made on any replica, so they are asked for.
    async fn renew_subscriptions(&mut self) {
        if let Some(session) = &self.caller.session {
            // What cannot be found out now stays as it was.
            if let Ok(uris) = session::subscriptions(&self.platform, session).await {
                self.interest.uris = uris.into_iter().collect();
            }
        }
        self.hold.renew(&self.platform, &self.caller, self.interest.uris.iter());
    }
}

/// What a word of the bus means for this client.
async fn heard(platform: &Platform, caller: &Caller, interest: &Interest, word: Word) -> Option<Change> {
    let tenant = caller.snapshot.tenant.uuid();
    match word {
        Word::ResourceUpdated { tenant: of, uri } if of == tenant => {
            (interest.uris.contains(&uri) && super::find_resource(caller, &uri).is_ok()).then_some(Change::Resource(uri))
        }
        Word::ListChanged { tenant: of, list } if of == tenant => {
            let lists = [("tools", interest.tools), ("prompts", interest.prompts), ("resources", interest.resources)];
            lists.into_iter().find(|(name, wanted)| *wanted && *name == list).map(|(name, _)| Change::List(name))
        }
        Word::TaskChanged { tenant: of, task } if of == tenant && interest.tasks.contains(&task) => {
            super::tasks::told(platform, caller, &task).await.map(Change::Task)
        }
        _ => None,
    }
}

/// What a caller sees, as digests of its lists.
struct Seen {
    tools: u64,
    prompts: u64,
    resources: u64,
}

impl Seen {
    fn of(caller: &Caller) -> Self {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let mut tools = DefaultHasher::new();
        for tool in caller.tools() {
            (tool.tool.name.as_str(), tool.tool.version.id).hash(&mut tools);
        }
        let items = |kinds: &[ItemKind]| {
            let mut digest = DefaultHasher::new();
            for item in kinds.iter().flat_map(|kind| caller.items(*kind)) {
                (item.key.as_str(), item.definition.get()).hash(&mut digest);
            }
            digest.finish()
        };
        Self {
            tools: tools.finish(),
            prompts: items(&[ItemKind::Prompts]),
            resources: items(&[ItemKind::Resources, ItemKind::ResourceTemplates]),
        }
    }

    fn differences(&self, now: &Self, interest: &Interest) -> Vec<&'static str> {
        [
            ("tools", interest.tools && self.tools != now.tools),
            ("prompts", interest.prompts && self.prompts != now.prompts),
            ("resources", interest.resources && self.resources != now.resources),
        ]
        .into_iter()
        .filter_map(|(list, differs)| differs.then_some(list))
        .collect()
    }
}
