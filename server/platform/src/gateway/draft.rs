//! The entry of a call while the call is on its way.

use std::{borrow::Cow, sync::Arc, time::Instant};

use super::{CallRequest, Caller, Measure, Refusal, admit::without_redis, call::Ready, list, measure};
use crate::{
    Platform,
    call::{Entry, Outcome},
    catalog::{Consumed, Price, snapshot::LoadedTool},
    execution::Run,
    ids::{EntryId, ToolId},
    metrics::Metrics,
    quota::{self, BucketsOf, Decision},
    record::Reservation,
};

/// The entry while the call is on its way. Dropped before the call is finished, by a panic or the end of the process, it is recorded with
/// outcome `unknown`: what was admitted does not vanish.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) entry: Entry,
    measure: Measure,
    began: Instant,
    price: Price,
    /// What the tool said that it has cost. `None` until it has run and is billed.
    billed: Option<Option<i64>>,
    metrics: Arc<Metrics>,
    place: Option<Reservation>,
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
            revision: request.revision.as_str(),
            client_name: clip(request.client_name),
            request_id: request.request_id.to_owned(),
            degraded: false,
        };
        Self {
            entry,
            measure,
            began: Instant::now(),
            price: Price::default(),
            billed: None,
            metrics: Arc::clone(&platform.metrics),
            place: Some(place),
        }
    }

    /// The entry of what goes on after this call was answered: recorded by whoever ends it. `None` if the record is full.
    pub(super) fn successor(&self, platform: &Platform) -> Option<Self> {
        let place = platform.spool.reserve().ok()?;
        let at = platform.clock.now();
        let entry = Entry { id: EntryId::new(at), at, auth_us: 0, admission_us: 0, bytes_in: 0, ..self.entry.clone() };
        let metrics = Arc::clone(&self.metrics);
        let (measure, began) = (Measure::start(), Instant::now());
        Some(Self { entry, measure, began, price: self.price, billed: None, metrics, place: Some(place) })
    }

    /// Somebody else records it.
    pub(super) fn discard(mut self) {
        self.place = None;
    }

    /// The tool that is called.
    pub(super) fn tool(&self) -> Option<ToolId> {
        self.entry.tool.map(|(tool, _)| tool)
    }

    pub(super) fn about(&mut self, tool: &LoadedTool) {
        self.entry.tool = Some((tool.tool.id, tool.tool.version.id));
        self.price = tool.tool.version.price;
    }

    /// Asks for all buckets of the call. One whose arguments do not fit is no call of the tool: it is charged like a list, so that it
    /// costs nothing of the tool's limit and is not free either.
    pub(super) async fn admit(&mut self, platform: &Platform, caller: &Caller, tool: &LoadedTool, ready: &Ready) -> Decision {
        let began = Instant::now();
        let snapshot = &caller.snapshot;
        let (tenant, agent) = (snapshot.tenant, caller.agent.id);
        let buckets = match ready {
            Ready::Known(_) => vec![list::bucket(platform, agent)],
            Ready::Run(_) => {
                let of = BucketsOf { tenant, agent, tool: tool.tool.id, effect: tool.tool.version.effect };
                snapshot.limits.buckets(&platform.settings.quota, &of)
            }
        };
        let session = caller.session.as_ref().map(|session| session.keys(platform));
        let decision = quota::admit(platform, tenant, &snapshot.epoch, session.as_ref(), &buckets, without_redis(tool)).await;
        self.entry.admission_us += measure::micros(began);
        decision
    }

    /// The tool has run: how long, and is it paid for?
    pub(super) fn settle(&mut self, run: &Run) {
        self.entry.upstream_us = measure::micros(self.began);
        self.billed = run.is_billed().then_some(run.reported_micro);
    }

    /// The tool begins to run.
    pub(super) fn begin(&mut self) {
        self.began = Instant::now();
    }

    /// A refusal that somebody else has decided.
    pub(super) fn refuse_with(self, refusal: Refusal) -> Refusal {
        match &refusal {
            Refusal::Limited { by, .. } => {
                let reason = by.scope.as_str();
                self.refuse(Outcome::Limited, reason, refusal)
            }
            Refusal::Suspended => self.refuse(Outcome::Denied, "suspended", refusal),
            Refusal::Revoked => self.refuse(Outcome::Denied, "revoked", refusal),
            Refusal::InsufficientScope { .. } => self.refuse(Outcome::Denied, "insufficient_scope", refusal),
            Refusal::UnknownTool => self.refuse(Outcome::Denied, "unknown_tool", refusal),
            Refusal::HeaderMismatch { .. } => self.refuse(Outcome::Denied, "header_mismatch", refusal),
            Refusal::InvalidState => self.refuse(Outcome::Denied, "invalid_state", refusal),
            Refusal::NoSession => self.refuse(Outcome::Denied, "no_session", refusal),
            Refusal::Unavailable { .. } => self.refuse(Outcome::Denied, "limits_unavailable", refusal),
        }
    }

    pub(super) fn refuse(self, outcome: Outcome, reason: &'static str, refusal: Refusal) -> Refusal {
        self.finish(outcome, Some(reason.into()), 0);
        refusal
    }

    pub(super) fn finish(mut self, outcome: Outcome, error: Option<Cow<'static, str>>, bytes_out: usize) {
        self.entry.outcome = outcome;
        self.entry.error = error;
        self.entry.bytes_out = i64::try_from(bytes_out).unwrap_or(i64::MAX);
        self.entry.cost_micro = self.billed.map_or(0, |reported_micro| {
            let bytes = self.entry.bytes_in.saturating_add(self.entry.bytes_out);
            self.price.of(Consumed { bytes, upstream_us: self.entry.upstream_us, reported_micro })
        });
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        self.entry.latency_us = measure::micros(self.measure.started);
        #[expect(clippy::cast_precision_loss, reason = "microseconds of one call")]
        self.metrics.count_call(self.entry.outcome, self.entry.latency_us as f64 / 1e6);
        place.complete(self.entry.clone());
    }
}

/// At most 128 bytes of a name that somebody else chose, without control characters.
pub fn clip(name: &str) -> String {
    let mut end = name.len().min(128);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
