//! What a running request may say to whoever made it, before its answer: progress, log messages, questions. The one who runs does not know
//! which revision the caller speaks, or whether it listens at all.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::value::RawValue;
use tokio::sync::{Notify, mpsc, oneshot};
use trunkline_protocol::{
    jsonrpc::ErrorObject,
    mcp::{LogLevel, capabilities::ClientCapabilities},
};

/// Notifications that wait for a slow reader. Beyond them progress is replaced by newer progress and a log message ends the stream's turn.
const WAITING: usize = 64;
/// Longest wait for a person's or a model's answer.
pub const ANSWER_WITHIN: Duration = Duration::from_mins(5);

/// What can be listed, and asked for by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemKind {
    /// `tools/list`.
    Tools,
    /// `prompts/list`.
    Prompts,
    /// `resources/list`.
    Resources,
    /// `resources/templates/list`.
    ResourceTemplates,
}

impl ItemKind {
    /// The member of the result that has the items.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::ResourceTemplates => "resourceTemplates",
        }
    }
}

/// What somebody who ran a request gave back, before it is put into the caller's revision.
#[derive(Debug, Clone)]
pub enum Reply {
    /// The result object as it came: unknown members included.
    Result(Box<RawValue>),
    /// It needs input first; the caller comes back with it.
    InputRequired(InputRequired),
    /// An error of the protocol: code, message and data as they came.
    Error(ErrorObject),
}

/// What is needed before a request can be answered. At least one of both is there.
#[derive(Debug, Clone)]
pub struct InputRequired {
    /// Requests to the caller's client: an object by key.
    pub requests: Option<Box<RawValue>>,
    /// What has to come back with the answers, as it was given.
    pub state: Option<String>,
}

/// The caller came back with what was needed.
#[derive(Debug, Clone)]
pub struct Retry {
    /// Answers of the client: an object by key.
    pub responses: Option<Box<RawValue>>,
    /// The state that was given with the requests.
    pub state: Option<String>,
}

/// How far a request has come. Members are JSON, as they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// A number that grows.
    pub progress: Cow<'static, str>,
    /// What it grows to.
    pub total: Option<Cow<'static, str>>,
    /// A JSON string.
    pub message: Option<Cow<'static, str>>,
}

/// Something said to the caller.
#[derive(Debug)]
pub enum Said {
    /// How far it has come.
    Progress(Progress),
    /// `params` of `notifications/message`.
    Log(Box<RawValue>),
    /// A question; it waits.
    Question(Question),
    /// Nothing more will come for a while: a stream that can be resumed may be closed, and opened again after so many milliseconds.
    Pause(u64),
    /// A stream that is cut should be gone on with after so many milliseconds.
    Retry(u64),
}

/// A question to the caller's client.
#[derive(Debug)]
pub struct Question {
    /// `elicitation/create`, `sampling/createMessage` or `roots/list`.
    pub method: String,
    /// Its parameters.
    pub params: Box<RawValue>,
    /// Where the answer goes. Dropped: the caller is gone.
    pub answer: oneshot::Sender<Result<Box<RawValue>, ErrorObject>>,
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AskError {
    /// The caller's client has not said that it can be asked this.
    #[error("the client cannot be asked for that")]
    NotCapable,
    /// The client answered with an error.
    #[error("the client answered with an error: {}", .0.message)]
    Refused(ErrorObject),
    /// The caller went away.
    #[error("the caller went away")]
    Gone,
    /// Nobody answered in time.
    #[error("nobody answered in time")]
    TimedOut,
}

/// What the caller told of itself with its request.
#[derive(Debug, Clone, Default)]
pub struct Listener {
    /// What its client can be asked.
    pub capabilities: ClientCapabilities,
    /// Does it want progress?
    pub wants_progress: bool,
    /// From which level on it wants log messages. `None`: none at all.
    pub log_level: Option<LogLevel>,
    /// Are questions answered while the request runs? Else they are returned as required input.
    pub asks_inline: bool,
}

/// One end of the conversation: the running request's.
#[derive(Debug, Clone)]
pub struct Dialogue {
    listener: Arc<Listener>,
    outlet: Option<Outlet>,
}

#[derive(Debug, Clone)]
struct Outlet {
    sender: mpsc::Sender<Said>,
    /// The newest progress that found the queue full.
    held: Arc<Mutex<Option<Progress>>>,
    room: Arc<Notify>,
}

/// The other end: what was said, in order.
#[derive(Debug)]
pub struct Heard {
    receiver: mpsc::Receiver<Said>,
    held: Arc<Mutex<Option<Progress>>>,
    room: Arc<Notify>,
}

impl Dialogue {
    /// Nobody listens, and nothing can be asked.
    pub fn silent() -> Self {
        Self { listener: Arc::default(), outlet: None }
    }

    /// A conversation with a caller.
    pub fn open(listener: Listener) -> (Self, Heard) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let (held, room) = (Arc::<Mutex<Option<Progress>>>::default(), Arc::<Notify>::default());
        let heard = Heard { receiver, held: Arc::clone(&held), room: Arc::clone(&room) };
        (Self { listener: Arc::new(listener), outlet: Some(Outlet { sender, held, room }) }, heard)
    }

    /// What the caller's client can be asked.
    pub fn capabilities(&self) -> &ClientCapabilities {
        &self.listener.capabilities
    }

    /// Does the caller want progress?
    pub fn wants_progress(&self) -> bool {
        self.outlet.is_some() && self.listener.wants_progress
    }

    /// From which level on it wants log messages. `None`: none at all.
    pub fn log_level(&self) -> Option<LogLevel> {
        self.outlet.as_ref().and(self.listener.log_level)
    }

    /// Are questions answered while the request runs? Else it is better to return them as required input.
    pub fn asks_inline(&self) -> bool {
        self.listener.asks_inline
    }

    /// Tells how far it has come. Never waits: with a slow reader, newer progress takes the place of older.
    pub fn progress(&self, progress: Progress) {
        let Some(outlet) = self.outlet.as_ref().filter(|_| self.listener.wants_progress) else { return };
        let mut held = outlet.held.lock().unwrap_or_else(PoisonError::into_inner);
        // What was held is older than this; it must not come after it.
        *held = None;
        // Sent, or nobody is there any more; or the queue is full, and it is held.
        if let Err(mpsc::error::TrySendError::Full(Said::Progress(progress))) = outlet.sender.try_send(Said::Progress(progress)) {
            *held = Some(progress);
            outlet.room.notify_one();
        }
    }

    /// Passes a log message on, if the caller wants messages of its level. Waits for a slow reader.
    pub async fn log(&self, level: LogLevel, params: Box<RawValue>) {
        if self.log_level().is_none_or(|wanted| level < wanted) {
            return;
        }
        if let Some(outlet) = &self.outlet {
            // A caller that is gone reads nothing.
            let _ = outlet.sender.send(Said::Log(params)).await;
        }
    }

    /// Says that nothing will come for so many milliseconds.
    pub async fn pause(&self, retry_ms: u64) {
        if let Some(outlet) = &self.outlet {
            let _ = outlet.sender.send(Said::Pause(retry_ms)).await;
        }
    }

    /// Says that a stream which is cut should be gone on with after so many milliseconds.
    pub async fn retry(&self, retry_ms: u64) {
        if let Some(outlet) = &self.outlet {
            let _ = outlet.sender.send(Said::Retry(retry_ms)).await;
        }
    }

    /// Asks the caller's client and waits for its answer, at most `ANSWER_WITHIN`.
    pub async fn ask(&self, method: &str, params: Box<RawValue>) -> Result<Box<RawValue>, AskError> {
        let about = serde_json::from_str(params.get()).unwrap_or_default();
        let Some(outlet) = self.outlet.as_ref().filter(|_| self.listener.capabilities.allows(method, &about)) else {
            return Err(AskError::NotCapable);
        };
        let (answer, answered) = oneshot::channel();
        let question = Question { method: method.to_owned(), params, answer };
        let asked = async {
            outlet.sender.send(Said::Question(question)).await.map_err(|_| AskError::Gone)?;
            answered.await.map_err(|_| AskError::Gone)?.map_err(AskError::Refused)
        };
        tokio::time::timeout(ANSWER_WITHIN, asked).await.unwrap_or(Err(AskError::TimedOut))
    }
}

impl Heard {
    /// The next thing that was said; `None` when nothing can come any more.
    pub async fn next(&mut self) -> Option<Said> {
        loop {
            tokio::select! {
                biased;
                said = self.receiver.recv() => return said.or_else(|| self.take_held()),
                () = self.room.notified() => {
                    if let Some(said) = self.take_held() {
                        return Some(said);
                    }
                }
            }
        }
    }

    /// What was said and not heard yet, without waiting: what comes before an end that is there already.
    pub fn left(&mut self) -> Option<Said> {
        self.receiver.try_recv().ok().or_else(|| self.take_held())
    }

    fn take_held(&self) -> Option<Said> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take().map(Said::Progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).expect("JSON")
    }

    fn listener() -> Listener {
        let capabilities = ClientCapabilities::parse(r#"{"elicitation":{}}"#).expect("object");
        Listener { capabilities, wants_progress: true, log_level: Some(LogLevel::Warning), asks_inline: true }
    }

    #[tokio::test]
    async fn newest_progress_reaches_a_slow_reader() {
        let (dialogue, mut heard) = Dialogue::open(listener());
        for n in 0..200 {
            dialogue.progress(Progress { progress: n.to_string().into(), total: None, message: None });
        }
        drop(dialogue);
        let mut last = None;
        while let Some(Said::Progress(progress)) = heard.next().await {
            last = Some(progress.progress);
        }
        assert_eq!(last.as_deref(), Some("199"));
    }

    #[tokio::test]
    async fn questions_need_a_capability_and_get_their_answer() {
        let (dialogue, mut heard) = Dialogue::open(listener());
        assert_eq!(dialogue.ask("sampling/createMessage", raw("{}")).await.err(), Some(AskError::NotCapable));
        assert_eq!(Dialogue::silent().ask("elicitation/create", raw("{}")).await.err(), Some(AskError::NotCapable));
        let (asked, ()) = tokio::join!(dialogue.ask("elicitation/create", raw("{}")), async {
            if let Some(Said::Question(question)) = heard.next().await {
                question.answer.send(Ok(raw(r#"{"action":"accept"}"#))).expect("somebody waits");
            }
        });
        assert_eq!(asked.expect("answer").get(), r#"{"action":"accept"}"#);
        drop(heard);
        assert_eq!(dialogue.ask("elicitation/create", raw("{}")).await.err(), Some(AskError::Gone));
    }
}
