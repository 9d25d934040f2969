//! `trunkline dev`: everything on this computer, for the first look and for daily work. Nothing of it is a substitute: real Postgres,
//! real Redis, the same server as `serve`; only mail is captured, and loopback may be called by tools.

mod announce;
mod conformance;
mod seed;
mod state;
mod upstream;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::Args;
use trunkline_platform::clock::SystemClock;
use url::Url;

use self::{announce::Announcement, state::StateDir};
use super::migrate;
use crate::{
    config::{Config, Environment, Sources},
    lifecycle::{self, Signals},
    services::{Keep, Services},
    telemetry,
    wiring::{self, Installation, Ports},
};

#[derive(Debug, Args)]
pub(super) struct DevArguments {
    /// Port of the dashboard and the MCP endpoints; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Forget everything of earlier starts
    #[arg(long)]
    fresh: bool,
    /// Where state is kept
    #[arg(long, value_name = "DIR", default_value = state::DEFAULT)]
    state_dir: PathBuf,
    /// Add a tenant with the fixtures of the official MCP conformance suite
    #[arg(long)]
    conformance: bool,
    /// Add a tenant whose source is this MCP server, for the same suite
    #[arg(long, value_name = "URL", requires = "conformance")]
    conformance_upstream: Option<Url>,
    /// Serve from so many replicas, each on a port of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    replicas: u8,
}

pub(super) async fn run(arguments: DevArguments) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let dir = StateDir::take(&arguments.state_dir)?;
    if arguments.fresh {
        dir.forget()?;
    }
    // A port that is taken is the most likely mistake; it is found before anything else happens.
    let drafted = dir.draft(arguments.port)?;
    let ports = Ports::open(&drafted)?;
    let services_dir = dir.path().to_owned();
    let starting = tokio::task::spawn_blocking(move || Services::start(&services_dir, Keep::State));
    let mut services = starting.await??;
    let outcome = tokio::select! {
        outcome = serve(&arguments, &dir, ports, &services) => outcome,
        signal = signals.next() => Err(anyhow::anyhow!("stopped by {signal} while starting")),
    };
    let outcome = match outcome {
        Ok(Served { installation, others, config, _upstream }) => {
            let broken = async { anyhow::anyhow!(services.crashed().await) };
            let ended = lifecycle::run(installation, signals, config.shutdown, broken).await;
            for other in others {
                other.stop(config.shutdown).await;
            }
            ended
        }
        Err(error) => Err(error),
    };
    dir.withdraw();
    tokio::task::spawn_blocking(|| services.stop()).await?;
    outcome.map(|()| ExitCode::SUCCESS)
}

/// What runs.
struct Served {
    installation: Installation,
    /// Further replicas.
    others: Vec<Installation>,
    config: Config,
    _upstream: upstream::Upstream,
}

/// From running services to a ready platform that has been announced.
async fn serve(arguments: &DevArguments, dir: &StateDir, ports: Ports, services: &Services) -> anyhow::Result<Served> {
    let file = dir.write_settings(&ports, services)?;
    let environment = Environment::of_process();
    let log = environment.get("TRUNKLINE_LOG").map(|level| ("TRUNKLINE_LOG", "log.level", level.to_owned()));
    let config =
        Config::load(&Sources { file: Some(file), environment: Environment::default(), options: log.into_iter().collect() })?;
    telemetry::init(&config)?;
    migrate::apply(&config).await?;
    let product = wiring::product(&config, ports.public(), Arc::new(SystemClock))?;
    let upstream = upstream::start(dir)?;
    let seeded = seed::plant(&product.platform, dir, upstream.addr).await?;
    let ops = ports.ops();
    let public_url = product.platform.settings.public_url.clone();
    let installation = Installation::start(&config, product, ports)?;
    let mut bases = vec![base(&public_url)];
    let mut others = Vec::new();
    for number in 2..=arguments.replicas {
        let other = replica(&config, number)?;
        bases.push(base(&other.platform.settings.public_url));
        others.push(other);
    }
    let mut announcement = Announcement::new(&public_url, ops, services, seeded);
    if arguments.conformance {
        let upstream = arguments.conformance_upstream.as_ref();
        announcement.conformance = Some(conformance::plant(&installation.platform, dir, &bases, upstream).await?);
    }
    dir.announce(&announcement)?;
    announcement.print(dir);
    Ok(Served { installation, others, config, _upstream: upstream })
}

/// One more replica of the same installation, on free ports.
fn replica(config: &Config, number: u8) -> anyhow::Result<Installation> {
    let mut config = config.clone();
    config.http.listen.set_port(0);
    config.ops_listen.set_port(0);
    config.audit.dir.set_file_name(format!("spool-{number}"));
    let ports = Ports::open(&config)?;
    let product = wiring::product(&config, ports.public(), Arc::new(SystemClock))?;
    Installation::start(&config, product, ports)
}

fn base(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// The settings of the `trunkline dev` that runs in this folder.
pub(super) fn running_settings() -> Option<PathBuf> {
    let settings = Path::new(state::DEFAULT).join(state::SETTINGS);
    is_running_here().then_some(settings)
}

/// Does one run in this folder?
pub(super) fn is_running_here() -> bool {
    state::is_taken(Path::new(state::DEFAULT))
}

/// What the `trunkline dev` that runs in this folder has announced.
pub(super) fn announced() -> Option<serde_json::Value> {
    let text = std::fs::read_to_string(Path::new(state::DEFAULT).join(state::ANNOUNCEMENT)).ok()?;
    serde_json::from_str(&text).ok().filter(|_| is_running_here())
}
