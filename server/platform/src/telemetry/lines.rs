//! Lines of the log for a collector. Who logs never waits: what finds no room is dropped and counted.

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    export::pump,
    transport::teller,
    wire::{ExportLogsServiceRequest, LogRecord, ResourceLogs, ScopeLogs, any_text, text_of},
};
use crate::{Platform, hex};

/// Lines that wait to be sent.
pub const MOST_LINES: usize = 4_096;
/// Lines of one request.
const BATCH: usize = 512;

/// How bad it is, by the numbers of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// `trace`.
    Trace = 1,
    /// `debug`.
    Debug = 5,
    /// `info`.
    Info = 9,
    /// `warn`.
    Warn = 13,
    /// `error`.
    Error = 17,
}

/// One line.
#[derive(Debug)]
pub struct Line {
    /// When.
    pub at: DateTime<Utc>,
    /// How bad.
    pub severity: Severity,
    /// Which part of the program says so.
    pub target: &'static str,
    /// What is said.
    pub message: String,
    /// What is said beside it, also by the span around it.
    pub fields: Vec<(&'static str, String)>,
    /// How many lines before it were dropped because too many waited.
    pub dropped_before: u64,
}

/// Sends lines, until told to stop; then what still waits, once. Without a collector nobody sends any.
pub async fn run_lines(platform: Platform, lines: Option<mpsc::Receiver<Line>>, stop: CancellationToken) {
    let Some((collector, lines)) = platform.telemetry.collector.as_ref().zip(lines) else {
        return stop.cancelled().await;
    };
    let metrics = &platform.metrics;
    let write = |batch: Vec<Line>| {
        metrics.lines_dropped.inc_by(batch.iter().map(|line| line.dropped_before).sum());
        let (resource, scope) = teller(&platform);
        let count = batch.len() as u64;
        let log_records = batch.iter().map(record).collect();
        let scope_logs = vec![ScopeLogs { scope, log_records }];
        (ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { resource, scope_logs }] }, count)
    };
    let count = |taken, lost| {
        metrics.lines_exported.inc_by(taken);
        metrics.lines_dropped.inc_by(lost);
    };
    pump(lines, BATCH, collector.transport("logs"), &stop, write, count).await;
}

fn record(line: &Line) -> LogRecord {
    let trace = line.fields.iter().find(|(name, _)| *name == "trace.id");
    let trace_id = trace.and_then(|(_, id)| hex::decode(id)).filter(|id| id.len() == 16).unwrap_or_default();
    let mut attributes: Vec<_> = line.fields.iter().map(|(name, value)| text_of(name, value)).collect();
    attributes.push(text_of("code.namespace", line.target));
    let nanos = line.at.timestamp_nanos_opt().and_then(|nanos| u64::try_from(nanos).ok()).unwrap_or_default();
    let word = format!("{:?}", line.severity).to_uppercase();
    LogRecord {
        time_unix_nano: nanos,
        severity_number: line.severity as i32,
        severity_text: word,
        body: Some(any_text(&line.message)),
        attributes,
        trace_id,
        observed_time_unix_nano: nanos,
    }
}
