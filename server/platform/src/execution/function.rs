//! A function: what of its end the caller gets to see.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json, value::to_raw_value};
use trunkline_sandbox::wire::{Job, Line};

use super::{Answer, Care, Run};
use crate::{
    call::Outcome,
    catalog::{FunctionTool, check_header_name},
    dialogue::Reply,
    egress::Egress,
    functions::{Bound, Functions, Gave, Guard, Ran, Reach},
    ids::TenantId,
    quota::breakers::Protected,
    secret::Rotating,
};

/// Runs it, and gives what it said beside its result too.
pub(crate) async fn execute(
    (functions, egress): (&Functions, &Egress),
    (tenant, care): (TenantId, Option<Care<'_>>),
    function: &FunctionTool,
    arguments: &Map<String, Value>,
    secret: Option<Rotating>,
) -> Ran {
    let used = function.secret_header.as_ref().zip(function.hosts.first()).zip(secret);
    let reach = Reach {
        origins: function.hosts.iter().map(|host| host.as_str().to_owned()).collect(),
        secret: used.map(|((header, host), secret)| Bound { origin: host.as_str().to_owned(), header: header.clone(), secret }),
        may_set: Some(may_set),
        guard: care.map(|care| guard(tenant, care, function)),
    };
    let input = Value::Object(arguments.clone()).to_string();
    let job = Job { code: function.code.clone(), input, timeout_ms: function.timeout_ms };
    functions.run(egress, tenant, job, &reach).await
}

/// Its hosts are left alone when HTTP tools of the same host would be.
fn guard(tenant: TenantId, care: Care<'_>, function: &FunctionTool) -> Guard {
    let terms = function.hosts.iter().map(|host| {
        let origin = host.as_str().to_owned();
        (origin.clone(), care.table.of(&Protected::Origin(origin)).breaker)
    });
    Guard { breakers: Arc::clone(care.breakers), tenant, terms: terms.collect() }
}

/// The same headers that HTTP tools may set, and the type of what is sent.
fn may_set(name: &str) -> bool {
    name.eq_ignore_ascii_case("content-type") || check_header_name("headers", name).is_ok()
}

/// What the caller gets of it.
pub(crate) fn read(ran: Ran) -> Run {
    match ran.outcome {
        Gave::Text(text) => Run::ok(text),
        Gave::Object(text) => of_object(&text),
        Gave::Failed { class, message, line } => {
            let outcome = match class {
                "tool_timeout" => Outcome::Timeout,
                "tool_crashed" => Outcome::Unknown,
                _ => Outcome::ToolError,
            };
            let place = line.map(|line| format!(" (line {line})")).unwrap_or_default();
            Run::failed(outcome, class, format!("The function failed: {message}{place}."))
        }
        Gave::Busy => {
            let text = "Too many functions run at the moment, and this one did not begin. Try again in a few seconds.";
            Run::failed(Outcome::ToolError, "tool_busy", text)
        }
        // The reason is the operator's, who finds it in the log.
        Gave::Away(_) => Run::failed(
            Outcome::Unknown,
            "tool_unavailable",
            "Functions cannot be run here at the moment, and this one did not begin.",
        ),
    }
}

/// An object is structured content, and the same as text for clients that know no better.
fn of_object(text: &str) -> Run {
    let structured = serde_json::from_str::<Value>(text);
    let result = structured
        .map(|value| json!({ "content": [{ "type": "text", "text": text }], "structuredContent": value, "isError": false }));
    match result.and_then(|result| to_raw_value(&result)) {
        Ok(result) => {
            let answer = Answer::Reply(Reply::Result(result));
            Run { outcome: Outcome::Ok, error: None, answer, reported_micro: None, status: None }
        }
        Err(_) => Run::failed(Outcome::ToolError, "tool_output", "The function failed: what it gave is no JSON."),
    }
}

/// A run of code by its author: also what agents do not get to see.
#[derive(Debug, Clone)]
pub struct CodeRun {
    /// How it ended.
    pub outcome: Outcome,
    /// Class of the failure.
    pub error: Option<String>,
    /// What an agent would read.
    pub text: String,
    /// The object that it gave, if it gave one.
    pub structured: Option<Value>,
    /// Where it failed, from 1.
    pub line: Option<u32>,
    /// Why no process could be started, for whoever runs the machine.
    pub why: Option<String>,
    /// What it logged, oldest first.
    pub logs: Vec<Line>,
    /// Lines that did not fit.
    pub lost_lines: u32,
    /// Requests that it made.
    pub requests: u32,
    /// From the first to the last moment, with the start of a process.
    pub took: Duration,
    /// Time in which its code ran, where that is known.
    pub busy: Option<Duration>,
}

impl CodeRun {
    /// What became of a run that began then.
    pub(crate) fn of(ran: Ran, began: Instant) -> Self {
        let took = began.elapsed();
        let (mut structured, mut object, mut line, mut why) = (None, None, None, None);
        match &ran.outcome {
            Gave::Object(text) => (structured, object) = (serde_json::from_str(text).ok(), Some(text.clone())),
            Gave::Failed { line: at, .. } => line = *at,
            Gave::Away(reason) => why = Some(reason.clone()),
            Gave::Text(_) | Gave::Busy => {}
        }
        let Ran { logs, lost_lines, requests, busy, .. } = ran.clone();
        let run = read(ran);
        let error = run.error.as_ref().map(ToString::to_string);
        let text = object.unwrap_or_else(|| run.text().to_owned());
        Self { outcome: run.outcome, error, text, structured, line, why, logs, lost_lines, requests, took, busy }
    }
}

/// Runs code on this computer, of nobody's tenant.
pub async fn run_code(functions: &Functions, egress: &Egress, function: &FunctionTool, input: &Map<String, Value>) -> CodeRun {
    let began = Instant::now();
    let nobody = TenantId::new(DateTime::<Utc>::UNIX_EPOCH);
    CodeRun::of(execute((functions, egress), (nobody, None), function, input, None).await, began)
}
