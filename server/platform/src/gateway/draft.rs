//! The entry of a call while the call is on its way.

use std::{borrow::Cow, sync::Arc, time::Instant};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::BoxFuture;

use serde_json::{Map, Value, value::RawValue};
use trunkline_protocol::oauth::scope::Effect;

use super::{CallRequest, Caller, Measure, Refusal, SOON_MS, measure};
use crate::{
    Platform,
    call::{Entry, Outcome, Provenance, Reserved},
    catalog::{Consumed, Price, Typical, snapshot::LoadedTool},
    context::{Asked, Counter, Definition, Output},
    egress::{Exchanges, Trail},
    execution::Run,
    ids::{EntryId, ToolId},
    metrics::Metrics,
    network::Network,
    quota::{Charged, Passage},
    record::{NotKept, Reservation},
    telemetry::{Telemetry, Told},
    trace::Trace,
};

/// The entry while the call is on its way. Dropped before the call is finished, by a panic or the end of the process, it is recorded with
/// outcome `unknown`: what was admitted does not vanish.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) entry: Entry,
    measure: Measure,
    began: Instant,
    price: Price,
    /// What calls of the tool are like.
    typical: Option<Arc<Typical>>,
    /// `None` until the tool has run and is billed.
    billed: Option<Billed>,
    /// May it change something?
    has_effect: bool,
    metrics: Arc<Metrics>,
    place: Option<Reservation>,
    /// What it was charged, until it is known that something was sent.
    pub(super) charged: Option<Charged>,
    /// It passes the breaker of its upstream, which hears how it went.
    pub(super) passage: Option<Passage>,
    /// What is needed to count its context, if its agent is a model.
    reading: Option<Reading>,
    /// Requests that its work makes.
    trail: Trail,
    /// Who is told of it when it has ended, if its trace is recorded.
    traced: Option<Traced>,
}

/// A call whose spans are told.
#[derive(Debug)]
struct Traced {
    telemetry: Arc<Telemetry>,
    trace: Arc<Trace>,
    /// When its request came.
    began: DateTime<Utc>,
    /// When it was first asked whether it may.
    admission: Option<Instant>,
}

/// Where a context is counted, and at what price.
#[derive(Debug, Clone)]
struct Reading {
    contexts: Arc<Counter>,
    input_micro: i64,
    /// Known with the tool.
    definition: Option<Arc<Definition>>,
}

/// A run that is paid for.
#[derive(Debug, Clone, Copy)]
struct Billed {
    /// What the tool said that it has cost.
    reported_micro: Option<i64>,
}

/// From now on lines of the log that belong to this request say which call they are about.
fn name_span(trace: Option<&Trace>, jsonrpc_id: Option<&str>) {
    let span = tracing::Span::current();
    // Nothing of it is logged at this level.
    if span.is_disabled() {
        return;
    }
    if let Some(trace) = trace {
        span.record("trace.id", trace.id.to_string());
    }
    if let Some(id) = jsonrpc_id {
        span.record("jsonrpc.id", clip(id));
    }
}

impl Draft {
    pub(super) fn new(
        platform: &Platform,
        caller: &Caller,
        request: &CallRequest<'_>,
        measure: Measure,
        place: Reservation,
    ) -> Self {
        let at = platform.clock.now();
        let trace = platform.telemetry.trace(request.trace.clone()).map(Arc::new);
        name_span(trace.as_deref(), request.jsonrpc_id);
        let entry = Entry {
            id: EntryId::new(at),
            tenant: caller.snapshot.tenant,
            at,
            agent: caller.agent.id,
            key: caller.credential.key(),
            grant: caller.credential.grant(),
            tool: None,
            tool_name: clip(request.name),
            outcome: Outcome::Unknown,
            error: None,
            latency_us: 0,
            auth_us: measure.auth_us,
            admission_us: 0,
            upstream_us: 0,
            bytes_in: i64::try_from(request.bytes_in).unwrap_or(i64::MAX),
            bytes_out: 0,
            cost_micro: 0,
            revision: request.revision.as_str().into(),
            client_name: clip(request.client_name),
            request_id: request.request_id.to_owned(),
            degraded: false,
            user: caller.user(),
            jsonrpc_id: request.jsonrpc_id.map(clip),
            trace_id: trace.as_ref().map(|trace| trace.id.to_string()),
            provenance: Provenance {
                network: Some(Network::around(request.address)),
                region: platform.settings.region.clone().map(Cow::Owned),
                ..Provenance::default()
            },
            downstream: Exchanges::default(),
            reserved: None,
            context: None,
        };
        let reading = caller.agent.model.as_ref().map(|model| Reading {
            contexts: Arc::clone(&platform.contexts),
            input_micro: model.input_micro,
            definition: None,
        });
        Self {
            entry,
            measure,
            began: Instant::now(),
            price: Price::default(),
            typical: None,
            billed: None,
            has_effect: false,
            metrics: Arc::clone(&platform.metrics),
            place: Some(place),
            charged: None,
            passage: None,
            reading,
            traced: traced(&platform.telemetry, trace.as_ref(), at, measure),
            trail: Trail::of(trace),
        }
    }

    /// The entry of what goes on after this call was answered: recorded by whoever ends it. `None` if the record is full.
    pub(super) fn successor(&self, platform: &Platform) -> Option<Self> {
        let place = platform.spool.reserve().ok()?;
        let at = platform.clock.now();
        let reserved = self.entry.reserved.as_ref().map(Reserved::successor);
        let entry = Entry { id: EntryId::new(at), at, auth_us: 0, admission_us: 0, bytes_in: 0, reserved, ..self.entry.clone() };
        // It is the same work that goes on.
        let trail = self.trail.clone();
        let metrics = Arc::clone(&self.metrics);
        let (measure, began) = (Measure::start(), Instant::now());
        let of = |traced: &Traced| Traced {
            telemetry: Arc::clone(&traced.telemetry),
            trace: Arc::new(traced.trace.successor()),
            began: at,
            admission: None,
        };
        let traced = self.traced.as_ref().map(of);
        let (price, typical, has_effect, place) = (self.price, self.typical.clone(), self.has_effect, Some(place));
        let (billed, charged, passage, reading) = (None, None, None, self.reading.clone());
        Some(Self {
            entry,
            measure,
            began,
            price,
            typical,
            billed,
            has_effect,
            metrics,
            place,
            charged,
            passage,
            reading,
            trail,
            traced,
        })
    }

    /// Somebody else records it.
    pub(super) fn discard(mut self) {
        self.place = None;
        self.traced = None;
    }

    /// It was asked, since then, whether it may. More than once, if what was known of its tenant was old.
    pub(super) fn decided(&mut self, asked: Instant) {
        self.entry.admission_us += measure::micros(asked);
        if let Some(traced) = &mut self.traced {
            traced.admission.get_or_insert(asked);
        }
    }

    /// The tool that is called.
    pub(super) fn tool(&self) -> Option<ToolId> {
        self.entry.tool.map(|(tool, _)| tool)
    }

    /// The arguments of the call. Later ones are the same, read anew.
    pub(super) fn says(&mut self, caller: &Caller, arguments: &Map<String, Value>) {
        let of = || caller.snapshot.fingerprint(arguments);
        self.entry.provenance.arguments.get_or_insert_with(of);
    }

    /// The same of arguments that nobody has read yet: of a call that does not come so far.
    pub(super) fn says_unread(&mut self, caller: &Caller, arguments: Option<&RawValue>) {
        let read = arguments.map_or_else(|| Some(Map::new()), |raw| serde_json::from_str(raw.get()).ok());
        if let Some(arguments) = read.filter(|_| self.entry.provenance.arguments.is_none()) {
            self.says(caller, &arguments);
        }
    }

    pub(super) fn about(&mut self, tool: &LoadedTool) {
        self.entry.tool = Some((tool.tool.id, tool.tool.version.id));
        self.entry.provenance.definition = Some(tool.digest);
        self.price = tool.tool.version.price;
        self.typical = Some(Arc::clone(&tool.typical));
        self.has_effect = tool.tool.version.effect != Effect::Read;
        if let Some(reading) = &mut self.reading {
            reading.definition = Some(Arc::clone(&tool.definition));
        }
    }

    /// What may change something says so before it does, and so does what a budget has reserved something for: whatever happens to this process,
    /// the call is in the record, and settled from there.
    pub(super) async fn intend(&mut self) -> Result<(), NotKept> {
        match &mut self.place {
            Some(place) if self.has_effect || self.entry.reserved.is_some() => place.intend(&self.entry).await,
            _ => Ok(()),
        }
    }

    /// The tool has run: how long, and is it paid for?
    pub(super) fn settle(&mut self, run: &Run) {
        self.entry.upstream_us = measure::micros(self.began);
        self.entry.downstream = self.trail.take(self.began);
        self.entry.provenance.upstream_status = run.status.and_then(|status| i16::try_from(status / 100).ok());
        self.billed = run.is_billed().then_some(Billed { reported_micro: run.reported_micro });
        if let Some(passage) = self.passage.take().filter(|_| run.was_sent() || run.is_failure_of_upstream()) {
            passage.note(run.is_failure_of_upstream());
        }
        if let Some(charged) = self.charged.take().filter(|_| !run.was_sent()) {
            charged.give_back();
        }
    }

    /// What its caller's model will read, before it is finished: counted when the answer has left.
    pub(super) fn gives(&self, output: impl FnOnce() -> Option<Output>) {
        if let Some(Reading { contexts, input_micro, definition: Some(definition) }) = &self.reading
            && let Some(output) = output()
        {
            let (definition, input_micro) = (Arc::clone(definition), *input_micro);
            contexts.ask(self.entry.id, Asked { output, definition, input_micro });
        }
    }

    /// The call's id, for those who have to know it again.
    pub(super) fn call_id(&self) -> String {
        self.entry.id.uuid().simple().to_string()
    }

    /// What marks the requests of its work.
    pub(super) fn trail(&self) -> &Trail {
        &self.trail
    }

    /// The tool begins to run.
    pub(super) fn begin(&mut self) {
        self.began = Instant::now();
    }

    /// A refusal that somebody else has decided.
    pub(super) fn refuse_with(self, refusal: Refusal) -> BoxFuture<'static, Refusal> {
        let (outcome, reason) = match &refusal {
            Refusal::Limited { by, .. } => (Outcome::Limited, by.scope.as_str()),
            Refusal::Denied { .. } => (Outcome::Denied, "never"),
            Refusal::OtherArguments => (Outcome::Denied, "idempotency_key_reused"),
            Refusal::StillRunning { .. } => (Outcome::Denied, "still_running"),
            Refusal::EndUnknown => (Outcome::Denied, "end_unknown"),
            Refusal::TooLargeToKeep => (Outcome::Denied, "result_not_kept"),
            Refusal::SourceAway { .. } => (Outcome::Denied, "breaker_open"),
            Refusal::Suspended => (Outcome::Denied, "suspended"),
            Refusal::Revoked => (Outcome::Denied, "revoked"),
            Refusal::InsufficientScope { .. } => (Outcome::Denied, "insufficient_scope"),
            Refusal::UnknownTool => (Outcome::Denied, "unknown_tool"),
            Refusal::HeaderMismatch { .. } => (Outcome::Denied, "header_mismatch"),
            Refusal::InvalidState => (Outcome::Denied, "invalid_state"),
            Refusal::NoSession => (Outcome::Denied, "no_session"),
            Refusal::Unavailable { .. } => (Outcome::Denied, "limits_unavailable"),
        };
        self.refuse(outcome, reason, refusal)
    }

    /// In a box: calls that are not refused do not carry it with them.
    pub(super) fn refuse(self, outcome: Outcome, reason: &'static str, refusal: Refusal) -> BoxFuture<'static, Refusal> {
        Box::pin(async move {
            match self.finish(outcome, Some(reason.into()), 0).await {
                Ok(()) => refusal,
                Err(NotKept) => Refusal::Unavailable { retry_after_ms: SOON_MS },
            }
        })
    }

    /// Records the call. Its answer may leave when this returns well.
    pub(super) async fn finish(
        mut self,
        outcome: Outcome,
        error: Option<Cow<'static, str>>,
        bytes_out: usize,
    ) -> Result<(), NotKept> {
        self.end(outcome, error, bytes_out);
        let Some(place) = self.close() else { return Ok(()) };
        let ready = Instant::now();
        let kept = place.complete(&self.entry).await;
        self.tell(Some(ready));
        kept
    }

    /// Its spans, once. `ready`: since then somebody waits until its entry is safe.
    fn tell(&mut self, ready: Option<Instant>) {
        let Some(Traced { telemetry, trace, began, admission }) = self.traced.take() else { return };
        let since = |moment: Instant| {
            i64::try_from(moment.saturating_duration_since(self.measure.started).as_micros()).unwrap_or(i64::MAX)
        };
        let mut entry = self.entry.clone();
        if entry.downstream.is_empty() {
            // What was cut has not told of its requests.
            entry.downstream = self.trail.take(self.began);
        }
        let told = Told {
            trace,
            began,
            admission_at_us: admission.map(since),
            upstream_at_us: since(self.began),
            record_us: ready.map(|ready| (since(ready), measure::micros(ready))),
            entry,
        };
        telemetry.tell(told, &self.metrics);
    }

    /// The same where no answer waits for it.
    pub(super) fn finish_unheard(mut self, outcome: Outcome, error: Option<Cow<'static, str>>, bytes_out: usize) {
        self.end(outcome, error, bytes_out);
    }

    fn end(&mut self, outcome: Outcome, error: Option<Cow<'static, str>>, bytes_out: usize) {
        self.entry.outcome = outcome;
        self.entry.error = error;
        self.entry.bytes_out = i64::try_from(bytes_out).unwrap_or(i64::MAX);
        self.entry.cost_micro = self.billed.map_or(0, |Billed { reported_micro }| {
            let bytes = self.entry.bytes_in.saturating_add(self.entry.bytes_out);
            self.price.of(Consumed { bytes, upstream_us: self.entry.upstream_us, reported_micro })
        });
        if let Some(typical) = self.typical.as_ref().filter(|_| self.billed.is_some()) {
            typical.note(self.entry.bytes_out, self.entry.upstream_us);
        }
    }

    /// The place, once.
    fn close(&mut self) -> Option<Reservation> {
        let place = self.place.take()?;
        self.entry.latency_us = measure::micros(self.measure.started);
        #[expect(clippy::cast_precision_loss, reason = "microseconds of one call")]
        self.metrics.count_call(self.entry.outcome, self.entry.latency_us as f64 / 1e6);
        Some(place)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(place) = self.close() {
            place.hand_over(&self.entry);
        }
        self.tell(None);
    }
}

/// Of a trace that is recorded.
fn traced(telemetry: &Arc<Telemetry>, trace: Option<&Arc<Trace>>, at: DateTime<Utc>, measure: Measure) -> Option<Traced> {
    let trace = Arc::clone(trace.filter(|trace| trace.is_recorded)?);
    let began = at - TimeDelta::microseconds(measure::micros(measure.started));
    Some(Traced { telemetry: Arc::clone(telemetry), trace, began, admission: None })
}

/// At most 128 bytes of a name that somebody else chose, without control characters.
pub fn clip(name: &str) -> String {
    let mut end = name.len().min(128);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
