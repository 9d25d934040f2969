//! The path of a call, top to bottom: who → which tool → may it → do the arguments fit → admit → run → record → answer.
//!
//! No Postgres, one round trip to Redis, definitions from memory. Everything that is refused is recorded too.

mod caller;
mod list;
mod measure;
mod trial;

use std::{borrow::Cow, sync::Arc, time::Instant};

use serde_json::{Map, Value, value::RawValue};
use tokio_util::sync::CancellationToken;
use trunkline_protocol::mcp::{Revision, tools::call_result};

pub use caller::{Caller, Credential, Unauthenticated, authenticate};
pub use list::{ListPage, Tools, admit_list, list_tools};
pub use measure::Measure;
pub use trial::{Trial, try_out};

use crate::{
    Platform,
    call::{Entry, Outcome},
    catalog::snapshot::LoadedTool,
    execution::{self, Means, Run},
    quota::{self, Decision, Remaining, WithoutRedis},
    record::Reservation,
    secret::{Plaintext, SealError},
};
use trunkline_protocol::oauth::scope::Effect;

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
    place: Reservation,
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

/// Decides whether a call runs. What is refused here is in the record when this returns.
pub async fn admit_call(
    platform: &Platform,
    mut caller: Caller,
    request: &CallRequest<'_>,
    measure: Measure,
) -> Result<AdmittedCall, Refusal> {
    let Ok(place) = platform.spool.reserve() else {
        return Err(Refusal::Unavailable { retry_after_ms: 1_000 });
    };
    // At most once more: a change was noticed, what is in memory is loaded again.
    for _ in 0..3 {
        if caller.is_suspended() {
            Draft::new(platform, &caller, request, measure).refuse(platform, place, Outcome::Denied, "suspended");
            return Err(Refusal::Suspended);
        }
        let Some(tool) = caller.tool(request.name).cloned() else {
            Draft::new(platform, &caller, request, measure).refuse(platform, place, Outcome::Denied, "unknown_tool");
            return Err(Refusal::UnknownTool);
        };
        let version = &tool.tool.version;
        let admission = Instant::now();
        let buckets = caller.snapshot.limits.buckets(&platform.settings.quota, caller.agent.id, tool.tool.id, version.effect);
        let decision =
            quota::admit(platform, caller.snapshot.tenant, &caller.snapshot.epoch, &buckets, without_redis(&tool)).await;
        let draft = Draft::new(platform, &caller, request, measure).about(&tool, admission);
        match decision {
            Decision::Admitted { left, degraded } => {
                let ready = match execution::read_arguments(&tool, request.arguments) {
                    Ok(arguments) => Ready::Run(arguments),
                    Err(run) => Ready::Known(run),
                };
                return Ok(AdmittedCall { tool, ready, caller, left, draft: Draft { degraded, ..draft }, place });
            }
            Decision::Limited { by, retry_after_ms, degraded } => {
                Draft { degraded, ..draft }.refuse(platform, place, Outcome::Limited, by.scope.as_str());
                return Err(Refusal::Limited { by, retry_after_ms });
            }
            Decision::Unavailable => {
                Draft { degraded: true, ..draft }.refuse(platform, place, Outcome::Denied, "limits_unavailable");
                return Err(Refusal::Unavailable { retry_after_ms: 1_000 });
            }
            Decision::Stale => match caller.reload(platform).await {
                Ok(fresh) => caller = fresh,
                Err(Unauthenticated::Invalid) => return Err(Refusal::Revoked),
                Err(Unauthenticated::Unavailable) => return Err(Refusal::Unavailable { retry_after_ms: 1_000 }),
            },
        }
    }
    Err(Refusal::Unavailable { retry_after_ms: 1_000 })
}

/// Tools that change things, or cost money, do not run while nobody can count them.
fn without_redis(tool: &LoadedTool) -> WithoutRedis {
    let version = &tool.tool.version;
    if version.effect == Effect::Destructive || version.price_micro > 0 { WithoutRedis::Refuse } else { WithoutRedis::LocalShare }
}

impl AdmittedCall {
    /// What is left in the tightest bucket.
    pub fn left(&self) -> Remaining {
        self.left
    }

    /// Runs the tool under its deadline, records the call and gives its result. `cancelled` ends it early where the revision says so.
    pub async fn run(self, platform: &Platform, cancelled: CancellationToken) -> FinishedCall {
        let Self { tool, ready, caller, left, mut draft, place } = self;
        let upstream = Instant::now();
        let (run, ran) = match ready {
            Ready::Known(run) => (run, false),
            Ready::Run(arguments) => (run(platform, &tool, caller.snapshot.secret(&tool), &arguments, cancelled).await, true),
        };
        if ran {
            draft.upstream_us = measure::micros(upstream);
            draft.cost_micro = tool.tool.version.price_micro;
        }
        let result = render(draft.revision, &run, left);
        draft.finish(platform, place, run.outcome, run.error.map(Cow::Borrowed), result.len());
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
    match &error {
        None => call_result(revision, &run.result, &[("trunkline/limits", &limits)]),
        Some(error) => call_result(revision, &run.result, &[("trunkline/limits", &limits), ("trunkline/error", error)]),
    }
}

/// The entry while the call is on its way.
#[derive(Debug)]
struct Draft {
    entry: Entry,
    measure: Measure,
    revision: Revision,
    admission_us: i64,
    upstream_us: i64,
    cost_micro: i64,
    degraded: bool,
}

impl Draft {
    fn new(platform: &Platform, caller: &Caller, request: &CallRequest<'_>, measure: Measure) -> Self {
        let at = platform.clock.now();
        let entry = Entry {
            id: crate::ids::EntryId::new(at),
            tenant: caller.snapshot.tenant,
            at,
            agent: caller.agent.id,
            key: match &caller.credential {
                Credential::Key(key) => Some(key.id),
            },
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
        Self { entry, measure, revision: request.revision, admission_us: 0, upstream_us: 0, cost_micro: 0, degraded: false }
    }

    fn about(mut self, tool: &LoadedTool, admission: Instant) -> Self {
        self.entry.tool = Some((tool.tool.id, tool.tool.version.id));
        self.admission_us = measure::micros(admission);
        self
    }

    fn refuse(self, platform: &Platform, place: Reservation, outcome: Outcome, reason: &'static str) {
        self.finish(platform, place, outcome, Some(Cow::Borrowed(reason)), 0);
    }

    fn finish(
        self,
        platform: &Platform,
        place: Reservation,
        outcome: Outcome,
        error: Option<Cow<'static, str>>,
        bytes_out: usize,
    ) {
        let latency_us = measure::micros(self.measure.started);
        #[expect(clippy::cast_precision_loss, reason = "microseconds of one call")]
        platform.metrics.count_call(outcome, latency_us as f64 / 1e6);
        place.complete(Entry {
            outcome,
            error,
            latency_us,
            admission_us: self.admission_us,
            upstream_us: self.upstream_us,
            bytes_out: i64::try_from(bytes_out).unwrap_or(i64::MAX),
            cost_micro: self.cost_micro,
            degraded: self.degraded,
            ..self.entry
        });
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
