//! A request that asked something of a stateless caller: it waits on this replica while the caller comes back, on whichever replica, with
//! the answer. That request is then a window onto this one.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trunkline_protocol::{
    jsonrpc::{ErrorObject, INTERNAL_ERROR, INVALID_PARAMS},
    mcp::object::RawObject,
};

use super::converse::{AnswerTo, Asked, Ongoing, QUESTION, farewell, timed_out};
use crate::{
    Platform,
    bus::{self, Address, Mailbox, Undelivered},
    call::Outcome,
    dialogue::{ANSWER_WITHIN, Dialogue, InputRequired, Progress, Question, Reply, Said},
    execution::{Answer, Run},
    ids::AgentId,
};

/// Requests that wait on one replica, of all agents and of one.
const MOST: usize = 2_000;
const MOST_OF_ONE: usize = 64;

/// How many wait, by agent.
#[derive(Debug, Default)]
pub struct Parked(Mutex<HashMap<AgentId, usize>>);

impl Parked {
    fn enter(&self, agent: AgentId) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = waiting.values().sum();
        let one = waiting.entry(agent).or_default();
        let has_room = all < MOST && *one < MOST_OF_ONE;
        *one += usize::from(has_room);
        has_room
    }

    fn leave(&self, agent: AgentId) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = waiting.get_mut(&agent) {
            *one -= 1;
            if *one == 0 {
                waiting.remove(&agent);
            }
        }
    }
}

/// To a parked request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ToParked {
    /// The caller is back.
    Resume { responses: Option<Box<RawValue>>, reply_to: String },
    /// The caller went away for good.
    Cancel,
}

/// From a parked request to the window onto it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FromParked {
    Progress { progress: String, total: Option<String>, message: Option<String> },
    Log { level: String, params: Box<RawValue> },
    Asked { method: String, params: Box<RawValue> },
    Done(Told),
}

/// A run, as it travels.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    outcome: String,
    error: Option<String>,
    text: Option<(String, bool)>,
    result: Option<Box<RawValue>>,
    requests: Option<Box<RawValue>>,
    state: Option<String>,
    refused: Option<(i64, String, Option<serde_json::Value>)>,
}

/// Takes a request over. `None` if too many wait already; it is stopped then.
pub(super) fn hold(platform: &Platform, agent: AgentId, ongoing: Ongoing, asked: Asked, answer: AnswerTo) -> Option<Address> {
    if !platform.parked.enter(agent) {
        farewell(platform, ongoing);
        return None;
    }
    let mailbox = Mailbox::open(platform);
    let address = mailbox.address().clone();
    let host_platform = platform.clone();
    platform.conversations.spawn(async move {
        host(&host_platform, ongoing, mailbox, asked, answer).await;
        host_platform.parked.leave(agent);
    });
    Some(address)
}

async fn host(platform: &Platform, mut ongoing: Ongoing, mut mailbox: Mailbox, mut asked: Asked, mut answer: AnswerTo) {
    loop {
        let Some(window) = wait_for_answer(platform, &mut mailbox, &asked, answer).await else {
            farewell(platform, ongoing);
            return;
        };
        ongoing.patience.go_on();
        match go_on(platform, &mut ongoing, &mut mailbox, &window).await {
            Next::Asked(question) => {
                let Question { method, params, answer: to } = question;
                asked = Asked { method, params };
                answer = to;
                let letter = FromParked::Asked { method: asked.method.clone(), params: asked.params.clone() };
                // If the window is gone, the caller may still come back with the state it has.
                let _ = bus::send(platform, &window, &letter).await;
            }
            Next::Done(run) => {
                let _ = bus::send(platform, &window, &FromParked::Done(Told::from(run))).await;
                return;
            }
            Next::Stop => {
                farewell(platform, ongoing);
                return;
            }
        }
    }
}

/// Waits for the caller to come back with the answer, and gives the mailbox of its window. Without the answer it is asked again.
async fn wait_for_answer(platform: &Platform, mailbox: &mut Mailbox, asked: &Asked, answer: AnswerTo) -> Option<Address> {
    let deadline = Instant::now() + ANSWER_WITHIN;
    loop {
        // A replica that stops does not keep callers waiting for a person.
        let letter = platform.closing.run_until_cancelled(tokio::time::timeout_at(deadline, mailbox.next())).await?;
        let letter = letter.ok().flatten()?;
        let ToParked::Resume { responses, reply_to } = bus::open(&letter)? else { return None };
        let window: Address = reply_to.parse().ok()?;
        let given =
            responses.as_ref().and_then(|responses| RawObject::parse(responses.get()).ok()?.get(QUESTION).map(str::to_owned));
        let Some(given) = given.filter(|json| json.starts_with('{')) else {
            let again = FromParked::Asked { method: asked.method.clone(), params: asked.params.clone() };
            let _ = bus::send(platform, &window, &again).await;
            continue;
        };
        let given = RawValue::from_string(given).ok()?;
        return answer.send(Ok(given)).is_ok().then_some(window);
    }
}

enum Next {
    Asked(Question),
    Done(Run),
    Stop,
}

async fn go_on(platform: &Platform, ongoing: &mut Ongoing, mailbox: &mut Mailbox, window: &Address) -> Next {
    loop {
        tokio::select! {
            biased;
            Some(said) = ongoing.heard.next() => {
                if let Some(question) = pass(platform, window, said).await {
                    return Next::Asked(question);
                }
            }
            letter = mailbox.next() => {
                // A second window changes nothing; a caller that went away does.
                if matches!(letter.and_then(|letter| bus::open(&letter)), None | Some(ToParked::Cancel)) {
                    return Next::Stop;
                }
            }
            run = &mut ongoing.work => {
                while let Some(said) = ongoing.heard.left() {
                    pass(platform, window, said).await;
                }
                return Next::Done(run);
            }
            () = tokio::time::sleep_until(ongoing.patience.until()) => return Next::Done(timed_out()),
        }
    }
}

/// Passes on what was said; a question comes back.
async fn pass(platform: &Platform, window: &Address, said: Said) -> Option<Question> {
    let letter = match said {
        Said::Question(question) => return Some(question),
        Said::Progress(Progress { progress, total, message }) => FromParked::Progress {
            progress: progress.into_owned(),
            total: total.map(std::borrow::Cow::into_owned),
            message: message.map(std::borrow::Cow::into_owned),
        },
        Said::Log(params) => FromParked::Log { level: level_of(&params), params },
        Said::Pause(_) => return None,
    };
    // Notifications that cannot be passed on are lost like those to any caller that does not read.
    let _ = bus::send(platform, window, &letter).await;
    None
}

fn level_of(params: &RawValue) -> String {
    RawObject::parse(params.get()).ok().and_then(|params| params.text("level")).unwrap_or_default()
}

/// The window: goes on with a parked request for a caller that is back.
pub(super) async fn resume(
    platform: Platform,
    at: Address,
    responses: Option<Box<RawValue>>,
    dialogue: Dialogue,
    stop: CancellationToken,
) -> (Run, Option<Address>) {
    let mut mailbox = Mailbox::open(&platform);
    let letter = ToParked::Resume { responses, reply_to: mailbox.address().to_string() };
    if let Err(undelivered) = bus::send(&platform, &at, &letter).await {
        return (gone(undelivered), None);
    }
    loop {
        let letter = tokio::select! {
            () = stop.cancelled() => {
                let _ = bus::send(&platform, &at, &ToParked::Cancel).await;
                return (Run::failed(Outcome::Cancelled, "cancelled", "The caller took the call back."), None);
            }
            letter = mailbox.next() => letter,
        };
        match letter.and_then(|letter| bus::open(&letter)) {
            Some(FromParked::Progress { progress, total, message }) => dialogue.progress(Progress {
                progress: progress.into(),
                total: total.map(Into::into),
                message: message.map(Into::into),
            }),
            Some(FromParked::Log { level, params }) => {
                if let Ok(level) = level.parse() {
                    dialogue.log(level, params).await;
                }
            }
            Some(FromParked::Asked { method, params }) => {
                let requests = Some(Asked { method, params }.to_requests());
                return (Reply::InputRequired(InputRequired { requests, state: None }).into(), Some(at));
            }
            Some(FromParked::Done(told)) => return (told.into(), None),
            None => return (gone(Undelivered::Gone), None),
        }
    }
}

fn gone(undelivered: Undelivered) -> Run {
    let error = match undelivered {
        Undelivered::Gone => {
            ErrorObject::new(INVALID_PARAMS, "requestState belongs to a call that is not waiting any more: call again without it")
        }
        _ => ErrorObject::new(INTERNAL_ERROR, "the waiting call cannot be reached; try again"),
    };
    Run { outcome: Outcome::UpstreamError, error: Some("state_gone".into()), answer: Answer::Reply(Reply::Error(error)) }
}

impl From<Run> for Told {
    fn from(run: Run) -> Self {
        let mut told = Self {
            outcome: run.outcome.as_str().to_owned(),
            error: run.error.map(std::borrow::Cow::into_owned),
            text: None,
            result: None,
            requests: None,
            state: None,
            refused: None,
        };
        match run.answer {
            Answer::Text(text) => told.text = Some((text.text, text.is_error)),
            Answer::Reply(Reply::Result(result)) => told.result = Some(result),
            Answer::Reply(Reply::InputRequired(needed)) => (told.requests, told.state) = (needed.requests, needed.state),
            Answer::Reply(Reply::Error(error)) => told.refused = Some((error.code, error.message.into_owned(), error.data)),
        }
        told
    }
}

impl From<Told> for Run {
    fn from(told: Told) -> Self {
        let answer = match told {
            Told { text: Some((text, is_error)), .. } => {
                Answer::Text(trunkline_protocol::mcp::tools::ToolResult { text, is_error })
            }
            Told { result: Some(result), .. } => Answer::Reply(Reply::Result(result)),
            Told { refused: Some((code, message, data)), .. } => {
                Answer::Reply(Reply::Error(ErrorObject { code, message: message.into(), data }))
            }
            Told { requests, state, .. } => Answer::Reply(Reply::InputRequired(InputRequired { requests, state })),
        };
        Self { outcome: Outcome::find(&told.outcome).unwrap_or(Outcome::Unknown), error: told.error.map(Into::into), answer }
    }
}
