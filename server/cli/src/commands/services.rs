//! `trunkline services`: a command between the start and the end of a private Postgres and Redis. `make test` runs the suite in it.

use std::{
    path::PathBuf,
    process::{ExitCode, ExitStatus},
};

use clap::Args;

use crate::{
    lifecycle::Signals,
    services::{Keep, Services},
};

#[derive(Debug, Args)]
pub(super) struct ServicesArguments {
    /// Folder for their state; emptied of it afterwards
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Command that finds them in TRUNKLINE_TEST_POSTGRES_URL (superuser), TRUNKLINE_TEST_APP_URL and TRUNKLINE_TEST_REDIS_URL
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

pub(super) async fn run(arguments: ServicesArguments) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let dir = arguments.dir.clone();
    let mut services = tokio::task::spawn_blocking(move || Services::start(&dir, Keep::Nothing)).await??;
    let command = command(&arguments.command, &services)?;
    let outcome = tokio::select! {
        status = command => status.map(code),
        signal = signals.next() => Err(anyhow::anyhow!("stopped by {signal}")),
        how = services.crashed() => Err(anyhow::anyhow!(how)),
    };
    tokio::task::spawn_blocking(|| services.stop()).await?;
    // The logs stay when something failed: they may say why.
    if outcome.as_ref().is_ok_and(|code| *code == ExitCode::SUCCESS) {
        crate::services::forget(&arguments.dir)?;
    }
    outcome
}

/// Started at once; ends when this is dropped.
fn command(words: &[String], services: &Services) -> anyhow::Result<impl Future<Output = anyhow::Result<ExitStatus>> + use<>> {
    let (program, arguments) = words.split_first().ok_or_else(|| anyhow::anyhow!("there is no command"))?;
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env("TRUNKLINE_TEST_POSTGRES_URL", services.postgres.admin_url().reveal())
        .env("TRUNKLINE_TEST_APP_URL", services.postgres.app_url().reveal())
        .env("TRUNKLINE_TEST_REDIS_URL", services.redis.url().reveal())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| anyhow::anyhow!("{program} cannot be started: {error}"))?;
    Ok(async move { Ok(child.wait().await?) })
}

fn code(status: ExitStatus) -> ExitCode {
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
