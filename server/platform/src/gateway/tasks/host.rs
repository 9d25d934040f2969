//! The replica that runs a task: it writes down what becomes of it, takes answers and cancellations.

use std::{collections::HashMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use trunkline_protocol::{
    jsonrpc::{ErrorObject, INTERNAL_ERROR},
    mcp::object::RawObject,
};

use super::{Status, Task, store};
use crate::{
    Platform,
    bus::{self, Address, Mailbox, Word},
    call::Outcome,
    dialogue::{Question, Said},
    execution::Run,
    gateway::{
        Caller,
        call::{read_by_model, unrecorded},
        converse::{AnswerTo, Asked, Ongoing, farewell},
        draft::Draft,
    },
    ids::TenantId,
    redis::Away,
};

/// How often a host says that it is there.
const BEAT: Duration = Duration::from_secs(10);

/// To a host.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToHost {
    Update {
        responses: Box<RawValue>,
        reply_to: String,
    },
    Cancel {
        reply_to: String,
    },
    /// Is it there?
    Ping {
        reply_to: String,
    },
}

/// Puts the end of a run into the caller's words.
pub(in crate::gateway) type Render = Box<dyn Fn(&Run) -> Result<String, ErrorObject> + Send>;

/// What a host is given.
pub(in crate::gateway) struct Hosted {
    pub(in crate::gateway) ongoing: Ongoing,
    /// Recorded when the task ends, not when it begins.
    pub(in crate::gateway) draft: Draft,
    /// Puts the end of the run into the caller's words.
    pub(in crate::gateway) render: Render,
}

struct Host {
    platform: Platform,
    tenant: TenantId,
    task: Task,
    mailbox: Mailbox,
    open: HashMap<String, AnswerTo>,
    asked: u64,
}

/// Makes a task of a call and gives the answer to the call: only when it is kept.
pub(in crate::gateway) async fn start(
    platform: &Platform,
    caller: &Caller,
    tool: &str,
    hosted: Hosted,
) -> Result<String, ErrorObject> {
    let mailbox = Mailbox::open(platform);
    let task = Task::new(platform, caller, tool, mailbox.address());
    let tenant = caller.snapshot.tenant;
    let refused = match keep_first(platform, tenant, &task).await {
        Ok(true) => None,
        Ok(false) => Some("this agent has too many tasks; wait until some have expired"),
        Err(_) => Some("the task cannot be kept at the moment; try again"),
    };
    if let Some(reason) = refused {
        let kept = hosted.draft.finish(Outcome::Limited, Some("tasks".into()), 0).await;
        farewell(platform, hosted.ongoing);
        kept.map_err(|_| unrecorded())?;
        return Err(ErrorObject::new(INTERNAL_ERROR, reason));
    }
    let created = task.created();
    let host = Host { platform: platform.clone(), tenant, task, mailbox, open: HashMap::new(), asked: 0 };
    platform.conversations.spawn(host.run(hosted.ongoing, hosted.draft, hosted.render));
    Ok(created)
}

/// False if there is no room for one more.
async fn keep_first(platform: &Platform, tenant: TenantId, task: &Task) -> Result<bool, Away> {
    let room = store::make_room(platform, tenant, task.agent, &task.id).await?;
    if room {
        store::put(platform, tenant, task).await?;
    }
    Ok(room)
}

impl Host {
    async fn run(mut self, ongoing: Ongoing, mut draft: Draft, render: Render) {
        let Some(run) = self.drive(ongoing).await else {
            return draft.finish_unheard(Outcome::Cancelled, Some("cancelled".into()), 0);
        };
        let answer = render(&run);
        let size = answer.as_ref().map_or(0, String::len);
        draft.settle(&run);
        draft.gives(|| read_by_model(run.answer));
        // Recorded before anybody can read it.
        let kept = draft.finish(run.outcome, run.error, size).await;
        match kept.map_err(|_| unrecorded()).and(answer) {
            Ok(result) => {
                self.task.result = RawValue::from_string(result).ok();
                self.end(Status::Completed).await;
            }
            Err(error) => {
                self.task.fail(self.platform.clock.now(), &error);
                self.changed().await;
            }
        }
    }

    /// Until it has ended; `None` if its client took it back, which has been told so.
    async fn drive(&mut self, mut ongoing: Ongoing) -> Option<Run> {
        let mut beat = tokio::time::interval(BEAT);
        loop {
            tokio::select! {
                biased;
                Some(said) = ongoing.heard.next() => {
                    if let Said::Question(question) = said {
                        ongoing.patience.wait_for_answer();
                        self.ask(question).await;
                    }
                }
                run = &mut ongoing.work => return Some(run),
                letter = self.mailbox.next() => match letter.and_then(|letter| bus::open(&letter)) {
                    Some(ToHost::Update { responses, reply_to }) => self.update(&responses, &reply_to).await,
                    Some(ToHost::Cancel { reply_to }) => {
                        farewell(&self.platform, ongoing);
                        self.end(Status::Cancelled).await;
                        self.acknowledge(&reply_to).await;
                        return None;
                    }
                    Some(ToHost::Ping { reply_to }) => self.acknowledge(&reply_to).await,
                    None => {}
                },
                _ = beat.tick() => {
                    self.task.heard = self.platform.clock.now();
                    self.keep().await;
                }
                () = tokio::time::sleep_until(ongoing.patience.until()) => {
                    farewell(&self.platform, ongoing);
                    return Some(crate::gateway::converse::timed_out());
                }
            }
        }
    }

    async fn ask(&mut self, question: Question) {
        let Question { method, params, answer } = question;
        self.asked += 1;
        let key = format!("question-{}", self.asked);
        self.task.requests.insert(key.clone(), Asked { method, params }.to_request());
        self.open.insert(key, answer);
        self.task.status = Status::InputRequired;
        self.changed().await;
    }

    async fn update(&mut self, responses: &RawValue, reply_to: &str) {
        let responses = RawObject::parse(responses.get()).unwrap_or_default();
        let mut answered = false;
        for (key, response) in responses.iter() {
            let response = RawValue::from_string(response.to_owned()).ok().filter(|raw| raw.get().starts_with('{'));
            let Some(response) = response else { continue };
            let Some(answer) = self.open.remove(key) else { continue };
            self.task.requests.remove(key);
            // Whoever asked may have given up.
            let _ = answer.send(Ok(response));
            answered = true;
        }
        if answered {
            if self.task.requests.is_empty() {
                self.task.status = Status::Working;
            }
            self.changed().await;
        }
        self.acknowledge(reply_to).await;
    }

    async fn acknowledge(&self, reply_to: &str) {
        if let Ok(to) = reply_to.parse::<Address>() {
            // Who does not hear it asks again.
            let _ = bus::send(&self.platform, &to, &"done").await;
        }
    }

    async fn end(&mut self, status: Status) {
        self.task.status = status;
        self.task.requests.clear();
        self.changed().await;
    }

    async fn changed(&mut self) {
        let now = self.platform.clock.now();
        (self.task.updated, self.task.heard) = (now, now);
        self.keep().await;
        let word = Word::TaskChanged { tenant: self.tenant.uuid(), task: self.task.id.clone() };
        // Those who do not hear it look by themselves.
        let _ = bus::say(&self.platform, word).await;
    }

    /// Written again with the next change or beat where Redis is away; the end is tried for longer.
    async fn keep(&self) {
        let most = if self.task.status.is_over() { 20 } else { 1 };
        for _ in 0..most {
            match store::put(&self.platform, self.tenant, &self.task).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "a task cannot be kept"),
            }
            if most > 1 {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}
