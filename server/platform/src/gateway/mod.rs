//! The path of a call, top to bottom: who → which tool → may it → do the arguments fit → admit → run → record → answer.
//!
//! No Postgres, one round trip to Redis, definitions from memory. Everything that is refused is recorded too.

mod caller;
mod list;
mod measure;
mod slot;
mod trial;

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Map, Value, value::RawValue};
use tokio_util::sync::CancellationToken;
use trunkline_protocol::{
    mcp::{
        Revision,
        results::{self, Caching},
        tools::text_result,
    },
    oauth::scope::Effect,
};

pub use caller::{Caller, Credential, Unauthenticated, authenticate};
pub use list::{ListPage, Tools, admit_list, list_tools};
pub use measure::Measure;
pub use trial::{Trial, try_out};

use slot::{MOST_PER_TOOL, Slot};

use crate::{
    Platform,
    call::{Entry, Outcome},
    catalog::snapshot::LoadedTool,
    execution::{self, Means, Run},
    ids::EntryId,
    metrics::Metrics,
    quota::{self, BucketsOf, Decision, Remaining, WithoutRedis},
    record::Reservation,
    secret::{Plaintext, SealError},
};

/// What the transport knows of a call.
#[derive(Debug, Clone)]
pub struct CallRequest<'a> {
    /// The tool's name, as in the body.
    pub name: &'a str,
    /// Its arguments, still raw.
    pub arguments: Option<&'a RawValue>,
    /// Revision to answer in.
    pub revision: Revision,
    /// What the client says it is.
    pub client_name: &'a str,
    /// Size of the body in bytes.
    pub bytes_in: usize,
    /// Id of the HTTP request.
    pub request_id: &'a str,
}

/// A call that was refused before its tool ran.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// There is no such tool for this caller. Missing and forbidden look alike.
    UnknownTool,
    /// A bucket is empty.
    Limited {
        /// Which.
        by: Remaining,
        /// When it would be admitted, in milliseconds.
        retry_after_ms: u64,
    },
    /// Redis is away and this tool must not run on a guess, or the record is full.
    Unavailable {
        /// When to try again, in milliseconds.
        retry_after_ms: u64,
    },
    /// The key was ended while the call was on its way.
    Revoked,
    /// The agent or its tenant is suspended until somebody acts.
    Suspended,
}

/// A call that was admitted, charged and has a place in the record.
#[derive(Debug)]
pub struct AdmittedCall {
    tool: Arc<LoadedTool>,
    ready: Ready,
    caller: Caller,
    left: Remaining,
    draft: Draft,
    /// Held while the call runs.
    _slot: Option<Slot>,
}

/// What is left to do.
#[derive(Debug)]
enum Ready {
    Run(Map<String, Value>),
    /// The arguments did not fit: the result is known.
    Known(Run),
}

/// A finished call.
#[derive(Debug)]
pub struct FinishedCall {
    /// The `result` member, as JSON of the revision.
    pub result: String,
}

/// How long read and free write tools go on while neither Redis nor Postgres says whether the key still works.
const UNHEARD_READS: Duration = Duration::from_mins(5);
const UNHEARD_WRITES: Duration = Duration::from_secs(30);
/// When to come back after something that should pass quickly.
const SOON_MS: u64 = 1_000;
/// A change is noticed once; twice means that it goes on changing.
const ATTEMPTS: usize = 3;

/// Decides whether a call runs. What is refused here is in the record when this returns, unless the record itself is full.
pub async fn admit_call(
    platform: &Platform,
    mut caller: Caller,
    request: &CallRequest<'_>,
    measure: Measure,
) -> Result<AdmittedCall, Refusal> {
    let Ok(place) = platform.spool.reserve() else {
        return Err(Refusal::Unavailable { retry_after_ms: SOON_MS });
    };
    let mut draft = Draft::new(platform, &caller, request, measure, place);
    for _ in 0..ATTEMPTS {
        let Some(tool) = caller.tool(request.name).filter(|_| !caller.is_suspended()).cloned() else {
            // Charged like a list: asking for nothing is not free, and an agent or a tool that has just come back is noticed.
            let before = caller.snapshot.epoch.clone();
            match admit_list(platform, caller).await {
                Ok(fresh) if fresh.snapshot.epoch != before => caller = fresh,
                Ok(_) => return Err(draft.refuse(Outcome::Denied, "unknown_tool", Refusal::UnknownTool)),
                Err(refusal) => return Err(draft.refuse_with(refusal)),
            }
            continue;
        };
        draft.about(&tool);
        let ready = match execution::read_arguments(&tool, request.arguments) {
            Ok(arguments) => Ready::Run(arguments),
            Err(run) => Ready::Known(run),
        };
        let Some(slot) = Slot::take(platform, &tool) else {
            let by = Remaining::concurrency(MOST_PER_TOOL);
            let refusal = Refusal::Limited { by, retry_after_ms: SOON_MS };
            return Err(draft.refuse(Outcome::Limited, by.scope.as_str(), refusal));
        };
        match draft.admit(platform, &caller, &tool, &ready).await {
            Decision::Admitted { left, degraded } => {
                draft.entry.degraded = degraded;
                return Ok(AdmittedCall { tool, ready, caller, left, draft, _slot: Some(slot) });
            }
            Decision::Limited { by, retry_after_ms, degraded } => {
                draft.entry.degraded = degraded;
                return Err(draft.refuse(Outcome::Limited, by.scope.as_str(), Refusal::Limited { by, retry_after_ms }));
            }
            Decision::Unavailable => {
                draft.entry.degraded = true;
                break;
            }
            Decision::Stale => match caller.reload(platform).await {
                Ok(fresh) => caller = fresh,
                Err(Unauthenticated::Invalid) => return Err(draft.refuse(Outcome::Denied, "revoked", Refusal::Revoked)),
                Err(Unauthenticated::Unavailable) => break,
            },
        }
    }
    Err(draft.refuse(Outcome::Denied, "limits_unavailable", Refusal::Unavailable { retry_after_ms: SOON_MS }))
}

/// Tools that destroy something or cost money do not run while nobody can count them.
fn without_redis(tool: &LoadedTool) -> WithoutRedis {
    let version = &tool.tool.version;
    match version.effect {
        _ if version.price_micro > 0 => WithoutRedis::Refuse,
        Effect::Read => WithoutRedis::LocalShare(UNHEARD_READS),
        Effect::Write => WithoutRedis::LocalShare(UNHEARD_WRITES),
        Effect::Destructive => WithoutRedis::Refuse,
    }
}

impl AdmittedCall {
    /// What is left in the tightest bucket.
    pub fn left(&self) -> Remaining {
        self.left
    }

    /// Runs the tool under its deadline, records the call and gives its result. `cancelled` ends it early where the revision says so.
    pub async fn run(self, platform: &Platform, cancelled: CancellationToken) -> FinishedCall {
        let Self { tool, ready, caller, left, mut draft, _slot } = self;
        let upstream = Instant::now();
        let run = match ready {
            Ready::Known(run) => run,
            Ready::Run(arguments) => {
                let run = run(platform, &tool, caller.snapshot.secret(&tool), &arguments, cancelled).await;
                draft.entry.upstream_us = measure::micros(upstream);
                // What never left is not billed.
                draft.entry.cost_micro = if run.was_dispatched() { tool.tool.version.price_micro } else { 0 };
                run
            }
        };
        let result = render(draft.revision, &run, left);
        draft.finish(run.outcome, run.error, result.len());
        FinishedCall { result }
    }
}

async fn run(
    platform: &Platform,
    tool: &LoadedTool,
    secret: Option<Result<Plaintext, SealError>>,
    arguments: &Map<String, Value>,
    cancelled: CancellationToken,
) -> Run {
    let secret = match secret.transpose() {
        Ok(secret) => secret,
        Err(error) => {
            tracing::error!(tool.id = %tool.tool.id, error = %error, "a sealed secret cannot be opened");
            return Run::failed(
                Outcome::Unknown,
                "secret_integrity",
                "The tool's stored secret cannot be read. Its owner has to enter it again.",
            );
        }
    };
    let means = Means { clock: &*platform.clock, egress: &platform.egress };
    let deadline = execution::deadline(&tool.tool.version.executor);
    tokio::select! {
        biased;
        () = cancelled.cancelled() => Run::failed(Outcome::Cancelled, "cancelled", "The caller went away."),
        run = execution::run(means, tool, arguments, secret) => run,
        () = tokio::time::sleep(deadline) => Run::failed(Outcome::Timeout, "upstream_timeout", "The tool did not finish in time."),
    }
}

fn render(revision: Revision, run: &Run, left: Remaining) -> String {
    let limits = left.to_json();
    let error = run.error.map(|error| format!("\"{error}\""));
    let mut additions = vec![("trunkline/limits", &*limits)];
    if let Some(error) = &error {
        additions.push(("trunkline/error", error));
    }
    results::complete(revision, text_result(&run.result), Caching::NotTold, &additions)
}

/// The entry while the call is on its way. Dropped before the call is finished, by a panic or the end of the process, it is recorded with
/// outcome `unknown`: what was admitted does not vanish.
#[derive(Debug)]
struct Draft {
    entry: Entry,
    measure: Measure,
    revision: Revision,
    metrics: Arc<Metrics>,
    place: Option<Reservation>,
}

impl Draft {
    fn new(platform: &Platform, caller: &Caller, request: &CallRequest<'_>, measure: Measure, place: Reservation) -> Self {
        let at = platform.clock.now();
        let Credential::Key(key) = &caller.credential;
        let entry = Entry {
            id: EntryId::new(at),
            tenant: caller.snapshot.tenant,
            at,
            agent: caller.agent.id,
            key: Some(key.id),
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
        Self { entry, measure, revision: request.revision, metrics: Arc::clone(&platform.metrics), place: Some(place) }
    }

    fn about(&mut self, tool: &LoadedTool) {
        self.entry.tool = Some((tool.tool.id, tool.tool.version.id));
    }

    /// Asks for all buckets of the call. One whose arguments do not fit is no call of the tool: it is charged like a list, so that it
    /// costs nothing of the tool's limit and is not free either.
    async fn admit(&mut self, platform: &Platform, caller: &Caller, tool: &LoadedTool, ready: &Ready) -> Decision {
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
        let decision = quota::admit(platform, tenant, &snapshot.epoch, &buckets, without_redis(tool)).await;
        self.entry.admission_us += measure::micros(began);
        decision
    }

    /// A refusal that somebody else has decided.
    fn refuse_with(self, refusal: Refusal) -> Refusal {
        match &refusal {
            Refusal::Limited { by, .. } => {
                let reason = by.scope.as_str();
                self.refuse(Outcome::Limited, reason, refusal)
            }
            Refusal::Suspended => self.refuse(Outcome::Denied, "suspended", refusal),
            Refusal::Revoked => self.refuse(Outcome::Denied, "revoked", refusal),
            Refusal::UnknownTool => self.refuse(Outcome::Denied, "unknown_tool", refusal),
            Refusal::Unavailable { .. } => self.refuse(Outcome::Denied, "limits_unavailable", refusal),
        }
    }

    fn refuse(self, outcome: Outcome, reason: &'static str, refusal: Refusal) -> Refusal {
        self.finish(outcome, Some(reason), 0);
        refusal
    }

    fn finish(mut self, outcome: Outcome, error: Option<&'static str>, bytes_out: usize) {
        self.entry.outcome = outcome;
        self.entry.error = error.map(Cow::Borrowed);
        self.entry.bytes_out = i64::try_from(bytes_out).unwrap_or(i64::MAX);
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
fn clip(name: &str) -> String {
    let mut end = name.len().min(128);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
