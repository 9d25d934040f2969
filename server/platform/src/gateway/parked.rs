//! A request that asked something of a stateless caller: it waits on this replica while the caller comes back, on whichever replica, with
//! the answer. That request is then a window onto this one.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use trunkline_protocol::{
    jsonrpc::{ErrorObject, INTERNAL_ERROR, INVALID_PARAMS},
    mcp::object::RawObject,
};

use super::{
    converse::{AnswerTo, Asked, Ongoing, QUESTION, farewell, timed_out},
    draft::Draft,
    slot::MOST_PER_TOOL,
};
use crate::{
    Platform,
    bus::{self, Address, Mailbox, Undelivered},
    call::Outcome,
    dialogue::{ANSWER_WITHIN, Dialogue, InputRequired, Progress, Question, Reply, Said},
    execution::{Answer, Run},
    ids::{AgentId, ToolId},
};

/// Requests that wait on one replica: of all agents, of one, and of one tool, whose other callers need its slots.
const MOST: usize = 2_000;
const MOST_OF_ONE: usize = 64;
const MOST_OF_TOOL: usize = MOST_PER_TOOL as usize / 2;
/// How often a parked request tells its window that it is there.
const BEAT: Duration = Duration::from_secs(3);
/// A parked request that has not said anything for this long is gone.
const SILENT: Duration = Duration::from_secs(10);
/// Longest time in which a window takes the end or the question; how often it is sent in that time.
const HANDED_WITHIN: Duration = Duration::from_secs(30);
const HAND_EVERY: Duration = Duration::from_secs(3);
/// A replica whose connection was lost is not there for a moment.
const GONE_AFTER: usize = 3;
/// Questions that wait behind the one that is asked.
const MOST_QUESTIONS: usize = 8;

/// How many wait, by agent and by tool.
#[derive(Debug, Default)]
pub struct Parked(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    of_agent: HashMap<AgentId, usize>,
    of_tool: HashMap<ToolId, usize>,
}

impl Parked {
    fn enter(&self, agent: AgentId, tool: Option<ToolId>) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = waiting.of_agent.values().sum();
        let of_agent = waiting.of_agent.get(&agent).copied().unwrap_or_default();
        let of_tool = tool.and_then(|tool| waiting.of_tool.get(&tool).copied()).unwrap_or_default();
        let has_room = all < MOST && of_agent < MOST_OF_ONE && of_tool < MOST_OF_TOOL;
        if has_room {
            *waiting.of_agent.entry(agent).or_default() += 1;
            if let Some(tool) = tool {
                *waiting.of_tool.entry(tool).or_default() += 1;
            }
        }
        has_room
    }

    fn leave(&self, agent: AgentId, tool: Option<ToolId>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        one_less(&mut waiting.of_agent, &agent);
        if let Some(tool) = tool {
            one_less(&mut waiting.of_tool, &tool);
        }
    }
}

fn one_less<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// A place among those that wait; free again when this is dropped.
struct Seat {
    platform: Platform,
    agent: AgentId,
    tool: Option<ToolId>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.platform.parked.leave(self.agent, self.tool);
    }
}

/// To a parked request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ToParked {
    /// The caller is back.
    Resume { responses: Option<Box<RawValue>>, reply_to: String },
    /// The window has the end, or the next question.
    Had,
    /// The caller went away for good.
    Cancel,
}

/// From a parked request to the window onto it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FromParked {
    /// It is there and goes on; again and again while it has nothing else to say.
    Beat,
    Progress {
        progress: String,
        total: Option<String>,
        message: Option<String>,
    },
    Log {
        level: String,
        params: Box<RawValue>,
    },
    Asked {
        method: String,
        params: Box<RawValue>,
    },
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

/// Takes a request over. `None` if too many wait already; it is stopped then. `draft` records its end if no window is there to do so.
pub(super) fn hold(
    platform: &Platform,
    ongoing: Ongoing,
    draft: Option<Draft>,
    asked: Asked,
    answer: AnswerTo,
) -> Option<Address> {
    let agent = ongoing.agent;
    let tool = draft.as_ref().and_then(Draft::tool);
    if !platform.parked.enter(agent, tool) {
        if let Some(draft) = draft {
            draft.discard();
        }
        farewell(platform, ongoing);
        return None;
    }
    let seat = Seat { platform: platform.clone(), agent, tool };
    let mailbox = Mailbox::open(platform);
    let address = mailbox.address().clone();
    let host = Host {
        platform: platform.clone(),
        ongoing,
        mailbox,
        questions: VecDeque::new(),
        ended: None,
        over: false,
        silent: false,
    };
    platform.conversations.spawn(async move {
        host.run(asked, answer, draft).await;
        drop(seat);
    });
    Some(address)
}

/// A request that waits, and goes on.
struct Host {
    platform: Platform,
    ongoing: Ongoing,
    mailbox: Mailbox,
    /// Asked while another question waited.
    questions: VecDeque<Question>,
    /// It ended while nobody was there to be told.
    ended: Option<Run>,
    /// Its work has returned.
    over: bool,
    /// Nothing more will be said.
    silent: bool,
}

/// What comes of waiting for the caller.
enum Waited {
    Back(Address),
    /// Its window records that it took the call back.
    Cancelled,
    NobodyCame,
    Closing,
}

enum Next {
    Asked(Question),
    Done(Run),
    /// Its window records that it took the call back.
    Cancelled,
}

/// What became of an end or a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handed {
    Had,
    /// It was sent; whether it arrived is not known.
    Perhaps,
    /// The window took the call back, and records that.
    Cancelled,
    Not,
}

impl Host {
    async fn run(mut self, mut asked: Asked, mut answer: AnswerTo, draft: Option<Draft>) {
        loop {
            let window = match self.wait_for_answer(&asked, answer).await {
                Waited::Back(window) => window,
                Waited::Cancelled => return self.leave(draft),
                Waited::NobodyCame => return self.abandon(draft, Outcome::Timeout, "input_timeout"),
                Waited::Closing => return self.abandon(draft, Outcome::Cancelled, "closing"),
            };
            self.ongoing.patience.go_on();
            match self.go_on(&window).await {
                Next::Asked(question) => {
                    let Question { method, params, answer: to } = question;
                    asked = Asked { method, params };
                    answer = to;
                    let letter = FromParked::Asked { method: asked.method.clone(), params: asked.params.clone() };
                    // The state that the caller has is used up: without this it can never come back.
                    match self.hand(&window, &letter).await {
                        Handed::Had | Handed::Perhaps => {}
                        Handed::Cancelled => return self.leave(draft),
                        Handed::Not => return self.abandon(draft, Outcome::Cancelled, "caller_gone"),
                    }
                }
                Next::Done(run) => return self.end(&window, run, draft).await,
                Next::Cancelled => return self.leave(draft),
            }
        }
    }

    async fn end(mut self, window: &Address, run: Run, mut draft: Option<Draft>) {
        let (outcome, error) = (run.outcome, run.error.clone());
        if let Some(draft) = &mut draft {
            draft.settle(&run);
        }
        if self.hand(window, &FromParked::Done(Told::from(run))).await == Handed::Not
            && let Some(draft) = draft.take()
        {
            draft.finish(outcome, error, 0);
        }
        // The window records what it has heard, or that it heard nothing more.
        self.leave(draft);
    }

    /// Ends it without a window: what became of it is recorded here.
    fn abandon(self, draft: Option<Draft>, outcome: Outcome, error: &'static str) {
        if let Some(mut draft) = draft {
            match &self.ended {
                Some(run) => {
                    draft.settle(run);
                    draft.finish(run.outcome, run.error.clone(), 0);
                }
                None => draft.finish(outcome, Some(error.into()), 0),
            }
        }
        self.leave(None);
    }

    /// Lets what still runs say good-bye. A draft that is left is recorded by somebody else.
    fn leave(self, draft: Option<Draft>) {
        if let Some(draft) = draft {
            draft.discard();
        }
        if !self.over {
            farewell(&self.platform, self.ongoing);
        }
    }

    /// Waits for the caller to come back with the answer, and gives the mailbox of its window. Without the answer it is asked again. The
    /// request is heard meanwhile: it may take the question back, fail, or have to answer its upstream.
    async fn wait_for_answer(&mut self, asked: &Asked, answer: AnswerTo) -> Waited {
        let deadline = Instant::now() + ANSWER_WITHIN;
        let closing = self.platform.closing.clone();
        loop {
            let letter = tokio::select! {
                biased;
                // A replica that stops does not keep callers waiting for a person.
                () = closing.cancelled() => return Waited::Closing,
                letter = self.mailbox.next() => letter,
                () = tokio::time::sleep_until(deadline) => return Waited::NobodyCame,
                said = self.ongoing.heard.next(), if !self.silent => {
                    match said {
                        Some(Said::Question(question)) if self.questions.len() < MOST_QUESTIONS => self.questions.push_back(question),
                        // Lost like all that is said to a caller that does not read. One question too many is not answered.
                        Some(_) => {}
                        None => self.silent = true,
                    }
                    continue;
                }
                run = &mut self.ongoing.work, if !self.over => {
                    (self.over, self.ended) = (true, Some(run));
                    continue;
                }
            };
            let (responses, reply_to) = match letter.and_then(|letter| bus::open(&letter)) {
                Some(ToParked::Resume { responses, reply_to }) => (responses, reply_to),
                // A window that gave up before it had the last question.
                Some(ToParked::Had) => continue,
                Some(ToParked::Cancel) | None => return Waited::Cancelled,
            };
            let Ok(window) = reply_to.parse::<Address>() else { return Waited::Cancelled };
            let given = responses
                .as_ref()
                .and_then(|responses| RawObject::parse(responses.get()).ok()?.get(QUESTION).map(str::to_owned))
                .filter(|json| json.starts_with('{'))
                .and_then(|json| RawValue::from_string(json).ok());
            match given {
                Some(given) => {
                    // Who took the question back needs no answer.
                    let _ = answer.send(Ok(given));
                    return Waited::Back(window);
                }
                None if self.ended.is_some() || answer.is_closed() => return Waited::Back(window),
                None => {
                    let again = FromParked::Asked { method: asked.method.clone(), params: asked.params.clone() };
                    match self.hand(&window, &again).await {
                        Handed::Had | Handed::Perhaps => {}
                        Handed::Cancelled => return Waited::Cancelled,
                        Handed::Not => return Waited::NobodyCame,
                    }
                }
            }
        }
    }

    async fn go_on(&mut self, window: &Address) -> Next {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Some(run) = self.ended.take() {
                return Next::Done(run);
            }
            if let Some(question) = self.questions.pop_front() {
                if question.answer.is_closed() {
                    continue;
                }
                return Next::Asked(question);
            }
            tokio::select! {
                biased;
                _ = beat.tick() => {
                    // One that is lost is followed by another.
                    let _ = bus::send(&self.platform, window, &FromParked::Beat).await;
                }
                letter = self.mailbox.next() => {
                    // A second window changes nothing; a caller that went away does.
                    if matches!(letter.and_then(|letter| bus::open(&letter)), None | Some(ToParked::Cancel)) {
                        return Next::Cancelled;
                    }
                }
                Some(said) = self.ongoing.heard.next() => {
                    if let Some(question) = pass(&self.platform, window, said).await {
                        return Next::Asked(question);
                    }
                }
                run = &mut self.ongoing.work => {
                    self.over = true;
                    while let Some(said) = self.ongoing.heard.left() {
                        pass(&self.platform, window, said).await;
                    }
                    return Next::Done(run);
                }
                () = tokio::time::sleep_until(self.ongoing.patience.until()) => return Next::Done(timed_out()),
            }
        }
    }

    /// Gives the window what it must not miss, until it says that it has it.
    async fn hand(&mut self, window: &Address, letter: &FromParked) -> Handed {
        let deadline = Instant::now() + HANDED_WITHIN;
        let (mut sent, mut gone) = (false, 0);
        while Instant::now() < deadline {
            match bus::send(&self.platform, window, letter).await {
                Ok(()) => sent = true,
                Err(Undelivered::Gone) => gone += 1,
                // There is room when the window has read, and Redis comes back.
                Err(Undelivered::Refused | Undelivered::Away) => {}
            }
            if gone >= GONE_AFTER {
                break;
            }
            let pause = if sent { HAND_EVERY } else { BEAT / 6 };
            let Ok(letter) = tokio::time::timeout(pause, self.mailbox.next()).await else { continue };
            match letter.and_then(|letter| bus::open(&letter)) {
                Some(ToParked::Had) => return Handed::Had,
                Some(ToParked::Resume { .. }) => {}
                Some(ToParked::Cancel) | None => return Handed::Cancelled,
            }
        }
        if sent { Handed::Perhaps } else { Handed::Not }
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
    let mut answered = false;
    loop {
        let letter = tokio::select! {
            () = stop.cancelled() => {
                let _ = bus::send(&platform, &at, &ToParked::Cancel).await;
                return (Run::failed(Outcome::Cancelled, "cancelled", "The caller took the call back."), None);
            }
            letter = tokio::time::timeout(SILENT, mailbox.next()) => letter.ok().flatten(),
        };
        let letter = letter.and_then(|letter| bus::open(&letter));
        let is_last = matches!(letter, Some(FromParked::Asked { .. } | FromParked::Done(_)));
        if is_last && bus::send(&platform, &at, &ToParked::Had).await.is_err() {
            tracing::debug!("a parked call cannot be told that its end was heard; it finds out by itself");
        }
        match letter {
            Some(FromParked::Beat) => {}
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
            None if answered => return (lost(), None),
            None => return (gone(Undelivered::Gone), None),
        }
        answered = true;
    }
}

/// It was there, and then it was not.
fn lost() -> Run {
    let text = "the waiting call cannot be reached any more; whether the tool finished is not known";
    let error = ErrorObject::new(INTERNAL_ERROR, text);
    Run { outcome: Outcome::Unknown, error: Some("call_lost".into()), answer: Answer::Reply(Reply::Error(error)) }
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
