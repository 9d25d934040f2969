//! Logs: one JSON object per line for machines, or short lines for a person at a terminal. Control characters are escaped in both.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{Log, LogFormat};

/// What is logged at that level.
pub fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    // Statements of a slow database, and the start of each worker, are for those who ask. So are requests that are not HTTP: anybody can
    // send them, and actix calls each an error.
    Ok(EnvFilter::try_new(format!("sqlx=warn,actix_server=warn,actix_http=off,fjall=warn,lsm_tree=warn,{level}"))?)
}

/// Starts logging for the rest of the process. Fails if it was started before or the level cannot be read.
pub fn init(log: &Log) -> anyhow::Result<()> {
    let builder = fmt().with_env_filter(filter(&log.level)?);
    let started = match log.format {
        LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).with_writer(io::stdout).try_init(),
        LogFormat::Human => builder.compact().with_ansi(io::stderr().is_terminal()).with_writer(io::stderr).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
}
