//! The real call of the gate: by the same way out, with the same credential, under the same deadline as an agent's. It is nobody's call: no
//! agent, no price, no record of usage.

use serde_json::{Map, Value, json, value::RawValue};
use trunkline_protocol::{
    mcp::{Revision, tools::text_result},
    oauth::scope::Effect,
};

use super::probe::{Kind, Terms};
use crate::{
    Platform,
    catalog::{
        Builtin, Executor,
        definition::{Definition, ItemKind, Unreadable},
        snapshot::{Current, LoadedTool},
    },
    dialogue::Reply,
    execution::{self, Account, Answer, Means, Run},
    gate::{self, Broken, Check, Demand, Plan, Report, Sample},
    ids::UserId,
    secret::{Rotating, SealError},
};

/// A tool, ready to be tried.
pub(super) struct Candidate<'a> {
    pub(super) platform: &'a Platform,
    pub(super) current: &'a Current,
    pub(super) tool: &'a LoadedTool,
    pub(super) secret: Option<Result<Rotating, SealError>>,
    /// Whose account the call uses, where each person uses their own.
    pub(super) user: Option<UserId>,
}

const UNSAMPLED: (&str, &str) = (
    "it has to be told something that its definition does not give",
    "Enter a sample call, or publish it without a real call and say why.",
);
const UNCONFIRMED: (&str, &str) = (
    "it may change something, and nobody has confirmed a call that may be made",
    "Enter a sample call and confirm that it may be made, or publish it without a real call and say why.",
);

/// Is there a call that may be made of it?
pub(super) fn can_try(tool: &LoadedTool, terms: &Terms, kind: Kind) -> bool {
    sample(tool, terms, kind).is_some()
}

/// How many arguments its call has to be told; `None`: there is no call of it that may be made.
pub(super) fn told(tool: &LoadedTool, terms: &Terms) -> Option<usize> {
    sample(tool, terms, Kind::Gate).map(|sample| sample.arguments.len())
}

/// Tries it.
pub(super) async fn try_tool(candidate: Candidate<'_>, terms: &Terms, kind: Kind) -> Report {
    let definitions = definitions(candidate.tool);
    let within = std::time::Duration::from_millis(terms.within_ms.into());
    let may_echo = terms.may_echo || matches!(candidate.tool.tool.version.executor, Executor::Builtin { name: Builtin::Echo });
    let plan = Plan {
        sample: sample(candidate.tool, terms, kind),
        within,
        may_echo,
        expected: terms.expectations(),
        demand: Demand::Everything,
    };
    let unsampled = if candidate.tool.tool.version.effect == Effect::Read { UNSAMPLED } else { UNCONFIRMED };
    gate::run_own(&definitions, &plan, unsampled, |arguments| call(candidate, arguments)).await
}

/// Looks at its definition only.
pub(super) fn look_at(tool: &LoadedTool) -> Report {
    gate::look_at(&definitions(tool))
}

/// Its definition as the lists of each revision have it.
fn definitions(tool: &LoadedTool) -> Vec<Result<Definition, Unreadable>> {
    let of_revision = |revision: Revision| {
        let raw = RawValue::from_string(tool.description(revision).to_owned()).map_err(|_| Unreadable::Json)?;
        Definition::read(ItemKind::Tools, raw)
    };
    Revision::ALL.into_iter().map(of_revision).collect()
}

/// What somebody entered, else what the definition itself gives.
fn sample(tool: &LoadedTool, terms: &Terms, kind: Kind) -> Option<Sample> {
    let version = &tool.tool.version;
    let is_allowed = version.effect == Effect::Read || terms.confirmed && (kind == Kind::Gate || terms.repeats);
    if let Some(arguments) = &terms.arguments {
        return is_allowed.then(|| Sample { tool: tool.tool.name.to_string(), arguments: arguments.clone() });
    }
    let of = |arguments: Value| {
        Some(Sample { tool: tool.tool.name.to_string(), arguments: arguments.as_object().cloned().unwrap_or_default() })
    };
    match &version.executor {
        Executor::Builtin { name: Builtin::Echo | Builtin::Hash } => of(json!({ "text": "Is anybody there?" })),
        Executor::Builtin { name: Builtin::JsonQuery } => of(json!({ "document": { "there": true }, "pointers": ["/there"] })),
        _ if version.effect == Effect::Read => gate::harmless(definitions(tool).first()?.as_ref().ok()?),
        // With nothing to tell it, a confirmed call is one without arguments.
        _ if is_allowed => of(json!({})),
        _ => None,
    }
}

async fn call(candidate: Candidate<'_>, arguments: Map<String, Value>) -> Result<Reply, Broken> {
    let Candidate { platform, current, tool, secret, user } = candidate;
    let broken = |check, problem: &str, advice| Broken { check, problem: problem.trim_end_matches('.').to_owned(), advice };
    let raw = serde_json::value::to_raw_value(&arguments)
        .map_err(|_| broken(Check::Call, "its sample is no JSON", "Enter it again."))?;
    if let Err(misfit) = execution::read_arguments(tool, Some(&raw)) {
        return Err(broken(Check::Call, misfit.text(), "Change the sample call, or the schema of the arguments."));
    }
    let Ok(secret) = secret.transpose() else {
        return Err(broken(Check::Call, "its stored secret cannot be read", "Enter the secret again."));
    };
    let account = current.accounts_of(tool).and_then(|source| Account::of(platform, current, source, user));
    let executor = &tool.tool.version.executor;
    let resilience = execution::resilience(current, executor);
    let means = Means {
        clock: &*platform.clock,
        egress: &platform.egress,
        resilience,
        tokens: &platform.client_tokens,
        functions: &platform.sandboxes,
        tenant: current.tenant,
        // Whoever tries it wants to know whether it works.
        care: None,
        keep: None,
    };
    let deadline = execution::deadline(executor, resilience);
    let run = tokio::time::timeout(deadline, execution::run(means, tool, &arguments, secret, account)).await;
    let Ok(run) = run else {
        return Err(broken(Check::Call, "the tool did not finish in time", "Make it faster, or allow it more time."));
    };
    judged(run).map_err(|(check, problem, advice)| broken(check, &problem, advice))
}

/// What can be judged, or the check that it fails.
fn judged(run: Run) -> Result<Reply, (Check, String, &'static str)> {
    let text = run.text().to_owned();
    match (run.error.as_deref(), run.answer) {
        (None, Answer::Text(result)) => {
            let raw = RawValue::from_string(text_result(&result).to_json());
            raw.map(Reply::Result).map_err(|_| (Check::Result, "its result is no JSON".to_owned(), "Its own log says why."))
        }
        (None | Some("tool_error" | "upstream_error" | "input_required"), Answer::Reply(reply)) => Ok(reply),
        (class, _) => {
            let (check, advice) = advice(class.unwrap_or_default(), run.status);
            Err((check, text, advice))
        }
    }
}

fn advice(class: &str, status: Option<u16>) -> (Check, &'static str) {
    match (class, status) {
        (_, Some(401 | 403)) => (Check::Result, "The credential is missing, wrong or expired."),
        (_, Some(404 | 405)) => {
            (Check::Result, "Is this the right URL and method, and does the sample name something that exists?")
        }
        (_, Some(500..)) => (Check::Result, "Its server fails by itself; its own log says why."),
        ("upstream_status", _) => (Check::Result, "Are these the arguments that its server wants?"),
        ("output_schema", _) => {
            (Check::Schema, "Whoever reads it relies on the promise of the output schema: keep it or take it back.")
        }
        ("egress_refused", _) => (Check::Call, "Use an https:// address that is reachable from the internet."),
        ("upstream_unreachable", _) => (Check::Call, "Is it running, and are name, port and certificate right?"),
        ("upstream_timeout", _) => (Check::Call, "Its server has to answer sooner, or be allowed more time."),
        ("upstream_too_large", _) => (Check::Call, "Ask for less: what a model reads has its limits."),
        ("upstream_protocol", _) => (Check::Call, "Its server answered with something that is no HTTP, or that redirects."),
        (execution::CONNECTION_NEEDED | "connection_needs_person", _) => {
            (Check::Call, "Connect your own account with its server, then try again.")
        }
        _ => (Check::Result, "Its own log says why."),
    }
}
