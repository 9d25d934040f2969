//! `trunkline export`: the record for somebody else, with what it takes to verify it.

use std::{io::Write as _, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use trunkline_platform::{
    chain::{self, Export, Range},
    clock::SystemClock,
};

use super::load_here;
use crate::wiring;

#[derive(Debug, Subcommand)]
pub(super) enum ExportCommand {
    /// One entry per call
    Calls(ExportArguments),
    /// Every entry: calls, and changes by people and by the system
    Audit(ExportArguments),
}

#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    /// Slug of the tenant
    #[arg(long)]
    tenant: String,
    /// From that moment on, such as 2026-11-01T00:00:00Z
    #[arg(long, value_name = "RFC 3339")]
    since: Option<String>,
    /// Before that moment
    #[arg(long, value_name = "RFC 3339")]
    until: Option<String>,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
}

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// One JSON object a line
    Jsonl,
    /// For spreadsheets
    Csv,
    /// For tables that are asked, such as with DuckDB
    Parquet,
}

impl From<Format> for chain::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Jsonl => Self::Jsonl,
            Format::Csv => Self::Csv,
            Format::Parquet => Self::Parquet,
        }
    }
}

pub(super) async fn run(config: Option<PathBuf>, command: ExportCommand) -> anyhow::Result<ExitCode> {
    let (calls_only, arguments) = match command {
        ExportCommand::Calls(arguments) => (true, arguments),
        ExportCommand::Audit(arguments) => (false, arguments),
    };
    let moment = |option: &str, text: &Option<String>| match text {
        Some(text) => trunkline_platform::clock::parse(text)
            .map(Some)
            .with_context(|| format!("--{option} {text}: expected a moment such as 2026-11-01T00:00:00Z")),
        None => Ok(None),
    };
    let range = Range { calls_only, since: moment("since", &arguments.since)?, until: moment("until", &arguments.until)? };
    let config = load_here(config)?;
    let platform = wiring::product(&config, config.http.listen, Arc::new(SystemClock))?.platform;
    let tenant = chain::find_tenant(&platform, &arguments.tenant).await?;
    let mut export = Export::begin(&platform, tenant, range, arguments.format.into()).await?;
    let mut out = std::io::stdout().lock();
    while let Some(part) = export.next(&platform).await? {
        out.write_all(&part).context("standard output cannot be written")?;
    }
    out.flush().context("standard output cannot be written")?;
    platform.db.close().await;
    Ok(ExitCode::SUCCESS)
}
