//! `trunkline conformance`: a tenant that the official suite can judge, on an installation that serves others.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::Args;
use trunkline_platform::{catalog::source, clock::SystemClock};

use super::load_here;
use crate::{terminal, wiring};

#[derive(Debug, Args)]
pub(super) struct ConformanceArguments {
    /// Slug of the tenant
    tenant: String,
    /// Take the fixtures away again
    #[arg(long)]
    off: bool,
}

pub(super) async fn run(config: Option<PathBuf>, arguments: &ConformanceArguments) -> anyhow::Result<ExitCode> {
    let config = load_here(config)?;
    let product = wiring::product(&config, config.http.listen, Arc::new(SystemClock))?;
    let changed = source::switch_conformance(&product.platform, &arguments.tenant, !arguments.off).await?;
    let tenant = &arguments.tenant;
    terminal::say(match (arguments.off, changed) {
        (false, true) => {
            format!("{tenant} has the conformance fixtures; its agents need scopes for tools, resources:read and prompts:read.")
        }
        (false, false) => format!("{tenant} has them already."),
        (true, true) => format!("{tenant} has no conformance fixtures any more."),
        (true, false) => format!("{tenant} has none."),
    });
    product.platform.db.close().await;
    Ok(ExitCode::SUCCESS)
}
