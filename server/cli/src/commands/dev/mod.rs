//! `trunkline dev`: everything on this computer, for the first look and for daily work. Nothing of it is a substitute: real Postgres,
//! real Redis, the same server as `serve`; only mail is captured, and loopback may be called by tools.

mod announce;
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
        outcome = serve(&dir, ports, &services) => outcome,
        signal = signals.next() => Err(anyhow::anyhow!("stopped by {signal} while starting")),
    };
    let outcome = match outcome {
        Ok((installation, config, _upstream)) => {
            let broken = async { anyhow::anyhow!(services.crashed().await) };
            lifecycle::run(installation, signals, config.shutdown, broken).await
        }
        Err(error) => Err(error),
    };
    dir.withdraw();
    tokio::task::spawn_blocking(|| services.stop()).await?;
    outcome.map(|()| ExitCode::SUCCESS)
}

/// From running services to a ready platform that has been announced.
async fn serve(dir: &StateDir, ports: Ports, services: &Services) -> anyhow::Result<(Installation, Config, upstream::Upstream)> {
    let file = dir.write_settings(&ports, services)?;
    let environment = Environment::of_process();
    let log = environment.get("TRUNKLINE_LOG").map(|level| ("TRUNKLINE_LOG", "log.level", level.to_owned()));
    let config =
        Config::load(&Sources { file: Some(file), environment: Environment::default(), options: log.into_iter().collect() })?;
    telemetry::init(&config.log)?;
    migrate::apply(&config).await?;
    let product = wiring::product(&config, ports.public(), Arc::new(SystemClock))?;
    let upstream = upstream::start(dir)?;
    let seeded = seed::plant(&product.platform, dir, upstream.addr).await?;
    let ops = ports.ops();
    let public_url = product.platform.settings.public_url.clone();
    let installation = Installation::start(&config, product, ports)?;
    let announcement = Announcement::new(&public_url, ops, services, seeded);
    dir.announce(&announcement)?;
    announcement.print(dir);
    Ok((installation, config, upstream))
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
