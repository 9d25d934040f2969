//! `trunkline usage`: sums of usage, held against the record and made right.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Args, Subcommand};
use trunkline_platform::{
    Platform,
    clock::SystemClock,
    usage::{self, Days, Wrong},
};

use super::load_here;
use crate::{terminal, wiring};

#[derive(Debug, Subcommand)]
pub(super) enum UsageCommand {
    /// Count the calls of a tenant again and compare; the exit code is 1 if any sum is wrong
    Verify(RangeArguments),
    /// Count the calls of a tenant again and correct what is wrong, while everything runs
    ///
    /// A run that was interrupted can be started again. Days whose record is not kept any more are refused: their sums are all there is.
    Rebuild(RangeArguments),
}

#[derive(Debug, Args)]
pub(super) struct RangeArguments {
    /// Slug of the tenant
    #[arg(long)]
    tenant: String,
    /// First day (UTC), such as 2026-11-01
    #[arg(long, value_name = "DAY")]
    from: String,
    /// Last day (UTC); today if left out
    #[arg(long, value_name = "DAY")]
    to: Option<String>,
}

pub(super) async fn run(config: Option<PathBuf>, command: UsageCommand) -> anyhow::Result<ExitCode> {
    let (arguments, wrong) = match command {
        UsageCommand::Verify(arguments) => (arguments, Wrong::Tell),
        UsageCommand::Rebuild(arguments) => (arguments, Wrong::Mend),
    };
    let config = load_here(config)?;
    let platform = wiring::product(&config, config.http.listen, Arc::new(SystemClock))?.platform;
    let is_right = recount(&platform, &arguments, wrong).await?;
    platform.db.close().await;
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Are all sums right now?
async fn recount(platform: &Platform, arguments: &RangeArguments, wrong: Wrong) -> anyhow::Result<bool> {
    let slug = &arguments.tenant;
    let days = Days::parse(platform, &arguments.from, arguments.to.as_deref())?;
    let tenant = usage::find_tenant(platform, slug).await?;
    let (mut counted, mut calls, mut sums, mut differing) = (0, 0, 0, 0);
    for day in days.all() {
        let found = usage::recount(platform, tenant, day, wrong).await?;
        if found.wrong > 0 {
            let now = if wrong == Wrong::Mend { "they are right now" } else { "`trunkline usage rebuild` makes them right" };
            let day = day.format("%Y-%m-%d");
            terminal::say(format!("{day}: {} of {} sums over {} calls were wrong; {now}", found.wrong, found.sums, found.calls));
        }
        counted += 1;
        calls += found.calls;
        sums += found.sums;
        differing += found.wrong;
    }
    let verdict = match (differing, wrong) {
        (0, _) => "all sums are those of the record".to_owned(),
        (_, Wrong::Tell) => format!("{differing} sums are wrong"),
        (_, Wrong::Mend) => format!("{differing} sums were corrected"),
    };
    terminal::say(format!("{slug}: {counted} days, {calls} calls, {sums} sums: {verdict}."));
    Ok(differing == 0 || wrong == Wrong::Mend)
}
