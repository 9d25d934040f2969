//! Logs: one JSON object per line for machines, or short lines for a person at a terminal. Control characters are escaped in both. What is logged goes to a
//! collector too, if there is one.

use std::{
    io::{self, IsTerminal as _},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::mpsc;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::{self, MakeWriter},
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};
use trunkline_platform::{
    clock::{Clock as _, SystemClock},
    telemetry::{Line, MOST_LINES, Severity},
};

use crate::config::{Config, LogFormat};

/// What is logged at that level.
pub fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    // Statements of a slow database, and the start of each worker, are for those who ask. So are requests that are not HTTP: anybody can
    // send them, and actix calls each an error.
    Ok(EnvFilter::try_new(format!("sqlx=warn,actix_server=warn,actix_http=off,fjall=warn,lsm_tree=warn,{level}"))?)
}

/// A log for machines: one JSON object per event and line, whatever is in it.
pub fn json<W>(level: &str, writer: W) -> anyhow::Result<impl Subscriber + for<'span> LookupSpan<'span> + Send + Sync + 'static>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    Ok(fmt::fmt().with_env_filter(filter(level)?).json().flatten_event(true).with_span_list(false).with_writer(writer).finish())
}

/// Starts logging for the rest of the process. Fails if it was started before or the level cannot be read.
pub fn init(config: &Config) -> anyhow::Result<()> {
    let (log, told) = (&config.log, config.telemetry.as_ref().map(|_| Told::begin()));
    let started = match log.format {
        LogFormat::Json => json(&log.level, io::stdout)?.with(told).try_init(),
        LogFormat::Human => {
            let builder = fmt::fmt().with_env_filter(filter(&log.level)?).compact();
            builder.with_ansi(io::stderr().is_terminal()).with_writer(io::stderr).finish().with(told).try_init()
        }
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
}

/// Lines on their way to the collector, until the work in the background takes them. Of the process, as its log is.
static WAITING: Mutex<Option<mpsc::Receiver<Line>>> = Mutex::new(None);

/// The lines that wait for a collector, once.
pub(crate) fn take_lines() -> Option<mpsc::Receiver<Line>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Tells the collector what is logged. Never waits.
struct Told {
    lines: mpsc::Sender<Line>,
    dropped: AtomicU64,
}

impl Told {
    fn begin() -> Self {
        let (lines, waiting) = mpsc::channel(MOST_LINES);
        *WAITING.lock().unwrap_or_else(PoisonError::into_inner) = Some(waiting);
        Self { lines, dropped: AtomicU64::default() }
    }
}

/// Names and values, as text.
#[derive(Default)]
struct Fields(Vec<(&'static str, String)>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push((field.name(), format!("{value:?}")));
    }
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for Told {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let about = event.metadata();
        // What the way to the collector has to say would be said again and again.
        if about.target().starts_with("hyper") || about.target().starts_with("rustls") {
            return;
        }
        let Ok(room) = self.lines.try_reserve() else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let message = fields.0.iter().position(|(name, _)| *name == "message").map(|at| fields.0.swap_remove(at).1);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.0.extend(of_span.0.iter().cloned());
            }
        }
        room.send(Line {
            at: SystemClock.now(),
            severity: severity(*about.level()),
            target: about.target(),
            message: message.unwrap_or_default(),
            fields: fields.0,
            dropped_before: self.dropped.swap(0, Ordering::Relaxed),
        });
    }
}

fn severity(level: Level) -> Severity {
    match level {
        Level::TRACE => Severity::Trace,
        Level::DEBUG => Severity::Debug,
        Level::INFO => Severity::Info,
        Level::WARN => Severity::Warn,
        Level::ERROR => Severity::Error,
    }
}
