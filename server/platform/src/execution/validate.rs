//! Arguments against the tool's input schema, with messages that name the place and what would be right.

use serde_json::Value;

use super::Run;
use crate::{call::Outcome, catalog::snapshot::LoadedTool};

/// Problems that are told; the first ones are what a caller mends first.
const TOLD: usize = 5;

/// Ok if the arguments fit.
pub fn check(tool: &LoadedTool, arguments: &Value) -> Result<(), Run> {
    let validator = tool.validator().map_err(|error| {
        tracing::error!(tool.id = %tool.tool.id, error, "a published schema does not compile");
        Run::failed(Outcome::Unknown, "tool_crashed", "The tool's definition is broken. Its owner has to publish it again.")
    })?;
    if validator.is_valid(arguments) || (tool.tool.version.executor.is_proxied() && without_nulls(arguments, validator)) {
        return Ok(());
    }
    Err(Run::invalid_arguments(&problems(validator, arguments)))
}

/// What does not fit, in words; empty if everything does.
pub(crate) fn problems(validator: &jsonschema::Validator, arguments: &Value) -> String {
    let problems: Vec<String> = validator.iter_errors(arguments).take(TOLD).map(|error| problem(&error)).collect();
    problems.join("; ")
}

/// Would the arguments fit without those that are null? Many clients write null for what they leave out, and the protocol's own headers take
/// it so. The server of the tool gets it as it was written, and judges for itself.
fn without_nulls(arguments: &Value, validator: &jsonschema::Validator) -> bool {
    let Some(members) = arguments.as_object().filter(|members| members.values().any(Value::is_null)) else { return false };
    let said = members.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.clone(), value.clone()));
    validator.is_valid(&Value::Object(said.collect()))
}

fn problem(error: &jsonschema::ValidationError<'_>) -> String {
    let place = error.instance_path().to_string();
    let place = place.trim_start_matches('/').replace('/', ".");
    // Values are masked: they may be somebody's data, and answers are kept by clients.
    let message = error.masked().to_string();
    if place.is_empty() { message } else { format!("{place}: {message}") }
}
