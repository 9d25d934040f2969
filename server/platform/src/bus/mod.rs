//! Messages between replicas, through Redis. A mailbox has an address that may be given away (inside something sealed or unguessable);
//! whoever has it can send to the mailbox from any replica. A topic is heard by every replica.
//!
//! Nothing is kept: a letter to a replica that is gone is refused, a topic's word that is not heard is lost. Who needs more, waits with a deadline.

mod mailbox;
mod run;

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::{broadcast, mpsc};

pub use mailbox::{Address, Mailbox};
pub use run::run;

use crate::{
    Platform,
    ids::ReplicaId,
    redis::{Away, Redis},
};

/// Letters that wait in a mailbox. A full one refuses more.
const MOST_LETTERS: usize = 64;
/// Words of a topic that wait for a slow listener, who then misses some.
const MOST_WORDS: usize = 1_024;
/// Largest letter, in bytes of JSON.
pub const MAX_LETTER: usize = 4 * 1024 * 1024 + 64 * 1024;

/// A letter was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// Nobody has this address any more.
    #[error("the address is not there any more")]
    Gone,
    /// It is larger than `MAX_LETTER`, or its mailbox is full.
    #[error("the letter is too large, or there are too many")]
    Refused,
    /// Redis is away.
    #[error("the other replicas cannot be reached")]
    Away,
}

/// Something that every replica hears.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "topic", rename_all = "snake_case")]
pub enum Word {
    /// A client took back a request of its session. `request` is the JSON-RPC id as it was written.
    Cancelled {
        /// Tenant and session, as `session::key` writes them.
        session: String,
        /// The request.
        request: String,
    },
    /// A client set the log level of its session.
    LogLevel {
        /// Whose.
        tenant: uuid::Uuid,
        /// Id of the session.
        session: String,
        /// The level's name.
        level: String,
    },
    /// A session has ended.
    SessionEnded {
        /// Whose.
        tenant: uuid::Uuid,
        /// Its id.
        session: String,
    },
    /// A session has subscribed to a resource, or no longer does.
    SubscriptionsChanged {
        /// Whose.
        tenant: uuid::Uuid,
        /// Id of the session.
        session: String,
    },
    /// A client opened the stream of its session; an older one of it ends.
    StreamOpened {
        /// Whose.
        tenant: uuid::Uuid,
        /// Id of the session.
        session: String,
        /// Tells the new stream from the others.
        mark: String,
    },
    /// A resource changed. `uri` as the tenant's lists have it.
    ResourceUpdated {
        /// Whose.
        tenant: uuid::Uuid,
        /// Which.
        uri: String,
    },
    /// A list of a tenant may have changed without its catalogue changing.
    ListChanged {
        /// Whose.
        tenant: uuid::Uuid,
        /// `tools`, `prompts` or `resources`.
        list: String,
    },
    /// A task has moved on.
    TaskChanged {
        /// Whose.
        tenant: uuid::Uuid,
        /// Which.
        task: String,
    },
}

impl Word {
    /// Whose it is, where listeners ask for that.
    pub fn tenant(&self) -> Option<uuid::Uuid> {
        match self {
            Self::Cancelled { .. } => None,
            Self::LogLevel { tenant, .. }
            | Self::SessionEnded { tenant, .. }
            | Self::SubscriptionsChanged { tenant, .. }
            | Self::StreamOpened { tenant, .. }
            | Self::ResourceUpdated { tenant, .. }
            | Self::ListChanged { tenant, .. }
            | Self::TaskChanged { tenant, .. } => Some(*tenant),
        }
    }
}

/// What goes over the wire: a letter to a mailbox, or a `Word` to everybody.
#[derive(Debug, Serialize, Deserialize)]
struct Wire {
    to: Option<String>,
    body: Box<serde_json::value::RawValue>,
}

/// This replica's mailboxes, and what it hears.
#[derive(Debug)]
pub struct Bus {
    replica: String,
    mailboxes: RwLock<HashMap<String, mpsc::Sender<Box<serde_json::value::RawValue>>>>,
    words: broadcast::Sender<Word>,
}

impl Bus {
    /// The bus of one replica.
    pub fn new(replica: ReplicaId) -> Self {
        Self {
            replica: replica.uuid().simple().to_string(),
            mailboxes: RwLock::default(),
            words: broadcast::channel(MOST_WORDS).0,
        }
    }

    /// What all replicas say from now on, this one included.
    pub fn listen(&self) -> broadcast::Receiver<Word> {
        self.words.subscribe()
    }

    /// Says something to this replica only.
    pub fn say_here(&self, word: Word) {
        // Nobody may be listening.
        let _ = self.words.send(word);
    }

    /// Names this replica to the others.
    pub fn replica(&self) -> &str {
        &self.replica
    }

    /// Mailboxes that are open.
    pub fn open_mailboxes(&self) -> usize {
        self.mailboxes.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn channel(redis: &Redis, replica: &str) -> String {
        redis.global_key(&format!("bus:{replica}"))
    }

    fn deliver(&self, to: &str, body: Box<serde_json::value::RawValue>) -> Result<(), Undelivered> {
        let sender = self.mailboxes.read().unwrap_or_else(PoisonError::into_inner).get(to).cloned().ok_or(Undelivered::Gone)?;
        sender.try_send(body).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Undelivered::Refused,
            mpsc::error::TrySendError::Closed(_) => Undelivered::Gone,
        })
    }

    fn receive(&self, payload: &[u8]) {
        let read = serde_json::from_slice(payload).and_then(|wire| match wire {
            // The mailbox was closed meanwhile, or is full: whoever waits for an answer has a deadline.
            Wire { to: Some(to), body } => {
                let _ = self.deliver(&to, body);
                Ok(())
            }
            Wire { to: None, body } => serde_json::from_str(body.get()).map(|word| drop(self.words.send(word))),
        });
        if let Err(error) = read {
            tracing::warn!(%error, "a message of another replica cannot be read");
        }
    }
}

/// Sends to a mailbox, wherever it is.
pub async fn send(platform: &Platform, to: &Address, letter: &impl Serialize) -> Result<(), Undelivered> {
    let body = serde_json::value::to_raw_value(letter).map_err(|_| Undelivered::Refused)?;
    if body.get().len() > MAX_LETTER {
        return Err(Undelivered::Refused);
    }
    if to.replica == platform.bus.replica {
        return platform.bus.deliver(&to.mailbox, body);
    }
    let heard_by = publish(platform, &to.replica, &Wire { to: Some(to.mailbox.clone()), body }).await?;
    // A server of a cluster counts its own listeners only, and a channel that has just moved is heard elsewhere.
    let is_heard = heard_by > 0 || (platform.redis.is_cluster() && is_listening(platform, &to.replica).await.unwrap_or(false));
    if is_heard { Ok(()) } else { Err(Undelivered::Gone) }
}

/// Does that replica listen? One whose connection was lost does not, for a moment: ask again before you believe it.
pub async fn is_listening(platform: &Platform, replica: &str) -> Result<bool, Away> {
    if replica == platform.bus.replica {
        return Ok(true);
    }
    let mut count = redis::cmd("PUBSUB");
    count.arg("NUMSUB").arg(Bus::channel(&platform.redis, replica));
    let counts: Vec<(String, u64)> = platform.redis.each_server(&count).await?;
    Ok(counts.iter().any(|(_, listeners)| *listeners > 0))
}

/// Says something to every replica. Without Redis only this one hears it.
pub async fn say(platform: &Platform, word: Word) -> Result<(), Undelivered> {
    let body = serde_json::value::to_raw_value(&word).map_err(|_| Undelivered::Refused)?;
    match publish(platform, "all", &Wire { to: None, body }).await {
        Ok(_) => Ok(()),
        Err(undelivered) => {
            // Nobody listening here is no failure.
            let _ = platform.bus.words.send(word);
            Err(undelivered)
        }
    }
}

async fn publish(platform: &Platform, to: &str, wire: &Wire) -> Result<i64, Undelivered> {
    let payload = serde_json::to_vec(wire).map_err(|_| Undelivered::Refused)?;
    let channel = Bus::channel(&platform.redis, to);
    let heard_by = platform.redis.command(redis::cmd("PUBLISH").arg(channel).arg(payload)).await;
    heard_by.map_err(|error| {
        tracing::warn!(%error, "other replicas cannot be told");
        Undelivered::Away
    })
}

/// Reads a letter.
pub fn open<T: DeserializeOwned>(letter: &serde_json::value::RawValue) -> Option<T> {
    serde_json::from_str(letter.get()).ok()
}
