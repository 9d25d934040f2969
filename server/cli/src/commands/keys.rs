//! `trunkline keys`: the keys that sign access tokens.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Args, Subcommand};
use trunkline_platform::{clock::SystemClock, oauth};

use super::load_here;
use crate::{terminal, wiring};

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Publish a new signing key, which signs ten minutes later
    Rotate(RotateArguments),
}

#[derive(Debug, Args)]
pub(super) struct RotateArguments {
    /// Remove this key at once: all tokens that it signed are refused. For a key that somebody else may know
    #[arg(long, value_name = "KEY ID")]
    emergency: Option<String>,
}

pub(super) async fn run(config: Option<PathBuf>, command: KeysCommand) -> anyhow::Result<ExitCode> {
    let KeysCommand::Rotate(RotateArguments { emergency }) = command;
    let config = load_here(config)?;
    let product = wiring::product(&config, config.http.listen, Arc::new(SystemClock))?;
    let rotated = oauth::rotate_signing_keys(&product.platform, emergency.as_deref()).await;
    product.platform.db.close().await;
    let rotation = rotated?;
    if let Some(kid) = emergency {
        terminal::say(format!("{kid} is removed: what it signed is refused."));
    }
    if let Some(rotation) = rotation {
        terminal::say(format!("{} is published and signs from {} on.", rotation.kid, rotation.active_from.to_rfc3339()));
    }
    Ok(ExitCode::SUCCESS)
}
