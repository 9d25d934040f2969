//! What an answer is worth.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::{
    Expected, Sample, Stopped,
    echo::is_echo,
    report::{Check, Checks},
};
use crate::{
    catalog::definition::{Definition, compile},
    dialogue::Reply,
};

/// Longest piece of a server's text in a report.
const MOST_QUOTED: usize = 200;

/// A result, as far as it is judged.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    #[serde(default)]
    content: Vec<Value>,
    structured_content: Option<Value>,
    #[serde(default)]
    is_error: bool,
}

impl Answer {
    fn texts(&self) -> Vec<&str> {
        self.content.iter().filter_map(|block| block["text"].as_str()).collect()
    }
}

/// At most so much of it, on one line.
fn quote(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST_QUOTED).collect();
    if line.len() < text.len() { format!("“{line}…”") } else { format!("“{line}”") }
}

pub(super) fn result(checks: &mut Checks, reply: &Reply, took: Duration) -> Result<Answer, Stopped> {
    checks.pass(Check::Call, Some(took));
    let raw = match reply {
        Reply::Result(raw) => raw,
        Reply::InputRequired(_) => {
            let advice = "Name a call that can be answered without a person.";
            return checks.fail(Check::Result, None, ("the tool asks for input first", advice));
        }
        Reply::Error(error) => {
            let problem = format!("it answered with error {}: {}", error.code, quote(&error.message));
            return checks.fail(Check::Result, None, (problem, "Are these the arguments that the tool wants?"));
        }
    };
    let Ok(answer) = serde_json::from_str::<Answer>(raw.get()) else {
        let advice = "A result has `content`, a list of blocks, and may have `structuredContent` and `isError`.";
        return checks.fail(Check::Result, None, ("its result is not the result of a tool", advice));
    };
    if answer.is_error {
        let said = answer.texts().first().map_or_else(|| "nothing".to_owned(), |text| quote(text));
        return checks.fail(Check::Result, None, (format!("the tool says that it failed: {said}"), "Its own log says why."));
    }
    checks.pass(Check::Result, None);
    Ok(answer)
}

pub(super) fn content(checks: &mut Checks, answer: &Answer) {
    let is_blank = |block: &Value| block["type"] == "text" && block["text"].as_str().unwrap_or_default().trim().is_empty();
    let has_structure = match &answer.structured_content {
        None | Some(Value::Null) => false,
        Some(Value::Object(members)) => !members.is_empty(),
        Some(_) => true,
    };
    if !has_structure && answer.content.iter().all(is_blank) {
        let advice = "Whoever asks cannot tell nothing found from nothing done: say which.";
        return checks.note(Check::Content, None, ("its result is empty", advice));
    }
    checks.pass(Check::Content, None);
}

pub(super) fn schema(checks: &mut Checks, tool: &Definition, answer: &Answer) {
    let Some(schema) = tool.member("outputSchema") else { return checks.pass(Check::Schema, None) };
    let advice = "Whoever reads it relies on the promise of `outputSchema`: keep it or take it back.";
    let problem = match (&answer.structured_content, compile(schema)) {
        (_, Err(why)) => Some(format!("outputSchema cannot be used: {why}")),
        (None, _) => Some("it promises structured content and gives none".to_owned()),
        (Some(content), Ok(validator)) => validator.iter_errors(content).next().map(|error| {
            format!(
                "structuredContent{} is not what outputSchema promises: {}",
                error.instance_path(),
                quote(&error.masked().to_string())
            )
        }),
    };
    match problem {
        Some(problem) => checks.note(Check::Schema, None, (problem, advice)),
        None => checks.pass(Check::Schema, None),
    }
}

pub(super) fn time(checks: &mut Checks, took: Duration, within: Duration) {
    if took > within {
        let problem = format!("the call took {} ms, more than {} ms", took.as_millis(), within.as_millis());
        return checks.note(Check::Time, None, (problem, "Agents wait for it: make it faster, or say that it may take longer."));
    }
    checks.pass(Check::Time, None);
}

pub(super) fn echo(checks: &mut Checks, sample: &Sample, answer: &Answer, may_echo: bool) {
    if !may_echo && is_echo(&sample.arguments, &answer.texts(), answer.structured_content.as_ref()) {
        let advice = "The tool did nothing, or something in front of it answered in its place.";
        return checks.note(Check::Echo, None, ("the result is the request given back", advice));
    }
    checks.pass(Check::Echo, None);
}

pub(super) fn expected(checks: &mut Checks, answer: &Answer, expected: &[Expected]) {
    let texts = answer.texts();
    let of_text = || texts.first().and_then(|text| serde_json::from_str(text).ok());
    let whole: Option<Value> = answer.structured_content.clone().or_else(of_text);
    let missing = expected.iter().find_map(|expected| match expected {
        Expected::Text(wanted) if texts.iter().any(|text| text.contains(wanted)) => None,
        Expected::Text(wanted) => Some(format!("no text of the result has {}", quote(wanted))),
        Expected::At(pointer, wanted) => {
            let found = whole.as_ref().and_then(|whole| whole.pointer(pointer));
            let found_text = found.map_or_else(|| "nothing".to_owned(), |found| quote(&found.to_string()));
            (found != Some(wanted)).then(|| format!("at {pointer} stands {found_text}, not {}", quote(&wanted.to_string())))
        }
    });
    match missing {
        Some(problem) => checks.note(Check::Expected, None, (problem, "It answers, but not with what it should.")),
        None => checks.pass(Check::Expected, None),
    }
}
