//! Functions of tenants: code that runs in processes of its own, which have nothing (`trunkline-sandbox`).
//!
//! A process runs one call at a time and belongs to one tenant for as long as it lives. There are at most so many; one is started when it is
//! needed, ended when it was idle for a while, when another tenant needs its place, and when its call was cut. One tenant has at most half of
//! the places, so that others always find one. What waits for a place is bounded too. Nothing of the engine runs in this process.

mod child;
mod fetch;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::Arc,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use trunkline_sandbox::{
    Confinement,
    wire::{Class, Job, Outcome},
};

use self::child::{Broken, Child};
pub use self::fetch::{Bound, Guard, Reach};
use crate::{egress::Egress, ids::TenantId};
pub use trunkline_sandbox::wire::Line;

/// Longest start of a process. The very first one compiles the engine.
pub const START_WITHIN: Duration = Duration::from_secs(30);
/// What a process gets to end its call by itself, after its time.
pub const GRACE: Duration = Duration::from_millis(500);
/// An idle process is ended after this.
pub const IDLE: Duration = Duration::from_mins(1);
/// Longest wait for a place.
const WAIT: Duration = Duration::from_secs(5);
/// Calls that wait for a place, of one tenant.
const MOST_WAITING: usize = 32;

/// Longest time that a call with that timeout takes in all: for a place, for a process, and for its run.
pub fn longest(timeout: Duration) -> Duration {
    WAIT + START_WITHIN + timeout + GRACE * 2
}

/// The program that runs here, even if another one lies at its place by now: both ends of a pipe have to speak alike.
pub fn this_program() -> PathBuf {
    if cfg!(target_os = "linux") { PathBuf::from("/proc/self/exe") } else { std::env::current_exe().unwrap_or_default() }
}

/// How functions are run here.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The program whose `sandbox` command runs functions: this one.
    pub program: PathBuf,
    /// A directory of this process's user alone, for the compiled engine.
    pub cache: PathBuf,
    /// Most processes at the same time.
    pub processes: usize,
}

/// How a function's call ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// What it gave.
    pub outcome: Gave,
    /// What it logged, oldest first.
    pub logs: Vec<Line>,
    /// Lines that did not fit.
    pub lost_lines: u32,
    /// Requests that it made.
    pub requests: u32,
    /// Time in which its code ran. Not known where its process ended.
    pub busy: Option<Duration>,
}

/// What a function gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gave {
    /// Text.
    Text(String),
    /// An object, as JSON.
    Object(String),
    /// It failed by itself.
    Failed {
        /// How: `tool_threw` and so on.
        class: &'static str,
        /// In words.
        message: String,
        /// Line of its code.
        line: Option<u32>,
    },
    /// There was no place for it; it never began.
    Busy,
    /// No process can be started here, for this reason; it never began.
    Away(String),
}

/// The processes.
pub struct Functions {
    settings: Settings,
    /// Processes outlive the request that starts them: their pipes belong to the runtime that lives as long as this one.
    runtime: Handle,
    places: Arc<Semaphore>,
    tenants: Mutex<HashMap<TenantId, Arc<Semaphore>>>,
    idle: Mutex<Vec<Idle>>,
    waiting: AtomicUsize,
    /// Was said what the processes are confined by?
    told: AtomicBool,
    closed: AtomicBool,
}

struct Idle {
    tenant: TenantId,
    child: Child,
    since: Instant,
}

/// A place among those that run.
struct Place {
    _of_tenant: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl std::fmt::Debug for Functions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Functions").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Functions {
    /// None runs yet.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn new(settings: Settings) -> Self {
        Self {
            runtime: Handle::current(),
            places: Arc::new(Semaphore::new(settings.processes.max(1))),
            settings,
            tenants: Mutex::default(),
            idle: Mutex::default(),
            waiting: AtomicUsize::new(0),
            told: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    /// Runs a function of that tenant. Whoever drops this ends the call, and its process.
    pub async fn run(&self, egress: &Egress, tenant: TenantId, job: Job, reach: &Reach) -> Ran {
        let Some(_place) = self.place(tenant).await else { return Ran::never(Gave::Busy) };
        let mut child = match self.child(tenant).await {
            Ok(child) => child,
            Err(error) => {
                tracing::error!(error = %error, "a process for functions cannot be started");
                return Ran::never(Gave::Away(error.to_string()));
            }
        };
        match child.run(egress, job, reach).await {
            Ok(done) => {
                self.keep(tenant, child);
                Ran {
                    outcome: done.outcome.into(),
                    logs: done.logs,
                    lost_lines: done.lost_lines,
                    requests: done.requests,
                    busy: Some(Duration::from_micros(done.busy_us)),
                }
            }
            Err(broken) => {
                let (class, message) = match broken {
                    Broken::Late => (Class::Timeout, "it did not end in time, and was stopped"),
                    Broken::Gone | Broken::Nonsense => (Class::Crashed, "the process that ran it ended"),
                };
                tracing::warn!(tenant.id = %tenant, reason = ?broken, "a process for functions ended in the middle of a call");
                Ran::never(Gave::Failed { class: class.as_str(), message: message.to_owned(), line: None })
            }
        }
    }

    /// What stands around a process here. Starts one to find out.
    pub async fn confinement(&self) -> Result<Confinement, std::io::Error> {
        Ok(self.start().await?.confinement)
    }

    /// Has the engine compiled, where that is still to be done: starts a process, which leaves what it compiled to all that come after it.
    pub async fn warm(&self) -> std::io::Result<()> {
        self.start().await.map(drop)
    }

    /// Ends processes that nobody has used for a while.
    pub fn sweep(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).retain(|one| one.since.elapsed() < IDLE);
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.retain(|_, places| Arc::strong_count(places) > 1);
    }

    /// Ends all processes; those that run a call end with it.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Ids of the processes that wait for calls, for tests and the curious.
    pub fn idle_processes(&self) -> Vec<u32> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(|one| one.child.id()).collect()
    }

    /// A place, first of the tenant's, then of all. `None`: too many wait already, or it took too long.
    async fn place(&self, tenant: TenantId) -> Option<Place> {
        let of_tenant = {
            let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            let most = (self.settings.processes / 2).max(1);
            Arc::clone(tenants.entry(tenant).or_insert_with(|| Arc::new(Semaphore::new(most))))
        };
        // Each that waits, or runs, holds one.
        let crowd = Arc::strong_count(&of_tenant);
        if crowd > MOST_WAITING || self.waiting.load(Ordering::Relaxed) > MOST_WAITING * self.settings.processes {
            return None;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let counted = Waiting(&self.waiting);
        let both = async {
            let of_tenant = of_tenant.acquire_owned().await.ok()?;
            let of_all = Arc::clone(&self.places).acquire_owned().await.ok()?;
            Some(Place { _of_tenant: of_tenant, _of_all: of_all })
        };
        let place = tokio::time::timeout(WAIT, both).await.ok().flatten();
        drop(counted);
        place
    }

    /// The tenant's process that is idle, or a new one, in the place of another tenant's if there is no other.
    async fn child(&self, tenant: TenantId) -> std::io::Result<Child> {
        let (mine, ended) = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let mine = idle.iter().rposition(|one| one.tenant == tenant).map(|at| idle.swap_remove(at));
            // Those that run hold places; what is idle may have the rest, and this call has one of them.
            let room = self.places.available_permits();
            let mut ended = Vec::new();
            while mine.is_none() && idle.len() > room {
                let oldest = idle.iter().enumerate().min_by_key(|(_, one)| one.since).map(|(at, _)| at);
                ended.extend(oldest.map(|at| idle.swap_remove(at)));
            }
            (mine, ended)
        };
        drop(ended);
        if let Some(mut one) = mine
            && one.child.is_there().await
        {
            return Ok(one.child);
        }
        self.start().await
    }

    async fn start(&self) -> std::io::Result<Child> {
        let child = {
            let _here = self.runtime.enter();
            Child::spawn(&self.settings)?
        };
        let child = child.prepare(&self.settings).await?;
        if !self.told.swap(true, Ordering::Relaxed) {
            let Confinement { landlock, seccomp, namespaces, limits } = child.confinement;
            let missing = child.confinement.missing();
            if missing.is_empty() {
                tracing::info!(landlock, seccomp, namespaces, limits, "functions run confined");
            } else {
                let missing = missing.join(", ");
                tracing::warn!(landlock, seccomp, namespaces, limits, missing, "functions run with fewer walls than they should");
            }
        }
        Ok(child)
    }

    fn keep(&self, tenant: TenantId, child: Child) {
        if !self.closed.load(Ordering::Acquire) {
            let one = Idle { tenant, child, since: Instant::now() };
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(one);
        }
    }
}

/// Counts one that waits.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Ran {
    fn never(outcome: Gave) -> Self {
        Self { outcome, logs: Vec::new(), lost_lines: 0, requests: 0, busy: None }
    }
}

impl From<Outcome> for Gave {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Text(text) => Self::Text(text),
            Outcome::Object(text) => Self::Object(text),
            Outcome::Failed(failure) => {
                Self::Failed { class: failure.class.as_str(), message: failure.message, line: failure.line }
            }
        }
    }
}
