//! `trunkline serve`.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::Args;
use trunkline_platform::clock::SystemClock;

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
    telemetry::init(&config.log)?;
    let signals = Signals::listen()?;
    let ports = Ports::open(&config)?;
    let product = wiring::product(&config, ports.public(), Arc::new(SystemClock))?;
    let installation = Installation::start(&config, product, ports)?;
    lifecycle::run(installation, signals, config.shutdown, std::future::pending()).await?;
    Ok(ExitCode::SUCCESS)
}
