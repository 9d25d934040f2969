//! Finds out who has which slots, follows them when they move, and finds out who is back.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value, cmd};

use super::{
    Redis,
    node::Node,
    topology::{Cluster, Range, Topology, ranges},
};

/// Redirections and repetitions of one question. Nothing has run where the answer was one of these.
const MOST_STEPS: usize = 8;
/// Wait before a slot that is on its way is asked for again.
const ON_ITS_WAY: Duration = Duration::from_millis(2);
/// Most servers that are asked how the cluster looks.
const MOST_ASKED: usize = 9;
/// How old a picture of the cluster gets.
const FRESH: Duration = Duration::from_secs(5);
/// Time between two pictures, however many answers say that the last one is wrong.
const PAUSE: Duration = Duration::from_millis(50);

impl Redis {
    /// Waits until the picture of the cluster is known to be wrong.
    pub async fn moved(&self) {
        self.shared.moved.notified().await;
        tokio::time::sleep(PAUSE).await;
    }

    /// Finds out whether Redis is back, and quick enough for decisions, and who has which slots. Called in the background.
    pub async fn probe(&self) {
        if self.shared.topology.load().masters().is_empty() {
            self.shared.unknown.probes();
            // Who cannot be reached now is asked again soon.
            let _ = tokio::time::timeout(self.timeout(), self.learn()).await;
            return;
        }
        self.look_again().await;
        let topology = self.shared.topology.load_full();
        let is_cluster = matches!(*topology, Topology::Cluster(_));
        join_all(topology.masters().iter().filter(|node| node.breaker.is_open()).map(|node| self.probe_one(node, is_cluster)))
            .await;
    }

    async fn probe_one(&self, node: &Node, is_cluster: bool) {
        node.breaker.probes();
        let asked = Instant::now();
        let answer = tokio::time::timeout(self.timeout(), is_there(node, is_cluster)).await;
        let is_quick = asked.elapsed() <= Duration::from_millis(self.shared.settings.decision_ms);
        node.breaker.note(is_quick && matches!(answer, Ok(Ok(()))));
    }

    /// A new picture of the cluster, if the old one is wrong or old.
    async fn look_again(&self) {
        let topology = self.shared.topology.load_full();
        let is_wrong = self.shared.is_wrong.swap(false, Ordering::Relaxed);
        let before = match &*topology {
            Topology::Cluster(cluster) => Some(&cluster.ranges),
            // One that hides what it is, until it names another.
            Topology::One(_) if is_wrong => None,
            _ => return,
        };
        let is_old = self.shared.looked.lock().is_ok_and(|looked| looked.is_none_or(|at| at.elapsed() > FRESH));
        if !(is_old || is_wrong || topology.masters().iter().any(|node| node.breaker.is_open())) {
            return;
        }
        // Those that answer first; and where to begin, should nobody be left.
        let mut known = topology.nodes();
        known.sort_by_key(|node| node.breaker.is_open());
        known.truncate(MOST_ASKED);
        for seed in &self.shared.seeds {
            if !known.iter().any(|node| node.address == seed.address) {
                known.push(Arc::clone(seed));
            }
        }
        if let Ok(found) = self.look(&known).await
            && before != Some(&found.ranges)
        {
            tracing::info!(masters = found.masters.len(), "the redis cluster has changed");
            self.shared.topology.store(Arc::new(Topology::Cluster(found)));
        }
    }

    /// Finds out for the first time: several addresses are a cluster, and one is asked.
    pub(super) async fn learn(&self) -> Result<(), RedisError> {
        let _one = self.shared.learning.lock().await;
        if !self.shared.topology.load().masters().is_empty() {
            return Ok(());
        }
        let found = match self.shared.seeds.as_slice() {
            [seed] if !is_cluster(seed).await? => Topology::One(Arc::clone(seed)),
            seeds => Topology::Cluster(self.look(seeds).await?),
        };
        if let Topology::Cluster(cluster) = &found {
            tracing::info!(masters = cluster.masters.len(), "redis is a cluster");
        }
        self.shared.topology.store(Arc::new(found));
        Ok(())
    }

    /// How the cluster looks to most of those that answer: one that was cut off from the others does not know yet what they decided.
    async fn look(&self, nodes: &[Arc<Node>]) -> Result<Cluster, RedisError> {
        if let Ok(mut looked) = self.shared.looked.lock() {
            *looked = Some(Instant::now());
        }
        let (timeout, mut slots) = (self.timeout(), cmd("CLUSTER"));
        slots.arg("SLOTS");
        let slots = &slots;
        let mut answers: FuturesUnordered<_> =
            nodes.iter().map(|node| async move { (node, tokio::time::timeout(timeout, node.ask(slots, false)).await) }).collect();
        let mut seen: BTreeMap<Vec<Range>, (usize, &Arc<Node>)> = BTreeMap::new();
        let mut failure = RedisError::from((ErrorKind::Io, "no server of the cluster answers"));
        while let Some((node, answer)) = answers.next().await {
            match answer {
                Ok(Ok(answer)) => {
                    let Some(ranges) = ranges(&answer, node) else { continue };
                    let votes = seen.entry(ranges).or_insert((0, node));
                    votes.0 += 1;
                    if votes.0 > nodes.len() / 2 {
                        break;
                    }
                }
                Ok(Err(error)) => failure = error,
                Err(_) => {}
            }
        }
        let (ranges, (_, asked)) = seen.into_iter().max_by_key(|(_, (votes, _))| *votes).ok_or(failure)?;
        let mut known = self.shared.topology.load().nodes();
        known.extend(nodes.iter().cloned());
        Cluster::new(ranges, asked, &known, &self.shared.settings)
    }

    /// Asks a server, and whom it names instead.
    pub(super) async fn follow(&self, node: &Arc<Node>, command: &Cmd) -> Result<Value, RedisError> {
        let (mut at, mut asking) = (Arc::clone(node), false);
        let mut said = None;
        for _ in 0..MOST_STEPS {
            let error = match at.ask(command, asking).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::Server(ServerErrorKind::Moved) => {
                    self.look_soon();
                    (at, asking) = (self.redirected(&at, &error)?, false);
                }
                ErrorKind::Server(ServerErrorKind::Ask) => (at, asking) = (self.redirected(&at, &error)?, true),
                ErrorKind::Server(ServerErrorKind::TryAgain) => tokio::time::sleep(ON_ITS_WAY).await,
                _ => return Err(error),
            }
            said = Some(error);
        }
        Err(said.unwrap_or_else(|| (ErrorKind::Io, "no answer").into()))
    }

    /// The server that an answer names.
    fn redirected(&self, from: &Node, error: &RedisError) -> Result<Arc<Node>, RedisError> {
        let Some((named, _)) = error.redirect_node() else { return Err(error.clone()) };
        let address = if named.starts_with(':') { format!("{}{named}", from.host()) } else { named.to_owned() };
        if let Some(node) = self.shared.topology.load().nodes().into_iter().find(|node| node.address == address) {
            return Ok(node);
        }
        let mut strangers = self.shared.strangers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(node) = strangers.get(&address) {
            return Ok(Arc::clone(node));
        }
        // Known from the next picture on; until then there are few.
        if strangers.len() >= MOST_ASKED {
            strangers.clear();
        }
        let node = Arc::new(from.sibling(&address, &self.shared.settings)?);
        strangers.insert(address, Arc::clone(&node));
        Ok(node)
    }

    /// The picture of the cluster is wrong, or somebody in it does not answer.
    pub(super) fn look_soon(&self) {
        self.shared.is_wrong.store(true, Ordering::Relaxed);
        self.shared.moved.notify_one();
    }
}

/// Does it answer, and does its cluster have all its slots?
pub(super) async fn is_there(node: &Node, is_cluster: bool) -> Result<(), RedisError> {
    if !is_cluster {
        return node.ask(&cmd("PING"), false).await.map(drop);
    }
    let state = node.ask(cmd("CLUSTER").arg("INFO"), false).await?;
    if text(&state).contains("cluster_state:ok") {
        return Ok(());
    }
    Err((ErrorKind::Server(ServerErrorKind::ClusterDown), "the cluster does not have all its slots").into())
}

/// One that does not tell is taken for a single server: hosted ones hide much.
async fn is_cluster(seed: &Node) -> Result<bool, RedisError> {
    match seed.ask(cmd("INFO").arg("cluster"), false).await {
        Ok(answer) => Ok(text(&answer).contains("cluster_enabled:1")),
        Err(error) if matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) => Ok(false),
        Err(error) => Err(error),
    }
}

fn text(answer: &Value) -> std::borrow::Cow<'_, str> {
    match answer {
        Value::BulkString(text) => String::from_utf8_lossy(text),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => text.into(),
        _ => "".into(),
    }
}
