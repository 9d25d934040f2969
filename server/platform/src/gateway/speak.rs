//! Talking to the caller while its request runs: what was said becomes messages of its revision, its answers find their questions.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use trunkline_protocol::{
    jsonrpc::{self, ErrorObject, INTERNAL_ERROR},
    mcp::{
        LogLevel, Revision,
        capabilities::{ClientCapabilities, TASKS},
        object::{RawObject, json_string},
    },
};

use crate::{
    Platform,
    bus::{self, Address, Mailbox},
    dialogue::{ANSWER_WITHIN, Listener, Progress, Question, Said},
    session::Session,
};

/// What goes to the caller before its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// A notification or a request, as JSON.
    Message(String),
    /// Nothing for so many milliseconds: a stream that can be resumed may be closed.
    Pause(u64),
    /// When to go on with the stream, should it be cut, in milliseconds.
    Retry(u64),
}

/// How a caller can be talked to while its request runs.
#[derive(Debug)]
pub struct Voice {
    /// Where messages go. `None`: its client reads one JSON answer, and nothing before.
    pub outlet: Option<mpsc::Sender<Outgoing>>,
    /// By which it knows progress.
    pub progress_token: Option<Box<RawValue>>,
    /// What its client can be asked.
    pub capabilities: ClientCapabilities,
    /// From which level on it wants log messages.
    pub log_level: Option<LogLevel>,
    /// The revision it speaks.
    pub revision: Revision,
    /// Its session, if it has one.
    pub session: Option<Arc<Session>>,
}

/// A client's answer on its way to the question.
#[derive(Debug, Serialize, Deserialize)]
struct Answered {
    session: String,
    result: Option<Box<RawValue>>,
    error: Option<Box<RawValue>>,
}

impl Voice {
    /// Can its client follow a call that goes on after its answer?
    pub(super) fn speaks_tasks(&self) -> bool {
        !self.revision.has_handshake() && self.capabilities.extension(TASKS)
    }

    /// What the running request learns of the caller.
    pub(super) fn listener(&self) -> Listener {
        let hears = self.outlet.is_some();
        // A caller with a handshake is asked on its stream, and answers in its session. Others come back with their answers.
        let can_be_asked = !self.revision.has_handshake() || (hears && self.session.is_some());
        let capabilities = match can_be_asked {
            true if self.revision.has_elicitation() => self.capabilities.clone(),
            true => self.capabilities.without_elicitation(),
            false => ClientCapabilities::default(),
        };
        Listener {
            capabilities,
            wants_progress: hears && self.progress_token.is_some(),
            log_level: self.log_level.filter(|_| hears),
            asks_inline: self.revision.has_handshake(),
        }
    }

    /// Passes on what was said. A question that cannot be asked on the stream comes back.
    pub(super) async fn pass(&self, platform: &Platform, said: Said) -> Option<Question> {
        match said {
            Said::Progress(progress) => self.send(self.progress_message(&progress)).await,
            Said::Log(params) => self.send(Some(jsonrpc::notification("notifications/message", params.get()))).await,
            Said::Pause(retry_ms) => self.put(Outgoing::Pause(retry_ms)).await,
            Said::Retry(retry_ms) => self.put(Outgoing::Retry(retry_ms)).await,
            Said::Question(question) if !self.revision.has_handshake() => return Some(question),
            Said::Question(question) => self.ask(platform, question).await,
        }
        None
    }

    async fn send(&self, message: Option<String>) {
        if let Some(message) = message {
            self.put(Outgoing::Message(message)).await;
        }
    }

    async fn put(&self, outgoing: Outgoing) {
        if let Some(outlet) = &self.outlet {
            // Whoever reads the other end decides what becomes of a caller that does not read.
            let _ = outlet.send(outgoing).await;
        }
    }

    fn progress_message(&self, progress: &Progress) -> Option<String> {
        let mut params = RawObject::default();
        params.set("progressToken", self.progress_token.as_ref()?.get());
        params.set("progress", &*progress.progress);
        if let Some(total) = &progress.total {
            params.set("total", &**total);
        }
        if let Some(message) = &progress.message {
            params.set("message", &**message);
        }
        Some(jsonrpc::notification("notifications/progress", &params.to_json()))
    }

    /// Asks on the stream. The id of the request is the address of a mailbox: whichever replica gets the answer knows where it belongs.
    async fn ask(&self, platform: &Platform, question: Question) {
        let Some(session) = &self.session else { return };
        let mut mailbox = Mailbox::open(platform);
        let id = json_string(&mailbox.address().to_string());
        self.send(Some(jsonrpc::request(&id, &question.method, question.params.get()))).await;
        let session = key(session);
        let mut answer = question.answer;
        let closing = platform.closing.clone();
        platform.conversations.spawn(async move {
            let answered = async {
                loop {
                    let letter: Answered = bus::open(&mailbox.next().await?)?;
                    // Somebody who has the id but not the session answers nothing.
                    if letter.session == session {
                        return Some(letter);
                    }
                }
            };
            let letter = tokio::select! {
                letter = tokio::time::timeout(ANSWER_WITHIN, answered) => letter.ok().flatten(),
                // Who asked has ended, or this replica is about to.
                () = answer.closed() => return,
                () = closing.cancelled() => return,
            };
            let outcome = match letter {
                Some(Answered { result: Some(result), .. }) => Ok(result),
                Some(Answered { error, .. }) => Err(error_object(error.as_deref())),
                None => return,
            };
            let _ = answer.send(outcome);
        });
    }
}

/// A client's error object; what does not look like one is still a refusal.
fn error_object(error: Option<&RawValue>) -> ErrorObject {
    #[derive(Deserialize)]
    struct Error {
        code: i64,
        #[serde(default)]
        message: String,
        #[serde(default)]
        data: Option<serde_json::Value>,
    }
    match error.and_then(|raw| serde_json::from_str::<Error>(raw.get()).ok()) {
        Some(error) => ErrorObject { code: error.code, message: error.message.into(), data: error.data },
        None => ErrorObject::new(INTERNAL_ERROR, "the client answered with something that is no error object"),
    }
}

/// A session, as letters name it.
fn key(session: &Session) -> String {
    format!("{} {}", session.tenant, session.id)
}

/// A client's answer to a question of ours, from the session it was asked in. An answer that nobody waits for is dropped: the question may
/// have timed out, or its call may have ended.
pub async fn deliver_answer(platform: &Platform, session: &Session, id: &RawValue, outcome: Result<&RawValue, &RawValue>) {
    let address = serde_json::from_str::<String>(id.get()).ok().and_then(|id| id.parse::<Address>().ok());
    let Some(address) = address else { return };
    let letter = Answered {
        session: key(session),
        result: outcome.ok().map(ToOwned::to_owned),
        error: outcome.err().map(ToOwned::to_owned),
    };
    if let Err(error) = bus::send(platform, &address, &letter).await {
        tracing::debug!(%error, "a client's answer was not delivered");
    }
}
