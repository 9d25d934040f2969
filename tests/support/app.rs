//! An installation of the test's own: the real wiring on its own database, Redis prefix, ports and clock.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use sqlx::PgConnection;
use tokio::runtime::Runtime;
use trunkline::{
    config::{Config, Environment, Shutdown, Sources},
    wiring::{self, Installation, Ports},
};
use trunkline_platform::{
    Platform,
    accounts::{self, EmailAddress, TenantSlug},
    actor::{Member, Role},
    agents::{self, NewAgent, NewKey},
    catalog::{self, NewVersion, Tool, ToolName},
    clock::ManualClock,
    ids::{AgentId, KeyId, TenantId, UserId},
    mail::Captured,
    random,
    secret::Plaintext,
};

use super::{
    Agent, eventually, http, logs,
    private::Folder,
    process,
    services::{Database, Kind, shared},
};

/// The password of every member that a test makes.
pub(crate) const PASSWORD: &str = "correct horse battery";
/// Where a process keeps its entries.
pub(crate) const SPOOL_DIR: &str = "TRUNKLINE_AUDIT_SPOOL_DIR";
/// 32 bytes in base64, drawn once.
const KEY: &str = "3q2+7wABJkRiGpX0mY3LkQh7uVdWc0FEr9sTz5aOeHM=";

/// How an installation departs from the settings of all tests.
#[derive(Debug, Clone, Default)]
pub(crate) struct Builder {
    settings: BTreeMap<String, String>,
    defaults: bool,
    database: Option<Arc<Database>>,
    clock: Arc<ManualClock>,
}

impl Builder {
    /// Its clock is off by that much from the beginning.
    pub(crate) fn clock_off(self, by: chrono::TimeDelta) -> Self {
        self.clock.advance(by);
        self
    }

    /// Sets one setting, by the name of its environment variable without `TRUNKLINE_`.
    pub(crate) fn set(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.settings.insert(format!("TRUNKLINE_{name}"), format!("{value}"));
        self
    }

    /// On a database that the test has made.
    pub(crate) fn on(mut self, database: Database) -> Self {
        self.database = Some(Arc::new(database));
        self
    }

    /// Attempts on public pages are limited as by default. Elsewhere tests log in far more often than people.
    pub(crate) fn default_attempts(mut self) -> Self {
        self.defaults = true;
        self
    }

    /// As many calls as the machine can make, for tests that count something else.
    pub(crate) fn unlimited(mut self) -> Self {
        for bucket in ["READ", "AGENT", "TENANT", "LISTS"] {
            self = self.set(&format!("QUOTA_{bucket}_PER_MINUTE"), 6_000_000).set(&format!("QUOTA_{bucket}_BURST"), 6_000_000);
        }
        self
    }

    /// Starts it.
    pub(crate) async fn start(self) -> TestApp {
        let database = match self.database {
            Some(database) => database,
            None => Arc::new(shared().database(Kind::Migrated).await),
        };
        let mut settings = BTreeMap::new();
        for (name, value) in [
            ("HTTP_LISTEN", "127.0.0.1:0"),
            ("HTTP_WORKERS", "2"),
            ("OPS_LISTEN", "127.0.0.1:0"),
            ("DATABASE_URL", &database.app),
            ("DATABASE_MAX_CONNECTIONS", "8"),
            // Many installations start on this machine at once, unoptimised.
            ("DATABASE_ACQUIRE_TIMEOUT_MS", "15000"),
            ("REDIS_URL", &shared().redis),
            // An unoptimised server among many others on this machine is late for reasons of its own.
            ("REDIS_DECISION_MS", "250"),
            ("REDIS_PREFIX", &format!("test:{}:", random::base62(8))),
            ("SECRETS_KEY", KEY),
            ("EGRESS_ALLOW", "127.0.0.0/8,::1/128"),
            ("EGRESS_ALLOW_HTTP", "true"),
            ("SHUTDOWN_GRACE_S", "2"),
            ("FUNCTIONS_CACHE_DIR", &process::functions_cache()),
        ] {
            settings.insert(format!("TRUNKLINE_{name}"), value.to_owned());
        }
        if !self.defaults {
            for attempt in ["LOGIN_PER_IP", "LOGIN_PER_ACCOUNT", "SECOND_PER_ACCOUNT", "SIGNUP_PER_IP", "MAIL_PER_ACCOUNT"] {
                for part in ["PER_MINUTE", "BURST"] {
                    settings.insert(format!("TRUNKLINE_QUOTA_ATTEMPTS_{attempt}_{part}"), "100000".to_owned());
                }
            }
        }
        if !self.defaults {
            // All clients of a test have one address.
            settings.insert("TRUNKLINE_QUOTA_ATTEMPTS_REGISTRATIONS_PER_IP_PER_HOUR".to_owned(), "100000".to_owned());
            for part in ["PER_MINUTE", "BURST"] {
                settings.insert(format!("TRUNKLINE_QUOTA_ATTEMPTS_TOKEN_FAILURES_PER_IP_{part}"), "100000".to_owned());
            }
        }
        settings.extend(self.settings);
        TestApp::start_with(settings, database, self.clock).await
    }
}

/// A running installation. Dropping it stops it, removes its database, and fails the test if it logged an error that was not expected.
pub(crate) struct TestApp {
    /// The product.
    pub(crate) platform: Platform,
    /// Its time.
    pub(crate) clock: Arc<ManualClock>,
    /// `http://127.0.0.1:…` of the public listener.
    pub(crate) url: String,
    /// The same of the operations listener.
    pub(crate) ops_url: String,
    settings: BTreeMap<String, String>,
    database: Arc<Database>,
    running: Option<(Runtime, Installation, Shutdown)>,
    logs: logs::Watch,
    _spool: Folder,
}

impl TestApp {
    /// With the settings of all tests.
    pub(crate) async fn start() -> Self {
        Self::builder().start().await
    }

    /// With others.
    pub(crate) fn builder() -> Builder {
        Builder::default()
    }

    /// A second replica: same database, same Redis, same key, same clock, a memory of its own.
    pub(crate) async fn replica(&self) -> Self {
        self.with_settings(&[]).await
    }

    /// A second server on the same database with other settings.
    pub(crate) async fn with_settings(&self, changed: &[(&str, &str)]) -> Self {
        let mut settings = self.settings.clone();
        settings.remove(SPOOL_DIR);
        settings.extend(changed.iter().map(|(name, value)| (format!("TRUNKLINE_{name}"), (*value).to_owned())));
        Self::start_with(settings, Arc::clone(&self.database), Arc::clone(&self.clock)).await
    }

    async fn start_with(mut settings: BTreeMap<String, String>, database: Arc<Database>, clock: Arc<ManualClock>) -> Self {
        let logs = logs::watch();
        // Each process has a spool of its own.
        let spool = Folder::new("spool");
        settings.entry(SPOOL_DIR.to_owned()).or_insert_with(|| spool.0.display().to_string());
        let environment = settings.clone().into_iter().collect::<Environment>();
        let mut config = Config::load(&Sources { file: None, environment, options: Vec::new() }).expect("the settings load");
        // This program is the suite, which runs no functions.
        config.functions.program = process::path_of_binary();
        // A runtime of its own: the installation goes on while the test blocks, and ends as a process would.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let (shutdown, its_clock) = (config.shutdown, Arc::clone(&clock));
        let started = runtime.spawn(async move {
            let ports = Ports::open(&config).expect("free ports");
            let (public, ops) = (ports.public(), ports.ops());
            let product = wiring::product(&config, public, its_clock).expect("the product is made");
            (Installation::start(&config, product, ports).expect("the installation starts"), public, ops)
        });
        let (installation, public, ops): (_, SocketAddr, SocketAddr) = started.await.expect("the installation starts");
        Self {
            platform: installation.platform.clone(),
            clock,
            url: format!("http://{public}"),
            ops_url: format!("http://{ops}"),
            settings,
            database,
            running: Some((runtime, installation, shutdown)),
            logs,
            _spool: spool,
        }
    }

    /// What a counter of the metrics stands at; its name without `_total`.
    pub(crate) async fn counted(&self, name: &str) -> u64 {
        let text = http().get(format!("{}/metrics", self.ops_url)).send().await.expect("an answer").text().await.expect("text");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("_total "));
        value.unwrap_or_else(|| panic!("no {name}: {text}")).parse().expect("a number")
    }

    /// From now on, errors with that text in the log are what the test wants.
    pub(crate) fn expect_error(&mut self, text: &str) {
        self.logs.expect(text);
    }

    /// Runs a verb where the installation runs, so that what it connects lives as long.
    pub(crate) async fn act<T, F>(&self, verb: impl FnOnce(Platform) -> F) -> T
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let (runtime, ..) = self.running.as_ref().expect("it runs");
        runtime.spawn(verb(self.platform.clone())).await.expect("the verb does not panic")
    }

    /// Where it runs, for what goes on while the test does something else.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.running.as_ref().expect("it runs").0
    }

    /// Its database.
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// A connection that sees everything.
    pub(crate) async fn sql(&self) -> PgConnection {
        self.database.superuser().await
    }

    /// Settings it was started with, as environment variables.
    pub(crate) fn settings(&self) -> &BTreeMap<String, String> {
        &self.settings
    }

    /// A tenant with that slug, owned by `owner@{slug}.example`.
    pub(crate) async fn tenant(&self, slug: &str) -> Tenant<'_> {
        let (slug, email) = (slug.to_owned(), format!("owner@{slug}.example"));
        let name = slug.clone();
        let (user, id) = self
            .act(|platform| async move {
                let password = Plaintext::new(PASSWORD.to_owned());
                let slug: TenantSlug = name.parse().expect("a slug");
                accounts::create_verified_user(&platform, &email, &password, &name, &slug).await.expect("a user and a tenant")
            })
            .await;
        self.tenant_of(Member { user, tenant: id, role: Role::Owner }, slug)
    }

    /// One that is there already.
    pub(crate) fn tenant_of(&self, owner: Member, slug: String) -> Tenant<'_> {
        Tenant { app: self, id: owner.tenant, owner, slug }
    }

    /// Letters to that address, oldest first; waits for the first.
    pub(crate) async fn letters(&self, email: &str) -> Vec<Captured> {
        eventually("a letter", super::SOON, async || {
            let outbox = self.platform.mailer.outbox().expect("captured");
            let mut letters: Vec<_> = outbox.list().into_iter().filter(|letter| letter.to == email).collect();
            letters.reverse();
            (!letters.is_empty()).then_some(letters)
        })
        .await
    }

    fn stop(&mut self) {
        let Some((runtime, installation, shutdown)) = self.running.take() else { return };
        // A runtime cannot be waited for from inside another one.
        let stopped = std::thread::spawn(move || {
            let stopping = async { tokio::time::timeout(super::SOON * 2, installation.stop(shutdown)).await };
            runtime.block_on(stopping).expect("the installation stops in time");
            runtime.shutdown_timeout(std::time::Duration::from_secs(5));
        });
        let stopped = stopped.join();
        assert!(stopped.is_ok() || std::thread::panicking(), "the installation panicked while it stopped");
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.stop();
        let unexpected = self.logs.unexpected();
        assert!(unexpected.is_empty() || std::thread::panicking(), "logged as errors, unexpectedly: {unexpected:#?}");
    }
}

/// A tenant of a test.
#[derive(Clone)]
pub(crate) struct Tenant<'a> {
    pub(super) app: &'a TestApp,
    /// Its owner, as the actor of verbs.
    pub(crate) owner: Member,
    /// Its id.
    pub(crate) id: TenantId,
    /// Its name in URLs.
    pub(crate) slug: String,
}

impl Tenant<'_> {
    /// Adds a member; every member has the same password. Without the letters: how people join is a test of its own.
    pub(crate) async fn member(&self, email: &str, role: Role) -> Member {
        let user = UserId::new(trunkline_platform::clock::Clock::now(&*self.app.clock));
        let address = EmailAddress::parse(email).expect("an address");
        let mut sql = self.app.sql().await;
        sqlx::query(
            "INSERT INTO app.users (id, email, password_hash, email_verified_at)
             SELECT $1, $2, password_hash, email_verified_at FROM app.users WHERE id = $3",
        )
        .bind(user)
        .bind(address.as_str())
        .bind(self.owner.user)
        .execute(&mut sql)
        .await
        .expect("a user");
        sqlx::query("INSERT INTO app.memberships (tenant_id, user_id, role) VALUES ($1, $2, $3)")
            .bind(self.id)
            .bind(user)
            .bind(role.as_str())
            .execute(&mut sql)
            .await
            .expect("a membership");
        Member { user, tenant: self.id, role }
    }

    /// Publishes a tool.
    pub(crate) async fn tool(&self, name: &str, new: NewVersion) -> Tool {
        let (owner, name) = (self.owner.clone(), ToolName::parse(name).expect("a name"));
        self.app
            .act(|platform| async move { catalog::create(&platform, &owner, name, new).await.expect("the tool is published") })
            .await
    }

    /// An agent with those scopes, and a key with all of them.
    pub(crate) async fn agent(&self, name: &str, scopes: &str) -> Agent {
        let (owner, name, scopes) = (self.owner.clone(), name.to_owned(), scopes.to_owned());
        let (id, key_id, key) = self
            .app
            .act(|platform| async move {
                let agent = agents::create(&platform, &owner, NewAgent::parse(&name, "", &scopes).expect("an agent"));
                let agent = agent.await.expect("the agent is created");
                let key = NewKey::parse("test", &scopes, 365).expect("a key");
                let created = agents::create_key(&platform, &owner, agent.id, key).await.expect("the key is created");
                (agent.id, created.key.id, created.text.reveal().to_owned())
            })
            .await;
        self.with_key(id, key_id, &key)
    }

    /// An agent by one of its keys.
    pub(crate) fn with_key(&self, id: AgentId, key_id: KeyId, key: &str) -> Agent {
        Agent::new(&self.mcp_url(), id, key_id, key)
    }

    /// Its endpoint.
    pub(crate) fn mcp_url(&self) -> String {
        format!("{}/t/{}/mcp", self.app.url, self.slug)
    }
}
