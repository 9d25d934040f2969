//! Postgres and Redis of our own for development and tests: found on this machine, started on free loopback ports with generated
//! passwords, stopped with us. Production brings its own and does not come here.
//!
//! They end in every case: stopped by us; by the kernel when we are killed; and what survives even that by the next start.

mod child;
mod find;
mod owner;
mod postgres;
mod redis;

use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
};

use anyhow::Context as _;
use trunkline_platform::secret::Plaintext;

pub use postgres::PrivatePostgres;
pub use redis::PrivateRedis;

/// What is written must survive a power failure, or only this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Development: kept between starts.
    State,
    /// Tests: as fast as possible, gone afterwards.
    Nothing,
}

/// Both of them.
#[derive(Debug)]
pub struct Services {
    /// Postgres.
    pub postgres: PrivatePostgres,
    /// Redis.
    pub redis: PrivateRedis,
}

impl Services {
    /// Starts both under that folder, after ending what an earlier run left behind. Blocks for a second or two.
    pub fn start(dir: &Path, keep: Keep) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("the folder {} cannot be made", dir.display()))?;
        let dir = dir.canonicalize()?;
        std::thread::scope(|scope| {
            let redis = scope.spawn(|| PrivateRedis::start(&dir, keep));
            let postgres = PrivatePostgres::start(&dir, keep)?;
            let redis = redis.join().map_err(|_| anyhow::anyhow!("starting redis panicked"))??;
            Ok(Self { postgres, redis })
        })
    }

    /// Waits until one of them ends by itself, and says which.
    pub async fn crashed(&mut self) -> String {
        tokio::select! {
            how = self.postgres.ended() => format!("the private PostgreSQL {how}; see {}", self.postgres.log().display()),
            how = self.redis.ended() => format!("the private Redis {how}; see {}", self.redis.log().display()),
        }
    }

    /// Stops both and waits for their end.
    pub fn stop(self) {
        std::thread::scope(|scope| {
            scope.spawn(|| self.redis.stop());
            self.postgres.stop();
        });
    }
}

/// Ends what an earlier run left behind, and removes all state of both. The folder must not be in use.
pub fn forget(dir: &Path) -> anyhow::Result<()> {
    let Ok(dir) = dir.canonicalize() else { return Ok(()) };
    postgres::end_leftover(&dir);
    redis::end_leftover(&dir);
    for name in [
        "postgres",
        "postgres.log",
        "postgres.pid",
        "postgres.initdb",
        "postgres-admin.password",
        "postgres-app.password",
        "redis",
        "redis.log",
        "redis.pid",
        "redis.password",
    ] {
        remove(&dir.join(name))?;
    }
    Ok(())
}

/// Removes a file or a folder, if it is there.
pub(crate) fn remove(path: &Path) -> anyhow::Result<()> {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", path.display()))
        }
        _ => Ok(()),
    }
}

/// A port that was free a moment ago. Who takes it must be ready to try another.
pub fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A secret kept in that file, made the first time.
pub(crate) fn kept_secret(path: &Path, make: impl FnOnce() -> Plaintext) -> anyhow::Result<Plaintext> {
    match std::fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => Ok(Plaintext::new(text.trim().to_owned())),
        _ => {
            let secret = make();
            write_private(path, secret.reveal()).with_context(|| format!("{} cannot be written", path.display()))?;
            Ok(secret)
        }
    }
}

/// Writes a file that only its owner reads, whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let part = path.with_extension("part");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(part, path)
}
