//! From a request to its answer: everything else that the upstream says meanwhile is passed on, asked, or refused.

use std::{collections::HashMap, pin::Pin, time::Duration};

use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{AbortHandle, BoxFuture, abortable},
    stream::FuturesUnordered,
};
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use trunkline_protocol::{
    jsonrpc::{self, ErrorObject, INTERNAL_ERROR, METHOD_NOT_FOUND, Message},
    mcp::LogLevel,
};

use super::{
    UpstreamError,
    error::Fault,
    standalone::Standalone,
    wire::{MOST_EVENT, MOST_RESULT, Messages, NOT_JSON_RPC, Wire},
};
use crate::dialogue::{AskError, Dialogue, Progress};

/// Questions of one request that may wait for an answer at the same time.
const MOST_QUESTIONS: usize = 8;
/// Answers of ours that may be on their way; an upstream that asks for more gets none.
const MOST_REPLIES: usize = 32;
/// Time that questions may add to a request's deadline.
pub(super) const QUESTIONS_WITHIN: Duration = Duration::from_mins(15);
/// Longest time for our answer to a question to arrive.
const REPLY_WITHIN: Duration = Duration::from_secs(10);
/// How often an answer may be resumed.
const MOST_RESUMES: u32 = 3;
/// Before an answer is resumed, if the upstream does not say.
const RESUME_AFTER: Duration = Duration::from_millis(500);
/// However long the upstream wants to be left alone.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A result exactly as it came, or an error.
pub(super) type Outcome = Result<Box<RawValue>, ErrorObject>;

/// How the answer to a request begins.
pub(super) enum Posted {
    /// With success: this is what it says.
    Answer(Messages),
    /// With another status and an error.
    Refused(ErrorObject),
}

/// One request that waits for its answer.
pub(super) struct Conversation<'a> {
    /// Our id of the request, which is its progress token too.
    pub(super) id: &'a str,
    pub(super) dialogue: &'a Dialogue,
    pub(super) wire: &'a Wire,
    /// Headers of a session, over which questions are answered and answers resumed. `None`: the era has neither.
    pub(super) session: Option<HeaderMap>,
    /// Questions stop this clock.
    pub(super) deadline: Instant,
}

/// What has been begun and not ended.
#[derive(Default)]
struct Open<'a> {
    /// Each says whether it was a question.
    replies: FuturesUnordered<BoxFuture<'a, bool>>,
    questions: usize,
    /// By the upstream's id.
    aborts: HashMap<String, AbortHandle>,
    last_progress: Option<f64>,
}

impl<'a> Conversation<'a> {
    /// The answer to the request that `posted` sends. `aside` is the session's other stream, if no other call reads it: what is said there may
    /// have to be answered before the answer begins.
    pub(super) async fn answer(
        &self,
        posted: impl Future<Output = Result<Posted, Fault>>,
        mut aside: Option<&mut Standalone>,
    ) -> Result<Outcome, Fault> {
        let (mut open, mut deadline, mut resumes) = (Open::default(), self.deadline, 0);
        let posted = std::pin::pin!(posted);
        let mut messages = match self.wait(posted, &mut open, &mut deadline, &mut aside).await? {
            Posted::Answer(messages) => messages,
            Posted::Refused(error) => return Ok(Err(error)),
        };
        loop {
            let next = std::pin::pin!(self.next(&mut messages, &mut resumes, deadline));
            let text = self.wait(next, &mut open, &mut deadline, &mut aside).await?;
            if let Some(outcome) = self.hear(&text, &mut open, deadline).await? {
                return Ok(outcome);
            }
        }
    }

    /// The next message. An answer that ends too early is resumed, where the upstream said how; when, the caller should know too: whatever cuts
    /// its own stream, there is nothing new before.
    async fn next(&self, messages: &mut Messages, resumes: &mut u32, deadline: Instant) -> Result<String, Fault> {
        let cut = UpstreamError::Broken("it closed its answer before the end");
        loop {
            if let Some(text) = messages.next().await? {
                return Ok(text);
            }
            let (Some(session), Some(last_event)) = (&self.session, messages.last_event.clone()) else { return Err(cut.into()) };
            if *resumes == MOST_RESUMES {
                return Err(cut.into());
            }
            *resumes += 1;
            let retry = messages.retry.map(|retry| retry.min(LONGEST_PAUSE));
            if let Some(retry_ms) = retry.and_then(|retry| u64::try_from(retry.as_millis()).ok()) {
                self.dialogue.retry(retry_ms).await;
            }
            sleep(retry.unwrap_or(RESUME_AFTER)).await;
            let mut headers = session.clone();
            headers.insert("last-event-id", last_event.parse().map_err(|_| cut)?);
            let answer = self.wire.get(headers, deadline + QUESTIONS_WITHIN, Duration::MAX, Duration::MAX).await;
            // It has the request: not to be reached any more is something else than not to be reached.
            let answer = answer.map_err(|error| match error {
                UpstreamError::Unreachable | UpstreamError::Refused => cut,
                other => other,
            })?;
            if !answer.is_success() || !answer.is_stream {
                return Err(cut.into());
            }
            *messages = answer.messages;
            (messages.retry, messages.last_event) = (retry, Some(last_event));
        }
    }

    /// Waits for what comes next of the answer; meanwhile for answers to questions, and for what is said aside. While a question waits, the
    /// request's clock stands still.
    async fn wait<T>(
        &self,
        mut next: Pin<&mut impl Future<Output = Result<T, Fault>>>,
        open: &mut Open<'a>,
        deadline: &mut Instant,
        aside: &mut Option<&mut Standalone>,
    ) -> Result<T, Fault> {
        loop {
            let (since, is_asking) = (Instant::now(), open.questions > 0);
            let later = |deadline: Instant| if is_asking { deadline + since.elapsed() } else { deadline };
            tokio::select! {
                next = &mut next => {
                    *deadline = later(*deadline);
                    return next;
                }
                text = said_aside(aside, self.wire, self.session.as_ref()) => {
                    *deadline = later(*deadline);
                    self.overhear(&text, open, *deadline).await;
                }
                Some(was_question) = open.replies.next(), if !open.replies.is_empty() => {
                    *deadline = later(*deadline);
                    open.questions -= usize::from(was_question);
                }
                () = sleep_until(*deadline), if !is_asking => return Err(UpstreamError::Timeout.into()),
            }
        }
    }

    /// Something said beside the answer. What cannot be read there is no fault of this request.
    async fn overhear(&self, text: &str, open: &mut Open<'a>, deadline: Instant) {
        let done = match Message::parse(text.as_bytes()) {
            Ok(Message::Notification { method, params }) => self.told(&method, params, open, deadline).await,
            Ok(Message::Request { id, method, params }) => self.asked(id, &method, params, open),
            Ok(Message::Response { .. }) | Err(_) => Ok(()),
        };
        if let Err(error) = done {
            tracing::debug!(%error, "something that an upstream says is not understood");
        }
    }

    async fn hear(&self, text: &str, open: &mut Open<'a>, deadline: Instant) -> Result<Option<Outcome>, UpstreamError> {
        let message = Message::parse(text.as_bytes()).map_err(|_| NOT_JSON_RPC)?;
        if text.len() > MOST_EVENT && !matches!(message, Message::Response { .. }) {
            return Err(UpstreamError::TooLarge);
        }
        match message {
            Message::Response { id, outcome } if id.get() == self.id => return outcome_of(outcome).map(Some),
            Message::Response { .. } => return Err(UpstreamError::Broken("it answered a request that it was not sent")),
            Message::Notification { method, params } => self.told(&method, params, open, deadline).await?,
            Message::Request { id, method, params } => self.asked(id, &method, params, open)?,
        }
        Ok(None)
    }

    /// A notification. Those that nobody here knows are not for us.
    async fn told(
        &self,
        method: &str,
        params: Option<&RawValue>,
        open: &mut Open<'a>,
        deadline: Instant,
    ) -> Result<(), UpstreamError> {
        let Some(params) = params else { return Ok(()) };
        match method {
            "notifications/progress" => self.progress(params, open),
            "notifications/message" => {
                let Some(level) = level_of(params) else { return Ok(()) };
                let said = self.dialogue.log(level, params.to_owned());
                return timeout_at(deadline, said).await.map_err(|_| UpstreamError::Timeout);
            }
            "notifications/cancelled" => {
                #[derive(Deserialize)]
                #[serde(rename_all = "camelCase")]
                struct Cancelled<'a> {
                    #[serde(borrow)]
                    request_id: &'a RawValue,
                }
                let cancelled = serde_json::from_str::<Cancelled<'_>>(params.get()).ok();
                if let Some(abort) = cancelled.and_then(|cancelled| open.aborts.remove(cancelled.request_id.get())) {
                    abort.abort();
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Progress of this request that is farther than the last.
    fn progress(&self, params: &RawValue, open: &mut Open<'a>) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Told<'a> {
            #[serde(borrow)]
            progress_token: &'a RawValue,
            #[serde(borrow)]
            progress: &'a RawValue,
            #[serde(borrow, default)]
            total: Option<&'a RawValue>,
            #[serde(borrow, default)]
            message: Option<&'a RawValue>,
        }
        let number = |json: &RawValue| serde_json::from_str::<f64>(json.get()).ok();
        let Ok(told) = serde_json::from_str::<Told<'_>>(params.get()) else { return };
        let Some(progress) = number(told.progress) else { return };
        let is_farther = open.last_progress.is_none_or(|last| progress > last);
        if told.progress_token.get() != self.id || !is_farther {
            return;
        }
        open.last_progress = Some(progress);
        let owned = |json: &RawValue| json.get().to_owned().into();
        self.dialogue.progress(Progress {
            progress: owned(told.progress),
            total: told.total.filter(|total| number(total).is_some()).map(owned),
            message: told.message.filter(|message| message.get().starts_with('"')).map(owned),
        });
    }

    /// A request of the upstream: `ping`, a question to the caller, or nothing that we know.
    fn asked(&self, id: &RawValue, method: &str, params: Option<&RawValue>, open: &mut Open<'a>) -> Result<(), UpstreamError> {
        let Some(headers) = self.session.clone() else {
            return Err(UpstreamError::Broken("it sent a request, which its revision does not have"));
        };
        if open.replies.len() >= MOST_REPLIES {
            return Ok(());
        }
        let (wire, id) = (self.wire, id.to_owned());
        if !matches!(method, "elicitation/create" | "sampling/createMessage" | "roots/list") {
            let body = answer_to_any(&id, method);
            open.replies.push(async move { reply(wire, headers, body, false).await }.boxed());
            return Ok(());
        }
        let about: Value = params.and_then(|params| serde_json::from_str(params.get()).ok()).unwrap_or_default();
        if open.questions >= MOST_QUESTIONS || !self.dialogue.capabilities().allows(method, &about) {
            let body = ErrorObject::new(METHOD_NOT_FOUND, "the client cannot be asked for that").to_body(Some(&id));
            open.replies.push(async move { reply(wire, headers, body, false).await }.boxed());
            return Ok(());
        }
        let params = params.map_or_else(|| RawValue::from_string("{}".to_owned()), |params| Ok(params.to_owned()));
        let params = params.map_err(|_| NOT_JSON_RPC)?;
        let (dialogue, method) = (self.dialogue, method.to_owned());
        let (asking, abort) = abortable(async move { dialogue.ask(&method, params).await });
        open.questions += 1;
        open.aborts.insert(id.get().to_owned(), abort);
        open.replies.push(
            async move {
                // Withdrawn: nobody waits for an answer.
                let Ok(answer) = asking.await else { return true };
                reply(wire, headers, answer_to_question(&id, answer), true).await
            }
            .boxed(),
        );
        Ok(())
    }
}

/// What is said on the other stream of the session, if there is one.
async fn said_aside(aside: &mut Option<&mut Standalone>, wire: &Wire, session: Option<&HeaderMap>) -> String {
    match (aside, session) {
        (Some(aside), Some(headers)) => aside.next(wire, headers).await,
        _ => std::future::pending().await,
    }
}

fn outcome_of(outcome: Result<&RawValue, &RawValue>) -> Result<Outcome, UpstreamError> {
    match outcome {
        Ok(result) if result.get().len() > MOST_RESULT => Err(UpstreamError::TooLarge),
        Ok(result) if !result.get().starts_with('{') => Err(UpstreamError::Broken("its result is not an object")),
        Ok(result) => Ok(Ok(result.to_owned())),
        Err(error) => error_object(error).map(Err),
    }
}

/// An error object as it came.
pub(super) fn error_object(json: &RawValue) -> Result<ErrorObject, UpstreamError> {
    #[derive(Deserialize)]
    struct Written {
        code: i64,
        message: String,
        #[serde(default)]
        data: Option<Value>,
    }
    let written: Written = serde_json::from_str(json.get()).map_err(|_| NOT_JSON_RPC)?;
    Ok(ErrorObject { code: written.code, message: written.message.into(), data: written.data })
}

fn level_of(params: &RawValue) -> Option<LogLevel> {
    #[derive(Deserialize)]
    struct Levelled<'a> {
        #[serde(borrow)]
        level: std::borrow::Cow<'a, str>,
    }
    serde_json::from_str::<Levelled<'_>>(params.get()).ok()?.level.parse().ok()
}

/// Our answer to a request that is not a question.
pub(super) fn answer_to_any(id: &RawValue, method: &str) -> String {
    if method == "ping" {
        return jsonrpc::success(id, "{}");
    }
    ErrorObject::new(METHOD_NOT_FOUND, "there is no such method here").to_body(Some(id))
}

fn answer_to_question(id: &RawValue, answer: Result<Box<RawValue>, AskError>) -> String {
    match answer {
        Ok(result) => jsonrpc::success(id, result.get()),
        Err(AskError::Refused(error)) => error.to_body(Some(id)),
        Err(AskError::NotCapable) => ErrorObject::new(METHOD_NOT_FOUND, "the client cannot be asked for that").to_body(Some(id)),
        Err(AskError::Gone | AskError::TimedOut) => {
            ErrorObject::new(INTERNAL_ERROR, "the client did not answer").to_body(Some(id))
        }
    }
}

/// Sends our answer. If it does not arrive, the upstream's own deadline decides.
async fn reply(wire: &Wire, headers: HeaderMap, body: String, was_question: bool) -> bool {
    if let Err(error) = wire.post(headers, body, Instant::now() + REPLY_WITHIN).await {
        tracing::debug!(%error, "an upstream's question is not answered");
    }
    was_question
}
