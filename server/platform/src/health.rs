//! Is everything there that this needs? Asked without authentication, so a check is shared by all who ask within a second.

use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::{Mutex, OnceCell};

use crate::{Platform, db};

/// How long an answer is shared.
const FRESH: Duration = Duration::from_secs(1);
/// What takes longer counts as away.
const DEADLINE: Duration = Duration::from_secs(2);
/// How long traffic is welcome after the database went away: calls run from memory, and records wait.
const READY_WITHOUT_DATABASE: Duration = Duration::from_secs(30);

/// State of one dependency, or of all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Answers.
    Healthy,
    /// Some things do not work, the rest goes on.
    Degraded,
    /// Most things do not work.
    Unhealthy,
}

/// One dependency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dependency {
    /// What it is.
    pub name: &'static str,
    /// How it is.
    pub status: Status,
    /// How long it took to answer, or to be given up.
    pub latency_ms: u64,
}

/// All dependencies at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The worst that the dependencies make of the installation.
    pub status: Status,
    /// Each of them.
    pub dependencies: Vec<Dependency>,
    /// Upstreams of tenants that this replica leaves alone for a moment. Theirs, so that it changes nothing about the installation's state.
    pub open_breakers: usize,
}

#[derive(Debug, Clone)]
struct Last {
    at: Instant,
    report: Report,
}

/// What is known of this process without asking anybody: for what is said beside other things.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Did Redis not answer the last few times?
    pub is_redis_away: bool,
    /// Can the record not take calls?
    pub is_record_closed: bool,
    /// For how long no call has reached the database although some wait, if that is too long.
    pub stalled: Option<Duration>,
}

impl Standing {
    /// How long calls may take to the database before pages say so.
    pub const STALE_AFTER: Duration = Duration::from_mins(1);

    /// Of this process, now.
    pub fn of(platform: &Platform) -> Self {
        Self {
            is_redis_away: platform.redis.is_away(),
            is_record_closed: platform.spool.status() == Status::Unhealthy,
            stalled: platform.spool.stalled().filter(|stalled| *stalled > Self::STALE_AFTER),
        }
    }
}

/// Asks the dependencies and remembers for a moment.
#[derive(Debug, Default)]
pub struct Health {
    last: Mutex<Option<Last>>,
    database_seen: std::sync::Mutex<Option<Instant>>,
    fit: OnceCell<()>,
}

impl Health {
    /// How everything is, at most a second old.
    pub async fn report(&self, platform: &Platform) -> Report {
        // Held while asking: whoever comes meanwhile waits for the same answer instead of asking again.
        let mut last = self.last.lock().await;
        if let Some(last) = last.as_ref().filter(|last| last.at.elapsed() < FRESH) {
            return last.report.clone();
        }
        let (database, redis) = tokio::join!(
            timed("postgres", Status::Unhealthy, platform.db.ping()),
            timed("redis", Status::Degraded, platform.redis.ping())
        );
        if database.status == Status::Healthy {
            *self.database_seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Instant::now());
        }
        let record = Dependency { name: "record", status: platform.spool.status(), latency_ms: 0 };
        let status = database.status.max(redis.status).max(record.status);
        let open_breakers = platform.breakers.count_open();
        let report = Report { status, dependencies: vec![database, redis, record], open_breakers };
        *last = Some(Last { at: Instant::now(), report: report.clone() });
        report
    }

    /// May this replica take traffic? Not before the schema is this binary's and the role is bound by row-level security; then while the
    /// database answers, and for a while after it stopped.
    pub async fn check_ready(&self, platform: &Platform) -> Result<(), NotReady> {
        self.report(platform).await;
        if platform.spool.status() == Status::Unhealthy {
            return Err(NotReady::Record);
        }
        let seen = *self.database_seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if seen.is_none_or(|at| at.elapsed() > READY_WITHOUT_DATABASE) {
            return Err(NotReady::Database);
        }
        self.fit.get_or_try_init(|| check_fit(platform)).await.copied()
    }
}

/// Why a replica takes no traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// It does not answer.
    #[error("waiting for the database")]
    Database,
    /// Its spool is full or cannot be written.
    #[error("waiting for the record: its spool is full, or its disk cannot be written")]
    Record,
    /// Migrations are missing.
    #[error("waiting for `trunkline migrate`")]
    Schema,
    /// The role that `database.url` names could read every tenant's rows.
    #[error("the database role is a superuser or bypasses row-level security; use the application role")]
    Role,
}

impl NotReady {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Database, Self::Record, Self::Schema, Self::Role];

    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Record => "record",
            Self::Schema => "schema",
            Self::Role => "role",
        }
    }
}

/// Asked until it holds, then never again: the schema only grows and the role does not change.
async fn check_fit(platform: &Platform) -> Result<(), NotReady> {
    let facts = db::facts(&platform.db).await.map_err(|_| NotReady::Database)?;
    if facts.is_superuser || facts.bypasses_isolation {
        tracing::error!(role = facts.role, "{}", NotReady::Role);
        return Err(NotReady::Role);
    }
    match db::pending_migrations(&platform.db).await {
        Ok(0) => Ok(()),
        _ => Err(NotReady::Schema),
    }
}

/// The eviction policy of Redis, if it tells. Anything but `noeviction` can forget limits and sessions.
pub async fn redis_eviction_policy(platform: &Platform) -> crate::Result<Option<String>> {
    let mut command = redis::cmd("CONFIG");
    command.arg("GET").arg("maxmemory-policy");
    let answers: Vec<Vec<String>> = match platform.redis.each_master(&command).await {
        Ok(answers) => answers,
        // Hosted servers do not offer CONFIG; that is no fault of the installation.
        Err(crate::redis::Away::Failed(error)) if error.code().is_some() => return Ok(None),
        Err(away) => return Err(away.into()),
    };
    let mut policies: Vec<String> = answers.into_iter().filter_map(|answer| answer.into_iter().nth(1)).collect();
    // Of a cluster, one that may forget is enough.
    policies.sort_by_key(|policy| policy == "noeviction");
    Ok(policies.into_iter().next())
}

async fn timed<E>(name: &'static str, if_away: Status, question: impl Future<Output = Result<(), E>>) -> Dependency {
    let asked = Instant::now();
    let answered = matches!(tokio::time::timeout(DEADLINE, question).await, Ok(Ok(())));
    let latency_ms = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
    Dependency { name, status: if answered { Status::Healthy } else { if_away }, latency_ms }
}
