//! The Postgres and Redis that all tests share: those of `scripts/test.sh`, or, when `cargo test` runs by itself, a pair of our own.
//!
//! Migrations run once, into a template; each installation gets a copy of it.

use std::{
    fs::{File, TryLockError},
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use trunkline::services::{Keep, Services};
use trunkline_platform::{db, random, secret::Plaintext};
use url::Url;

/// What all tests share.
pub(crate) struct Shared {
    admin: Url,
    app: Url,
    /// Redis.
    pub(crate) redis: String,
    template: String,
    made: AtomicU32,
    _own: Option<(Services, File)>,
}

/// Started, or found, when first needed.
pub(crate) fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    // On a thread of its own: whoever asks first may be inside a runtime.
    SHARED.get_or_init(|| std::thread::spawn(start).join().expect("the services start"))
}

fn start() -> Shared {
    let variable = |name| std::env::var(name).ok();
    let told =
        (variable("TRUNKLINE_TEST_POSTGRES_URL"), variable("TRUNKLINE_TEST_APP_URL"), variable("TRUNKLINE_TEST_REDIS_URL"));
    let (admin, app, redis, own) = if let (Some(admin), Some(app), Some(redis)) = told {
        (admin, app, redis, None)
    } else {
        let (services, lock) = start_own();
        let url = |url: Plaintext| url.reveal().to_owned();
        let (admin, app) = (url(services.postgres.admin_url()), url(services.postgres.app_url()));
        (admin, app, url(services.redis.url()), Some((services, lock)))
    };
    let shared = Shared {
        admin: admin.parse().expect("a URL"),
        app: app.parse().expect("a URL"),
        redis,
        template: format!("trunkline_template_{}", random::base62(8).to_lowercase()),
        made: AtomicU32::new(0),
        _own: own,
    };
    block_on(async {
        let mut connection = shared.connect().await;
        run(&mut connection, format!("CREATE DATABASE {}", shared.template)).await;
        let (admin, app) = (named(&shared.admin, &shared.template), named(&shared.app, &shared.template));
        db::migrate(&Plaintext::new(admin), &Plaintext::new(app)).await.expect("the migrations run");
    });
    shared
}

/// In a folder that no other run is using. What an earlier run left behind there is ended and used again.
fn start_own() -> (Services, File) {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for number in 0..32 {
        let dir = base.join(format!("services-{number}"));
        std::fs::create_dir_all(&dir).expect("a folder for the services");
        let lock = File::create(dir.join("lock")).expect("a lock file");
        match lock.try_lock() {
            Ok(()) => {
                trunkline::services::forget(&dir).expect("the folder is emptied");
                return (Services::start(&dir, Keep::Nothing).expect("private services start"), lock);
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => panic!("{}: {error}", dir.display()),
        }
    }
    panic!("32 runs of the suite at once")
}

impl Shared {
    /// A copy of the migrated database, or an empty one.
    pub(crate) async fn database(&self, kind: Kind) -> Database {
        let name = format!("{}_{}", self.template.replace("template", "test"), self.made.fetch_add(1, Ordering::Relaxed));
        let mut connection = self.connect().await;
        let template = match kind {
            Kind::Migrated => format!(" TEMPLATE {}", self.template),
            Kind::Empty => String::new(),
        };
        run(&mut connection, format!("CREATE DATABASE {name}{template}")).await;
        Database { admin: named(&self.admin, &name), app: named(&self.app, &name), name }
    }

    async fn connect(&self) -> PgConnection {
        PgConnection::connect(self.admin.as_str()).await.expect("Postgres answers")
    }
}

/// What is in a new database.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Everything the migrations make.
    Migrated,
    /// Nothing.
    Empty,
}

/// A database, removed when dropped.
#[derive(Debug)]
pub(crate) struct Database {
    /// As the superuser.
    pub(crate) admin: String,
    /// As the application role.
    pub(crate) app: String,
    /// To be removed; empty if it belongs to a cluster of the test's own.
    name: String,
}

impl Database {
    /// A database of a cluster that the test has started, already migrated.
    pub(crate) fn foreign(admin: &Plaintext, app: &Plaintext) -> Self {
        Self { admin: admin.reveal().to_owned(), app: app.reveal().to_owned(), name: String::new() }
    }

    /// A connection that may do everything and sees everything.
    pub(crate) async fn superuser(&self) -> PgConnection {
        PgConnection::connect(&self.admin).await.expect("Postgres answers")
    }

    /// A connection as the server has it.
    pub(crate) async fn application(&self) -> PgConnection {
        PgConnection::connect(&self.app).await.expect("Postgres answers")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name);
        if name.is_empty() {
            return;
        }
        let dropped = std::thread::spawn(move || {
            block_on(async {
                let mut connection = shared().connect().await;
                run(&mut connection, format!("DROP DATABASE {name} WITH (FORCE)")).await;
            });
        });
        assert!(dropped.join().is_ok() || std::thread::panicking(), "a test database could not be removed");
    }
}

/// Runs one statement that a test put together.
pub(crate) async fn run(connection: &mut PgConnection, statement: String) {
    connection.execute(AssertSqlSafe(statement)).await.expect("the statement runs");
}

fn named(url: &Url, database: &str) -> String {
    let mut url = url.clone();
    url.set_path(database);
    url.into()
}

/// Where a database is.
pub(crate) fn address_of(url: &str) -> String {
    let url = Url::parse(url).expect("a URL");
    format!("{}:{}", url.host_str().expect("a host"), url.port().unwrap_or(5432))
}

/// The same database by another way.
pub(crate) fn by_way_of(port: u16, url: &str) -> String {
    let mut url = Url::parse(url).expect("a URL");
    url.set_host(Some("127.0.0.1")).expect("a host");
    url.set_port(Some(port)).expect("a port");
    url.into()
}

/// Drives a future on a thread that has no runtime.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}
