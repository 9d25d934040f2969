//! Prompts, resources and completions: what the sources have beside tools. Charged like lists.

use std::sync::Arc;

use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use trunkline_protocol::{
    jsonrpc::{ErrorObject, INVALID_PARAMS},
    mcp::{
        RESOURCE_NOT_FOUND, Reference,
        object::{RawObject, json_string},
        results::Caching,
    },
};

use super::{
    Caller, Finished, Input, Refusal, SOON_MS, Voice,
    call::{leg, render, resume},
    connect,
    converse::{self, Ongoing, Patience},
    slot::Slot,
    state::{Held, Opened, Place},
    uri_template::matches_template,
};
use crate::{
    Platform,
    catalog::snapshot::LoadedItem,
    dialogue::{Dialogue, ItemKind, Reply},
    execution::{self, Answer, Run},
};

/// Longest URI of a resource, in bytes. Sessions remember what they subscribe to.
const MAX_URI: usize = 1_024;

/// A request for something that a source has.
#[derive(Debug, Clone, Copy)]
pub struct ItemRequest<'a> {
    /// `prompts/get`, `resources/read` or `completion/complete`.
    pub method: &'a str,
    /// The prompt, for `prompts/get`.
    pub name: Option<&'a str>,
    /// The resource, for `resources/read`.
    pub uri: Option<&'a str>,
    /// What is completed, for `completion/complete`.
    pub reference: Option<&'a Reference<'a>>,
    /// All parameters, as they were written.
    pub params: Option<&'a RawValue>,
    /// Arguments, as they were written.
    pub arguments: Option<&'a RawValue>,
    /// What came back with a retry.
    pub input: Input<'a>,
}

/// The same, on its own: it may outlive its request.
#[derive(Debug, Clone)]
pub struct OwnedItemRequest {
    method: String,
    name: Option<String>,
    uri: Option<String>,
    reference: Option<(String, Option<String>, Option<String>)>,
    params: Option<Box<RawValue>>,
    arguments: Option<Box<RawValue>>,
    responses: Option<Box<RawValue>>,
    state: Option<Box<RawValue>>,
}

impl OwnedItemRequest {
    /// A copy.
    pub fn new(request: &ItemRequest<'_>) -> Self {
        let owned = |raw: Option<&RawValue>| raw.map(ToOwned::to_owned);
        Self {
            method: request.method.to_owned(),
            name: request.name.map(str::to_owned),
            uri: request.uri.map(str::to_owned),
            reference: request.reference.map(|reference| {
                let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(str::to_owned);
                (reference.kind.clone().into_owned(), text(&reference.name), text(&reference.uri))
            }),
            params: owned(request.params),
            arguments: owned(request.arguments),
            responses: owned(request.input.responses),
            state: owned(request.input.state),
        }
    }
}

/// Answers it. The caller has been admitted.
pub async fn answer_item(
    platform: &Platform,
    caller: &Caller,
    request: OwnedItemRequest,
    voice: &Voice,
    cancelled: &CancellationToken,
) -> Result<Finished, Refusal> {
    let request = &request;
    let item = match find(caller, request) {
        Ok(item) => item,
        Err(error) => return Ok(Finished::error(voice.revision.fit_error(error))),
    };
    let key = request.name.as_deref().or(request.uri.as_deref()).unwrap_or(&item.key);
    let place = Place::new(caller, &request.method, key, request.arguments.as_deref().map(RawValue::get));
    let state = open(platform, &place, request)?;
    if let Some(state) = &state {
        match state.use_up(platform, caller).await {
            Ok(true) => {}
            Ok(false) => return Err(Refusal::InvalidState),
            Err(_) => return Err(Refusal::Unavailable { retry_after_ms: SOON_MS }),
        }
    }
    // One that waits somewhere has its slot.
    let waits = state.as_ref().is_some_and(|state| matches!(state.held, Held::Parked(_)));
    let slot = if waits { None } else { Some(take_slot(platform, caller, item)?) };
    let (run, held) = run(platform, caller, item, request, (state, slot), voice, cancelled).await;
    let (run, held) = connect::say(voice, request.method != "completion/complete", run, held);
    let caching = if request.method == "resources/read" { Caching::Never } else { Caching::NotTold };
    let run = Run { error: None, answer: not_text(run.answer), ..run };
    let answer = render(voice.revision, &run, &[], caching, held, |held| place.seal(platform, held));
    Ok(Finished::uncharged(answer))
}

fn take_slot(platform: &Platform, caller: &Caller, item: &LoadedItem) -> Result<Slot, Refusal> {
    let source = caller.snapshot.source(item.source).ok_or_else(Slot::refusal)?;
    Slot::take(platform, &source.running).ok_or_else(Slot::refusal)
}

fn open(platform: &Platform, place: &Place, request: &OwnedItemRequest) -> Result<Option<Opened>, Refusal> {
    let Some(state) = &request.state else { return Ok(None) };
    let state: String = serde_json::from_str(state.get()).map_err(|_| Refusal::InvalidState)?;
    place.open(platform, &state).map(Some).map_err(|_| Refusal::InvalidState)
}

async fn run(
    platform: &Platform,
    caller: &Caller,
    item: &Arc<LoadedItem>,
    request: &OwnedItemRequest,
    (state, slot): (Option<Opened>, Option<Slot>),
    voice: &Voice,
    cancelled: &CancellationToken,
) -> (Run, Option<Held>) {
    let held = state.map(|state| state.held);
    let retry = match Held::retry(held.as_ref(), request.responses.as_deref()) {
        Ok(retry) => retry,
        Err(run) => return (run, None),
    };
    let params = params_of(request, item);
    let input = execution::Input { arguments: serde_json::Map::new(), params, retry, user: caller.user() };
    if let Some(Held::Parked(at)) = &held {
        return resume(platform, voice, at, input, cancelled).await;
    }
    let (dialogue, heard) = Dialogue::open(voice.listener());
    let stop = CancellationToken::new();
    let snapshot = caller.snapshot.clone();
    let deadline = execution::source_deadline(&snapshot, item.source);
    let method = request.method.clone();
    let work = execution::run_item(platform.clone(), snapshot, item.source, method, input, dialogue, stop.clone());
    let work = async move {
        let run = work.await;
        drop(slot);
        run
    };
    let work = platform.conversations.may_outlive(work);
    let ongoing = Ongoing { work: Box::pin(work), heard, stop, patience: Patience::new(deadline), agent: caller.agent.id };
    leg(converse::drive(platform, voice, ongoing, cancelled).await)
}

/// What is asked for, if it exists for this caller.
fn find<'c>(caller: &'c Caller, request: &OwnedItemRequest) -> Result<&'c Arc<LoadedItem>, ErrorObject> {
    let missing = |what| ErrorObject::new(INVALID_PARAMS, format!("params.{what} is missing"));
    match request.method.as_str() {
        "prompts/get" => {
            let name = request.name.as_deref().ok_or_else(|| missing("name"))?;
            caller.item(ItemKind::Prompts, name).ok_or_else(unknown_prompt)
        }
        "resources/read" => find_resource(caller, request.uri.as_deref().ok_or_else(|| missing("uri"))?),
        _ => {
            let (kind, name, uri) = request.reference.as_ref().ok_or_else(|| missing("ref"))?;
            match (kind.as_str(), name, uri) {
                ("ref/prompt", Some(name), _) => caller.item(ItemKind::Prompts, name).ok_or_else(unknown_prompt),
                ("ref/resource", _, Some(uri)) => {
                    caller.item(ItemKind::ResourceTemplates, uri).map_or_else(|| find_resource(caller, uri), Ok)
                }
                _ => Err(ErrorObject::new(
                    INVALID_PARAMS,
                    "params.ref must be a ref/prompt with a name or a ref/resource with a uri",
                )),
            }
        }
    }
}

/// A resource by its URI: one that is listed, or one that a template makes.
pub fn find_resource<'c>(caller: &'c Caller, uri: &str) -> Result<&'c Arc<LoadedItem>, ErrorObject> {
    if uri.len() > MAX_URI {
        return Err(ErrorObject::new(INVALID_PARAMS, format!("a URI has at most {MAX_URI} bytes")));
    }
    let listed = caller.item(ItemKind::Resources, uri);
    let made = || caller.items(ItemKind::ResourceTemplates).find(|item| matches_template(&item.key, uri));
    listed.or_else(made).ok_or_else(|| {
        ErrorObject::new(RESOURCE_NOT_FOUND, "there is no such resource").with_data(serde_json::json!({ "uri": uri }))
    })
}

fn unknown_prompt() -> ErrorObject {
    ErrorObject::new(INVALID_PARAMS, "there is no such prompt")
}

/// The parameters as they go on to the source, with its own names.
fn params_of(request: &OwnedItemRequest, item: &LoadedItem) -> Option<RawObject<'static>> {
    let mut params = RawObject::parse(request.params.as_ref()?.get()).ok()?.into_owned();
    for key in ["inputResponses", "requestState"] {
        params.remove(key);
    }
    match request.method.as_str() {
        "prompts/get" => params.set_text("name", &item.upstream_key),
        "completion/complete" => {
            let reference = params.get("ref").map(str::to_owned)?;
            let mut reference = RawObject::parse(&reference).ok()?.into_owned();
            if reference.has("name") {
                reference.set("name", json_string(&item.upstream_key));
            }
            params.set("ref", reference.to_json());
        }
        _ => {}
    }
    Some(params)
}

/// Only a tool's failure is a result; here it is an error.
fn not_text(answer: Answer) -> Answer {
    match answer {
        Answer::Text(said) => {
            Answer::Reply(Reply::Error(ErrorObject::new(trunkline_protocol::jsonrpc::INTERNAL_ERROR, said.text)))
        }
        other => other,
    }
}
