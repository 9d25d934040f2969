//! `trunkline plans` and `trunkline tenants`: what whole tenants may have, set by who operates the installation.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Args, Subcommand};
use trunkline_platform::{
    Platform,
    clock::SystemClock,
    quota::{Limit, Rate, plans},
};

use super::load_here;
use crate::{terminal, wiring};

#[derive(Debug, Subcommand)]
pub(super) enum PlansCommand {
    /// All plans
    List,
    /// Make a plan, or change it for all tenants that have it
    Set(SetArguments),
    /// Remove a plan that no tenant has
    Remove {
        /// Its name
        name: String,
    },
}

/// What is left out is as the settings of the installation have it, or not limited.
#[derive(Debug, Args)]
pub(super) struct SetArguments {
    /// Its name
    name: String,
    /// Calls per minute
    #[arg(long)]
    per_minute: Option<u32>,
    /// Of them at once; as many as per minute if left out
    #[arg(long, requires = "per_minute")]
    burst: Option<u32>,
    /// Calls per day (UTC); 0: none
    #[arg(long)]
    per_day: Option<u32>,
    /// Calls that run at the same time
    #[arg(long)]
    at_once: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(super) enum TenantsCommand {
    /// Give a tenant a plan, or take it away
    Plan {
        /// Slug of the tenant
        tenant: String,
        /// Name of the plan; none: the settings of the installation
        plan: String,
    },
}

pub(super) async fn run(config: Option<PathBuf>, command: PlansCommand) -> anyhow::Result<ExitCode> {
    let platform = platform(config)?;
    match command {
        PlansCommand::List => {
            for plan in plans::list(&platform).await? {
                terminal::say(format!("{}: {}; tenants: {}", plan.name, words(plan.limit), plan.tenants));
            }
        }
        PlansCommand::Set(arguments) => {
            let SetArguments { name, per_minute, burst, per_day, at_once } = arguments;
            let rate = per_minute.map(|per_minute| Rate { per_minute, burst: burst.unwrap_or(per_minute) });
            let limit = Limit { rate, per_day, at_once };
            plans::set(&platform, &name, limit).await?;
            terminal::say(format!("{name}: {}. It holds from the next call on.", words(limit)));
        }
        PlansCommand::Remove { name } => {
            plans::remove(&platform, &name).await?;
            terminal::say(format!("{name} is removed."));
        }
    }
    platform.db.close().await;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn run_tenants(config: Option<PathBuf>, command: TenantsCommand) -> anyhow::Result<ExitCode> {
    let platform = platform(config)?;
    let TenantsCommand::Plan { tenant, plan } = command;
    plans::give(&platform, &tenant, Some(plan.as_str()).filter(|plan| *plan != "none")).await?;
    terminal::say(format!("{tenant} has the plan {plan} from its next call on."));
    platform.db.close().await;
    Ok(ExitCode::SUCCESS)
}

fn platform(config: Option<PathBuf>) -> anyhow::Result<Platform> {
    let config = load_here(config)?;
    Ok(wiring::product(&config, config.http.listen, Arc::new(SystemClock))?.platform)
}

fn words(limit: Limit) -> String {
    let Limit { rate, per_day, at_once } = limit;
    let parts = [
        rate.map(|rate| format!("{} per minute, {} at once", rate.per_minute, rate.burst)),
        per_day.map(|most| format!("{most} per day")),
        at_once.map(|most| format!("{most} running at the same time")),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "no limits of its own".to_owned() } else { parts.join(", ") }
}
