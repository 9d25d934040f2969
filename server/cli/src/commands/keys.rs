//! `trunkline keys`: which keys are in use, and exchanging them while everything runs.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Args, Subcommand};
use trunkline_platform::{Platform, clock::SystemClock, oauth, rotation};

use super::load_here;
use crate::{terminal, wiring};

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Show which keys of the installation are still needed
    Status,
    /// Wrap everything with the current key of the installation, after secrets.key was exchanged
    ///
    /// First add the new key to secrets.other_keys and restart all replicas, one by one. Then make it secrets.key, put the old one into
    /// secrets.other_keys, and restart again. Then run this command. When `trunkline keys status` says that the old key is not needed, remove
    /// it. A run that was interrupted can be started again.
    Rewrap,
    /// Give a tenant a new data key and seal all its secrets under it
    Renew {
        /// Slug of the tenant
        tenant: String,
    },
    /// Publish a new key that signs access tokens; it signs ten minutes later
    Rotate(RotateArguments),
}

#[derive(Debug, Args)]
pub(super) struct RotateArguments {
    /// Remove this signing key at once: all tokens that it signed are refused. For a key that somebody else may know
    #[arg(long, value_name = "KEY ID")]
    emergency: Option<String>,
}

pub(super) async fn run(config: Option<PathBuf>, command: KeysCommand) -> anyhow::Result<ExitCode> {
    let config = load_here(config)?;
    let platform = wiring::product(&config, config.http.listen, Arc::new(SystemClock))?.platform;
    match command {
        KeysCommand::Status => status(&platform).await?,
        KeysCommand::Rewrap => {
            let count = rotation::rewrap(&platform).await?;
            terminal::say(format!(
                "{count} keys were wrapped by another key and are now wrapped by {}.",
                platform.master_key.id()
            ));
        }
        KeysCommand::Renew { tenant } => {
            let count = rotation::renew(&platform, &tenant).await?;
            terminal::say(format!(
                "{tenant} has a new data key; {count} secrets were sealed under it, the old key is destroyed."
            ));
        }
        KeysCommand::Rotate(RotateArguments { emergency }) => rotate(&platform, emergency.as_deref()).await?,
    }
    platform.db.close().await;
    Ok(ExitCode::SUCCESS)
}

async fn rotate(platform: &Platform, emergency: Option<&str>) -> anyhow::Result<()> {
    let rotation = oauth::rotate_signing_keys(platform, emergency).await?;
    if let Some(kid) = emergency {
        terminal::say(format!("{kid} is removed: what it signed is refused."));
    }
    if let Some(rotation) = rotation {
        terminal::say(format!("{} is published and signs from {} on.", rotation.kid, rotation.active_from.to_rfc3339()));
    }
    Ok(())
}

async fn status(platform: &Platform) -> anyhow::Result<()> {
    let usage = rotation::usage(platform).await?;
    terminal::say(format!(
        "{} is the current key: it has wrapped {} keys of tenants and people.",
        usage.current,
        count(&usage, &usage.current)
    ));
    for key in usage.wrapped.keys().filter(|key| **key != usage.current) {
        terminal::say(format!(
            "{key} is still needed: it has wrapped {} keys of tenants and people. Run `trunkline keys rewrap`.",
            count(&usage, key)
        ));
    }
    if usage.signing > 0 {
        let count = usage.signing;
        terminal::say(format!(
            "{count} signing keys are sealed by another key than the current one. Run `trunkline keys rewrap`."
        ));
    }
    if usage.audit > 0 {
        let count = usage.audit;
        terminal::say(format!("{count} audit keys are sealed by another key than the current one. Run `trunkline keys rewrap`."));
    }
    if usage.jobs > 0 {
        terminal::say(format!("{} waiting jobs are sealed by another key than the current one.", usage.jobs));
    } else if usage.signing == 0 && usage.audit == 0 && usage.wrapped.keys().all(|key| *key == usage.current) {
        terminal::say("No other key is needed: secrets.other_keys can be removed.");
    }
    Ok(())
}

fn count(usage: &rotation::Usage, key: &str) -> u64 {
    usage.wrapped.get(key).copied().unwrap_or(0)
}
