//! Running a tool: a match over the closed set of kinds. What comes out is always an `Outcome`; nothing here decides who may.

mod account;
mod answer;
mod builtin;
pub mod conformance;
pub(crate) mod function;
mod http;
pub mod logs;
pub mod operation;
mod proxy;
mod retry;
mod validate;
mod warm;

use std::{borrow::Cow, sync::Arc, time::Duration};

use serde_json::{Map, Value, value::RawValue};
use trunkline_protocol::mcp::{object::RawObject, tools::ToolResult};

pub use account::Account;
pub use conformance::TaskUse;
pub use function::{CodeRun, run_code};
pub use proxy::{asks_first, proxied_deadline, run_item, run_proxied, source_deadline, task_use};
pub use validate::check;
pub(crate) use validate::problems;
pub use warm::warm_functions;

use crate::{
    call::{self, Outcome},
    catalog::{
        Executor,
        snapshot::{LoadedTool, Snapshot},
    },
    clock::Clock,
    connections::ClientTokens,
    dialogue::{Reply, Retry},
    egress::{Egress, EgressError},
    functions::{self, Functions},
    ids::{TenantId, UserId},
    quota::{
        breakers::{Breakers, Protected},
        resilience::{Resilience, ResilienceTable},
    },
    secret::Rotating,
};
use logs::Keep;
use operation::Proofs;
use retry::Retries;

/// How a run ended and what the caller gets to see of it.
#[derive(Debug, Clone)]
pub struct Run {
    /// For the record.
    pub outcome: Outcome,
    /// Class of the failure, as in `_meta["trunkline/error"]`.
    pub error: Option<Cow<'static, str>>,
    /// For the caller.
    pub answer: Answer,
    /// What the tool says that the call has cost, in micro-units of the tenant's currency.
    pub reported_micro: Option<i64>,
    /// The HTTP status with which upstream answered, where that is known.
    pub status: Option<u16>,
}

/// What the caller gets to see.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Text of ours or of an HTTP tool.
    Text(ToolResult),
    /// What an MCP server said.
    Reply(Reply),
    /// The person has to connect an account first; how that is said depends on who calls.
    Connect(Box<ConnectFirst>),
}

/// What a person needs to know to connect an account.
#[derive(Debug, Clone)]
pub struct ConnectFirst {
    /// In words.
    pub message: String,
    /// Our page for it.
    pub url: String,
    /// What the caller had brought back for the tool's server, which is needed again.
    pub retry: Option<Retry>,
}

impl ConnectFirst {
    /// For those who cannot be sent anywhere: a text with the link.
    pub fn text(&self) -> String {
        format!("{} Open {} in a browser, then repeat the call.", self.message, self.url)
    }
}

impl Run {
    /// A tool that did what it should.
    pub fn ok(text: String) -> Self {
        Self {
            outcome: Outcome::Ok,
            error: None,
            answer: Answer::Text(ToolResult { text, is_error: false }),
            reported_micro: None,
            status: None,
        }
    }

    /// A tool that failed, in words of ours that help the caller.
    pub fn failed(outcome: Outcome, error: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        let text: Cow<'static, str> = text.into();
        let answer = Answer::Text(ToolResult { text: text.into_owned(), is_error: true });
        Self { outcome, error: Some(error.into()), answer, reported_micro: None, status: None }
    }

    /// It failed before anything was sent to the tool.
    fn unsent(class: &'static str, text: String) -> Self {
        Self::failed(Outcome::UpstreamError, class, text)
    }

    /// Upstream answered with a status that says that it failed.
    pub fn of_status(status: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status: Some(status), ..Self::failed(Outcome::UpstreamError, "upstream_status", text) }
    }

    /// Arguments that do not fit.
    pub fn invalid_arguments(problems: &str) -> Self {
        Self::failed(Outcome::ToolError, "invalid_arguments", format!("The arguments do not fit: {problems}"))
    }

    /// What a person reads of it.
    pub fn text(&self) -> &str {
        match &self.answer {
            Answer::Text(result) => &result.text,
            Answer::Reply(Reply::Result(result)) => result.get(),
            Answer::Reply(Reply::InputRequired(_)) => "The tool asks for input before it runs.",
            Answer::Connect(connect) => &connect.message,
            Answer::Reply(Reply::Error(error)) => &error.message,
        }
    }

    /// Did anything leave for the tool? False only where it is certain that nothing did: then the call gets back what it was charged.
    pub fn was_sent(&self) -> bool {
        call::was_sent(self.error.as_deref())
    }

    /// Does it say that upstream itself is in trouble: no connection, no answer in time, a status of its own failure?
    pub fn is_failure_of_upstream(&self) -> bool {
        let class = self.error.as_deref().unwrap_or_default();
        self.outcome == Outcome::Timeout || class == "upstream_unreachable" || self.status.is_some_and(|status| status >= 500)
    }

    /// Did anything leave for the tool, and did it come to its end? What did not is not billed.
    pub fn is_billed(&self) -> bool {
        let asks = matches!(self.answer, Answer::Reply(Reply::InputRequired(_)));
        // It never came to a request; or a window onto a waiting call did not see its end, which the call itself counts.
        let uncounted = ["invalid_arguments", "tool_crashed", "state_gone", "call_lost"];
        self.was_sent() && !asks && self.error.as_deref().is_none_or(|error| !uncounted.contains(&error))
    }
}

impl From<Reply> for Run {
    fn from(reply: Reply) -> Self {
        let said = match &reply {
            Reply::Result(result) => Said::of(result.get()),
            _ => Said::default(),
        };
        let (outcome, error) = match &reply {
            Reply::Result(_) if said.is_error => (Outcome::ToolError, Some("tool_error")),
            Reply::Result(_) => (Outcome::Ok, None),
            Reply::InputRequired(_) => (Outcome::Ok, Some("input_required")),
            Reply::Error(_) => (Outcome::UpstreamError, Some("upstream_error")),
        };
        let (error, answer) = (error.map(Cow::Borrowed), Answer::Reply(reply));
        Self { outcome, error, answer, reported_micro: said.meta.cost, status: None }
    }
}

/// What the result of an MCP server says of the call: did its tool fail, and what did it cost?
#[derive(Default, serde::Deserialize)]
struct Said {
    #[serde(default, rename = "isError")]
    is_error: bool,
    #[serde(default, rename = "_meta")]
    meta: SaidBeside,
}

#[derive(Default, serde::Deserialize)]
struct SaidBeside {
    /// In micro-units. What is no whole number is nobody's cost, and no reason to lose the rest.
    #[serde(default, rename = "trunkline/cost", deserialize_with = "whole_number")]
    cost: Option<i64>,
}

impl Said {
    fn of(result: &str) -> Self {
        serde_json::from_str(result).unwrap_or_default()
    }
}

fn whole_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    <Value as serde::Deserialize>::deserialize(deserializer).map(|value| value.as_i64())
}

impl From<EgressError> for Run {
    fn from(error: EgressError) -> Self {
        let (outcome, class) = match error {
            EgressError::Refused => (Outcome::UpstreamError, "egress_refused"),
            EgressError::Unreachable => (Outcome::UpstreamError, "upstream_unreachable"),
            EgressError::Timeout => (Outcome::Timeout, "upstream_timeout"),
            EgressError::TooLarge => (Outcome::UpstreamError, "upstream_too_large"),
            EgressError::Broken => (Outcome::UpstreamError, "upstream_protocol"),
        };
        Self::failed(outcome, class, format!("The tool's server failed: {error}."))
    }
}

/// What a run may use.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// The time.
    pub clock: &'a dyn Clock,
    /// The way out.
    pub egress: &'a Egress,
    /// How the upstream is treated.
    pub resilience: Resilience,
    /// Tokens that were fetched for tenants themselves.
    pub tokens: &'a ClientTokens,
    /// Processes that run functions.
    pub functions: &'a Functions,
    /// Whose tool it is.
    pub tenant: TenantId,
    /// Which hosts of functions are left alone. `None`: each is tried.
    pub care: Option<Care<'a>>,
    /// Where what a function logs goes. `None`: nowhere.
    pub keep: Option<Keep<'a>>,
}

/// Breakers, and what the tenant has said of them.
#[derive(Debug, Clone, Copy)]
pub struct Care<'a> {
    /// All of this replica.
    pub breakers: &'a Arc<Breakers>,
    /// Of the tenant.
    pub table: &'a ResilienceTable,
}

/// Checks the arguments against the schema and reads them. The failure is a result for the caller.
pub fn read_arguments(tool: &LoadedTool, raw: Option<&RawValue>) -> Result<Map<String, Value>, Run> {
    let value: Value = match raw {
        None => Value::Object(Map::new()),
        Some(raw) => serde_json::from_str(raw.get()).map_err(|_| Run::invalid_arguments("they are not an object"))?,
    };
    validate::check(tool, &value)?;
    match value {
        Value::Object(arguments) => Ok(arguments),
        _ => Err(Run::invalid_arguments("they are not an object")),
    }
}

/// Runs a tool with arguments that fit its schema; an HTTP tool with its caller's own account, where people use theirs.
pub async fn run(
    means: Means<'_>,
    tool: &LoadedTool,
    arguments: &Map<String, Value>,
    secret: Option<Rotating>,
    account: Option<Account<'_>>,
) -> Run {
    match (&tool.tool.version.executor, account) {
        (Executor::Http(_) | Executor::Operation(_), Some(account)) => {
            Box::pin(account::run_http(account, tool, arguments, secret.as_ref())).await
        }
        (executor, _) => {
            let mut retries = Retries::new(means.resilience, &tool.tool);
            loop {
                let run = run_alone(means, tool, executor, arguments, secret.as_ref()).await;
                if !retries.again(&run).await {
                    return run;
                }
            }
        }
    }
}

async fn run_alone(
    means: Means<'_>,
    tool: &LoadedTool,
    executor: &Executor,
    arguments: &Map<String, Value>,
    secret: Option<&Rotating>,
) -> Run {
    match executor {
        Executor::Builtin { name } => builtin::run(*name, means.clock, arguments),
        Executor::Http(http) => {
            let answer = http::exchange(means.egress, http, arguments, secret, None).await;
            answer.map_or_else(|run| run, |answer| answer::read(tool, &answer))
        }
        Executor::Operation(operation) => {
            let proofs = Proofs { secrets: secret, tokens: means.tokens, person: None };
            let answer = operation::exchange(means.egress, tool, operation, arguments, proofs).await;
            answer.map_or_else(|run| run, |answer| answer::read(tool, &answer))
        }
        Executor::Function(function) => {
            let ways = (means.functions, means.egress);
            let began = means.clock.now();
            let ran = function::execute(ways, (means.tenant, means.care), function, arguments, secret.cloned()).await;
            if let Some(keep) = means.keep.filter(|_| function.keep_logs) {
                keep.offer((means.tenant, tool.tool.id), began, &ran.logs, ran.lost_lines);
            }
            function::read(ran)
        }
        // Those go by `run_proxied`, where they can talk.
        Executor::Upstream { .. } => proxy::unavailable(),
    }
}

/// What a call gives its tool.
#[derive(Debug, Clone)]
pub struct Input {
    /// Arguments that fit the schema.
    pub arguments: Map<String, Value>,
    /// The caller's parameters as they were written, without what was meant for us. Only for what somebody else's server runs.
    pub params: Option<RawObject<'static>>,
    /// What the caller brings back from an earlier round.
    pub retry: Option<Retry>,
    /// The person for whom the caller acts, and whose accounts it uses. `None`: it acts for nobody.
    pub user: Option<UserId>,
}

/// Class of a call that waits for its person to connect an account.
pub const CONNECTION_NEEDED: &str = "connection_needed";

/// Whom a call of the tool may find in trouble.
pub fn upstream(executor: &Executor) -> Option<Protected> {
    match executor {
        Executor::Upstream { source, .. } => Some(Protected::Source(*source)),
        other => other.origin().map(|origin| Protected::Origin(origin.to_owned())),
    }
}

/// How that is treated.
pub fn resilience(snapshot: &Snapshot, executor: &Executor) -> Resilience {
    upstream(executor).map(|upstream| snapshot.resilience.of(&upstream)).unwrap_or_default()
}

/// Longest time a tool may take.
pub fn deadline(executor: &Executor, resilience: Resilience) -> Duration {
    let own = own_deadline(executor);
    resilience.deadline_ms.map_or(own, |ms| own.min(Duration::from_millis(ms.into())))
}

fn own_deadline(executor: &Executor) -> Duration {
    match executor {
        Executor::Builtin { .. } => Duration::from_secs(1),
        Executor::Http(http) => Duration::from_millis(http.timeout_ms.into()),
        Executor::Operation(operation) => Duration::from_millis(operation.timeout_ms.into()),
        // It ends itself in time; this is for what comes before it begins, and for the worst.
        Executor::Function(function) => functions::longest(Duration::from_millis(function.timeout_ms.into())),
        Executor::Upstream { .. } => proxy::DEADLINE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_left_is_not_billed() {
        let of = |class: &'static str| Run::failed(Outcome::UpstreamError, class, "It failed.");
        for class in ["source_gone", "upstream_unreachable", "egress_refused"] {
            assert!(!of(class).was_sent() && !of(class).is_billed(), "{class}");
        }
        assert!(Run::of_status(500, "It failed.").was_sent() && Run::of_status(500, "It failed.").is_billed());
        assert!(of("tool_crashed").was_sent() && !of("tool_crashed").is_billed());
    }
}
