//! Logs: one JSON object per line for machines, or short lines for a person at a terminal. Control characters are escaped in both.

use std::io::{self, IsTerminal as _};

use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter,
    fmt::{self, MakeWriter},
    util::SubscriberInitExt as _,
};

use crate::config::{Log, LogFormat};

/// What is logged at that level.
pub fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    // Statements of a slow database, and the start of each worker, are for those who ask. So are requests that are not HTTP: anybody can
    // send them, and actix calls each an error.
    Ok(EnvFilter::try_new(format!("sqlx=warn,actix_server=warn,actix_http=off,fjall=warn,lsm_tree=warn,{level}"))?)
}

/// A log for machines: one JSON object per event and line, whatever is in it.
pub fn json<W>(level: &str, writer: W) -> anyhow::Result<impl Subscriber + Send + Sync + 'static>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    Ok(fmt::fmt().with_env_filter(filter(level)?).json().flatten_event(true).with_span_list(false).with_writer(writer).finish())
}

/// Starts logging for the rest of the process. Fails if it was started before or the level cannot be read.
pub fn init(log: &Log) -> anyhow::Result<()> {
    let started = match log.format {
        LogFormat::Json => json(&log.level, io::stdout)?.try_init(),
        LogFormat::Human => {
            let builder = fmt::fmt().with_env_filter(filter(&log.level)?).compact();
            builder.with_ansi(io::stderr().is_terminal()).with_writer(io::stderr).finish().try_init()
        }
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
}
