//! Running a tool: a match over the closed set of kinds. What comes out is always an `Outcome`; nothing here decides who may.

mod builtin;
mod http;
mod validate;

use std::{borrow::Cow, time::Duration};

use serde_json::{Map, Value, value::RawValue};
use trunkline_protocol::mcp::tools::ToolResult;

pub use validate::check;

use crate::{
    call::Outcome,
    catalog::{Executor, snapshot::LoadedTool},
    clock::Clock,
    egress::{Egress, EgressError},
    secret::Plaintext,
};

/// How a run ended and what the caller gets to see of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// For the record.
    pub outcome: Outcome,
    /// Class of the failure, as in `_meta["trunkline/error"]`.
    pub error: Option<&'static str>,
    /// For the caller.
    pub result: ToolResult,
}

impl Run {
    /// A tool that did what it should.
    pub fn ok(text: String) -> Self {
        Self { outcome: Outcome::Ok, error: None, result: ToolResult { text, is_error: false } }
    }

    /// A tool that failed, in words of ours that help the caller.
    pub fn failed(outcome: Outcome, error: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        let text: Cow<'static, str> = text.into();
        Self { outcome, error: Some(error), result: ToolResult { text: text.into_owned(), is_error: true } }
    }

    /// Arguments that do not fit.
    pub fn invalid_arguments(problems: &str) -> Self {
        Self::failed(Outcome::ToolError, "invalid_arguments", format!("The arguments do not fit: {problems}"))
    }
}

impl Run {
    /// Did anything leave for the tool? What did not is not billed.
    pub fn was_dispatched(&self) -> bool {
        !matches!(
            self.error,
            Some("invalid_arguments" | "tool_crashed" | "secret_integrity" | "egress_refused" | "upstream_unreachable")
        )
    }
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

/// Runs a tool with arguments that fit its schema.
pub async fn run(means: Means<'_>, tool: &LoadedTool, arguments: &Map<String, Value>, secret: Option<Plaintext>) -> Run {
    match &tool.tool.version.executor {
        Executor::Builtin { name } => builtin::run(*name, means.clock, arguments),
        Executor::Http(http) => http::run(means.egress, http, arguments, secret).await,
        Executor::Upstream { .. } => {
            Run::failed(Outcome::UpstreamError, "upstream_unreachable", "Its server cannot be called yet.")
        }
    }
}

/// Longest time a tool may take.
pub fn deadline(executor: &Executor) -> Duration {
    match executor {
        Executor::Builtin { .. } => Duration::from_secs(1),
        Executor::Http(http) => Duration::from_millis(http.timeout_ms.into()),
        Executor::Upstream { .. } => Duration::from_mins(1),
    }
}
