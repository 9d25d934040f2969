//! Which server has which slots.

use std::{collections::BTreeMap, sync::Arc};

use redis::{RedisError, Value};

use super::{Settings, node::Node, slot::SLOTS};

/// One server, or a cluster at one moment.
#[derive(Debug)]
pub(super) enum Topology {
    /// Nobody has asked yet.
    Unknown,
    /// One server has everything.
    One(Arc<Node>),
    /// A cluster.
    Cluster(Cluster),
}

/// Servers of a cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    /// By address, replicas too.
    pub(super) nodes: BTreeMap<String, Arc<Node>>,
    pub(super) masters: Vec<Arc<Node>>,
    /// Place among `masters`, for each slot; beyond them for one that nobody has.
    of_slot: Box<[u16]>,
    pub(super) ranges: Vec<Range>,
}

/// Slots of one master, as a server reports them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Range {
    first: u16,
    last: u16,
    master: String,
    replicas: Vec<String>,
}

impl Topology {
    /// Who has that slot. What has no key is for anybody.
    pub(super) fn owner(&self, slot: Option<u16>) -> Option<&Arc<Node>> {
        match self {
            Self::Unknown => None,
            Self::One(node) => Some(node),
            Self::Cluster(cluster) => match slot {
                Some(slot) => cluster.masters.get(usize::from(*cluster.of_slot.get(usize::from(slot))?)),
                None => cluster.masters.iter().find(|node| !node.breaker.is_open()).or(cluster.masters.first()),
            },
        }
    }

    /// Those that have slots.
    pub(super) fn masters(&self) -> &[Arc<Node>] {
        match self {
            Self::Unknown => &[],
            Self::One(node) => std::slice::from_ref(node),
            Self::Cluster(cluster) => &cluster.masters,
        }
    }

    /// All servers.
    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        match self {
            Self::Cluster(cluster) => cluster.nodes.values().cloned().collect(),
            _ => self.masters().to_vec(),
        }
    }
}

impl Cluster {
    /// From what a server reports; servers that were known before keep their connections and breakers.
    pub(super) fn new(ranges: Vec<Range>, asked: &Node, known: &[Arc<Node>], settings: &Settings) -> Result<Self, RedisError> {
        let mut nodes: BTreeMap<String, Arc<Node>> = BTreeMap::new();
        for address in ranges.iter().flat_map(|range| std::iter::once(&range.master).chain(&range.replicas)) {
            if !nodes.contains_key(address) {
                let node = match known.iter().find(|node| node.address == *address) {
                    Some(node) => Arc::clone(node),
                    None => Arc::new(asked.sibling(address, settings)?),
                };
                nodes.insert(address.clone(), node);
            }
        }
        let mut masters: Vec<Arc<Node>> = Vec::new();
        let mut of_slot = vec![u16::MAX; usize::from(SLOTS)].into_boxed_slice();
        for range in &ranges {
            let Some(node) = nodes.get(&range.master) else { continue };
            let place = masters.iter().position(|master| Arc::ptr_eq(master, node)).unwrap_or_else(|| {
                masters.push(Arc::clone(node));
                masters.len() - 1
            });
            let place = u16::try_from(place).unwrap_or(u16::MAX);
            if let Some(slots) = of_slot.get_mut(usize::from(range.first)..=usize::from(range.last)) {
                slots.fill(place);
            }
        }
        if masters.is_empty() {
            return Err((redis::ErrorKind::Parse, "the cluster has given its slots to nobody").into());
        }
        Ok(Self { nodes, masters, of_slot, ranges })
    }
}

/// Reads the answer to CLUSTER SLOTS. A server that does not know its own host is where it was asked.
pub(super) fn ranges(answer: &Value, asked: &Node) -> Option<Vec<Range>> {
    let Value::Array(ranges) = answer else { return None };
    let mut ranges: Vec<Range> = ranges.iter().map(|one| range(one, asked.host())).collect::<Option<_>>()?;
    ranges.sort_unstable();
    (!ranges.is_empty()).then_some(ranges)
}

fn range(answer: &Value, host: &str) -> Option<Range> {
    let Value::Array(parts) = answer else { return None };
    let [Value::Int(first), Value::Int(last), master, replicas @ ..] = parts.as_slice() else { return None };
    let mut replicas: Vec<String> = replicas.iter().filter_map(|replica| address(replica, host)).collect();
    replicas.sort_unstable();
    let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
    (first <= last && last < SLOTS).then_some(Range { first, last, master: address(master, host)?, replicas })
}

fn address(answer: &Value, asked: &str) -> Option<String> {
    let Value::Array(parts) = answer else { return None };
    let [host, Value::Int(port), ..] = parts.as_slice() else { return None };
    let host = match host {
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        Value::SimpleString(host) => host,
        _ => "",
    };
    Some(format!("{}:{port}", if host.is_empty() || host == "?" { asked } else { host }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Plaintext;

    fn settings() -> Settings {
        Settings { url: Plaintext::new(String::new()), prefix: String::new(), timeout_ms: 1, decision_ms: 1 }
    }

    fn server(host: &str, port: i64) -> Value {
        Value::Array(vec![Value::BulkString(host.into()), Value::Int(port), Value::BulkString("id".into())])
    }

    fn slots(first: i64, last: i64, servers: Vec<Value>) -> Value {
        Value::Array([vec![Value::Int(first), Value::Int(last)], servers].concat())
    }

    #[test]
    fn slots_find_their_masters_and_servers_keep_their_connections() {
        let seed = Arc::new(Node::at_url("redis://:secret@a:1", &settings()).expect("a URL"));
        let answer = Value::Array(vec![
            slots(8_192, 16_383, vec![server("b", 2), server("d", 4)]),
            // A server that does not know its own name.
            slots(0, 8_000, vec![server("", 1), server("?", 3)]),
        ]);
        let ranges = ranges(&answer, &seed).expect("slots");
        let cluster = Cluster::new(ranges, &seed, &[Arc::clone(&seed)], &settings()).expect("a cluster");
        assert_eq!(cluster.nodes.keys().collect::<Vec<_>>(), ["a:1", "a:3", "b:2", "d:4"]);
        let topology = Topology::Cluster(cluster);
        assert!(topology.owner(Some(0)).is_some_and(|node| Arc::ptr_eq(node, &seed)));
        assert_eq!(topology.owner(Some(16_383)).map(|node| node.address.as_str()), Some("b:2"));
        assert!(topology.owner(Some(8_100)).is_none(), "nobody has it");
    }

    #[test]
    fn what_is_no_picture_of_a_cluster_is_none() {
        let seed = Node::at_url("redis://a:1", &settings()).expect("a URL");
        for bad in [
            Value::Nil,
            Value::Array(Vec::new()),
            Value::Array(vec![slots(0, 16_384, vec![server("a", 1)])]),
            Value::Array(vec![slots(9, 3, vec![server("a", 1)])]),
            Value::Array(vec![slots(0, 1, Vec::new())]),
        ] {
            assert_eq!(ranges(&bad, &seed), None, "{bad:?}");
        }
    }
}
