//! Services that a test may stop.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};
use trunkline::services::free_port;
use trunkline_platform::random;

use super::{SOON, eventually, process::Process, world};

/// A folder of the test's own, below the target folder; removed when dropped.
#[derive(Debug)]
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    /// A new one.
    pub(crate) fn new(what: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{what}-{}", random::base62(8)));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A Redis that a test stops, continues, kills and starts again at the same place.
#[derive(Debug)]
pub(crate) struct OwnRedis {
    port: u16,
    process: Option<Process>,
    /// Where a cluster of one node keeps what it knows of itself.
    cluster: Option<Folder>,
}

impl OwnRedis {
    /// Starts it on a free port.
    pub(crate) async fn start() -> Self {
        let mut redis = Self { port: free_port().expect("a port"), process: None, cluster: None };
        redis.start_again().await;
        redis
    }

    /// The same as a cluster of one node, which has all slots and refuses commands on keys of several.
    pub(crate) async fn start_cluster() -> Self {
        let mut redis = Self { port: free_port().expect("a port"), process: None, cluster: Some(Folder::new("cluster")) };
        redis.start_again().await;
        let mut connection =
            redis::Client::open(redis.url()).expect("a URL").get_multiplexed_async_connection().await.expect("redis");
        let mut slots = redis::cmd("CLUSTER");
        slots.arg("ADDSLOTSRANGE").arg(0).arg(16_383);
        let _: () = slots.query_async(&mut connection).await.expect("it has all slots");
        eventually("the cluster is there", SOON, async || {
            let info: String = redis::cmd("CLUSTER").arg("INFO").query_async(&mut connection).await.ok()?;
            info.contains("cluster_state:ok").then_some(())
        })
        .await;
        redis
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Holds it or lets it go on.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("it runs").signal(signal);
    }

    /// Ends it without a word.
    pub(crate) fn kill(&mut self) {
        drop(self.process.take());
    }

    /// Starts it where it was, empty.
    pub(crate) async fn start_again(&mut self) {
        let port = self.port.to_string();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"]);
        if let Some(folder) = &self.cluster {
            command.args(["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--dir"]).arg(&folder.0);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(Process::start(command));
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        eventually("redis listens", SOON, async || TcpStream::connect(address).await.ok().map(drop)).await;
    }
}

/// A port whose other side a test takes away: closed, nobody listens there, and connections are cut.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Where it is.
    pub(crate) addr: SocketAddr,
    open: Mutex<Option<AbortHandle>>,
}

impl Gate {
    /// Opens it on a free port, to that address.
    pub(crate) async fn open(target: &str) -> Self {
        let gate = Self { addr: ([127, 0, 0, 1], free_port().expect("a port")).into(), open: Mutex::default() };
        gate.reopen(target).await;
        gate
    }

    /// Opens it again, perhaps to another address.
    pub(crate) async fn reopen(&self, target: &str) {
        let (addr, target) = (self.addr, Arc::<str>::from(target));
        let listener = eventually("the port is free", Duration::from_secs(5), async || {
            world().spawn(TcpListener::bind(addr)).await.expect("no panic").ok()
        });
        let listener = listener.await;
        let task = world().spawn(async move {
            // Cut with this task.
            let mut passing = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let target = Arc::clone(&target);
                passing.spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(&*target).await {
                        let _ = copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        *self.open.lock().expect("the gate") = Some(task.abort_handle());
    }

    /// Closes it.
    pub(crate) fn close(&self) {
        if let Some(task) = self.open.lock().expect("the gate").take() {
            task.abort();
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.close();
    }
}
