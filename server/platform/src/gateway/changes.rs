//! Hearing of changes: what a client that keeps a stream open is told, in either era. Only of what it may see, and only while it may.

use std::{collections::HashSet, time::Duration};

use tokio::{
    sync::{broadcast::error::RecvError, mpsc},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{Caller, hearing::Hold};
use crate::{Platform, bus::Word, dialogue::ItemKind, session};

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

/// Tells of changes until nobody listens, the caller is no caller any more, or the process stops.
pub async fn watch(platform: Platform, mut caller: Caller, mut interest: Interest, changes: mpsc::Sender<Change>) {
    let mut tenants = platform.generations.listen();
    let mut words = platform.bus.listen();
    let tenant = caller.snapshot.tenant;
    let mut seen = Seen::of(&caller);
    subscribed(&platform, &caller, &mut interest).await;
    let mut hold = Hold::default();
    hold.renew(&platform, &caller, interest.uris.iter());
    let end: CancellationToken = platform.closing.clone();
    let mut look_at = tokio::time::interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
    look_at.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let mut look = false;
        tokio::select! {
            () = changes.closed() => return,
            () = end.cancelled() => return,
            changed = tenants.recv() => match changed {
                Ok(changed) => look = changed == tenant,
                Err(RecvError::Lagged(_)) => look = true,
                Err(RecvError::Closed) => return,
            },
            word = words.recv() => match word {
                Ok(Word::SubscriptionsChanged { session, .. }) if caller.session.as_ref().is_some_and(|own| own.id == session) => {
                    subscribed(&platform, &caller, &mut interest).await;
                    hold.renew(&platform, &caller, interest.uris.iter());
                }
                Ok(Word::SessionEnded { session, .. }) if caller.session.as_ref().is_some_and(|own| own.id == session) => return,
                Ok(word) => {
                    let change = heard(&platform, &caller, &interest, word).await;
                    if let Some(change) = change && changes.send(change).await.is_err() {
                        return;
                    }
                }
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "changes may have been missed; all of them are told");
                    if !tell_all(&platform, &caller, &interest, &changes).await {
                        return;
                    }
                }
                Err(RecvError::Closed) => return,
            },
            _ = look_at.tick() => look = true,
        }
        if !look {
            continue;
        }
        tokio::time::sleep(SETTLE).await;
        let Some(fresh) = caller.again(&platform).await else { return };
        let changed = fresh.snapshot.epoch != caller.snapshot.epoch;
        caller = fresh;
        if changed {
            hold.renew(&platform, &caller, interest.uris.iter());
        }
        let now = Seen::of(&caller);
        for list in seen.differences(&now, &interest) {
            if changes.send(Change::List(list)).await.is_err() {
                return;
            }
        }
        seen = now;
    }
}

/// Everything that may have changed without being heard. False if nobody listens.
async fn tell_all(platform: &Platform, caller: &Caller, interest: &Interest, changes: &mpsc::Sender<Change>) -> bool {
    let resources = interest.uris.iter().filter(|uri| super::find_resource(caller, uri).is_ok()).cloned().map(Change::Resource);
    let mut all: Vec<_> = resources.collect();
    for task in &interest.tasks {
        all.extend(super::tasks::told(platform, caller, task).await.map(Change::Task));
    }
    for change in all {
        if changes.send(change).await.is_err() {
            return false;
        }
    }
    true
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

/// A session's subscriptions may be made on any replica, so they are asked for.
async fn subscribed(platform: &Platform, caller: &Caller, interest: &mut Interest) {
    if let Some(session) = &caller.session {
        // What cannot be found out now stays as it was.
        if let Ok(uris) = session::subscriptions(platform, session).await {
            interest.uris = uris.into_iter().collect();
        }
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
        for tool in caller.snapshot.tools().iter().filter(|tool| caller.may_use(tool)) {
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
