//! The handle that every verb takes first.

use std::{
    ops::Deref,
    sync::{Arc, atomic::AtomicU32},
};

use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    accounts,
    bus::Bus,
    catalog::{self, api::supply, snapshot::Snapshots},
    chain,
    clock::Clock,
    connections, context,
    conversations::Conversations,
    db::Db,
    dialogue::ItemKind,
    egress::Egress,
    epoch::Generations,
    execution,
    functions::{self, Functions},
    gateway::{Hearing, Parked, Streams},
    handshake,
    ids::ReplicaId,
    mail,
    metrics::Metrics,
    oauth, publishing,
    quota::{self, LocalBuckets, replicas::Replicas},
    record::{KeysSeen, Spool},
    redis::Redis,
    secret::{MasterKey, Refusals},
    session::{InFlight, Sessions},
    telemetry::Telemetry,
    upstream::Upstreams,
    usage,
};

/// Settings of every module. Each owns its part; the binary composes them from defaults, file and environment.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where people and agents reach this installation, such as `https://trunkline.example`. Without a path.
    pub public_url: Url,
    /// Where this replica is, for the record.
    pub region: Option<String>,
    /// People.
    pub accounts: accounts::Settings,
    /// The identity provider of the whole installation, if it has one.
    pub sso: Option<accounts::SsoSettings>,
    /// Mail.
    pub mail: mail::Settings,
    /// Limits.
    pub quota: quota::Settings,
    /// Where signed heads of the record go.
    pub checkpoints: chain::Settings,
    /// How descriptions of APIs are verified.
    pub supply: supply::Settings,
}

/// Everything a verb may need; cheap to clone.
#[derive(Clone)]
pub struct Platform(Arc<Inner>);

/// What is built outside: by the binary's wiring or by a test.
pub struct Parts {
    /// Postgres.
    pub db: Db,
    /// Redis.
    pub redis: Redis,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The installation's key.
    pub master_key: MasterKey,
    /// Settings of every module.
    pub settings: Settings,
    /// Where letters go.
    pub mailer: mail::Mailer,
    /// The way out.
    pub egress: Egress,
    /// Where entries go.
    pub spool: Arc<dyn Spool>,
    /// How functions are run.
    pub functions: functions::Settings,
    /// Who is told of calls.
    pub telemetry: Arc<Telemetry>,
}

/// The parts, and what this process keeps in memory beside them.
pub struct Inner {
    parts: Parts,
    /// Processes that run functions.
    pub sandboxes: Functions,
    /// Hashing of passwords, bounded for the whole process.
    pub(crate) passwords: accounts::Passwords,
    /// Tenants in memory.
    pub snapshots: Snapshots,
    /// Changes heard of.
    pub generations: Generations,
    /// Limits while Redis is away.
    pub local_buckets: LocalBuckets,
    /// What is known here of the day's counters.
    pub counters: quota::Counters,
    /// Budgets whose owners were told.
    pub(crate) noticed: quota::Noticed,
    /// Upstreams that are left alone for a while.
    pub breakers: Arc<quota::Breakers>,
    /// What is held here of the installation's bucket.
    pub installation: quota::Installation,
    /// What is said to Redis after calls.
    pub afterwards: quota::Afterwards,
    /// Who shares them.
    pub replicas: Replicas,
    /// Messages between replicas.
    pub bus: Bus,
    /// Sessions that were used here lately.
    pub sessions: Sessions,
    /// Requests of sessions that run here.
    pub(crate) in_flight: InFlight,
    /// Calls that wait here for a stateless caller.
    pub(crate) parked: Parked,
    /// Event streams that are open here.
    pub(crate) streams: Streams,
    /// Sources that are heard here.
    pub(crate) hearing: Hearing,
    /// Conversations that outlive their request: parked calls, tasks, questions that wait. Waited for when stopping.
    pub conversations: Conversations,
    /// Cancelled when the process is about to stop: open streams end.
    pub closing: CancellationToken,
    /// Keys that sign access tokens.
    pub(crate) signing_keys: oauth::SigningKeys,
    /// Access tokens that were verified here.
    pub(crate) verified_tokens: oauth::VerifiedTokens,
    /// Documents of clients that are being fetched here.
    pub(crate) document_fetches: oauth::DocumentFetches,
    /// Key sets and metadata of others that were fetched here.
    pub(crate) published_documents: oauth::PublishedDocuments,
    /// Steps of handshakes that may be kept at the same time.
    pub(crate) handshakes: Arc<Semaphore>,
    /// Weeks of calls that may be replayed at the same time.
    pub(crate) what_ifs: Semaphore,
    /// Pages that follow the log.
    pub(crate) lookers: usage::Lookers,
    /// Keys whose use was noted today.
    pub keys_seen: KeysSeen,
    /// Tokens of people for sources that ask for their accounts.
    pub(crate) connections: connections::Held,
    /// Calls that are looked at after their answer.
    pub(crate) echoes: publishing::Echoes,
    /// Tokens that were fetched for tenants themselves.
    pub(crate) client_tokens: connections::ClientTokens,
    /// How often secrets that are being exchanged were refused here.
    pub(crate) refusals: Arc<Refusals>,
    /// Servers that are called for tenants.
    pub upstreams: Upstreams,
    /// What functions logged, on its way.
    pub(crate) logs: execution::logs::Logs,
    /// Numbers for Prometheus.
    pub metrics: Arc<Metrics>,
    /// Counts what models read.
    pub(crate) contexts: Arc<context::Counter>,
    /// Calls that run at the moment.
    pub(crate) running: Arc<AtomicU32>,
    /// What the source of the conformance suite has.
    pub(crate) conformance: fn(ItemKind) -> Vec<Box<RawValue>>,
    /// Tries what a source would let in by itself.
    pub(crate) trial: catalog::source::Trial,
}

impl Platform {
    /// Puts the parts together. On the runtime that lives as long as the process: what outlives its request runs there.
    pub fn new(parts: Parts) -> Self {
        let id = ReplicaId::new(parts.clock.now());
        let metrics = Arc::<Metrics>::default();
        Self(Arc::new(Inner {
            passwords: accounts::Passwords::new(&parts.settings.accounts),
            sandboxes: Functions::new(parts.functions.clone()),
            refusals: Arc::new(Refusals::new(Arc::clone(&parts.clock))),
            parts,
            snapshots: Snapshots::default(),
            generations: Generations::default(),
            local_buckets: LocalBuckets::default(),
            counters: quota::Counters::default(),
            noticed: quota::Noticed::default(),
            afterwards: quota::Afterwards::default(),
            breakers: Arc::default(),
            installation: quota::Installation::default(),
            replicas: Replicas::new(id),
            bus: Bus::new(id),
            sessions: Sessions::default(),
            in_flight: InFlight::default(),
            parked: Parked::default(),
            streams: Streams::default(),
            hearing: Hearing::default(),
            conversations: Conversations::here(),
            closing: CancellationToken::new(),
            signing_keys: oauth::SigningKeys::default(),
            verified_tokens: oauth::VerifiedTokens::default(),
            document_fetches: oauth::DocumentFetches::default(),
            published_documents: oauth::PublishedDocuments::default(),
            handshakes: Arc::new(Semaphore::new(handshake::MOST_AT_ONCE)),
            what_ifs: Semaphore::new(quota::what_if::MOST_AT_ONCE),
            lookers: usage::Lookers::default(),
            keys_seen: KeysSeen::default(),
            connections: connections::Held::default(),
            echoes: publishing::Echoes::default(),
            client_tokens: connections::ClientTokens::default(),
            upstreams: Upstreams::default(),
            logs: execution::logs::Logs::new(Arc::clone(&metrics)),
            contexts: Arc::new(context::Counter::new(Arc::clone(&metrics))),
            metrics,
            running: Arc::default(),
            conformance: execution::conformance::definitions,
            trial: publishing::trial,
        }))
    }
}

impl Deref for Platform {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Deref for Inner {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}
