//! Spans on their way to the collector: in batches, each tried a few times. Calls never wait for it, and it is given up when it takes too long.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use reqwest::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Collector, Told,
    span::text_of,
    wire::{
        ExportTraceServiceRequest, ExportTraceServiceResponse, InstrumentationScope, Resource, ResourceSpans, ScopeSpans, Span,
    },
};
use crate::{
    Platform,
    egress::{OutboundAnswer, OutboundRequest},
};

/// Calls of one request.
const MOST_CALLS: usize = 256;
/// How long a call waits for others to go with it.
const LINGER: Duration = Duration::from_secs(1);
/// Longest wait for the collector to take a batch.
const DEADLINE: Duration = Duration::from_secs(5);
/// Pauses before a batch is tried again.
const PAUSES: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// Longest pause that a collector may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// For everything that still waits when the process stops.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Sends what calls have told, until told to stop; then what still waits, once.
pub async fn run(platform: Platform, stop: CancellationToken) {
    let collector = platform.telemetry.collector.as_ref();
    let Some((collector, mut told)) = collector.and_then(|collector| Some((collector, collector.take()?))) else {
        return stop.cancelled().await;
    };
    let mut outbox = Outbox { platform: &platform, collector, is_away: false };
    let mut batch = Vec::with_capacity(MOST_CALLS);
    while stop.run_until_cancelled(gather(&mut told, &mut batch)).await.is_some() {
        outbox.send(&mut batch, &stop).await;
    }
    told.close();
    let rest = async {
        outbox.send(&mut batch, &stop).await;
        while told.recv_many(&mut batch, MOST_CALLS).await > 0 {
            outbox.send(&mut batch, &stop).await;
        }
    };
    let _ = timeout(LAST_WORDS, rest).await;
}

/// The next batch: waits for the first call, and for others a little. What it has when it is cut stays in the batch.
async fn gather(told: &mut mpsc::Receiver<Told>, batch: &mut Vec<Told>) {
    told.recv_many(batch, 1).await;
    let more = async {
        while let room @ 1.. = MOST_CALLS.saturating_sub(batch.len())
            && told.recv_many(batch, room).await > 0
        {}
    };
    let _ = timeout(LINGER, more).await;
}

struct Outbox<'a> {
    platform: &'a Platform,
    collector: &'a Collector,
    /// It is said once that the collector is away, until it is back.
    is_away: bool,
}

/// Why a batch was not taken.
struct NotTaken {
    why: String,
    again: Again,
}

/// May it be tried again?
#[derive(Clone, Copy)]
enum Again {
    /// That has no point.
    Never,
    /// When we like.
    Sometime,
    /// After that time, as the collector asks.
    After(Duration),
}

impl Outbox<'_> {
    /// Sends a batch, or gives it up. Both are counted.
    async fn send(&mut self, batch: &mut Vec<Told>, stop: &CancellationToken) {
        let spans: Vec<_> = batch.drain(..).flat_map(Told::into_spans).collect();
        if spans.is_empty() {
            return;
        }
        let (count, metrics) = (spans.len() as u64, &self.platform.metrics);
        let body = Bytes::from(self.request(spans).encode_to_vec());
        match self.deliver(body, stop).await {
            Ok(rejected) => {
                let rejected = rejected.min(count);
                metrics.spans_exported.inc_by(count - rejected);
                metrics.spans_dropped.inc_by(rejected);
                self.is_away = false;
            }
            Err(why) => {
                metrics.spans_dropped.inc_by(count);
                if !std::mem::replace(&mut self.is_away, true) {
                    tracing::warn!(reason = why, "the collector takes no traces");
                }
            }
        }
    }

    /// How many spans the collector has refused of those it took; or why it took none.
    async fn deliver(&self, body: Bytes, stop: &CancellationToken) -> Result<u64, String> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let NotTaken { why, again } = match self.once(body.clone()).await {
                Ok(rejected) => return Ok(rejected),
                Err(not_taken) => not_taken,
            };
            let pause = match (again, pauses.next()) {
                (Again::Never, _) | (_, None) => return Err(why),
                (Again::Sometime, Some(pause)) => pause,
                (Again::After(asked), Some(_)) => asked.min(LONGEST_PAUSE),
            };
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return Err(why);
            }
        }
    }

    async fn once(&self, body: Bytes) -> Result<u64, NotTaken> {
        let mut headers = self.collector.settings.headers.0.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let url = self.collector.settings.traces.clone();
        let request = OutboundRequest { method: Method::POST, url, headers, body: Some(body), deadline: DEADLINE };
        let answer = self.collector.egress.send(request).await;
        let answer = answer.map_err(|error| NotTaken { why: error.to_string(), again: Again::Sometime })?;
        if answer.status.is_success() {
            return Ok(rejected(&answer));
        }
        Err(NotTaken { why: format!("it answered {}", answer.status.as_u16()), again: again(&answer) })
    }

    fn request(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let version = env!("CARGO_PKG_VERSION");
        let attributes = [
            ("service.name", "trunkline"),
            ("service.version", version),
            ("service.instance.id", &self.platform.replicas.id().to_string()),
        ];
        let resource = Resource { attributes: attributes.iter().map(|(key, text)| text_of(key, text)).collect() };
        let scope = InstrumentationScope { name: "trunkline".to_owned(), version: version.to_owned() };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
        ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans }] }
    }
}

/// What it says that it refused. An answer that cannot be read says nothing.
fn rejected(answer: &OutboundAnswer) -> u64 {
    let read = ExportTraceServiceResponse::decode(answer.body.clone()).ok();
    let rejected = read.and_then(|answer| answer.partial_success).map(|partial| partial.rejected_spans);
    rejected.and_then(|rejected| u64::try_from(rejected).ok()).unwrap_or_default()
}

/// The four statuses that the specification says to try again after.
fn again(answer: &OutboundAnswer) -> Again {
    let again =
        [StatusCode::TOO_MANY_REQUESTS, StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
    let seconds = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    match seconds {
        _ if !again.contains(&answer.status) => Again::Never,
        Some(seconds) => Again::After(Duration::from_secs(seconds)),
        None => Again::Sometime,
    }
}
