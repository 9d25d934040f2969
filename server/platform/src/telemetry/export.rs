//! What waits to be told, on its way to the collector in batches. Calls never wait for it.

use std::time::Duration;

use prost::Message;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Told,
    transport::{Transport, teller},
    wire::{ExportTraceServiceRequest, ResourceSpans, ScopeSpans},
};
use crate::Platform;

/// Calls of one request.
const MOST_CALLS: usize = 256;
/// How long something waits for others to go with it.
const LINGER: Duration = Duration::from_secs(1);
/// For everything that still waits when the process stops.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Sends what calls have told, until told to stop; then what still waits, once.
pub async fn run(platform: Platform, stop: CancellationToken) {
    let collector = platform.telemetry.collector.as_ref();
    let Some((collector, told)) = collector.and_then(|collector| Some((collector, collector.take()?))) else {
        return stop.cancelled().await;
    };
    let metrics = &platform.metrics;
    let write = |batch: Vec<Told>| {
        let spans: Vec<_> = batch.into_iter().flat_map(Told::into_spans).collect();
        let (resource, scope) = teller(&platform);
        let count = spans.len() as u64;
        let scope_spans = vec![ScopeSpans { scope, spans }];
        (ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { resource, scope_spans }] }, count)
    };
    let count = |taken, lost| {
        metrics.spans_exported.inc_by(taken);
        metrics.spans_dropped.inc_by(lost);
    };
    pump(told, MOST_CALLS, collector.transport("traces"), &stop, write, count).await;
}

/// Sends what waits, so much at once, until told to stop; then what still waits, once. What was taken and what was lost is counted.
pub(super) async fn pump<T, M: Message>(
    mut waiting: mpsc::Receiver<T>,
    most: usize,
    mut transport: Transport,
    stop: &CancellationToken,
    write: impl Fn(Vec<T>) -> (M, u64),
    count: impl Fn(u64, u64),
) {
    let mut batch = Vec::with_capacity(most);
    let mut send = async |batch: &mut Vec<T>| {
        if batch.is_empty() {
            return;
        }
        let (message, things) = write(std::mem::take(batch));
        let taken = transport.send(&message, things, stop).await;
        count(taken, things - taken);
    };
    while stop.run_until_cancelled(gather(&mut waiting, most, &mut batch)).await.is_some() {
        send(&mut batch).await;
    }
    waiting.close();
    let rest = async {
        send(&mut batch).await;
        while waiting.recv_many(&mut batch, most).await > 0 {
            send(&mut batch).await;
        }
    };
    let _ = timeout(LAST_WORDS, rest).await;
}

/// The next batch: waits for the first, and for others a little. What it has when it is cut stays in the batch.
async fn gather<T>(waiting: &mut mpsc::Receiver<T>, most: usize, batch: &mut Vec<T>) {
    waiting.recv_many(batch, 1).await;
    let more = async {
        while let room @ 1.. = most.saturating_sub(batch.len())
            && waiting.recv_many(batch, room).await > 0
        {}
    };
    let _ = timeout(LINGER, more).await;
}
