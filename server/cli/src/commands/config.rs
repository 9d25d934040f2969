//! `trunkline config`.

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;

use super::load_here;
use crate::{config, terminal};

#[derive(Debug, Clone, Copy, Subcommand)]
pub(super) enum ConfigCommand {
    /// Load the settings as `serve` would, and print what holds and who said so
    Check {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a settings file in which everything is explained
    Example,
}

pub(super) fn run(file: Option<PathBuf>, command: ConfigCommand) -> anyhow::Result<ExitCode> {
    match command {
        ConfigCommand::Example => terminal::say(config::example().trim_end()),
        ConfigCommand::Check { json } => {
            let is_named = file.is_some();
            let config = load_here(file)?;
            if json {
                terminal::say(serde_json::to_string_pretty(&config.shown)?);
            } else {
                for row in &config.shown {
                    terminal::say(format!("{} = {}  # {}", row.key, row.value, row.source));
                }
            }
            // The settings of `trunkline dev` capture mail instead of sending it.
            if is_named || !super::dev::is_running_here() {
                config.check_for_serving()?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
