//! Redis: one multiplexed connection, a deadline on every command, and a breaker that stops asking while it is away.
//!
//! Nothing in Redis is the only copy of anything. Who calls it decides what happens without it; see `quota`.

mod breaker;

use std::{sync::Arc, time::Duration};

use redis::{
    Client, FromRedisValue, IntoConnectionInfo as _, RedisError, ScriptInvocation,
    aio::{ConnectionManager, ConnectionManagerConfig},
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use tokio::sync::OnceCell;

use crate::{error::Error, secret::Plaintext};

use breaker::Breaker;

/// Silence of the network after which a connection is dead.
const DEAD_AFTER: Duration = Duration::from_secs(1);

/// How to reach Redis.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Connection URL.
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

/// The connection.
#[derive(Clone)]
pub struct Redis {
    client: Client,
    settings: Arc<Settings>,
    connection: Arc<OnceCell<ConnectionManager>>,
    breaker: Arc<Breaker>,
}

impl Redis {
    /// A connection that is made when it is first used.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let info = settings.url.reveal().into_connection_info().map_err(Error::internal)?;
        // A connection that died without a word is noticed by the kernel, not by a deadline of ours.
        let keepalive = TcpKeepalive::new().with_time(DEAD_AFTER).with_interval(DEAD_AFTER);
        let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
        #[cfg(target_os = "linux")]
        let tcp = tcp.set_user_timeout(DEAD_AFTER);
        let client = Client::open(info.set_tcp_settings(tcp)).map_err(Error::internal)?;
        Ok(Self { client, settings: Arc::new(settings), connection: Arc::default(), breaker: Arc::default() })
    }

    /// A tenant's key: all keys of a tenant share one hash slot.
    pub fn tenant_key(&self, tenant: crate::ids::TenantId, name: &str) -> String {
        format!("{}{{t:{tenant}}}:{name}", self.settings.prefix)
    }

    /// A key that belongs to no tenant.
    pub fn global_key(&self, name: &str) -> String {
        format!("{}g:{name}", self.settings.prefix)
    }

    /// Runs a script; it is sent whole when the server does not know it yet.
    pub async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, Away> {
        self.ask(async |connection: &mut ConnectionManager| script.invoke_async(connection).await).await
    }

    /// Runs a script that a call waits for: a short while, and once more, since the script knows the call again. Never finds out whether Redis
    /// is back: that is done in the background.
    pub async fn decide<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, Away> {
        if !self.breaker.may_decide() {
            return Err(Away::NotAsked);
        }
        let deadline = Duration::from_millis(self.settings.decision_ms);
        for _ in 0..2 {
            let answer = async {
                let mut connection = self.connect().await?.clone();
                script.invoke_async(&mut connection).await
            };
            // Heard as late as this thread gets to it, so that a busy machine is not taken for a slow Redis.
            if let Ok(answer) = tokio::time::timeout(deadline, answer).await {
                self.breaker.note(answer.as_ref().map_or_else(is_answer, |_| true));
                return Ok(answer?);
            }
        }
        self.breaker.note(false);
        Err(RedisError::from((redis::ErrorKind::Io, "no decision in time")).into())
    }

    /// Runs several commands in one round trip.
    pub async fn all(&self, pipeline: &redis::Pipeline) -> Result<(), Away> {
        self.ask(async |connection: &mut ConnectionManager| pipeline.query_async(connection).await).await
    }

    /// Finds out whether Redis is back, and quick enough for decisions. Called in the background while it is away.
    pub async fn probe(&self) {
        if !self.is_away() {
            return;
        }
        self.breaker.probes();
        let asked = std::time::Instant::now();
        let ping = async {
            let mut connection = self.connect().await?.clone();
            redis::cmd("PING").query_async::<()>(&mut connection).await
        };
        let answer = tokio::time::timeout(Duration::from_millis(self.settings.timeout_ms), ping).await;
        let is_quick = asked.elapsed() <= Duration::from_millis(self.settings.decision_ms);
        self.breaker.note(is_quick && matches!(answer, Ok(Ok(()))));
    }

    /// Runs one command.
    pub async fn command<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, Away> {
        self.ask(async |connection: &mut ConnectionManager| command.query_async(connection).await).await
    }

    /// Messages on these channels, from now until the connection ends. A connection of its own.
    pub async fn subscribe(&self, channels: &[String]) -> Result<redis::aio::PubSubStream, Away> {
        let subscribed = async {
            let mut connection = self.client.get_async_pubsub().await?;
            connection.subscribe(channels).await?;
            Ok::<_, RedisError>(connection.into_on_message())
        };
        // Connecting takes longer than a command; the caller has nothing better to do.
        let deadline = DEAD_AFTER + Duration::from_millis(self.settings.timeout_ms);
        match tokio::time::timeout(deadline, subscribed).await {
            Ok(messages) => Ok(messages?),
            Err(_) => Err(RedisError::from((redis::ErrorKind::Io, "no answer in time")).into()),
        }
    }

    /// Answers if Redis answers.
    pub async fn ping(&self) -> Result<(), Away> {
        self.command(&redis::cmd("PING")).await
    }

    /// Is it away, as far as is known?
    pub fn is_away(&self) -> bool {
        self.breaker.is_open()
    }

    async fn ask<T>(&self, question: impl AsyncFnOnce(&mut ConnectionManager) -> Result<T, RedisError>) -> Result<T, Away> {
        if !self.breaker.may_ask() {
            return Err(Away::NotAsked);
        }
        let answer = async {
            let mut connection = self.connect().await?.clone();
            question(&mut connection).await
        };
        // The manager has its own deadlines; this one also covers reconnecting.
        let deadline = Duration::from_millis(self.settings.timeout_ms);
        let answer = match tokio::time::timeout(deadline, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(RedisError::from((redis::ErrorKind::Io, "no answer in time"))),
        };
        self.breaker.note(answer.as_ref().map_or_else(is_answer, |_| true));
        Ok(answer?)
    }

    async fn connect(&self) -> Result<&ConnectionManager, RedisError> {
        let timeout = Duration::from_millis(self.settings.timeout_ms);
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout.max(Duration::from_millis(self.settings.decision_ms))))
            .set_number_of_retries(0)
            .set_max_delay(Duration::from_millis(500));
        self.connection.get_or_try_init(|| ConnectionManager::new_with_config(self.client.clone(), config)).await
    }
}

/// Errors by which a server says that it is not to be had.
const AWAY: [&str; 11] =
    ["LOADING", "BUSY", "MASTERDOWN", "READONLY", "OOM", "NOREPLICAS", "MISCONF", "CLUSTERDOWN", "MOVED", "ASK", "TRYAGAIN"];

/// It answered, with an error about the one command: a key of another type must not look like a server that is away.
fn is_answer(error: &RedisError) -> bool {
    error.code().is_some_and(|code| !AWAY.contains(&code))
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("prefix", &self.settings.prefix).finish_non_exhaustive()
    }
}
