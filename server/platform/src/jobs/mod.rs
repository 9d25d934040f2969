//! Work with outside effects, written in the transaction that wants it and done soon after, at least once.
//!
//! A job is sealed while it waits: letters hold addresses and the secrets of links. A job that keeps failing is put aside with
//! `dead_at` and reported once; its last error names no person.

mod hook;
mod store;
mod worker;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD as BASE64};

use crate::{
    Platform,
    db::{SystemTx, TenantTx},
    error::{Error, Result},
    ids::JobId,
    mail::{EmailAddress, Letter},
    secret::DataKey,
};

pub(crate) use hook::{SECRET_PREFIX, post};
pub use {
    hook::Hook,
    worker::{run, run_due},
};

/// Something to do.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub enum Job {
    /// Write to somebody.
    SendLetter {
        /// To whom.
        to: EmailAddress,
        /// What.
        letter: Letter,
    },
    /// Tell somebody's server.
    PostHook(Box<Hook>),
    /// Nothing: makes the answer about an unknown address take as long as that about a known one.
    Decoy,
}

/// All kinds.
const KINDS: [&str; 3] = ["send_letter", HOOKS, "decoy"];
/// The kind that waits for servers of tenants, and so in a lane of its own.
const HOOKS: &str = "post_hook";

impl Job {
    fn kind(&self) -> &'static str {
        match self {
            Self::SendLetter { .. } => "send_letter",
            Self::PostHook(_) => HOOKS,
            Self::Decoy => "decoy",
        }
    }
}

/// A transaction that a job can be part of.
pub(crate) trait Enqueue {
    fn connection(&mut self) -> &mut sqlx::PgConnection;
}

impl Enqueue for SystemTx {
    fn connection(&mut self) -> &mut sqlx::PgConnection {
        Self::connection(self)
    }
}

impl Enqueue for TenantTx {
    fn connection(&mut self) -> &mut sqlx::PgConnection {
        Self::connection(self)
    }
}

/// Adds a job to the transaction; it runs after the commit, or never if that does not come.
pub(crate) async fn enqueue(platform: &Platform, tx: &mut impl Enqueue, job: &Job) -> Result<JobId> {
    let now = platform.clock.now();
    let id = JobId::new(now);
    let payload = seal(platform, id, job)?;
    store::insert(tx.connection(), id, job.kind(), &payload, now).await?;
    Ok(id)
}

/// How a job waits: sealed under a key of its own, which is wrapped by the installation's key.
#[derive(serde::Serialize, serde::Deserialize)]
struct SealedJob {
    key: String,
    sealed: String,
}

fn place(id: JobId) -> String {
    format!("jobs|{id}")
}

fn seal(platform: &Platform, id: JobId, job: &Job) -> Result<serde_json::Value> {
    let place = place(id);
    let key = DataKey::generate();
    let sealed = key.seal(&place, &serde_json::to_vec(job).map_err(Error::internal)?);
    let sealed = SealedJob { key: BASE64.encode(platform.master_key.wrap(&place, &key)), sealed: BASE64.encode(sealed) };
    serde_json::to_value(sealed).map_err(Error::internal)
}

fn open(platform: &Platform, id: JobId, payload: serde_json::Value) -> Result<Job> {
    let place = place(id);
    let sealed: SealedJob = serde_json::from_value(payload).map_err(Error::internal)?;
    let key = BASE64.decode(sealed.key).map_err(Error::internal)?;
    let key = platform.master_key.unwrap_key(&place, &key).map_err(Error::internal)?;
    let job = key.open(&place, &BASE64.decode(sealed.sealed).map_err(Error::internal)?).map_err(Error::internal)?;
    serde_json::from_slice(&job).map_err(Error::internal)
}

/// Wraps the keys of all jobs with the current key of the installation that another has wrapped, so many in one transaction; how many.
pub(crate) async fn rewrap(platform: &Platform, page: i64) -> Result<u64> {
    let (mut rewrapped, mut after) = (0, None);
    loop {
        let mut tx = platform.db.system().await?;
        let jobs = store::page(&mut tx, after, page).await?;
        let Some((last, _)) = jobs.last() else { return Ok(rewrapped) };
        after = Some(*last);
        for (id, payload) in jobs {
            if let Some(payload) = rewrapped_payload(platform, id, payload)? {
                store::reseal(&mut tx, id, &payload).await?;
                rewrapped += 1;
            }
        }
        tx.commit().await?;
    }
}

/// Jobs whose keys another key of the installation than the current has wrapped.
pub(crate) async fn count_under_others(platform: &Platform) -> Result<u64> {
    let mut tx = platform.db.system().await?;
    let keys = store::wrapped_keys(&mut tx).await?;
    tx.commit().await?;
    let under_others = keys.iter().filter(|key| !BASE64.decode(key).is_ok_and(|key| platform.master_key.wrapped(&key)));
    u64::try_from(under_others.count()).map_err(Error::internal)
}

fn rewrapped_payload(platform: &Platform, id: JobId, payload: serde_json::Value) -> Result<Option<serde_json::Value>> {
    let mut sealed: SealedJob = serde_json::from_value(payload).map_err(Error::internal)?;
    let wrapped = BASE64.decode(&sealed.key).map_err(Error::internal)?;
    if platform.master_key.wrapped(&wrapped) {
        return Ok(None);
    }
    let key = platform.master_key.unwrap_key(&place(id), &wrapped).map_err(Error::internal)?;
    sealed.key = BASE64.encode(platform.master_key.wrap(&place(id), &key));
    serde_json::to_value(sealed).map(Some).map_err(Error::internal)
}
