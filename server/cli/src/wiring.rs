//! From configuration to a running installation. The only constructor of real clients.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use trunkline_platform::{
    Parts, Platform, Settings, clock::Clock, db::Db, egress::Egress, mail, record, redis::Redis, telemetry::Telemetry,
};
use trunkline_web::{
    WebSettings, WebState,
    ops::Vitals,
    server::{self, Listen},
};

use crate::{
    background,
    config::{Config, Shutdown},
    lifecycle::Tasks,
};

/// Longest wait for the pool to close.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// The operations listener has short answers only.
const OPS_GRACE_S: u64 = 2;

/// Both ports, open but not answered yet: what the addresses really are is known before anything is built on them.
#[derive(Debug)]
pub struct Ports {
    public: Listen,
    ops: Listen,
}

impl Ports {
    /// Opens them.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let mut public = open(config.http.listen, "http.listen")?;
        public.tls.clone_from(&config.http.tls);
        public.client_certificates = config.http.client_certificates;
        public.workers = config.http.workers;
        public.grace_s = config.shutdown.grace_s;
        let mut ops = open(config.ops_listen, "ops.listen")?;
        ops.workers = 1;
        ops.grace_s = OPS_GRACE_S;
        Ok(Self { public, ops })
    }

    /// Where the public listener really is.
    pub fn public(&self) -> SocketAddr {
        self.public.addr()
    }

    /// Where the operations listener really is.
    pub fn ops(&self) -> SocketAddr {
        self.ops.addr()
    }
}

fn open(addr: SocketAddr, key: &str) -> anyhow::Result<Listen> {
    Listen::bind(addr).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            anyhow::anyhow!(
                "{key}: port {} of {} is taken by another program; stop it, or choose another port (0 takes a free one)",
                addr.port(),
                addr.ip()
            )
        }
        _ => anyhow::anyhow!("{key}: {addr} cannot be listened on: {error}"),
    })
}

/// The product, and the end of its record that `Installation::start` drives.
pub struct Product {
    /// The product.
    pub platform: Platform,
    /// Takes entries out of the spool and into Postgres.
    pub writer: record::Writer,
}

/// The product with its real clients. Nothing is connected before it is used.
pub fn product(config: &Config, listening: SocketAddr, clock: Arc<dyn Clock>) -> anyhow::Result<Product> {
    let public_url = config.public_url(listening)?;
    let mail = mail::Settings { from: config.mail.from.clone(), smtp_url: config.mail.smtp_url.clone() };
    let mailer = mail::Mailer::new(&mail, &public_url, trunkline_web::letters::render).context("the mailer cannot be made")?;
    let (spool, writer) = record::open(config.audit.clone());
    let platform = Platform::new(Parts {
        db: Db::connect(&config.database).context("database.url cannot be used")?,
        redis: Redis::new(config.redis.clone()).context("redis.url cannot be used")?,
        clock,
        master_key: config.master_key.clone(),
        settings: Settings {
            public_url,
            region: config.region.clone(),
            accounts: config.accounts,
            sso: config.sso.clone(),
            mail,
            quota: config.quota,
            checkpoints: config.checkpoints.clone(),
            supply: config.supply.clone(),
        },
        mailer,
        egress: Egress::new(&config.egress).context("the outbound client cannot be made")?,
        spool,
        functions: config.functions.clone(),
        telemetry: Arc::new(Telemetry::new(config.telemetry.clone()).context("the client for the collector cannot be made")?),
    });
    Ok(Product { platform, writer })
}

/// A running installation.
pub struct Installation {
    /// The product.
    pub platform: Platform,
    /// Its life.
    pub vitals: Vitals,
    public: actix_web::dev::ServerHandle,
    ops: actix_web::dev::ServerHandle,
    tasks: Tasks,
}

impl Installation {
    /// Answers on both ports and begins the background work.
    pub fn start(config: &Config, product: Product, ports: Ports) -> anyhow::Result<Self> {
        let Product { platform, mut writer } = product;
        writer.start().map_err(|error| match std::error::Error::source(&error) {
            Some(cause) => anyhow::anyhow!("audit.spool_dir: {cause}"),
            None => error.into(),
        })?;
        let vitals = Vitals::begin();
        let settings = WebSettings {
            public_url: platform.settings.public_url.clone(),
            trusted_proxies: config.http.trusted_proxies.clone(),
            behind_proxy: config.http.behind_proxy,
            client_certificates: config.http.client_certificates,
            certificate_header: config.http.certificate_header.clone(),
        };
        let state = WebState::new(platform.clone(), settings);
        let public =
            server::start(state.clone(), vitals.clone(), ports.public).context("the public listener cannot be started")?;
        let ops = server::start_ops(state, vitals.clone(), ports.ops).context("the operations listener cannot be started")?;
        let mut tasks = Tasks::default();
        tasks.spawn("public listener", |_| async { Ok(public.server.await?) });
        tasks.spawn("operations listener", |_| async { Ok(ops.server.await?) });
        background::start(&mut tasks, &platform, writer);
        tracing::info!(public.addr = %public.addr, ops.addr = %ops.addr, version = env!("CARGO_PKG_VERSION"), "listening");
        Ok(Self { platform, vitals, public: public.handle, ops: ops.handle, tasks })
    }

    /// Waits until something that must run has ended.
    pub async fn crashed(&mut self) -> anyhow::Error {
        self.tasks.crashed().await
    }

    /// Stops in order; see `lifecycle`.
    pub async fn stop(self, shutdown: Shutdown) {
        self.vitals.drain();
        tokio::time::sleep(Duration::from_secs(shutdown.delay_s)).await;
        // Open streams end now; calls that run have their grace.
        self.platform.closing.cancel();
        self.public.stop(true).await;
        self.ops.stop(true).await;
        // Parked calls and tasks have the same grace. What is left then is cut before the record closes, so that it is in there.
        let left = self.platform.conversations.finish(Duration::from_secs(shutdown.grace_s)).await;
        if left > 0 {
            tracing::warn!(left, "conversations were cut when stopping");
        }
        self.tasks.stop().await;
        self.platform.sandboxes.close();
        // Connections to a server that hangs are not worth waiting for.
        if tokio::time::timeout(CLOSE_WITHIN, self.platform.db.close()).await.is_err() {
            tracing::warn!("the database did not say good-bye");
        }
    }
}
