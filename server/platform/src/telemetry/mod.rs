//! Traces, metrics and logs for a collector (OTLP over HTTP, protobuf, packed). A call that is recorded is told when it has ended, from its entry; its spans
//! are made and sent in the background (`export`), as are the numbers that Prometheus could read (`numbers`) and lines of the log (`lines`). Nobody waits for
//! it: what finds no room is dropped and counted. Calls that are not recorded cost the draw of their ids.

mod export;
mod lines;
mod numbers;
mod span;
mod transport;
mod wire;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::mpsc;
use url::Url;

pub use export::run;
pub use lines::{Line, MOST_LINES, Severity, run_lines};
pub use numbers::{look, run_numbers};
use transport::Transport;

use crate::{
    call::Entry,
    egress::{self, Egress},
    error::Result,
    metrics::Metrics,
    network::Network,
    trace::{Given, Trace},
};

/// Calls that wait to be sent. Some KiB each.
const MOST_WAITING: usize = 2048;

/// Where it all goes, and of how many calls.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The collector's OTLP endpoint, such as `http://localhost:4318`. It takes traces at `/v1/traces` below it, and so on.
    pub endpoint: Url,
    /// How often it is told the metrics.
    pub metrics_every: Duration,
    /// Share of the traces beginning here that are recorded, 0 to 1. What comes with a trace is recorded if its caller keeps it.
    pub sample_ratio: f64,
    /// What every request to the collector carries, such as its key.
    pub headers: Headers,
}

/// Headers that do not print.
#[derive(Debug, Clone, Default)]
pub struct Headers(HeaderMap);

impl Headers {
    /// Of names and values. The error says which one cannot be a header, and not what it is.
    pub fn new(pairs: &[(String, &str)]) -> std::result::Result<Self, String> {
        let mut headers = HeaderMap::new();
        for (at, (name, value)) in pairs.iter().enumerate() {
            let wrong = || format!("header {} has a name or a value that no header can have", at + 1);
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
            let mut value = HeaderValue::from_str(value).map_err(|_| wrong())?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        Ok(Self(headers))
    }
}

impl Settings {
    /// The place for `traces`, `metrics` or `logs`.
    fn place_of(&self, what: &str) -> Url {
        let mut place = self.endpoint.clone();
        place.set_path(&format!("{}/v1/{what}", self.endpoint.path().trim_end_matches('/')));
        place
    }
}

/// What decides which calls are told, and where they wait.
#[derive(Debug)]
pub struct Telemetry {
    /// `None`: there is no collector.
    collector: Option<Collector>,
}

#[derive(Debug)]
struct Collector {
    settings: Settings,
    egress: Egress,
    waiting: mpsc::Sender<Told>,
    /// Until the work in the background takes it.
    told: Mutex<Option<mpsc::Receiver<Told>>>,
}

/// A call that has ended. Times are in microseconds from its beginning.
#[derive(Debug)]
pub(crate) struct Told {
    /// Its trace.
    pub(crate) trace: Arc<Trace>,
    /// What is kept of it.
    pub(crate) entry: Entry,
    /// When its request came.
    pub(crate) began: DateTime<Utc>,
    /// When it was decided whether it may, if it came so far.
    pub(crate) admission_at_us: Option<i64>,
    /// When its tool began.
    pub(crate) upstream_at_us: i64,
    /// When its entry was ready, and how long it took until that was safe; where somebody waited for it.
    pub(crate) record_us: Option<(i64, i64)>,
}

impl Telemetry {
    /// For that collector, or none. It is the operator who names it, so it may be anywhere, also where tools may not reach.
    ///
    /// # Panics
    /// Outside of a runtime, if there is a collector.
    pub fn new(settings: Option<Settings>) -> Result<Self> {
        Ok(Self { collector: settings.map(Collector::new).transpose()? })
    }

    /// The trace of a call that comes with that. `None` where its caller has none and nobody here would be told.
    pub(crate) fn trace(&self, given: Option<Given>) -> Option<Trace> {
        match (given, &self.collector) {
            (Some(given), collector) => {
                let is_recorded = collector.is_some() && given.is_sampled();
                Some(Trace::follow(given, is_recorded))
            }
            (None, Some(collector)) => Some(Trace::begin(collector.settings.sample_ratio)),
            (None, None) => None,
        }
    }

    /// Hands a call over. Never waits.
    pub(crate) fn tell(&self, told: Told, metrics: &Metrics) {
        let Some(collector) = &self.collector else { return };
        if let Err(mpsc::error::TrySendError::Full(told) | mpsc::error::TrySendError::Closed(told)) =
            collector.waiting.try_send(told)
        {
            metrics.spans_dropped.inc_by(told.spans());
        }
    }
}

impl Collector {
    fn new(settings: Settings) -> Result<Self> {
        let (waiting, told) = mpsc::channel(MOST_WAITING);
        let egress = Egress::new(&egress::Settings { allow: Network::everywhere().into(), allow_http: true })?;
        Ok(Self { settings, egress, waiting, told: Mutex::new(Some(told)) })
    }

    /// The way to it for `traces`, `metrics` or `logs`.
    fn transport(&self, what: &'static str) -> Transport {
        Transport::new(what, self.settings.place_of(what), self.settings.headers.0.clone(), self.egress.clone())
    }

    fn take(&self) -> Option<mpsc::Receiver<Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_have_their_place_below_the_endpoint() {
        for (endpoint, metrics) in [
            ("http://localhost:4318", "http://localhost:4318/v1/metrics"),
            ("https://otlp.example/tenant/7/", "https://otlp.example/tenant/7/v1/metrics"),
        ] {
            let (endpoint, headers) = (endpoint.parse().expect("a URL"), Headers::default());
            let settings = Settings { endpoint, metrics_every: Duration::from_mins(1), sample_ratio: 0.0, headers };
            assert_eq!(settings.place_of("metrics").as_str(), metrics);
        }
    }
}
