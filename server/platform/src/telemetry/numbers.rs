//! The numbers of `/metrics` for a collector: what Prometheus would read there at that moment, under the same names. They are read from the same text, so that
//! nothing can be in the one and not in the other.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::{
    transport::teller,
    wire::{
        ExportMetricsServiceRequest, Gauge, Histogram, HistogramDataPoint, KeyValue, Metric, MetricData, Number, NumberDataPoint,
        ResourceMetrics, ScopeMetrics, Sum, text_of,
    },
};
use crate::Platform;

/// Sums go on from the beginning of the process.
const CUMULATIVE: i32 = 2;
/// For the last numbers, when the process stops.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Tells the numbers as often as is set, until told to stop, and once more then.
pub async fn run_numbers(platform: Platform, stop: CancellationToken) {
    let Some(collector) = platform.telemetry.collector.as_ref() else {
        return stop.cancelled().await;
    };
    let (began, mut transport) = (platform.clock.now(), collector.transport("metrics"));
    let every = collector.settings.metrics_every;
    while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
        transport.send(&request(&platform, began), 0, &stop).await;
    }
    let last = async { transport.send(&request(&platform, began), 0, &stop).await };
    let _ = tokio::time::timeout(LAST_WORDS, last).await;
}

fn request(platform: &Platform, began: DateTime<Utc>) -> ExportMetricsServiceRequest {
    look(platform);
    let (resource, scope) = teller(platform);
    let times = Times { began: nanos(began), now: nanos(platform.clock.now()) };
    let scope_metrics = vec![ScopeMetrics { scope, metrics: read(&platform.metrics.encode(), times) }];
    ExportMetricsServiceRequest { resource_metrics: vec![ResourceMetrics { resource, scope_metrics }] }
}

/// Brings those numbers up to date that are looked at and not counted. What a replica waits for before it takes traffic is asked by whoever wants to know.
pub fn look(platform: &Platform) {
    let metrics = &platform.metrics;
    metrics.open_breakers.set(i64::try_from(platform.breakers.count_open()).unwrap_or(i64::MAX));
    let (waiting, room) = platform.spool.fill();
    metrics.record_bytes.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    metrics.record_room.set(i64::try_from(room).unwrap_or(i64::MAX));
}

fn nanos(at: DateTime<Utc>) -> u64 {
    at.timestamp_nanos_opt().and_then(|nanos| u64::try_from(nanos).ok()).unwrap_or_default()
}

/// Since when sums go on, and of when they are. Nanoseconds since 1970.
#[derive(Clone, Copy)]
struct Times {
    began: u64,
    now: u64,
}

/// A line with a number: what is behind the name of its metric (`_total`, `_bucket` …), its labels, its value.
struct Sample<'t> {
    suffix: &'t str,
    labels: BTreeMap<&'t str, String>,
    value: &'t str,
}

/// The metrics of a text of ours.
fn read(text: &str, times: Times) -> Vec<Metric> {
    let (mut all, mut help) = (Vec::new(), BTreeMap::new());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some((name, words)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            help.insert(name, words.trim_end_matches('.').to_owned());
        }
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) else { continue };
        let mut samples = Vec::new();
        while let Some(sample) = lines.peek().copied().and_then(|line| sample(name, line)) {
            samples.push(sample);
            lines.next();
        }
        let data = data(kind, &samples, times);
        all.extend(data.map(|data| Metric {
            name: name.to_owned(),
            description: help.remove(name).unwrap_or_default(),
            unit: unit(name).to_owned(),
            data: Some(data),
        }));
    }
    all
}

/// What a name says of its unit.
fn unit(name: &str) -> &'static str {
    match name.rsplit('_').next() {
        Some("seconds") => "s",
        Some("milliseconds") => "ms",
        Some("bytes") => "By",
        _ => "1",
    }
}

/// A line of that metric.
fn sample<'t>(name: &str, line: &'t str) -> Option<Sample<'t>> {
    let rest = line.strip_prefix(name)?;
    let (head, value) = rest.rsplit_once(' ')?;
    let (suffix, labels) = head.split_once('{').unwrap_or((head, "}"));
    let is_of_it = matches!(suffix, "" | "_total" | "_sum" | "_count" | "_bucket");
    is_of_it.then(|| Sample { suffix, labels: labels_of(labels.trim_end_matches('}')), value })
}

/// `name="value",…`: values come from closed sets, without quotes or commas in them.
fn labels_of(text: &str) -> BTreeMap<&str, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name, value.trim_matches('"').to_owned())).collect()
}

fn data(kind: &str, samples: &[Sample<'_>], times: Times) -> Option<MetricData> {
    let points = || samples.iter().map(|sample| point(sample, times)).collect();
    match kind {
        "counter" => {
            Some(MetricData::Sum(Sum { data_points: points(), aggregation_temporality: CUMULATIVE, is_monotonic: true }))
        }
        "gauge" => Some(MetricData::Gauge(Gauge { data_points: points() })),
        "histogram" => Some(MetricData::Histogram(Histogram {
            data_points: vec![histogram(samples, times)?],
            aggregation_temporality: CUMULATIVE,
        })),
        _ => None,
    }
}

fn point(sample: &Sample<'_>, times: Times) -> NumberDataPoint {
    let value = match sample.value.parse() {
        Ok(whole) => Number::Whole(whole),
        Err(_) => Number::Real(sample.value.parse().unwrap_or(f64::NAN)),
    };
    NumberDataPoint {
        attributes: attributes(sample),
        start_time_unix_nano: times.began,
        time_unix_nano: times.now,
        value: Some(value),
    }
}

fn attributes(sample: &Sample<'_>) -> Vec<KeyValue> {
    sample.labels.iter().filter(|(name, _)| **name != "le").map(|(name, value)| text_of(name, value)).collect()
}

/// The one histogram of those lines. Its buckets count what is below their bound; a collector's count what is between it and the bound before.
fn histogram(samples: &[Sample<'_>], times: Times) -> Option<HistogramDataPoint> {
    let one = |suffix: &str| samples.iter().find(|sample| sample.suffix == suffix);
    let (mut explicit_bounds, mut bucket_counts, mut before) = (Vec::new(), Vec::new(), 0_u64);
    for bucket in samples.iter().filter(|sample| sample.suffix == "_bucket") {
        let below: u64 = bucket.value.parse().ok()?;
        bucket_counts.push(below.saturating_sub(before));
        before = below;
        let bound: f64 = bucket.labels.get("le")?.parse().ok()?;
        explicit_bounds.extend(Some(bound).filter(|bound| bound.is_finite()));
    }
    Some(HistogramDataPoint {
        start_time_unix_nano: times.began,
        time_unix_nano: times.now,
        count: one("_count")?.value.parse().ok()?,
        sum: one("_sum")?.value.parse().ok(),
        bucket_counts,
        explicit_bounds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{call::Outcome, metrics::Metrics};

    #[test]
    fn every_number_of_the_text_is_there_under_its_name() {
        let metrics = Metrics::default();
        metrics.count_call(Outcome::Ok, 0.03);
        metrics.count_call(Outcome::Timeout, 400.0);
        metrics.open_streams.set(7);
        metrics.note_round("probes", true);
        let text = metrics.encode();
        let read = read(&text, Times { began: 1, now: 2 });
        let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        assert_eq!(read.iter().map(|metric| metric.name.as_str()).collect::<Vec<_>>(), names);
        let data = |name: &str| read.iter().find(|metric| metric.name == name).and_then(|metric| metric.data.clone());
        let Some(MetricData::Sum(calls)) = data("mcp_tool_calls") else { panic!("{read:?}") };
        assert!(calls.is_monotonic && calls.data_points.len() == 2, "{calls:?}");
        assert_eq!(calls.data_points[0].value, Some(Number::Whole(1)));
        assert!(calls.data_points.iter().any(|point| point.attributes == [text_of("status", "timeout")]), "{calls:?}");
        let Some(MetricData::Gauge(streams)) = data("mcp_open_streams") else { panic!("{read:?}") };
        assert_eq!(streams.data_points[0].value, Some(Number::Whole(7)));
        let Some(MetricData::Histogram(seconds)) = data("mcp_tool_call_duration_seconds") else { panic!("{read:?}") };
        let point = &seconds.data_points[0];
        assert_eq!((point.count, point.sum, point.bucket_counts.iter().sum::<u64>()), (2, Some(400.03), 2));
        assert_eq!((point.bucket_counts.len(), point.explicit_bounds.len()), (18, 17));
        assert_eq!((point.bucket_counts[5], point.bucket_counts[17]), (1, 1), "{point:?}");
    }
}
