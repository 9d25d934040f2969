//! A test run of code that is not published, and how the form shows it.

use actix_web::http::StatusCode;
use trunkline_platform::{execution::CodeRun, gateway, ids::ToolId, secret::Plaintext};

use super::{draft::Draft, edit::typed_secret, logs::LogLine, trial};
use crate::{
    WebState,
    dashboard::format,
    error::HtmlError,
    extract::{Allowed, FieldErrors, Fields, ManageTools},
};

/// Characters of a result that the form shows; agents get all of it.
const SHOWN: usize = 8_000;
/// Lines of the log that the form shows.
const SHOWN_LINES: usize = 200;

/// How it went.
pub(super) struct Ran {
    pub(super) outcome: &'static str,
    pub(super) error: String,
    pub(super) took: String,
    /// Time in which its code ran, and requests.
    pub(super) used: String,
    pub(super) body: String,
    /// Says that the end is missing; empty if it is not.
    pub(super) cut: String,
    /// Line of the code at which it failed; empty if it did not, or nobody knows.
    pub(super) line: String,
    pub(super) logs: Vec<LogLine>,
    /// Says that lines are missing; empty if none is.
    pub(super) lost: String,
}

/// Runs what stands in the form; `None` if it does not fit, which the errors say.
pub(super) async fn run(
    state: &WebState,
    member: &Allowed<ManageTools>,
    edited: Option<ToolId>,
    draft: &Draft,
    form: &Fields,
    errors: &mut FieldErrors,
) -> Result<Option<Ran>, HtmlError> {
    if draft.kind != "function" {
        errors.add("kind", "only a function can be tried before it is published");
        return Ok(None);
    }
    let function = draft.parse_function(errors)?;
    let mut unread = FieldErrors::default();
    let input = trial::read(draft.example.trim(), &mut unread);
    if input.is_none() {
        errors.add("example", unread.of("arguments"));
    }
    let (Some(function), Some(input)) = (function, input) else { return Ok(None) };
    let typed = Some(typed_secret(form)).filter(|secret| !secret.is_empty()).map(|secret| Plaintext::new(secret.to_owned()));
    let run = gateway::try_code(&state.platform, &member.actor, edited, &function, typed, &input).await;
    Ok(errors.take(run)?.map(Ran::of))
}

/// Of the page that shows it.
pub(super) fn status(ran: Option<&Ran>) -> StatusCode {
    if ran.is_some() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY }
}

impl Ran {
    fn of(run: CodeRun) -> Self {
        let body: String = run.structured.as_ref().map_or_else(|| run.text.clone(), |value| format!("{value:#}"));
        let characters = body.chars().count();
        let cut = if characters > SHOWN { format!("The first {SHOWN} of {characters} characters.") } else { String::new() };
        let hidden = run.logs.len().saturating_sub(SHOWN_LINES) + run.lost_lines as usize;
        let busy =
            run.busy.map(|busy| format!("{} running", format::micros(i64::try_from(busy.as_micros()).unwrap_or(i64::MAX))));
        let requests = match run.requests {
            0 => None,
            1 => Some("1 request".to_owned()),
            more => Some(format!("{more} requests")),
        };
        Self {
            outcome: run.outcome.as_str(),
            took: format::micros(i64::try_from(run.took.as_micros()).unwrap_or(i64::MAX)),
            used: [busy, requests].into_iter().flatten().collect::<Vec<_>>().join(", "),
            body: body.chars().take(SHOWN).collect(),
            cut,
            line: run.line.map(|line| line.to_string()).unwrap_or_default(),
            lost: if hidden == 0 { String::new() } else { format!("{hidden} more lines are not shown.") },
            logs: run.logs.iter().take(SHOWN_LINES).map(LogLine::of).collect(),
            error: run.error.unwrap_or_default(),
        }
    }
}
