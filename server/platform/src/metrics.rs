//! Numbers for Prometheus. Labels come from closed sets: outcomes and states, never a tenant, an agent or a name somebody typed.

use std::sync::Mutex;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::call::Outcome;

/// Label of a call.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CallLabels {
    /// How it ended.
    pub status: OutcomeLabel,
}

/// An outcome as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OutcomeLabel(pub Outcome);

impl EncodeLabelValue for OutcomeLabel {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.0.as_str(), encoder)
    }
}

/// Label of work in the background.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WorkLabels {
    /// Which, as it is known at the start.
    pub work: &'static str,
}

/// Label of a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct JobLabels {
    /// What is to be done.
    pub kind: &'static str,
}

/// Label of a replica that takes no traffic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReadyLabels {
    /// What it waits for.
    pub reason: &'static str,
}

/// Everything that is counted in this process.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    /// Tool calls by outcome.
    pub calls: Family<CallLabels, Counter>,
    /// Time from the request's arrival to its result, in seconds.
    pub call_seconds: Histogram,
    /// Refused credentials.
    pub failed_authentications: Counter,
    /// Decisions made without Redis.
    pub degraded_decisions: Counter,
    /// Upstreams of tenants that are left alone at the moment.
    pub open_breakers: Gauge,
    /// Event streams that are open.
    pub open_streams: Gauge,
    /// Streams that were closed because nobody read them.
    pub slow_readers: Counter,
    /// Steps of handshakes that could not be kept.
    pub untold_handshakes: Counter,
    /// Entries that wait to be written.
    pub record_queue: Gauge,
    /// Their size, and that from which new calls are refused.
    pub record_bytes: Gauge,
    /// See there.
    pub record_room: Gauge,
    /// Rounds in the background that failed.
    pub failed_rounds: Family<WorkLabels, Counter>,
    /// Work whose last round failed.
    pub failing_work: Family<WorkLabels, Gauge>,
    /// Jobs that were tried often enough, or are without hope.
    pub jobs_given_up: Family<JobLabels, Counter>,
    /// How far this replica's clock is before the database's, in milliseconds.
    pub clock_skew_ms: Gauge,
    /// Why this replica takes no traffic: 1 for what it waits for.
    pub not_ready: Family<ReadyLabels, Gauge>,
    /// Entries written.
    pub records_written: Counter,
    /// Batches that had to be tried again.
    pub record_retries: Counter,
    /// Entries the database refuses; each is in the log.
    pub records_refused: Counter,
    /// Calls whose tokens should have been counted and were not.
    pub contexts_not_counted: Counter,
    /// Sums of usage that differ from the record.
    pub usage_sums_wrong: Counter,
    /// Probes of tools and sources that were made.
    pub probes: Counter,
    /// Those of them that failed.
    pub failed_probes: Counter,
    /// Lines of functions that should have been kept and were not: too many waited, or the database was away.
    pub log_lines_dropped: Counter,
    /// Spans that a collector took.
    pub spans_exported: Counter,
    /// Spans that no collector took: too many waited, or it was away, or it refused them.
    pub spans_dropped: Counter,
    /// Lines of the log that a collector took.
    pub lines_exported: Counter,
    /// Lines of the log that no collector took; they are in the log all the same.
    pub lines_dropped: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        // The bounds of the OpenTelemetry conventions for MCP, with finer ones below.
        let bounds = [0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
        let call_seconds = Histogram::new(bounds);
        let calls = Family::<CallLabels, Counter>::default();
        let (failed_authentications, degraded_decisions, records_written, record_retries, records_refused) = Default::default();
        let record_queue = Gauge::default();
        let (open_streams, slow_readers) = (Gauge::default(), Counter::default());
        let open_breakers = Gauge::default();
        registry.register("trunkline_open_breakers", "Upstreams that are left alone", open_breakers.clone());
        registry.register("mcp_open_streams", "Event streams that are open", open_streams.clone());
        registry.register("mcp_slow_readers", "Streams closed because nobody read them", Counter::clone(&slow_readers));
        let untold_handshakes = Counter::default();
        registry.register(
            "trunkline_untold_handshakes",
            "Steps of handshakes that could not be kept",
            Counter::clone(&untold_handshakes),
        );
        registry.register("mcp_tool_calls", "Tool calls by outcome", calls.clone());
        registry.register("mcp_tool_call_duration_seconds", "Time from request to result", call_seconds.clone());
        registry.register("trunkline_failed_authentications", "Refused credentials", Counter::clone(&failed_authentications));
        registry.register(
            "trunkline_degraded_decisions",
            "Admissions decided without Redis",
            Counter::clone(&degraded_decisions),
        );
        registry.register("trunkline_record_queue_entries", "Entries that wait to be written", record_queue.clone());
        let (record_bytes, record_room) = (Gauge::default(), Gauge::default());
        registry.register("trunkline_record_queue_bytes", "Size of the entries that wait to be written", record_bytes.clone());
        registry.register("trunkline_record_room_bytes", "Size from which new calls are refused", record_room.clone());
        let (failed_rounds, failing_work) = (Family::default(), Family::default());
        registry.register("trunkline_failed_rounds", "Rounds in the background that failed", Family::clone(&failed_rounds));
        registry.register("trunkline_failing_work", "Work whose last round failed", Family::clone(&failing_work));
        let clock_skew_ms = Gauge::default();
        registry.register(
            "trunkline_clock_skew_milliseconds",
            "How far this clock is before the database's",
            clock_skew_ms.clone(),
        );
        let (jobs_given_up, not_ready) = (Family::default(), Family::default());
        registry.register("trunkline_jobs_given_up", "Jobs that were given up", Family::clone(&jobs_given_up));
        registry.register(
            "trunkline_not_ready",
            "What this replica waits for before it takes traffic",
            Family::clone(&not_ready),
        );
        registry.register("trunkline_records_written", "Entries written", Counter::clone(&records_written));
        registry.register("trunkline_record_retries", "Batches tried again", Counter::clone(&record_retries));
        registry.register("trunkline_records_refused", "Entries the database refused", Counter::clone(&records_refused));
        let contexts_not_counted = Counter::default();
        registry.register(
            "trunkline_contexts_not_counted",
            "Calls whose tokens were not counted",
            Counter::clone(&contexts_not_counted),
        );
        let usage_sums_wrong = Counter::default();
        registry.register(
            "trunkline_usage_sums_wrong",
            "Sums of usage that differ from the record",
            Counter::clone(&usage_sums_wrong),
        );
        let (probes, failed_probes) = (Counter::default(), Counter::default());
        registry.register("trunkline_probes", "Probes of tools and sources", Counter::clone(&probes));
        registry.register("trunkline_failed_probes", "Probes that failed", Counter::clone(&failed_probes));
        let log_lines_dropped = Counter::default();
        registry.register(
            "trunkline_function_log_lines_dropped",
            "Lines of functions that were to be kept and are not",
            Counter::clone(&log_lines_dropped),
        );
        let (spans_exported, spans_dropped) = (Counter::default(), Counter::default());
        registry.register("trunkline_spans_exported", "Spans that the collector took", Counter::clone(&spans_exported));
        registry.register("trunkline_spans_dropped", "Spans that no collector took", Counter::clone(&spans_dropped));
        let (lines_exported, lines_dropped) = (Counter::default(), Counter::default());
        registry.register(
            "trunkline_log_lines_exported",
            "Lines of the log that the collector took",
            Counter::clone(&lines_exported),
        );
        registry.register(
            "trunkline_log_lines_dropped",
            "Lines of the log that no collector took",
            Counter::clone(&lines_dropped),
        );
        Self {
            registry: Mutex::new(registry),
            calls,
            call_seconds,
            failed_authentications,
            degraded_decisions,
            open_breakers,
            open_streams,
            slow_readers,
            untold_handshakes,
            record_queue,
            record_bytes,
            record_room,
            failed_rounds,
            failing_work,
            jobs_given_up,
            clock_skew_ms,
            not_ready,
            records_written,
            record_retries,
            records_refused,
            contexts_not_counted,
            usage_sums_wrong,
            probes,
            failed_probes,
            log_lines_dropped,
            spans_exported,
            spans_dropped,
            lines_exported,
            lines_dropped,
        }
    }
}

impl Metrics {
    /// All numbers in the Prometheus text format.
    pub fn encode(&self) -> String {
        let registry = self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut text = String::new();
        // Writing into a `String` cannot fail.
        let _ = text::encode(&mut text, &registry);
        text
    }

    /// Counts a probe.
    pub fn count_probe(&self, passed: bool) {
        self.probes.inc();
        if !passed {
            self.failed_probes.inc();
        }
    }

    /// Says how a round of that work ended. It is known as well before its first one.
    pub fn note_round(&self, work: &'static str, has_failed: bool) {
        let labels = WorkLabels { work };
        self.failed_rounds.get_or_create(&labels).inc_by(u64::from(has_failed));
        self.failing_work.get_or_create(&labels).set(i64::from(has_failed));
    }

    /// Counts jobs of that kind that were given up. With none, the kind is known.
    pub fn count_given_up(&self, kind: &'static str, jobs: u64) {
        self.jobs_given_up.get_or_create(&JobLabels { kind }).inc_by(jobs);
    }

    /// Counts a finished call.
    pub fn count_call(&self, outcome: Outcome, seconds: f64) {
        self.calls.get_or_create(&CallLabels { status: OutcomeLabel(outcome) }).inc();
        self.call_seconds.observe(seconds);
    }
}
