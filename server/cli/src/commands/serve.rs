//! `trunkline serve`.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::Args;
use trunkline_platform::{Platform, clock::SystemClock, db as platform_db};

use super::sources;
use crate::{
    config::Config,
    lifecycle::{self, Signals},
    telemetry,
    wiring::{self, Installation, Ports},
};

#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    /// Address and port; another than loopback needs --behind-proxy or a certificate
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// A proxy in front terminates TLS and is the only one who reaches this port
    #[arg(long)]
    behind_proxy: bool,
    /// Certificate chain (PEM)
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// Private key (PEM)
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
}

pub(super) async fn run(config: Option<PathBuf>, arguments: ServeArguments) -> anyhow::Result<ExitCode> {
    let mut sources = sources(config);
    let proxy = arguments.behind_proxy.then(|| "true".to_owned());
    for (option, key, value) in [
        ("--listen", "http.listen", arguments.listen),
        ("--behind-proxy", "http.behind_proxy", proxy),
        ("--tls-cert", "http.tls_cert", arguments.tls_cert),
        ("--tls-key", "http.tls_key", arguments.tls_key),
    ] {
        sources.options.extend(value.map(|value| (option, key, value)));
    }
    let config = Config::load(&sources)?;
    config.check_for_serving()?;
    telemetry::init(&config)?;
    let signals = Signals::listen()?;
    let ports = Ports::open(&config)?;
    let product = wiring::product(&config, ports.public(), Arc::new(SystemClock))?;
    refuse_unbound_role(&product.platform).await?;
    let installation = Installation::start(&config, product, ports)?;
    lifecycle::run(installation, signals, config.shutdown, std::future::pending()).await?;
    Ok(ExitCode::SUCCESS)
}

/// Row-level security does not bind such a role: rather no server than one without isolation. A database that is away is waited for by
/// `/readyz`, which asks the same.
async fn refuse_unbound_role(platform: &Platform) -> anyhow::Result<()> {
    match platform_db::facts(&platform.db).await {
        Ok(facts) if facts.is_superuser || facts.bypasses_isolation => {
            anyhow::bail!(
                "database.url: the role {} is a superuser or bypasses row-level security; use trunkline_app",
                facts.role
            )
        }
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the database is not there yet");
            Ok(())
        }
    }
}
