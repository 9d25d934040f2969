//! A Redis Cluster of the test's own: three masters with a replica each, as real processes.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use redis::{FromRedisValue, Value, aio::MultiplexedConnection, cmd};
use trunkline::services::free_port;

use super::{SOON, eventually, private::Folder, process::Process};

/// Masters; each has one replica.
const MASTERS: usize = 3;
/// After this silence of a server the others look for its successor.
const NODE_TIMEOUT_MS: &str = "1000";
/// Slots of a cluster.
const SLOTS: usize = 16_384;

/// The cluster. Its processes are killed and its folders removed when it is dropped.
#[derive(Debug)]
pub(crate) struct OwnCluster {
    servers: Vec<Server>,
}

#[derive(Debug)]
struct Server {
    port: u16,
    bus: u16,
    process: Option<Process>,
    folder: Folder,
}

impl Server {
    fn new() -> Self {
        let port = || free_port().expect("a port");
        let mut server = Self { port: port(), bus: port(), process: None, folder: Folder::new("cluster") };
        server.start();
        server
    }

    fn start(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--cluster-port", &self.bus.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no", "--daemonize", "no", "--cluster-enabled", "yes"]);
        command.args(["--cluster-node-timeout", NODE_TIMEOUT_MS, "--cluster-config-file", "nodes.conf"]);
        // Replicas are there from the first second on, and in step.
        command.args(["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", "--dir"]).arg(&self.folder.0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(Process::start(command));
    }

    async fn connect(&self) -> Option<MultiplexedConnection> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).expect("a URL");
        let connecting = client.get_multiplexed_async_connection();
        tokio::time::timeout(Duration::from_millis(200), connecting).await.ok()?.ok()
    }

    async fn try_ask<T: FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let mut connection = self.connect().await.ok_or((redis::ErrorKind::Io, "it does not answer"))?;
        let mut command = cmd(words[0]);
        words[1..].iter().for_each(|word| {
            command.arg(word);
        });
        command.query_async(&mut connection).await
    }

    async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_ask(words).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    async fn id(&self) -> String {
        self.ask(&["CLUSTER", "MYID"]).await
    }
}

impl OwnCluster {
    /// Starts it, and waits until every master has its slots and its replica.
    pub(crate) async fn start() -> Self {
        let cluster = Self { servers: (0..2 * MASTERS).map(|_| Server::new()).collect() };
        for (place, server) in cluster.servers.iter().enumerate() {
            eventually("redis listens", SOON, async || server.connect().await.map(drop)).await;
            let _: () = server.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(place + 1).to_string()]).await;
            if place < MASTERS {
                let (first, end) = (place * SLOTS / MASTERS, (place + 1) * SLOTS / MASTERS);
                let _: () = server.ask(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &(end - 1).to_string()]).await;
            }
        }
        let first = &cluster.servers[0];
        for server in &cluster.servers[1..] {
            let _: () = first.ask(&["CLUSTER", "MEET", "127.0.0.1", &server.port.to_string(), &server.bus.to_string()]).await;
        }
        for server in &cluster.servers {
            eventually("all know each other", SOON, async || {
                let nodes: String = server.ask(&["CLUSTER", "NODES"]).await;
                (nodes.lines().count() == 2 * MASTERS && !nodes.contains("handshake")).then_some(())
            })
            .await;
        }
        for place in 0..MASTERS {
            let _: () = cluster.servers[MASTERS + place].ask(&["CLUSTER", "REPLICATE", &cluster.servers[place].id().await]).await;
        }
        for server in &cluster.servers {
            eventually("the cluster is there", SOON, async || {
                let (info, slots): (String, Value) =
                    (server.ask(&["CLUSTER", "INFO"]).await, server.ask(&["CLUSTER", "SLOTS"]).await);
                let Value::Array(ranges) = slots else { return None };
                let has_replicas = ranges.iter().all(|range| matches!(range, Value::Array(parts) if parts.len() == 4));
                (info.contains("cluster_state:ok") && has_replicas).then_some(())
            })
            .await;
        }
        for server in &cluster.servers[MASTERS..] {
            eventually("its replica is in step", SOON, async || {
                let info: String = server.ask(&["INFO", "replication"]).await;
                info.contains("master_link_status:up").then_some(())
            })
            .await;
        }
        cluster
    }

    /// All of it, as the setting has it.
    pub(crate) fn url(&self) -> String {
        let one = |server: &Server| format!("redis://127.0.0.1:{}", server.port);
        self.servers.iter().map(one).collect::<Vec<_>>().join(",")
    }

    /// One server of it.
    pub(crate) fn url_of_one(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.servers[1].port)
    }

    /// The slot of a key.
    pub(crate) async fn slot(&self, key: &str) -> u16 {
        self.alive().await.ask(&["CLUSTER", "KEYSLOT", key]).await
    }

    /// Which of the first masters was given that slot at the beginning.
    pub(crate) fn master_of(slot: u16) -> usize {
        (0..MASTERS).rfind(|place| usize::from(slot) >= place * SLOTS / MASTERS).expect("a master")
    }

    /// Keys of that slot on that server.
    pub(crate) async fn keys_of(&self, place: usize, slot: u16) -> u64 {
        self.servers[place].ask(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]).await
    }

    /// Moves a slot with all its keys, as the tools of Redis do. How long it was on its way.
    pub(crate) async fn move_slot(&self, slot: u16, from: usize, to: usize) -> Duration {
        let (number, port) = (slot.to_string(), self.servers[to].port.to_string());
        let (from_id, to_id) = (self.servers[from].id().await, self.servers[to].id().await);
        let began = Instant::now();
        let _: () = self.servers[to].ask(&["CLUSTER", "SETSLOT", &number, "IMPORTING", &from_id]).await;
        let _: () = self.servers[from].ask(&["CLUSTER", "SETSLOT", &number, "MIGRATING", &to_id]).await;
        loop {
            let keys: Vec<String> = self.servers[from].ask(&["CLUSTER", "GETKEYSINSLOT", &number, "100"]).await;
            if keys.is_empty() {
                break;
            }
            let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "REPLACE", "KEYS"];
            migrate.extend(keys.iter().map(String::as_str));
            let _: String = self.servers[from].ask(&migrate).await;
        }
        for place in [to, from] {
            let _: () = self.servers[place].ask(&["CLUSTER", "SETSLOT", &number, "NODE", &to_id]).await;
        }
        let moved = began.elapsed();
        for place in (0..MASTERS).filter(|place| *place != to && *place != from) {
            let _: () = self.servers[place].ask(&["CLUSTER", "SETSLOT", &number, "NODE", &to_id]).await;
        }
        moved
    }

    /// Ends that master without a word.
    pub(crate) fn kill(&mut self, place: usize) {
        drop(self.servers[place].process.take());
    }

    /// Holds that master, or lets it go on.
    pub(crate) fn signal(&self, place: usize, signal: Signal) {
        self.servers[place].process.as_ref().expect("it runs").signal(signal);
    }

    /// Waits until the replica of that master has taken its place, for itself and for the others.
    pub(crate) async fn promoted(&self, place: usize) -> Instant {
        let successor = &self.servers[MASTERS + place];
        eventually("the replica takes over", SOON, async || {
            let info: String = successor.try_ask(&["INFO", "replication"]).await.ok()?;
            info.contains("role:master").then(Instant::now)
        })
        .await
    }

    /// Starts a server that was killed, empty, at its place.
    pub(crate) async fn start_again(&mut self, place: usize) {
        self.servers[place].start();
        eventually("redis listens", SOON, async || self.servers[place].connect().await.map(drop)).await;
    }

    async fn alive(&self) -> &Server {
        for server in &self.servers {
            if server.connect().await.is_some() {
                return server;
            }
        }
        panic!("no server of the cluster lives")
    }
}
