//! The request that waits: it is heard while it waits, and goes on when its caller is back.

use std::{collections::VecDeque, time::Duration};

use serde_json::value::RawValue;
use tokio::time::{Instant, MissedTickBehavior};
use trunkline_protocol::mcp::object::RawObject;

use super::{
    BEAT,
    letters::{FromParked, ToParked, Told},
};
use crate::{
    Platform,
    bus::{self, Address, Mailbox, Undelivered},
    call::Outcome,
    dialogue::{ANSWER_WITHIN, Progress, Question, Said},
    execution::Run,
    gateway::{
        converse::{AnswerTo, Asked, Ongoing, QUESTION, farewell, timed_out},
        draft::Draft,
    },
};

/// Longest time in which a window takes the end or the question; how often it is sent in that time.
const HANDED_WITHIN: Duration = Duration::from_secs(30);
const HAND_EVERY: Duration = Duration::from_secs(3);
/// A replica whose connection was lost is not there for a moment.
const GONE_AFTER: usize = 3;
/// Questions that wait behind the one that is asked.
const MOST_QUESTIONS: usize = 8;

/// A request that waits, and goes on.
pub(super) struct Host {
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
    pub(super) fn new(platform: &Platform, ongoing: Ongoing, mailbox: Mailbox) -> Self {
        let (platform, questions) = (platform.clone(), VecDeque::new());
        Self { platform, ongoing, mailbox, questions, ended: None, over: false, silent: false }
    }

    /// Until it has ended, or nobody comes any more.
    pub(super) async fn run(mut self, mut asked: Asked, mut answer: AnswerTo, draft: Option<Draft>) {
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
            draft.finish_unheard(outcome, error, 0);
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
                    draft.finish_unheard(run.outcome, run.error.clone(), 0);
                }
                None => draft.finish_unheard(outcome, Some(error.into()), 0),
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
        loop {
            let letter = match self.letter(deadline).await {
                Ok(letter) => letter,
                Err(waited) => return waited,
            };
            let (responses, reply_to) = match letter {
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

    /// The next letter. What the request says or does until then is kept for later.
    async fn letter(&mut self, deadline: Instant) -> Result<Option<ToParked>, Waited> {
        let closing = self.platform.closing.clone();
        loop {
            tokio::select! {
                biased;
                // A replica that stops does not keep callers waiting for a person.
                () = closing.cancelled() => return Err(Waited::Closing),
                letter = self.mailbox.next() => return Ok(letter.and_then(|letter| bus::open(&letter))),
                () = tokio::time::sleep_until(deadline) => return Err(Waited::NobodyCame),
                said = self.ongoing.heard.next(), if !self.silent => match said {
                    Some(Said::Question(question)) if self.questions.len() < MOST_QUESTIONS => self.questions.push_back(question),
                    // Lost like all that is said to a caller that does not read. One question too many is not answered.
                    Some(_) => {}
                    None => self.silent = true,
                },
                run = &mut self.ongoing.work, if !self.over => (self.over, self.ended) = (true, Some(run)),
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
        Said::Pause(_) | Said::Retry(_) => return None,
    };
    // Notifications that cannot be passed on are lost like those to any caller that does not read.
    let _ = bus::send(platform, window, &letter).await;
    None
}

fn level_of(params: &RawValue) -> String {
    RawObject::parse(params.get()).ok().and_then(|params| params.text("level")).unwrap_or_default()
}
