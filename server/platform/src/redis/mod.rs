//! Redis, one server or a cluster: a multiplexed connection to each server, a deadline on every command, and a breaker per server that stops
//! asking while it is away.
//!
//! Nothing in Redis is the only copy of anything. Who calls it decides what happens without it; see `quota`.

mod breaker;
mod cluster;
mod node;
mod script;
mod slot;
mod subscription;
mod topology;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind, Value};
use tokio::sync::Notify;

use crate::{error::Error, secret::Plaintext};

use breaker::Breaker;
use node::Node;
use topology::Topology;

pub use script::{Invocation, Script};
pub use subscription::Subscription;

/// How to reach Redis.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Connection URL, or several with commas between them: servers of a cluster.
    pub url: Plaintext,
    /// Put before every key, so that installations and tests can share a server.
    pub prefix: String,
    /// Longest wait for an answer, in milliseconds. What takes longer counts as away.
    pub timeout_ms: u64,
    /// The same for a decision about a call, which is asked for twice.
    pub decision_ms: u64,
}

/// Redis did not answer, or was not asked because it has not answered lately.
#[derive(Debug, thiserror::Error)]
pub enum Away {
    /// The breaker is open.
    #[error("redis has not answered lately and is not asked")]
    NotAsked,
    /// The command failed or took too long.
    #[error("redis: {0}")]
    Failed(#[from] RedisError),
}

impl From<Away> for Error {
    fn from(away: Away) -> Self {
        Self::unavailable("redis", away)
    }
}

/// How long a decision may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// `decision_ms`, twice.
    Short,
    /// `decision_ms`, then `timeout_ms`.
    Long,
}

/// The connections.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    /// The servers of the setting.
    seeds: Vec<Arc<Node>>,
    topology: ArcSwap<Topology>,
    learning: tokio::sync::Mutex<()>,
    /// For as long as nobody knows whom to ask.
    unknown: Breaker,
    is_wrong: AtomicBool,
    moved: Notify,
    looked: Mutex<Option<Instant>>,
    /// Servers that others have named and the last picture does not have.
    strangers: Mutex<BTreeMap<String, Arc<Node>>>,
}

impl Redis {
    /// Connections that are made when they are first used.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let addresses = addresses(settings.url.reveal());
        let seeds = addresses.iter().map(|url| Node::at_url(url, &settings).map(Arc::new));
        let seeds = seeds.collect::<Result<_, _>>().map_err(Error::internal)?;
        Ok(Self {
            shared: Arc::new(Shared {
                settings,
                seeds,
                topology: ArcSwap::from_pointee(Topology::Unknown),
                learning: tokio::sync::Mutex::default(),
                unknown: Breaker::default(),
                is_wrong: AtomicBool::new(false),
                moved: Notify::new(),
                looked: Mutex::default(),
                strangers: Mutex::default(),
            }),
        })
    }

    /// A tenant's key: all keys of a tenant share one hash slot.
    pub fn tenant_key(&self, tenant: crate::ids::TenantId, name: &str) -> String {
        format!("{}{{t:{tenant}}}:{name}", self.shared.settings.prefix)
    }

    /// A key that belongs to no tenant.
    pub fn global_key(&self, name: &str) -> String {
        format!("{}g:{name}", self.shared.settings.prefix)
    }

    /// Runs a script; it is sent whole when the server does not know it yet.
    pub async fn run<T: FromRedisValue>(&self, script: &Invocation<'_>) -> Result<T, Away> {
        let slot = script.first_key().map(slot::of_key);
        self.ask(slot, async |node| self.invoke(&node, script).await).await
    }

    /// Runs a script that a call waits for: a short while, and once more, since the script knows the call again. Never finds out whether Redis
    /// is back: that is done in the background. What nobody else can decide is worth a longer wait, for as long as the server seems to be there.
    pub async fn decide<T: FromRedisValue>(&self, script: &Invocation<'_>, patience: Patience) -> Result<T, Away> {
        let slot = script.first_key().map(slot::of_key);
        let short = Duration::from_millis(self.shared.settings.decision_ms);
        let last = if patience == Patience::Long { short.max(self.timeout()) } else { short };
        let mut failure = late("no decision in time");
        for deadline in [short, last] {
            let topology = self.shared.topology.load_full();
            let owner = topology.owner(slot);
            if !owner.map_or(&self.shared.unknown, |node| &node.breaker).may_decide() {
                return Err(Away::NotAsked);
            }
            let answer = async { self.invoke(&self.owner(slot).await?, script).await };
            // Heard as late as this thread gets to it, so that a busy machine is not taken for a slow Redis.
            match tokio::time::timeout(deadline, answer).await {
                Ok(Err(error)) if is_on_its_way(&error) => failure = error,
                Ok(answer) => {
                    self.note(owner, answer.as_ref().map_or_else(is_answer, |_| true));
                    return read(answer?);
                }
                Err(_) => {}
            }
        }
        let topology = self.shared.topology.load_full();
        self.note(topology.owner(slot), is_on_its_way(&failure));
        Err(failure.into())
    }

    /// Runs commands of any slots, those of a server in one round trip. Their answers are of no interest.
    pub async fn all(&self, commands: Vec<Cmd>) -> Result<(), Away> {
        let mut by_slot: HashMap<Option<u16>, redis::Pipeline> = HashMap::new();
        let topology = self.shared.topology.load_full();
        for command in commands {
            // One server takes all at once; a slot that moves must not take others with it.
            let slot = slot::of_command(&command).filter(|_| matches!(*topology, Topology::Cluster(_)));
            by_slot.entry(slot).or_default().add_command(command).ignore();
        }
        let answers = by_slot.iter().map(|(slot, pipeline)| self.all_of(*slot, pipeline));
        join_all(answers).await.into_iter().collect()
    }

    async fn all_of(&self, slot: Option<u16>, pipeline: &redis::Pipeline) -> Result<(), Away> {
        self.ask(slot, async |node| {
            match node.ask_all(pipeline).await {
                Err(error) if is_elsewhere(&error) => {}
                answer => return answer.map(|()| Value::Nil),
            }
            for command in pipeline.cmd_iter() {
                self.follow(&node, command).await?;
            }
            Ok(Value::Nil)
        })
        .await
    }

    /// Runs one command.
    pub async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Away> {
        self.ask(slot::of_command(command), async |node| self.follow(&node, command).await).await
    }

    /// Asks every server that has slots.
    pub async fn each_master<T: FromRedisValue>(&self, command: &Cmd) -> Result<Vec<T>, Away> {
        let masters = self.known().await?.masters().to_vec();
        self.each(&masters, command).await.into_iter().collect()
    }

    /// Asks every server, replicas too. Those that do not answer are left out, unless none does.
    pub async fn each_server<T: FromRedisValue>(&self, command: &Cmd) -> Result<Vec<T>, Away> {
        let (heard, mut unheard): (Vec<_>, Vec<_>) =
            self.each(&self.known().await?.nodes(), command).await.into_iter().partition(Result::is_ok);
        match unheard.pop() {
            Some(Err(away)) if heard.is_empty() => Err(away),
            _ => heard.into_iter().collect(),
        }
    }

    async fn each<T: FromRedisValue>(&self, nodes: &[Arc<Node>], command: &Cmd) -> Vec<Result<T, Away>> {
        join_all(nodes.iter().map(|node| self.ask_at(node, async |node| node.ask(command, false).await))).await
    }

    /// Answers if Redis answers: all of it.
    pub async fn ping(&self) -> Result<(), Away> {
        let topology = self.known().await?;
        let is_cluster = matches!(*topology, Topology::Cluster(_));
        let ask = |node| self.ask_at(node, async move |node| cluster::is_there(&node, is_cluster).await.map(|()| Value::Nil));
        join_all(topology.masters().iter().map(ask)).await.into_iter().collect()
    }

    /// Is it away, or a part of it, as far as is known?
    pub fn is_away(&self) -> bool {
        let topology = self.shared.topology.load();
        let masters = topology.masters();
        (masters.is_empty() && self.shared.unknown.is_open()) || masters.iter().any(|node| node.breaker.is_open())
    }

    /// Is it a cluster, as far as is known?
    pub fn is_cluster(&self) -> bool {
        matches!(**self.shared.topology.load(), Topology::Cluster(_))
    }

    async fn ask<T: FromRedisValue>(
        &self,
        slot: Option<u16>,
        question: impl AsyncFnOnce(Arc<Node>) -> Result<Value, RedisError>,
    ) -> Result<T, Away> {
        let topology = self.known().await?;
        let owner = topology.owner(slot).ok_or_else(nobody)?;
        self.ask_at(owner, question).await
    }

    async fn ask_at<T: FromRedisValue>(
        &self,
        node: &Arc<Node>,
        question: impl AsyncFnOnce(Arc<Node>) -> Result<Value, RedisError>,
    ) -> Result<T, Away> {
        if !node.breaker.may_ask() {
            return Err(Away::NotAsked);
        }
        let asked = Instant::now();
        // The connection has its own deadlines; this one also covers reconnecting.
        let answer = tokio::time::timeout(self.timeout(), question(Arc::clone(node))).await;
        let answer = answer.unwrap_or_else(|_| Err(late("no answer in time")));
        let is_answered = answer.as_ref().map_or_else(is_answer, |_| true);
        // One that answers too late for decisions is not back: calls would wait for it in vain until the breaker opens again.
        if !(is_answered && node.breaker.is_open() && asked.elapsed() > Duration::from_millis(self.shared.settings.decision_ms)) {
            self.note(Some(node), is_answered);
        }
        read(answer?)
    }

    async fn invoke(&self, node: &Arc<Node>, script: &Invocation<'_>) -> Result<Value, RedisError> {
        match self.follow(node, &script.by_digest()).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.follow(node, &script.whole()).await
            }
            answer => answer,
        }
    }

    /// Who has what; found out when first needed.
    async fn known(&self) -> Result<Arc<Topology>, Away> {
        let topology = self.shared.topology.load_full();
        if !topology.masters().is_empty() {
            return Ok(topology);
        }
        if !self.shared.unknown.may_ask() {
            return Err(Away::NotAsked);
        }
        let learned = tokio::time::timeout(self.timeout(), self.learn()).await;
        let learned = learned.unwrap_or_else(|_| Err(late("no answer in time")));
        self.shared.unknown.note(learned.is_ok());
        learned?;
        Ok(self.shared.topology.load_full())
    }

    /// Who has that slot, for a question that has a deadline of its own.
    async fn owner(&self, slot: Option<u16>) -> Result<Arc<Node>, RedisError> {
        if let Some(owner) = self.shared.topology.load().owner(slot) {
            return Ok(Arc::clone(owner));
        }
        self.learn().await?;
        self.shared.topology.load().owner(slot).cloned().ok_or_else(nobody)
    }

    fn note(&self, node: Option<&Arc<Node>>, answered: bool) {
        node.map_or(&self.shared.unknown, |node| &node.breaker).note(answered);
        if !answered && self.is_cluster() {
            self.look_soon();
        }
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.shared.settings.timeout_ms)
    }
}

/// The URLs of a setting. A comma that is not before one belongs to the one before it, as part of a password.
pub fn addresses(setting: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for part in setting.split(',') {
        let begins = ["redis://", "rediss://"].iter().any(|scheme| part.trim_start().starts_with(scheme));
        match all.last_mut() {
            Some(before) if !begins => {
                before.push(',');
                before.push_str(part);
            }
            _ => all.push(part.trim().to_owned()),
        }
    }
    all
}

fn read<T: FromRedisValue>(answer: Value) -> Result<T, Away> {
    Ok(redis::from_redis_value(answer).map_err(RedisError::from)?)
}

fn late(what: &'static str) -> RedisError {
    (ErrorKind::Io, what).into()
}

fn nobody() -> RedisError {
    (ErrorKind::Server(ServerErrorKind::ClusterDown), "nobody has that slot").into()
}

/// Errors by which a server says that it is not to be had.
const AWAY: [&str; 10] =
    ["LOADING", "BUSY", "MASTERDOWN", "READONLY", "OOM", "NOREPLICAS", "MISCONF", "CLUSTERDOWN", "MOVED", "ASK"];

/// It answered, with an error about the one command: a key of another type must not look like a server that is away.
fn is_answer(error: &RedisError) -> bool {
    error.code().is_some_and(|code| !AWAY.contains(&code))
}

/// Some keys of the slot are here and some there, and nothing has run.
fn is_on_its_way(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::TryAgain)
}

/// It has to be asked elsewhere, or again.
fn is_elsewhere(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, Moved, TryAgain};
    matches!(error.kind(), ErrorKind::Server(Ask | Moved | TryAgain))
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("prefix", &self.shared.settings.prefix).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_addresses_have_commas_between_them() {
        assert_eq!(addresses("redis://a:1, rediss://b:2"), ["redis://a:1", "rediss://b:2"]);
        assert_eq!(addresses("redis://:one,two@a:1,redis://b"), ["redis://:one,two@a:1", "redis://b"]);
    }
}
