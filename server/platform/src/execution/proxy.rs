//! Requests that an MCP server answers: a source of the tenant, or the conformance fixtures. Whatever era it speaks, a caller that is asked on
//! its stream is asked here, and the server gets the answers in a new round.

use std::{sync::Arc, time::Duration};

use serde_json::{json, value::RawValue};
use tokio_util::sync::CancellationToken;
use trunkline_protocol::{
    jsonrpc::{ErrorObject, INVALID_PARAMS, METHOD_NOT_FOUND},
    mcp::{
        HEADER_MISMATCH, RESOURCE_NOT_FOUND, UNSUPPORTED_VERSION,
        mirrored::Mirrored,
        object::{RawObject, json_string},
    },
};

use super::{
    Account, Answer, Input, Run,
    conformance::{self, TaskUse, World},
    retry::Retries,
};
use crate::{
    Platform,
    call::Outcome,
    catalog::{
        Executor,
        snapshot::{Current, LoadedSource, LoadedTool},
        source::SourceKind,
    },
    connections::Token,
    dialogue::{AskError, Dialogue, InputRequired, Reply, Retry},
    egress::Trail,
    ids::{SourceId, UserId},
    trace::{Given, Trace},
    upstream::{Target, TraceContext, UpstreamError, UpstreamRequest},
};

/// Longest time for one exchange, where the source says nothing else.
pub(super) const DEADLINE: Duration = Duration::from_mins(1);
/// Rounds of questions that one call may have.
const MOST_ROUNDS: usize = 10;
/// Questions of one round.
const MOST_QUESTIONS: usize = 16;

/// Longest time for a tool of that source.
pub fn proxied_deadline(tool: &LoadedTool, snapshot: &Current) -> Duration {
    let executor = &tool.tool.version.executor;
    let resilience = super::resilience(snapshot, executor);
    match executor {
        Executor::Upstream { source, .. } => {
            let own = source_deadline(snapshot, *source);
            resilience.deadline_ms.map_or(own, |ms| own.min(Duration::from_millis(ms.into())))
        }
        other => super::deadline(other, resilience),
    }
}

/// Longest time for one exchange with that source.
pub fn source_deadline(snapshot: &Current, source: SourceId) -> Duration {
    match snapshot.source(source).map(|loaded| &loaded.source) {
        Some(source) if matches!(source.kind, SourceKind::Mcp { .. }) => Duration::from_millis(source.timeout_ms.into()),
        // A fixture may sleep for two minutes.
        Some(_) => Duration::from_secs(150),
        None => DEADLINE,
    }
}

/// May, or must, that tool's calls go on as tasks?
pub fn task_use(tool: &LoadedTool, snapshot: &Current) -> TaskUse {
    // Servers are told that we know no tasks, so they answer their calls.
    fixture(tool, snapshot).map_or(TaskUse::Never, conformance::task_use)
}

/// Will this round only ask for input? Then it is answered, even if the tool's calls are tasks.
pub fn asks_first(tool: &LoadedTool, snapshot: &Current, retry: Option<&Retry>) -> bool {
    fixture(tool, snapshot).is_some_and(|name| conformance::asks_first(name, retry))
}

/// Its name, if it is one of the fixtures.
fn fixture<'t>(tool: &'t LoadedTool, snapshot: &Current) -> Option<&'t str> {
    let Executor::Upstream { source, name } = &tool.tool.version.executor else { return None };
    snapshot.source(*source).filter(|loaded| loaded.source.kind == SourceKind::Conformance).map(|_| name.as_str())
}

/// Calls a tool of an MCP server.
pub async fn run_proxied(
    platform: Platform,
    tool: Arc<LoadedTool>,
    snapshot: Current,
    input: Input,
    dialogue: Dialogue,
    stop: CancellationToken,
) -> Run {
    let Executor::Upstream { source, name } = &tool.tool.version.executor else { return unavailable() };
    let mut params = input.params.unwrap_or_default();
    params.set("name", json_string(name));
    let params_meta = params.get("_meta").unwrap_or_default().to_owned();
    let request = Request {
        platform,
        snapshot,
        source: *source,
        method: "tools/call",
        params,
        mirrored: tool.mirrored(),
        given: given(&params_meta),
        user: input.user,
        stop,
    };
    let mut retries = Retries::new(super::resilience(&request.snapshot, &tool.tool.version.executor), &tool.tool);
    let run = loop {
        let run = request.rounds(input.retry.clone(), &dialogue).await;
        if !retries.again(&run).await {
            break run;
        }
    };
    keeps_promise(&tool, &run).unwrap_or(run)
}

/// A result whose structured content is not what the tool's output schema promises is not passed on: whoever reads it relies on the promise.
fn keeps_promise(tool: &LoadedTool, run: &Run) -> Option<Run> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Structured {
        #[serde(default)]
        is_error: bool,
        structured_content: Option<serde_json::Value>,
    }
    let (Answer::Reply(Reply::Result(result)), Some(validator)) = (&run.answer, tool.output_validator()) else { return None };
    let structured: Structured = serde_json::from_str(result.get()).ok()?;
    let content = structured.structured_content.filter(|_| !structured.is_error)?;
    let broken = match validator {
        Ok(validator) => !validator.is_valid(&content),
        // An output schema that does not compile was never approved.
        Err(_) => true,
    };
    let text = "The tool's server answered with something else than its output schema promises.";
    broken.then(|| Run::failed(Outcome::UpstreamError, "output_schema", text))
}

/// Asks a source for a prompt, a resource or a completion.
pub async fn run_item(
    platform: Platform,
    snapshot: Current,
    source: SourceId,
    method: String,
    input: Input,
    dialogue: Dialogue,
    stop: CancellationToken,
) -> Run {
    let params = input.params.unwrap_or_default();
    let params_meta = params.get("_meta").unwrap_or_default().to_owned();
    let request = Request {
        platform,
        snapshot,
        source,
        method: &method,
        params,
        mirrored: &[],
        given: given(&params_meta),
        user: input.user,
        stop,
    };
    request.rounds(input.retry, &dialogue).await
}

/// Why a server gave nothing usable, in words that help the caller. Never the server's own.
fn failed(error: UpstreamError) -> Run {
    let (outcome, class) = match error {
        UpstreamError::Refused => (Outcome::UpstreamError, "egress_refused"),
        UpstreamError::Unreachable => (Outcome::UpstreamError, "upstream_unreachable"),
        UpstreamError::Timeout => (Outcome::Timeout, "upstream_timeout"),
        UpstreamError::TooLarge => (Outcome::UpstreamError, "upstream_too_large"),
        UpstreamError::Broken(_) => (Outcome::UpstreamError, "upstream_protocol"),
        UpstreamError::Unauthorized | UpstreamError::Forbidden => (Outcome::UpstreamError, "upstream_unauthorized"),
        UpstreamError::Status(_) => (Outcome::UpstreamError, "upstream_status"),
        UpstreamError::Cancelled => (Outcome::Cancelled, "cancelled"),
        UpstreamError::Busy => (Outcome::UpstreamError, "upstream_busy"),
    };
    let status = match error {
        UpstreamError::Status(status) => Some(status),
        UpstreamError::Unauthorized => Some(401),
        UpstreamError::Forbidden => Some(403),
        _ => None,
    };
    Run { status, ..Run::failed(outcome, class, format!("The tool's server failed: {error}.")) }
}

pub(super) fn unavailable() -> Run {
    Run::failed(Outcome::UpstreamError, "source_gone", "The source of this tool is not there any more.")
}

/// The caller's trace, as it was given.
fn given(meta: &str) -> Option<TraceContext> {
    let meta = RawObject::parse(meta).unwrap_or_default();
    let given = Given::read(&meta.text("traceparent")?, meta.text("tracestate").as_deref())?;
    let trace = Trace::follow(given, false);
    Some(TraceContext { traceparent: trace.traceparent(trace.span), tracestate: trace.state })
}

struct Request<'a> {
    platform: Platform,
    snapshot: Current,
    source: SourceId,
    method: &'a str,
    params: RawObject<'static>,
    mirrored: &'a [Mirrored],
    /// The caller's trace.
    given: Option<TraceContext>,
    /// The person for whom the caller acts.
    user: Option<UserId>,
    stop: CancellationToken,
}

impl Request<'_> {
    /// Round after round, as long as what is needed can be asked for right here.
    async fn rounds(&self, mut retry: Option<Retry>, dialogue: &Dialogue) -> Run {
        for round in 0..MOST_ROUNDS {
            let needed = match self.once(retry.as_ref(), dialogue).await {
                Ok(Reply::InputRequired(needed)) if dialogue.asks_inline() => needed,
                Ok(reply) => return self.answered(reply),
                // It has had the call already: that it cannot be reached any more does not mean that nothing was sent.
                Err(run) if round > 0 && !run.was_sent() => return Run { error: Some("upstream_lost".into()), ..run },
                Err(run) => return run,
            };
            retry = match ask_all(needed, dialogue).await {
                Ok(retry) => Some(retry),
                Err(error) => return unanswered(&error),
            };
        }
        Run::failed(Outcome::UpstreamError, "too_many_rounds", "The tool went on asking for input and never answered.")
    }

    /// A server's result comes with success. What status an error of its protocol came with does not matter to anybody.
    fn answered(&self, reply: Reply) -> Run {
        let is_server = self.snapshot.source(self.source).is_some_and(|loaded| loaded.source.kind != SourceKind::Conformance);
        let status = (is_server && !matches!(reply, Reply::Error(_))).then_some(200);
        Run { status, ..reply.into() }
    }

    async fn once(&self, retry: Option<&Retry>, dialogue: &Dialogue) -> Result<Reply, Run> {
        let source = self.snapshot.source(self.source).ok_or_else(unavailable)?;
        let exchanged = match Account::of(&self.platform, &self.snapshot, source, self.user) {
            Some(account) => self.once_as_person(account, retry, dialogue).await?,
            None => self.once_as_tenant(source, retry, dialogue).await?,
        };
        match exchanged.map_err(failed)? {
            Reply::Error(error) => self.fit(error).map(Reply::Error),
            reply => Ok(reply),
        }
    }

    /// With the person's own account. A server that refuses its token gets a newer one, once: what it refused did not run.
    async fn once_as_person(
        &self,
        account: Account<'_>,
        retry: Option<&Retry>,
        dialogue: &Dialogue,
    ) -> Result<Result<Reply, UpstreamError>, Run> {
        let target = |token: &Token| {
            let target = account.source.source.target_of_person(self.snapshot.tenant, &token.secret);
            target.ok_or_else(unavailable)
        };
        let first = account.token(retry).await?;
        match self.exchange(&target(&first)?, retry, dialogue).await {
            Err(UpstreamError::Unauthorized) => {}
            exchanged => return Ok(exchanged),
        }
        let second = account.newer(&first, retry).await?;
        match self.exchange(&target(&second)?, retry, dialogue).await {
            Err(UpstreamError::Unauthorized) => Err(account.give_up(&second, retry).await),
            exchanged => Ok(exchanged),
        }
    }

    async fn once_as_tenant(
        &self,
        source: &LoadedSource,
        retry: Option<&Retry>,
        dialogue: &Dialogue,
    ) -> Result<Result<Reply, UpstreamError>, Run> {
        let reached = self.snapshot.reached(source, self.platform.clock.now()).map_err(|error| {
            tracing::error!(source.id = %self.source, %error, "a source cannot be reached as it is stored");
            Run::failed(
                Outcome::Unknown,
                "secret_integrity",
                "The source's stored secret cannot be read. Its owner has to enter it again.",
            )
        })?;
        let Some(reached) = reached else {
            let world = World { platform: &self.platform, tenant: self.snapshot.tenant };
            return Ok(Ok(conformance::answer(world, self.method, &self.params, retry, dialogue).await));
        };
        let exchanged = self.exchange(&reached.target, retry, dialogue).await;
        // Where the secret is being exchanged and the server refuses the new value, it gets the one before: what it refused did not run.
        let Some(before) = reached.before().filter(|_| matches!(exchanged, Err(UpstreamError::Unauthorized))) else {
            return Ok(exchanged);
        };
        let exchanged = self.exchange(&before, retry, dialogue).await;
        if !matches!(exchanged, Err(UpstreamError::Unauthorized)) {
            reached.note_refusal();
        }
        Ok(exchanged)
    }

    async fn exchange(&self, target: &Target, retry: Option<&Retry>, dialogue: &Dialogue) -> Result<Reply, UpstreamError> {
        // What is no call of a tool is not recorded, and its caller's trace goes on as it came.
        let next = Trail::promise().map(|(traceparent, tracestate)| TraceContext { traceparent, tracestate });
        let request = UpstreamRequest {
            method: self.method,
            params: &self.params,
            input: retry,
            mirrored: self.mirrored,
            trace: next.as_ref().or(self.given.as_ref()),
        };
        self.platform.upstreams.exchange(&self.platform.egress, target, request, dialogue, self.stop.clone()).await
    }

    /// An error as far as it is about what the caller asked, in codes of which revisions make their own. One about how we asked is ours: a
    /// client that read it as an answer to its own request would look for another revision.
    fn fit(&self, error: ErrorObject) -> Result<ErrorObject, Run> {
        match error.code {
            HEADER_MISMATCH | UNSUPPORTED_VERSION | METHOD_NOT_FOUND => {
                let text = "The tool's server does not take the request as it was sent to it.";
                Err(Run::failed(Outcome::UpstreamError, "upstream_protocol", text))
            }
            RESOURCE_NOT_FOUND | INVALID_PARAMS if self.method == "resources/read" => {
                Ok(missing_resource(error, self.params.text("uri")))
            }
            _ => Ok(error),
        }
    }
}

/// A resource that does not exist is said with one code in sessions and another without; without, its URI says which of the two it means.
fn missing_resource(error: ErrorObject, uri: Option<String>) -> ErrorObject {
    let names_it = error.data.as_ref().is_some_and(|data| data["uri"].is_string());
    match uri {
        _ if names_it => ErrorObject { code: RESOURCE_NOT_FOUND, ..error },
        Some(uri) if error.code == RESOURCE_NOT_FOUND && error.data.is_none() => error.with_data(json!({ "uri": uri })),
        _ => error,
    }
}

/// Asks the caller everything that is needed.
async fn ask_all(needed: InputRequired, dialogue: &Dialogue) -> Result<Retry, AskError> {
    let Some(requests) = needed.requests else { return Ok(Retry { responses: None, state: needed.state }) };
    let broken =
        || AskError::Refused(ErrorObject::new(trunkline_protocol::jsonrpc::INTERNAL_ERROR, "the questions cannot be read"));
    let requests = RawObject::parse(requests.get()).map_err(|_| broken())?;
    let mut responses = RawObject::default();
    for (i, (key, request)) in requests.iter().enumerate() {
        let request = RawObject::parse(request).map_err(|_| broken())?;
        let method = request.text("method").filter(|_| i < MOST_QUESTIONS).ok_or_else(broken)?;
        let params = RawValue::from_string(request.get("params").unwrap_or("{}").to_owned()).map_err(|_| broken())?;
        responses.set(key, dialogue.ask(&method, params).await?.get().to_owned());
    }
    let responses = RawValue::from_string(responses.to_json()).map_err(|_| broken())?;
    Ok(Retry { responses: Some(responses), state: needed.state })
}

/// A question without an answer ends the call, in words that the model can act on.
fn unanswered(error: &AskError) -> Run {
    let text = match error {
        AskError::NotCapable => "The tool needs input from the user, and this client cannot be asked for it.".to_owned(),
        other => format!("The tool asked for input, but {other}."),
    };
    Run::failed(Outcome::ToolError, "input_unavailable", text)
}

#[cfg(test)]
mod tests {
    use trunkline_protocol::mcp::Revision;

    use super::*;

    #[test]
    fn a_missing_resource_is_said_in_the_codes_of_each_revision() {
        let uri = || Some("note://1".to_owned());
        let data = json!({ "uri": "note://1" });
        for said in [
            ErrorObject::new(RESOURCE_NOT_FOUND, "no"),
            ErrorObject::new(RESOURCE_NOT_FOUND, "no").with_data(data.clone()),
            ErrorObject::new(INVALID_PARAMS, "no").with_data(data.clone()),
        ] {
            let error = missing_resource(said, uri());
            for (revision, code) in [(Revision::V2025_11_25, RESOURCE_NOT_FOUND), (Revision::V2026_07_28, INVALID_PARAMS)] {
                let fit = revision.fit_error(error.clone());
                assert_eq!((fit.code, fit.data), (code, Some(data.clone())));
            }
        }
        let other = ErrorObject::new(INVALID_PARAMS, "what?");
        assert_eq!(missing_resource(other.clone(), uri()), other, "something else is wrong with the request");
    }

    #[test]
    fn outside_of_a_call_the_trace_goes_on_as_it_came() {
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context =
            given(&format!(r#"{{"traceparent":"{traceparent}","tracestate":"a=1","baggage":"b=2"}}"#)).expect("a trace");
        assert_eq!((context.traceparent.as_str(), context.tracestate.as_deref()), (traceparent, Some("a=1")));
        for broken in ["", "{}", r#"{"traceparent":"x"}"#, r#"{"traceparent":1}"#, r#"{"tracestate":"a=1"}"#] {
            assert!(given(broken).is_none(), "{broken}");
        }
    }
}
