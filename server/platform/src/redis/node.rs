//! One server: multiplexed connections that are made when they are first used, and a breaker of its own.

use std::time::Duration;

use redis::{
    Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisError, Value,
    aio::{ConnectionManager, ConnectionManagerConfig},
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use thread_local::ThreadLocal;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::OnceCell,
};

use super::{Settings, breaker::Breaker};

/// Silence of the network after which a connection is dead.
pub(super) const DEAD_AFTER: Duration = Duration::from_secs(1);

/// A server, alone or one of a cluster.
pub(super) struct Node {
    /// `host:port`, as the cluster names it.
    pub(super) address: String,
    pub(super) breaker: Breaker,
    pub(super) client: Client,
    info: ConnectionInfo,
    /// Of the threads that share a runtime.
    connection: OnceCell<ConnectionManager>,
    /// Of each thread that is a runtime, as workers of the listener are: a question and its answer wake no other thread.
    own: ThreadLocal<OnceCell<ConnectionManager>>,
    timeout: Duration,
    longest: Duration,
}

impl Node {
    /// The server of that URL.
    pub(super) fn at_url(url: &str, settings: &Settings) -> Result<Self, RedisError> {
        Self::new(url.into_connection_info()?, settings)
    }

    /// Another server of the same cluster: same encryption, same user and password.
    pub(super) fn sibling(&self, address: &str, settings: &Settings) -> Result<Self, RedisError> {
        let (host, port) = address
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse().ok()?)))
            .ok_or_else(|| RedisError::from((redis::ErrorKind::Parse, "the cluster names no address")))?;
        // Without a host it is the one that was asked.
        let host = if host.is_empty() { self.host() } else { host.trim_matches(['[', ']']) }.to_owned();
        let address = match self.info.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        Self::new(self.info.clone().set_addr(address), settings)
    }

    fn new(info: ConnectionInfo, settings: &Settings) -> Result<Self, RedisError> {
        // A connection that died without a word is noticed by the kernel, not by a deadline of ours.
        let keepalive = TcpKeepalive::new().with_time(DEAD_AFTER).with_interval(DEAD_AFTER);
        let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
        #[cfg(target_os = "linux")]
        let tcp = tcp.set_user_timeout(DEAD_AFTER);
        let info = info.set_tcp_settings(tcp);
        let timeout = Duration::from_millis(settings.timeout_ms);
        Ok(Self {
            address: match info.addr() {
                ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => format!("{host}:{port}"),
                other => other.to_string(),
            },
            breaker: Breaker::default(),
            client: Client::open(info.clone())?,
            info,
            connection: OnceCell::new(),
            own: ThreadLocal::new(),
            timeout,
            longest: timeout.max(Duration::from_millis(settings.decision_ms)),
        })
    }

    pub(super) fn host(&self) -> &str {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host,
            _ => "localhost",
        }
    }

    /// Asks once. `asking`: of a slot that is on its way to this server.
    pub(super) async fn ask(&self, command: &Cmd, asking: bool) -> Result<Value, RedisError> {
        let mut connection = self.connect().await?;
        if !asking {
            return command.query_async(&mut connection).await;
        }
        let mut both = redis::pipe();
        both.cmd("ASKING").add_command(command.clone()).ignore_errors();
        let (_, answer): (Value, Result<Value, RedisError>) = both.query_async(&mut connection).await?;
        answer
    }

    /// Runs several commands in one round trip.
    pub(super) async fn ask_all(&self, commands: &redis::Pipeline) -> Result<(), RedisError> {
        commands.query_async(&mut self.connect().await?).await
    }

    async fn connect(&self) -> Result<ConnectionManager, RedisError> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.longest))
            .set_number_of_retries(0)
            .set_max_delay(Duration::from_millis(500));
        let is_alone = Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread;
        let connection = if is_alone { self.own.get_or_default() } else { &self.connection };
        let made = connection.get_or_try_init(|| ConnectionManager::new_with_config(self.client.clone(), config));
        made.await.cloned()
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("address", &self.address).finish_non_exhaustive()
    }
}
