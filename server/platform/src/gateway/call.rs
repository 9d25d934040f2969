//! An admitted call: run, recorded, put into the caller's revision.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use trunkline_protocol::{
    jsonrpc::{ErrorObject, INTERNAL_ERROR},
    mcp::{
        Revision,
        object::RawObject,
        results::{self, Caching},
        tools::{ToolResult, text_result},
    },
};

use super::{
    Caller, End, Finished, Voice, connect,
    converse::{self, Leg, Ongoing, Patience},
    draft::Draft,
    once::OnceOnly,
    parked,
    slot::Slot,
    state::{Held, Place, bounded},
    tasks::{self, Hosted},
};
use crate::{
    Platform,
    call::Outcome,
    catalog::snapshot::{LoadedTool, Snapshot},
    context::Output,
    dialogue::{Dialogue, InputRequired, Listener, Reply},
    execution::{self, Account, Answer, Care, Input, Means, Run, TaskUse, logs::Keep},
    publishing::Answered,
    quota::Remaining,
    secret::{Rotating, SealError},
};

/// A call that was admitted, charged and has a place in the record.
#[derive(Debug)]
pub struct AdmittedCall {
    pub(super) tool: Arc<LoadedTool>,
    pub(super) ready: Ready,
    pub(super) state: Option<Held>,
    pub(super) caller: Caller,
    pub(super) left: Option<Remaining>,
    pub(super) draft: Draft,
    /// Held while the call runs. A call that waits somewhere has its own already.
    pub(super) slot: Option<Slot>,
    /// It runs at most once.
    pub(super) once: Option<OnceOnly>,
}

/// What is left to do.
#[derive(Debug)]
pub(super) enum Ready {
    Run(Input),
    /// The arguments did not fit: the result is known.
    Known(Run),
    /// The call was answered before, with this.
    Earlier(Result<String, ErrorObject>),
}

impl AdmittedCall {
    /// What is left in the tightest bucket.
    pub fn left(&self) -> Option<Remaining> {
        self.left
    }

    /// Runs the tool under its deadline, records the call and gives its answer. `cancelled` ends it early.
    pub async fn run(mut self, platform: &Platform, voice: Voice, cancelled: CancellationToken) -> Finished {
        let Some(once) = self.once.take() else { return self.run_as_asked(platform, voice, cancelled).await };
        let finished = self.run_as_asked(platform, voice, cancelled).await;
        match finished.end {
            End::Final => once.settle(platform, Some(&finished.answer)).await,
            End::Open => once.settle(platform, None).await,
            End::Lost => {}
        }
        finished
    }

    async fn run_as_asked(self, platform: &Platform, voice: Voice, cancelled: CancellationToken) -> Finished {
        let Self { tool, mut ready, state, caller, left, mut draft, mut slot, once: _ } = self;
        // What is sent on are the parameters as they came. A state, if there will be one, is bound to the arguments.
        let mut arguments = match &mut ready {
            Ready::Run(input) if tool.tool.version.executor.is_proxied() => std::mem::take(&mut input.arguments),
            _ => Map::new(),
        };
        draft.begin();
        let (run, held) = match (ready, state) {
            (Ready::Known(run), _) => (run, None),
            (Ready::Earlier(answer), _) => {
                let (outcome, size) = match &answer {
                    Ok(result) => (Outcome::Ok, result.len()),
                    Err(_) => (Outcome::ToolError, 0),
                };
                draft.gives(|| answer.as_deref().ok().map(|result| Output::Result(result.into())));
                return match draft.finish(outcome, Some("replayed".into()), size).await {
                    Ok(()) => Finished { answer, left: None, end: End::Final },
                    Err(_) => Finished::error(unrecorded()),
                };
            }
            // What few calls need is no part of the future of all of them, which is moved more than once.
            (Ready::Run(input), Some(Held::Parked(at))) => Box::pin(resume(platform, &voice, &at, input, &cancelled)).await,
            (Ready::Run(input), _) if tool.tool.version.executor.is_proxied() => {
                let asks_first = execution::asks_first(&tool, &caller.snapshot, input.retry.as_ref());
                match execution::task_use(&tool, &caller.snapshot) {
                    TaskUse::Required if !voice.speaks_tasks() => {
                        let kept = draft.finish(Outcome::Denied, Some("needs_tasks".into()), 0).await;
                        let refusal = kept.map_or_else(|_| unrecorded(), |()| voice.revision.fit_error(tasks::undeclared()));
                        return Finished::error(refusal);
                    }
                    TaskUse::Required | TaskUse::Possible if voice.speaks_tasks() && !asks_first => {
                        return Box::pin(task(platform, voice, tool, caller, input, left, draft, slot.take())).await;
                    }
                    _ => Box::pin(talk(platform, &voice, &tool, &caller, input, (&draft, slot.take()), &cancelled)).await,
                }
            }
            (Ready::Run(input), _) => {
                let secret = caller.snapshot.secret(&tool, platform.clock.now());
                let accounts = caller.snapshot.accounts_of(&tool);
                let account = accounts.and_then(|source| Account::of(platform, &caller.snapshot, source, input.user));
                let keep = Some(Keep { logs: &platform.logs, call: draft.entry.id });
                let run = quietly(platform, &caller.snapshot, &tool, (secret, account), &input.arguments, keep, &cancelled);
                let run = draft.trail().around(run).await;
                arguments = input.arguments;
                (run, None)
            }
        };
        let (run, held) = connect::say(&voice, true, run, held);
        draft.settle(&run);
        let seal = |held| {
            let arguments = Value::Object(arguments.clone()).to_string();
            Place::new(&caller, "tools/call", tool.tool.name.as_str(), Some(&arguments)).seal(platform, held)
        };
        let answer = render(voice.revision, &run, &limits(left.map(Remaining::to_json).as_deref()), Caching::NotTold, held, seal);
        let size = answer.as_ref().map_or(0, String::len);
        let asks = matches!(run.answer, Answer::Reply(Reply::InputRequired(_)));
        let end = if run.was_sent() && !asks { End::Final } else { End::Open };
        let is_looked_at = platform.echoes.takes_one();
        let answered = is_looked_at.then(|| Answered::of(caller.snapshot.tenant, &tool, arguments, &run)).flatten();
        draft.gives(|| read_by_model(run.answer));
        // What is not in the record is not said.
        let kept = draft.finish(run.outcome, run.error, size).await;
        if let Some(slot) = slot {
            slot.leave().await;
        }
        match kept {
            Ok(()) => {
                platform.echoes.offer(answered);
                Finished { answer, left, end }
            }
            Err(_) if end == End::Final => Finished { end: End::Lost, ..Finished::error(unrecorded()) },
            Err(_) => Finished::error(unrecorded()),
        }
    }
}

/// As refusals say that something is away.
const UNAVAILABLE: i64 = 5030;

/// The call ran, and its entry is not safe yet.
pub(super) fn unrecorded() -> ErrorObject {
    ErrorObject::new(UNAVAILABLE, "The call ran, but it cannot be recorded at the moment, and so its result is withheld.")
        .with_data(json!({ "retryable": false }))
}

/// Goes on in the background; the caller gets a task.
#[expect(clippy::too_many_arguments, reason = "everything that a call has, moved to where it goes on")]
async fn task(
    platform: &Platform,
    voice: Voice,
    tool: Arc<LoadedTool>,
    caller: Caller,
    input: Input,
    left: Option<Remaining>,
    draft: Draft,
    slot: Option<Slot>,
) -> Finished {
    let listener = Listener { wants_progress: false, log_level: None, asks_inline: true, ..voice.listener() };
    let ongoing = ongoing(platform, listener, &tool, &caller, input, (&draft, slot));
    let revision = voice.revision;
    let render = move |run: &Run| {
        let left = left.map(Remaining::to_json);
        render(revision, run, &limits(left.as_deref()), Caching::NotTold, None, |_| String::new())
    };
    let name = tool.tool.name.as_str();
    let answer = tasks::start(platform, &caller, name, Hosted { ongoing, draft, render: Box::new(render) }).await;
    Finished { answer, left, end: End::Final }
}

/// What of an answer the caller's model reads. A question and an error of the protocol are for its client.
pub(super) fn read_by_model(answer: Answer) -> Option<Output> {
    match answer {
        Answer::Text(ToolResult { text, .. }) => Some(Output::Text(text)),
        Answer::Connect(connect) => Some(Output::Text(connect.text())),
        Answer::Reply(Reply::Result(result)) => Some(Output::Result(result.into())),
        Answer::Reply(Reply::InputRequired(_) | Reply::Error(_)) => None,
    }
}

/// What is left, as a result has it.
fn limits(left: Option<&str>) -> Vec<(&str, &str)> {
    left.map(|left| ("trunkline/limits", left)).into_iter().collect()
}

/// A tool that says nothing while it runs.
pub(super) async fn quietly(
    platform: &Platform,
    snapshot: &Snapshot,
    tool: &LoadedTool,
    (secret, account): (Option<Result<Rotating, SealError>>, Option<Account<'_>>),
    arguments: &Map<String, Value>,
    keep: Option<Keep<'_>>,
    cancelled: &CancellationToken,
) -> Run {
    let secret = match secret.transpose() {
        Ok(secret) => secret,
        Err(error) => {
            tracing::error!(tool.id = %tool.tool.id, error = %error, "a sealed secret cannot be opened");
            let text = "The tool's stored secret cannot be read. Its owner has to enter it again.";
            return Run::failed(Outcome::Unknown, "secret_integrity", text);
        }
    };
    let resilience = execution::resilience(snapshot, &tool.tool.version.executor);
    let means = Means {
        clock: &*platform.clock,
        egress: &platform.egress,
        resilience,
        tokens: &platform.client_tokens,
        functions: &platform.sandboxes,
        tenant: snapshot.tenant,
        care: Some(Care { breakers: &platform.breakers, table: &snapshot.resilience }),
        keep,
    };
    let deadline = execution::deadline(&tool.tool.version.executor, resilience);
    tokio::select! {
        biased;
        () = cancelled.cancelled() => Run::failed(Outcome::Cancelled, "cancelled", "The caller went away."),
        run = execution::run(means, tool, arguments, secret, account) => run,
        () = tokio::time::sleep(deadline) => converse::timed_out(),
    }
}

/// A tool of an MCP server: it may report progress, log and ask.
async fn talk(
    platform: &Platform,
    voice: &Voice,
    tool: &Arc<LoadedTool>,
    caller: &Caller,
    input: Input,
    (draft, slot): (&Draft, Option<Slot>),
    cancelled: &CancellationToken,
) -> (Run, Option<Held>) {
    let ongoing = ongoing(platform, voice.listener(), tool, caller, input, (draft, slot));
    leg(converse::drive_recorded(platform, voice, ongoing, Some(draft), cancelled).await)
}

fn ongoing(
    platform: &Platform,
    listener: Listener,
    tool: &Arc<LoadedTool>,
    caller: &Caller,
    input: Input,
    (draft, slot): (&Draft, Option<Slot>),
) -> Ongoing {
    let (dialogue, heard) = Dialogue::open(listener);
    let stop = CancellationToken::new();
    let snapshot = caller.snapshot.clone();
    let deadline = execution::proxied_deadline(tool, &snapshot);
    let work = execution::run_proxied(platform.clone(), Arc::clone(tool), snapshot, input, dialogue, stop.clone());
    let work = draft.trail().around(async move {
        let run = work.await;
        // A parked call still counts among those that run.
        if let Some(slot) = slot {
            slot.leave().await;
        }
        run
    });
    let work = platform.conversations.may_outlive(work);
    Ongoing { work: Box::pin(work), heard, stop, patience: Patience::new(deadline), agent: caller.agent.id }
}

/// How a leg ended, and what its state holds if it asks for input.
pub(super) fn leg(leg: Leg) -> (Run, Option<Held>) {
    match leg {
        Leg::Done(run) => (bounded(run), None),
        Leg::Parked { question, at } => {
            let needed = InputRequired { requests: Some(question.to_requests()), state: None };
            (Reply::InputRequired(needed).into(), Some(Held::parked(&at)))
        }
    }
}

/// Goes on with a call that waits somewhere.
pub(super) async fn resume(
    platform: &Platform,
    voice: &Voice,
    at: &str,
    input: Input,
    cancelled: &CancellationToken,
) -> (Run, Option<Held>) {
    let Ok(at) = at.parse() else {
        return (Run::failed(Outcome::Unknown, "state_gone", "The waiting call cannot be found."), None);
    };
    let (dialogue, mut heard) = Dialogue::open(voice.listener());
    let responses = input.retry.and_then(|retry| retry.responses);
    let mut window = Box::pin(parked::resume(platform.clone(), at, responses, dialogue, cancelled.clone()));
    let deadline = tokio::time::Instant::now() + converse::LONGEST;
    loop {
        tokio::select! {
            biased;
            Some(said) = heard.next() => drop(voice.pass(platform, said).await),
            (run, at) = &mut window => {
                while let Some(said) = heard.left() {
                    voice.pass(platform, said).await;
                }
                return (bounded(run), at.as_ref().map(Held::parked));
            }
            () = tokio::time::sleep_until(deadline) => return (converse::timed_out(), None),
        }
    }
}

/// Puts a run into the caller's revision. `held` is what a state holds if the run asks for input itself.
pub(super) fn render(
    revision: Revision,
    run: &Run,
    additions: &[(&str, &str)],
    caching: Caching,
    held: Option<Held>,
    seal: impl FnOnce(Held) -> String,
) -> Result<String, ErrorObject> {
    let class = run.error.as_ref().map(|error| format!("\"{error}\""));
    let mut additions = additions.to_vec();
    if let Some(class) = &class {
        additions.push(("trunkline/error", class));
    }
    match &run.answer {
        Answer::Text(result) => Ok(results::complete(revision, text_result(result), caching, &additions)),
        // Where nobody could be asked.
        Answer::Connect(connect) => {
            let text = text_result(&ToolResult { text: connect.text(), is_error: true });
            Ok(results::complete(revision, text, caching, &additions))
        }
        Answer::Reply(Reply::Result(result)) => match RawObject::parse(result.get()) {
            Ok(result) => Ok(results::complete(revision, result, caching, &additions)),
            Err(_) => Err(ErrorObject::new(INTERNAL_ERROR, "the source answered with something that is no result")),
        },
        Answer::Reply(Reply::InputRequired(needed)) => {
            let state = seal(held.unwrap_or_else(|| Held::Upstream(needed.state.clone())));
            Ok(results::input_required(needed.requests.as_ref().map(|requests| requests.get()), Some(&state)))
        }
        Answer::Reply(Reply::Error(error)) => Err(revision.fit_error(error.clone())),
    }
}
