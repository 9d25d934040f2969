//! Tasks (extension `io.modelcontextprotocol/tasks`, SEP-2663): a call that goes on after its request was answered. It runs on one replica; what
//! is known of it is in Redis before its client hears of it, and every replica answers for it.

mod host;
mod store;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use trunkline_protocol::{
    jsonrpc::{ErrorObject, INTERNAL_ERROR, INVALID_PARAMS},
    mcp::{
        MISSING_CAPABILITY, Revision,
        capabilities::TASKS,
        object::RawObject,
        results::{self, Caching},
    },
};

use super::Caller;
use crate::{
    Platform,
    bus::{self, Address, Mailbox, Undelivered},
    ids::{AgentId, TenantId},
    redis::Away,
};

pub(super) use host::{Hosted, start};

/// A task is known for this long after it was created, in milliseconds.
const KEPT_MS: u64 = 3_600_000;
/// How often a client may look without learning anything new.
const POLL_MS: u64 = 1_000;
/// Tasks of one agent that are kept.
const MOST_PER_AGENT: i64 = 200;
/// A host that has not been heard of for this long is gone, in seconds.
const SILENT_S: i64 = 40;
/// How often a host that was silent is asked before it is taken for gone, and how soon again if its replica does not listen.
const ASKED_TIMES: u32 = 3;
const ASK_AGAIN: std::time::Duration = std::time::Duration::from_millis(500);
/// Longest wait for a host's acknowledgement.
const ACKNOWLEDGED_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Working,
    InputRequired,
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::InputRequired => "input_required",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// A task as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Task {
    id: String,
    agent: AgentId,
    /// The credential and endpoint it was begun with.
    client: String,
    /// Whose tool it is a call of, by its name.
    tool: String,
    host: String,
    created: DateTime<Utc>,
    updated: DateTime<Utc>,
    heard: DateTime<Utc>,
    status: Status,
    message: Option<String>,
    /// Open questions by key: JSON of the requests.
    requests: BTreeMap<String, Box<RawValue>>,
    result: Option<Box<RawValue>>,
    error: Option<Box<RawValue>>,
}

/// Only clients that declare the extension are told of tasks.
pub fn undeclared() -> ErrorObject {
    ErrorObject::new(MISSING_CAPABILITY, "this needs a client that declares io.modelcontextprotocol/tasks")
        .with_data(serde_json::json!({ "requiredCapabilities": { "extensions": { TASKS: {} } } }))
}

/// `tasks/get`: the task as it is now.
pub async fn get(platform: &Platform, caller: &Caller, id: Option<&str>) -> Result<String, ErrorObject> {
    let task = find(platform, caller, id).await?;
    Ok(complete(task.to_object()))
}

/// `tasks/update`: answers to its questions. Keys that are not open are ignored.
pub async fn update(
    platform: &Platform,
    caller: &Caller,
    id: Option<&str>,
    responses: Option<&RawValue>,
) -> Result<String, ErrorObject> {
    let object = responses.filter(|raw| raw.get().starts_with('{'));
    let responses = object.ok_or_else(|| ErrorObject::new(INVALID_PARAMS, "params.inputResponses must be an object"))?;
    let task = find(platform, caller, id).await?;
    if !task.status.is_over() {
        tell(platform, caller, &task, |reply_to| host::ToHost::Update { responses: responses.to_owned(), reply_to }).await?;
    }
    Ok(complete(RawObject::default()))
}

/// `tasks/cancel`. A task that is over stays as it is.
pub async fn cancel(platform: &Platform, caller: &Caller, id: Option<&str>) -> Result<String, ErrorObject> {
    let task = find(platform, caller, id).await?;
    if !task.status.is_over() {
        tell(platform, caller, &task, |reply_to| host::ToHost::Cancel { reply_to }).await?;
    }
    Ok(complete(RawObject::default()))
}

/// Is it a task of this caller?
pub async fn exists(platform: &Platform, caller: &Caller, id: &str) -> bool {
    find(platform, caller, Some(id)).await.is_ok()
}

/// It as a notification tells it; `None` if it is not this caller's.
pub(super) async fn told(platform: &Platform, caller: &Caller, id: &str) -> Option<String> {
    find(platform, caller, Some(id)).await.ok().map(|task| task.to_object().to_json())
}

fn complete(result: RawObject<'_>) -> String {
    results::complete(Revision::V2026_07_28, result, Caching::NotTold, &[])
}

fn away(_: Away) -> ErrorObject {
    away_now()
}

fn away_now() -> ErrorObject {
    ErrorObject::new(INTERNAL_ERROR, "tasks cannot be reached at the moment; try again")
}

/// The caller's task. Unknown, expired, somebody else's and one of a tool that it may not use any more are all the same.
async fn find(platform: &Platform, caller: &Caller, id: Option<&str>) -> Result<Task, ErrorObject> {
    let id = id.ok_or_else(|| ErrorObject::new(INVALID_PARAMS, "params.taskId is missing"))?;
    let unknown = || ErrorObject::new(INVALID_PARAMS, "there is no such task (any more)");
    let tenant = caller.snapshot.tenant;
    let task = store::find(platform, tenant, id).await.map_err(away)?;
    let task = task.filter(|task| task.is_of(caller)).ok_or_else(unknown)?;
    let silent = (platform.clock.now() - task.heard).num_seconds();
    if task.status.is_over() || silent < SILENT_S || is_there(platform, &task).await? {
        return Ok(task);
    }
    lost(platform, tenant, task).await
}

/// Does its host answer? Silence alone says little: clocks differ, and Redis may have been away.
async fn is_there(platform: &Platform, task: &Task) -> Result<bool, ErrorObject> {
    let Ok(host) = task.host.parse::<Address>() else { return Ok(false) };
    let mut mailbox = Mailbox::open(platform);
    for _ in 0..ASKED_TIMES {
        let letter = host::ToHost::Ping { reply_to: mailbox.address().to_string() };
        let wait = match bus::send(platform, &host, &letter).await {
            Ok(()) | Err(Undelivered::Refused) => ACKNOWLEDGED_WITHIN / ASKED_TIMES,
            // A replica whose connection was lost does not listen for a moment.
            Err(Undelivered::Gone) => ASK_AGAIN,
            Err(Undelivered::Away) => return Err(away_now()),
        };
        if let Ok(Some(_)) = tokio::time::timeout(wait, mailbox.next()).await {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The replica that ran it is gone, and it with it; unless it has said something meanwhile.
async fn lost(platform: &Platform, tenant: TenantId, mut task: Task) -> Result<Task, ErrorObject> {
    let error = ErrorObject::new(INTERNAL_ERROR, "the server that ran this task stopped; whether the tool finished is not known");
    task.fail(platform.clock.now(), &error);
    store::put_unheard(platform, tenant, &task).await.map_err(away)?;
    let kept = store::find(platform, tenant, &task.id).await.map_err(away)?;
    Ok(kept.unwrap_or(task))
}

/// Sends to the host and waits until it has done it.
async fn tell(
    platform: &Platform,
    caller: &Caller,
    task: &Task,
    letter: impl FnOnce(String) -> host::ToHost,
) -> Result<(), ErrorObject> {
    let Ok(host) = task.host.parse::<Address>() else { return Ok(()) };
    let mut mailbox = Mailbox::open(platform);
    let letter = letter(mailbox.address().to_string());
    match bus::send(platform, &host, &letter).await {
        Ok(()) => {}
        Err(Undelivered::Gone) => {
            // It has just ended, or its replica has.
            let now = store::find(platform, caller.snapshot.tenant, &task.id).await.map_err(away)?;
            let Some(now) = now.filter(|task| !task.status.is_over()) else { return Ok(()) };
            if is_there(platform, &now).await? {
                return Err(away_now());
            }
            return lost(platform, caller.snapshot.tenant, now).await.map(drop);
        }
        Err(_) => return Err(ErrorObject::new(INTERNAL_ERROR, "the task cannot be reached at the moment; try again")),
    }
    let acknowledged = tokio::time::timeout(ACKNOWLEDGED_WITHIN, mailbox.next()).await;
    if acknowledged.is_err() {
        return Err(ErrorObject::new(INTERNAL_ERROR, "the task did not answer in time; try again"));
    }
    Ok(())
}

impl Task {
    fn new(platform: &Platform, caller: &Caller, tool: &str, host: &Address) -> Self {
        let now = platform.clock.now();
        Self {
            id: crate::random::base62(32),
            agent: caller.agent.id,
            client: caller.client(),
            tool: tool.to_owned(),
            host: host.to_string(),
            created: now,
            updated: now,
            heard: now,
            status: Status::Working,
            message: None,
            requests: BTreeMap::new(),
            result: None,
            error: None,
        }
    }

    /// Like a session, it belongs to the credential and the endpoint it was begun with; and nobody reads what a tool says without the tool.
    fn is_of(&self, caller: &Caller) -> bool {
        self.agent == caller.agent.id && self.client == caller.client() && caller.tool(&self.tool).is_some()
    }

    /// Its members, as `tasks/get` and `notifications/tasks` have them.
    fn to_object(&self) -> RawObject<'static> {
        let mut object = self.head();
        if self.status == Status::InputRequired {
            let mut requests = RawObject::default();
            for (key, request) in &self.requests {
                requests.set(key, request.get());
            }
            object.set("inputRequests", requests.to_json());
        }
        if let Some(result) = &self.result {
            object.set("result", result.get().to_owned());
        }
        if let Some(error) = &self.error {
            object.set("error", error.get().to_owned());
        }
        object
    }

    fn head(&self) -> RawObject<'static> {
        let moment = |at: DateTime<Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        let mut object = RawObject::default();
        object.set_text("taskId", &self.id);
        object.set_text("status", self.status.as_str());
        if let Some(message) = &self.message {
            object.set_text("statusMessage", message);
        }
        object.set_text("createdAt", &moment(self.created));
        object.set_text("lastUpdatedAt", &moment(self.updated));
        object.set("ttlMs", KEPT_MS.to_string());
        object.set("pollIntervalMs", POLL_MS.to_string());
        object
    }

    /// The answer to the call that created it.
    fn created(&self) -> String {
        let created = complete(self.head());
        // `complete` writes what most results are; this one is a task.
        let mut object = RawObject::parse(&created).unwrap_or_default();
        object.set("resultType", "\"task\"");
        object.to_json()
    }

    fn fail(&mut self, now: DateTime<Utc>, error: &ErrorObject) {
        self.status = Status::Failed;
        self.updated = now;
        self.message = Some(error.message.clone().into_owned());
        self.requests.clear();
        let mut told = serde_json::json!({ "code": error.code, "message": error.message });
        if let Some(data) = &error.data {
            told["data"] = data.clone();
        }
        self.error = RawValue::from_string(told.to_string()).ok();
    }
}
