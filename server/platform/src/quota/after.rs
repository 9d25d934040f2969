//! What is said to Redis when a call has ended: its places are free, its charge is given back. In the background, and bounded: nobody waits
//! for it, and what is not said in time ends by its deadline.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::{
    Notify,
    mpsc::{self, error::TrySendError},
    oneshot,
};
use tokio_util::sync::CancellationToken;

use super::{Charge, shared};
use crate::{Platform, ids::TenantId};

/// Words that wait.
const MOST: usize = 8_192;
/// Words that are said together.
const BATCH: usize = 512;
/// How long a word waits for others, where places are not scarce: a round trip and two wakes for each call would be dearer than the call's own.
const LINGER: Duration = Duration::from_millis(5);
/// Longest wait of a call for its scarce places to be free again.
const FREE_WITHIN: Duration = Duration::from_millis(100);

enum Word {
    /// The call has ended. Somebody may wait until that is known.
    Leave { call: Arc<str>, keys: Vec<String>, told: Option<oneshot::Sender<()>> },
    /// Nothing was sent for it.
    GiveBack(Charged),
}

/// Where such words are left.
#[derive(Debug)]
pub struct Afterwards {
    words: Words,
    heard: std::sync::Mutex<Option<mpsc::Receiver<Word>>>,
}

/// Where they go, and who is told that one must not wait.
#[derive(Debug, Clone)]
struct Words {
    queue: mpsc::Sender<Word>,
    urgent: Arc<Notify>,
}

impl std::fmt::Debug for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Leave { .. }) { "Leave" } else { "GiveBack" })
    }
}

impl Default for Afterwards {
    fn default() -> Self {
        let (queue, heard) = mpsc::channel(MOST);
        let words = Words { queue, urgent: Arc::default() };
        Self { words, heard: std::sync::Mutex::new(Some(heard)) }
    }
}

/// What one call was charged.
#[derive(Debug)]
pub struct Charged {
    tenant: TenantId,
    call: Arc<str>,
    day: i64,
    charge: Charge,
    words: Words,
}

impl Charged {
    /// The call of that id, charged today.
    pub fn new(platform: &Platform, tenant: TenantId, call: &str, charge: Charge) -> Self {
        let (day, words) = (platform.counters.today(platform), platform.afterwards.words.clone());
        Self { tenant, call: call.into(), day, charge, words }
    }

    /// Its places among what runs, free again when this is dropped: at once where they are scarce, else within some milliseconds.
    pub fn seated(&self, platform: &Platform, are_scarce: bool) -> Option<Seated> {
        let keys: Vec<_> = self.charge.seats.iter().map(|seats| platform.redis.tenant_key(self.tenant, &seats.key)).collect();
        (!keys.is_empty()).then(|| Seated { call: Arc::clone(&self.call), keys, are_scarce, words: self.words.clone() })
    }

    /// Nothing was sent for it: it gets its charge back.
    pub fn give_back(self) {
        let words = self.words.clone();
        leave(&words, Word::GiveBack(self), true);
    }
}

/// Places of a call that runs, on all replicas together.
#[derive(Debug)]
pub struct Seated {
    call: Arc<str>,
    keys: Vec<String>,
    are_scarce: bool,
    words: Words,
}

impl Seated {
    /// Gives them back. Where they are scarce this returns when they are free, or could be in time: who calls again as soon as it has its answer must
    /// not be refused because of the call before.
    pub async fn leave(mut self) {
        if !self.are_scarce {
            return;
        }
        let (told, known) = oneshot::channel();
        self.say(Some(told));
        let _ = tokio::time::timeout(FREE_WITHIN, known).await;
    }

    /// Once.
    fn say(&mut self, told: Option<oneshot::Sender<()>>) {
        let keys = std::mem::take(&mut self.keys);
        if !keys.is_empty() {
            leave(&self.words, Word::Leave { call: Arc::clone(&self.call), keys, told }, self.are_scarce);
        }
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.say(None);
    }
}

fn leave(words: &Words, word: Word, is_urgent: bool) {
    if let Err(TrySendError::Full(_)) = words.queue.try_send(word) {
        tracing::warn!("too much is waiting to be said to redis: a place among what runs is free when its deadline has passed");
    }
    // A queue that fills is emptied too.
    if is_urgent || words.queue.capacity() < MOST - BATCH {
        words.urgent.notify_one();
    }
}

/// Says what waits to be said. Runs until told to stop, and says what is left then.
pub async fn run_afterwards(platform: Platform, stop: CancellationToken) {
    let heard = platform.afterwards.heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    let Some(mut heard) = heard else { return };
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(1..) = stop.run_until_cancelled(heard.recv_many(&mut batch, BATCH)).await {
        // Nobody listens to the queue meanwhile, so that words that come wake nobody.
        if heard.is_empty() {
            let _ = tokio::time::timeout(LINGER, platform.afterwards.words.urgent.notified()).await;
        }
        while batch.len() < BATCH
            && let Ok(word) = heard.try_recv()
        {
            batch.push(word);
        }
        say(&platform, batch.drain(..)).await;
    }
    while let Ok(word) = heard.try_recv() {
        batch.push(word);
    }
    say(&platform, batch.drain(..)).await;
}

async fn say(platform: &Platform, words: impl Iterator<Item = Word>) {
    // One command for all that leave the same set.
    let (mut sets, mut waiting) = (HashMap::<String, Vec<Arc<str>>>::new(), Vec::new());
    for word in words {
        match word {
            Word::Leave { call, keys, told } => {
                for key in keys {
                    sets.entry(key).or_default().push(Arc::clone(&call));
                }
                waiting.extend(told);
            }
            Word::GiveBack(Charged { tenant, call, day, charge, .. }) => {
                if let Err(away) = shared::refund(platform, tenant, &call, day, &charge).await {
                    tracing::debug!(error = %away, "a charge is not given back");
                }
            }
        }
    }
    let leaves: Vec<_> =
        sets.iter().map(|(key, calls)| redis::Cmd::zrem(key, calls.iter().map(|call| &**call).collect::<Vec<&str>>())).collect();
    if !leaves.is_empty()
        && let Err(away) = platform.redis.all(leaves).await
    {
        tracing::debug!(error = %away, "places are free when their deadline has passed");
    }
    for told in waiting {
        // Who has stopped waiting has answered already.
        let _ = told.send(());
    }
}
