//! Postgres: the pool with its guard, transactions that know their tenant, migrations, and the proof of isolation.
//!
//! sqlx 0.9.0 can return a connection to the pool inside an open transaction when a future is dropped during `begin`
//! (transact-rs/sqlx#4393); later statements on it are acknowledged and lost. Two defences: `begin` runs in a task of its own that
//! nobody can cut, and every connection is rolled back on its way into the pool.

mod bootstrap;
pub mod catalog_checks;
mod facts;
pub mod page;
mod tx;

use std::time::Duration;

use sqlx::{
    PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::error::{Error, Result};

pub use bootstrap::{MIGRATOR, migrate, pending_migrations};
pub use facts::{Facts, facts};
pub use tx::{ChainTx, RecordTx, SystemTx, TenantTx};

/// How to reach the database.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Connection URL of the application role.
    pub url: crate::secret::Plaintext,
    /// Most connections of one process.
    pub max_connections: u32,
    /// Longest wait for a free connection, in milliseconds.
    pub acquire_timeout_ms: u64,
    /// Longest run of one statement, in milliseconds.
    pub statement_timeout_ms: u64,
}

/// The pool. Gives out transactions only, never bare connections.
#[derive(Debug, Clone)]
pub struct Db {
    pool: PgPool,
    /// Longest wait for a connection and for its first answer.
    begin_within: Duration,
}

impl Db {
    /// A pool that connects when it is first used.
    pub fn connect(settings: &Settings) -> Result<Self> {
        let statement_timeout = settings.statement_timeout_ms.to_string();
        let options: PgConnectOptions = settings.url.reveal().parse().map_err(Error::internal)?;
        let options = options.application_name("trunkline").options([
            ("statement_timeout", statement_timeout.as_str()),
            ("idle_in_transaction_session_timeout", "10000"),
            ("lock_timeout", "3000"),
            // Compiling a statement takes longer than any of ours runs.
            ("jit", "off"),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(Duration::from_millis(settings.acquire_timeout_ms))
            // `begin` finds out, in the round trip that it needs anyway.
            .test_before_acquire(false)
            .after_release(|connection, _| Box::pin(roll_back(connection)))
            .connect_lazy_with(options);
        Ok(Self { pool, begin_within: Duration::from_millis(settings.acquire_timeout_ms) })
    }

    /// Answers if the database answers.
    pub async fn ping(&self) -> Result<()> {
        drop(self.system().await?);
        Ok(())
    }

    /// The pool, for the listener that needs a connection of its own.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Closes all connections after their current use.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// How long the pool guard waits. A server that hangs, or is gone without a word, must not keep the connection's place in the pool.
const ROLL_BACK_WITHIN: Duration = Duration::from_secs(5);

/// The pool guard: whatever a cut future left open is rolled back before anybody else gets the connection. A bare `ROLLBACK` would make
/// the server warn at each release; this way it warns only when something was open. In a failed transaction `BEGIN` fails, and the
/// connection is closed instead.
async fn roll_back(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let rolled_back = tokio::time::timeout(ROLL_BACK_WITHIN, sqlx::raw_sql("BEGIN; ROLLBACK").execute(connection)).await;
    rolled_back.map_err(|_| sqlx::Error::PoolTimedOut)??;
    Ok(true)
}

/// Is the connection gone, or about to be? Nothing was done on it.
fn is_gone(error: &sqlx::Error) -> bool {
    // The server goes away: it is stopped, has crashed, or does not take anybody.
    const GOES: [&str; 3] = ["57P01", "57P02", "57P03"];
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| GOES.contains(&&*code)),
        _ => false,
    }
}

/// The cancel shield: runs a database unit to its end even if the caller goes away meanwhile. It begins at once, so that who waits for it, as the
/// path of a call may, has no room for it in its own future.
pub fn unit<T, F>(future: F) -> impl Future<Output = Result<T>> + Send
where
    F: Future<Output = Result<T, sqlx::Error>> + Send + 'static,
    T: Send + 'static,
{
    #[expect(clippy::disallowed_methods, reason = "this is the shield that other code is asked to use")]
    let task = tokio::spawn(future);
    async move {
        match task.await {
            Ok(result) => result.map_err(Error::from),
            Err(join) => Err(Error::internal(join)),
        }
    }
}
