//! The methods: a match over what is served in each era; each translates to one verb of the gateway.

use std::{borrow::Cow, net::IpAddr};

use actix_web::{
    HttpResponse,
    http::header::{HeaderName, HeaderValue},
};
use serde_json::value::RawValue;
use trunkline_platform::{
    dialogue::ItemKind,
    gateway::{self, CallRequest, Caller, Input, ItemRequest, Measure, Refusal, Voice, search, tasks},
    session::{self, NewSession},
    trace,
};
use trunkline_protocol::{
    jsonrpc::{ErrorObject, INVALID_PARAMS, METHOD_NOT_FOUND},
    mcp::{
        ClientInfo, LogLevel, Request, Revision,
        capabilities::{ClientCapabilities, TASKS},
        lifecycle,
        results::{self, Caching},
        tools::{ToolResult, text_result},
    },
    oauth::scope::{Scope, ScopeSet},
};

use super::{
    accept::Accept,
    headers::{self, SESSION},
    listen,
    place::Place,
    respond,
    run::{self, Answering},
};
use crate::WebState;

const INSTRUCTIONS: &str = "Tools of one organisation, served by Trunkline. A result's _meta[\"trunkline/limits\"] says how many calls are left; \
     a 429 says when to try again.";
/// Level of log messages for a session that has set none.
const USUAL_LEVEL: LogLevel = LogLevel::Info;

/// What a method needs to know of its request.
#[derive(Clone, Copy)]
pub(super) struct Exchange<'a> {
    pub(super) state: &'a WebState,
    pub(super) place: &'a Place,
    pub(super) accept: Accept,
    pub(super) measure: Measure,
    pub(super) request_id: &'a str,
    /// Where the request comes from.
    pub(super) address: IpAddr,
    pub(super) bytes_in: usize,
    /// `Mcp-Param-*` headers.
    pub(super) mirrored: &'a [(String, String)],
    /// `Idempotency-Key`.
    pub(super) idempotency: Option<&'a str>,
    /// `traceparent` and `tracestate`.
    pub(super) trace: Option<&'a trace::Given>,
}

/// What a token lacks to read something that its agent may read. Lists are not asked for where their capability is not told.
fn missing_scope(caller: &Caller, method: &str) -> Option<ScopeSet> {
    match method {
        "prompts/get" => caller.missing_for_items(&Scope::PromptsRead),
        "resources/read" => caller.missing_for_items(&Scope::ResourcesRead),
        _ => None,
    }
}

/// Answers one request.
pub(super) async fn dispatch(exchange: &Exchange<'_>, caller: Caller, request: &Request<'_>) -> HttpResponse {
    let handshake = request.revision.has_handshake();
    match &*request.method {
        "tools/call" => return call_tool(exchange, caller, request).await,
        "subscriptions/listen" if !handshake => return Box::pin(listen::subscribe(exchange, caller, request)).await,
        _ => {}
    }
    let is_task = matches!(&*request.method, "tasks/get" | "tasks/update" | "tasks/cancel") && !handshake;
    if is_task && !speaks_tasks(request) {
        return answer(exchange, request, Err(tasks::undeclared()));
    }
    let caller = match gateway::admit_list(&exchange.state.platform, caller).await {
        Ok(caller) => caller,
        Err(refusal) => return respond::refusal(exchange.state, exchange.place, request.id, &refusal),
    };
    let platform = &exchange.state.platform;
    if let Some(missing) = missing_scope(&caller, &request.method) {
        let refusal = caller.insufficient(missing, request.revision);
        return respond::refusal(exchange.state, exchange.place, request.id, &refusal);
    }
    let served = gateway::served(&caller);
    match &*request.method {
        "initialize" if handshake => return initialize(exchange, &caller, request).await,
        "prompts/get" if served.prompts => return item(exchange, caller, request).await,
        "resources/read" if served.resources => return item(exchange, caller, request).await,
        "completion/complete" if served.completions => return item(exchange, caller, request).await,
        _ => {}
    }
    let listed = match &*request.method {
        "tools/list" => Some(ItemKind::Tools),
        "prompts/list" if served.prompts => Some(ItemKind::Prompts),
        "resources/list" if served.resources => Some(ItemKind::Resources),
        "resources/templates/list" if served.resources => Some(ItemKind::ResourceTemplates),
        _ => None,
    };
    if let Some(kind) = listed {
        return list(exchange, &caller, request, kind);
    }
    let result = match &*request.method {
        "ping" if handshake => Ok(results::empty(request.revision)),
        "server/discover" if !handshake => Ok(lifecycle::discover(served, INSTRUCTIONS).to_string()),
        "tasks/get" if is_task => tasks::get(platform, &caller, request.params.task_id.as_deref()).await,
        "tasks/update" if is_task => {
            tasks::update(platform, &caller, request.params.task_id.as_deref(), request.params.input_responses).await
        }
        "tasks/cancel" if is_task => tasks::cancel(platform, &caller, request.params.task_id.as_deref()).await,
        "logging/setLevel" if handshake => set_level(exchange, &caller, request).await,
        "resources/subscribe" if handshake && served.resources => subscribe(exchange, &caller, request).await,
        "resources/unsubscribe" if handshake && served.resources => unsubscribe(exchange, &caller, request).await,
        _ => Err(ErrorObject::new(METHOD_NOT_FOUND, "this method is not served here")),
    };
    answer(exchange, request, result)
}

/// An answer that is there already.
pub(super) fn answer(exchange: &Exchange<'_>, request: &Request<'_>, result: Result<String, ErrorObject>) -> HttpResponse {
    match result {
        Ok(result) if exchange.accept == Accept::EventStream => {
            run::stream_one(&exchange.state.platform, trunkline_protocol::jsonrpc::success(request.id, &result))
        }
        Ok(result) => respond::result(request.id, &result),
        Err(error) => respond::error(request.revision.error_status(error.code), Some(request.id), &error),
    }
}

/// Does the request declare the tasks extension?
pub(super) fn speaks_tasks(request: &Request<'_>) -> bool {
    let declared = request.params.meta.as_ref().and_then(|meta| meta.client_capabilities);
    declared.and_then(|raw| ClientCapabilities::parse(raw.get())).is_some_and(|declared| declared.extension(TASKS))
}

fn list(exchange: &Exchange<'_>, caller: &Caller, request: &Request<'_>, kind: ItemKind) -> HttpResponse {
    let cursor = request.params.cursor.as_deref();
    let Some(listed) = gateway::list(&exchange.state.platform, caller, kind, request.revision, cursor) else {
        let error = ErrorObject::new(INVALID_PARAMS, "the cursor is not one that this list gave you");
        return answer(exchange, request, Err(error));
    };
    let [before, after] = results::around_list(request.revision, kind.as_str(), listed.next_cursor.as_deref());
    if exchange.accept == Accept::EventStream {
        return answer(exchange, request, Ok([&before, &listed.page.items, &after].map(String::as_str).concat()));
    }
    respond::list(request.id, &before, listed.page, &after)
}

async fn initialize(exchange: &Exchange<'_>, caller: &Caller, request: &Request<'_>) -> HttpResponse {
    let revision = lifecycle::negotiate(request.params.protocol_version.as_deref());
    let capabilities = request.params.capabilities.and_then(|raw| ClientCapabilities::parse(raw.get())).unwrap_or_default();
    let new = NewSession {
        tenant: caller.snapshot.tenant,
        agent: caller.agent.id,
        credential: &caller.client(),
        revision,
        capabilities,
        client_name: &client(request).map(|client| gateway::clip(&client.name)).unwrap_or_default(),
    };
    let session = session::begin(&exchange.state.platform, new).await;
    if let Err(error) = &session {
        // Without a session tools can still be listed and called.
        tracing::warn!(%error, "a client goes without a session");
    }
    let result = lifecycle::initialize(revision, gateway::served(caller), session.is_ok(), INSTRUCTIONS);
    let mut response = answer(exchange, request, Ok(result.to_string()));
    if let Ok(id) = session.map_err(drop).and_then(|session| HeaderValue::from_str(&session.id).map_err(drop)) {
        response.headers_mut().insert(HeaderName::from_static(SESSION), id);
    }
    response
}

async fn set_level(exchange: &Exchange<'_>, caller: &Caller, request: &Request<'_>) -> Result<String, ErrorObject> {
    let session = caller.session.as_ref().ok_or_else(needs_session)?;
    let level = request.params.level.as_deref().unwrap_or_default();
    let level: LogLevel = level.parse().map_err(|error| ErrorObject::new(INVALID_PARAMS, format!("params.level: {error}")))?;
    session::set_log_level(&exchange.state.platform, session, level).await.map_err(|_| away())?;
    Ok(results::empty(request.revision))
}

async fn subscribe(exchange: &Exchange<'_>, caller: &Caller, request: &Request<'_>) -> Result<String, ErrorObject> {
    let session = caller.session.as_ref().ok_or_else(needs_session)?;
    let uri = request.params.uri.as_deref().ok_or_else(|| ErrorObject::new(INVALID_PARAMS, "params.uri is missing"))?;
    // Kept until the session ends; a template makes URIs of any length.
    if uri.len() > session::MAX_URI {
        let most = session::MAX_URI;
        return Err(ErrorObject::new(INVALID_PARAMS, format!("params.uri of a subscription has at most {most} bytes")));
    }
    gateway::find_resource(caller, uri).map_err(|error| request.revision.fit_error(error))?;
    match session::subscribe(&exchange.state.platform, session, uri).await {
        Ok(true) => Ok(results::empty(request.revision)),
        Ok(false) => Err(ErrorObject::new(
            INVALID_PARAMS,
            format!("a session subscribes to at most {} resources", session::MAX_SUBSCRIPTIONS),
        )),
        Err(_) => Err(away()),
    }
}

async fn unsubscribe(exchange: &Exchange<'_>, caller: &Caller, request: &Request<'_>) -> Result<String, ErrorObject> {
    let session = caller.session.as_ref().ok_or_else(needs_session)?;
    let uri = request.params.uri.as_deref().ok_or_else(|| ErrorObject::new(INVALID_PARAMS, "params.uri is missing"))?;
    session::unsubscribe(&exchange.state.platform, session, uri).await.map_err(|_| away())?;
    Ok(results::empty(request.revision))
}

fn needs_session() -> ErrorObject {
    ErrorObject::new(METHOD_NOT_FOUND, "this needs a session: begin with initialize and send its Mcp-Session-Id")
}

fn away() -> ErrorObject {
    ErrorObject::new(trunkline_protocol::jsonrpc::INTERNAL_ERROR, "sessions cannot be reached at the moment; try again")
}

/// The key under which the call runs at most once: of the header, or of the request's `_meta`; both only if they say the same.
fn idempotency<'a>(exchange: &Exchange<'a>, request: &Request<'_>) -> Result<Option<Cow<'a, str>>, ErrorObject> {
    let header = exchange.idempotency.map(Cow::Borrowed);
    let Some(raw) = request.params.meta.as_ref().and_then(|meta| meta.idempotency_key) else { return Ok(header) };
    let key = serde_json::from_str::<String>(raw.get()).ok().filter(|key| headers::is_idempotency_key(key));
    match (header, key) {
        (_, None) => Err("_meta[\"trunkline/idempotency-key\"] must be a string of 1 to 255 visible ASCII characters"),
        (Some(header), Some(key)) if header != key => {
            Err("the header Idempotency-Key and _meta[\"trunkline/idempotency-key\"] differ: send one of them")
        }
        (_, Some(key)) => Ok(Some(Cow::Owned(key))),
    }
    .map_err(|message| ErrorObject::new(INVALID_PARAMS, message))
}

async fn call_tool(exchange: &Exchange<'_>, caller: Caller, request: &Request<'_>) -> HttpResponse {
    let Some(name) = request.params.name.as_deref() else {
        let error = ErrorObject::new(INVALID_PARAMS, "params.name is missing: the name of a tool");
        return respond::error(200, Some(request.id), &error);
    };
    let wrapped = match name {
        search::FIND if caller.searches() => return find_tools(exchange, caller, request).await,
        search::CALL if caller.searches() => match search::unwrap(request.params.arguments, request.raw_params) {
            Ok(wrapped) => Some(wrapped),
            Err(error) => return respond::error(200, Some(request.id), &error),
        },
        _ => None,
    };
    let hearing = match Hearing::of(&caller, request) {
        Ok(hearing) => hearing,
        Err(error) => return respond::error(200, Some(request.id), &error),
    };
    let idempotency = match idempotency(exchange, request) {
        Ok(key) => key,
        Err(error) => return respond::error(400, Some(request.id), &error),
    };
    let session = caller.session.clone();
    let client_name = match (&session, client(request)) {
        (_, Some(client)) => client.name.clone(),
        (Some(session), None) => session.client_name.clone().into(),
        (None, None) => "".into(),
    };
    let call = CallRequest {
        name: wrapped.as_ref().map_or(name, |wrapped| &wrapped.name),
        arguments: wrapped.as_ref().map_or(request.params.arguments, |wrapped| wrapped.arguments.as_deref()),
        params: wrapped.as_ref().map_or(request.raw_params, |wrapped| Some(&*wrapped.params)),
        input: input(request),
        // Who calls by way of `call_tool` mirrors that.
        mirrored: wrapped.is_none().then_some(exchange.mirrored),
        idempotency: idempotency.as_deref(),
        revision: request.revision,
        client_name: &client_name,
        address: exchange.address,
        bytes_in: exchange.bytes_in,
        request_id: exchange.request_id,
        jsonrpc_id: Some(request.id.get()),
        trace: trace_of(exchange, request),
    };
    match Box::pin(gateway::admit_call(&exchange.state.platform, caller, &call, exchange.measure)).await {
        Ok(admitted) => {
            let platform = exchange.state.platform.clone();
            let answering = Answering::new(exchange, request, session.clone(), admitted.left());
            let voice = hearing.voice(request.revision, session);
            let work = move |voice, cancel| async move { Ok(admitted.run(&platform, voice, cancel).await) };
            Box::pin(run::answer(answering, voice, work)).await
        }
        // Its client reads nothing but results.
        Err(Refusal::Limited { by, retry_after_ms, as_result: true }) => {
            let text = ToolResult { text: respond::limited_words(by, retry_after_ms), is_error: true };
            let limits = by.to_refusal(retry_after_ms).to_string();
            let additions = [("trunkline/error", "\"limited\""), ("trunkline/limits", &*limits)];
            let result = results::complete(request.revision, text_result(&text), Caching::NotTold, &additions);
            answer(exchange, request, Ok(result))
        }
        Err(refusal) => respond::refusal(exchange.state, exchange.place, request.id, &refusal),
    }
}

/// The trace of a request: its own, or that of the HTTP request which brought it.
fn trace_of(exchange: &Exchange<'_>, request: &Request<'_>) -> Option<trace::Given> {
    let meta = request.params.meta.as_ref();
    let own = meta.and_then(|meta| trace::Given::read(meta.traceparent.as_deref()?, meta.tracestate.as_deref()));
    own.or_else(|| exchange.trace.cloned())
}

/// Search mode: a list of what fits a question, charged like a list.
async fn find_tools(exchange: &Exchange<'_>, caller: Caller, request: &Request<'_>) -> HttpResponse {
    let caller = match gateway::admit_list(&exchange.state.platform, caller).await {
        Ok(caller) => caller,
        Err(refusal) => return respond::refusal(exchange.state, exchange.place, request.id, &refusal),
    };
    let found = search::find(&caller, request.revision, request.params.arguments);
    let result = results::complete(request.revision, text_result(&found), Caching::NotTold, &[]);
    answer(exchange, request, Ok(result))
}

/// Prompts, resources, completions.
async fn item(exchange: &Exchange<'_>, caller: Caller, request: &Request<'_>) -> HttpResponse {
    let hearing = match Hearing::of(&caller, request) {
        Ok(hearing) => hearing,
        Err(error) => return respond::error(200, Some(request.id), &error),
    };
    let platform = exchange.state.platform.clone();
    let session = caller.session.clone();
    let answering = Answering::new(exchange, request, session.clone(), None);
    let asked = gateway::OwnedItemRequest::new(&ItemRequest {
        method: &request.method,
        name: request.params.name.as_deref(),
        uri: request.params.uri.as_deref(),
        reference: request.params.reference.as_ref(),
        params: request.raw_params,
        arguments: request.params.arguments,
        input: input(request),
    });
    let voice = hearing.voice(request.revision, session);
    run::answer(answering, voice, move |voice, cancel| async move {
        gateway::answer_item(&platform, &caller, asked, &voice, &cancel).await
    })
    .await
}

fn input<'a>(request: &Request<'a>) -> Input<'a> {
    if request.revision.has_handshake() {
        return Input::default();
    }
    Input { responses: request.params.input_responses, state: request.params.request_state }
}

pub(super) fn client<'r>(request: &'r Request<'_>) -> Option<&'r ClientInfo<'r>> {
    let params = &request.params;
    params.meta.as_ref().and_then(|meta| meta.client_info.as_ref()).or(params.client_info.as_ref())
}

/// What a request says of how its caller wants to be talked to.
struct Hearing {
    progress_token: Option<Box<RawValue>>,
    capabilities: ClientCapabilities,
    log_level: Option<LogLevel>,
}

impl Hearing {
    fn of(caller: &Caller, request: &Request<'_>) -> Result<Self, ErrorObject> {
        let meta = request.params.meta.as_ref();
        // A token of another kind cannot be used; the request can.
        let token = meta.and_then(|meta| meta.progress_token).filter(|raw| is_token(raw.get()));
        let (capabilities, log_level) = match &caller.session {
            Some(session) => (session.capabilities.clone(), Some(session.log_level().unwrap_or(USUAL_LEVEL))),
            None if request.revision.has_handshake() => (ClientCapabilities::default(), None),
            None => {
                let declared = meta.and_then(|meta| meta.client_capabilities);
                let declared = declared.and_then(|raw| ClientCapabilities::parse(raw.get())).unwrap_or_default();
                (declared, level(meta.and_then(|meta| meta.log_level))?)
            }
        };
        Ok(Self { progress_token: token.map(ToOwned::to_owned), capabilities, log_level })
    }

    fn voice(self, revision: Revision, session: Option<std::sync::Arc<session::Session>>) -> Voice {
        let Self { progress_token, capabilities, log_level } = self;
        Voice { outlet: None, progress_token, capabilities, log_level, revision, session }
    }
}

fn level(raw: Option<&RawValue>) -> Result<Option<LogLevel>, ErrorObject> {
    let Some(raw) = raw else { return Ok(None) };
    let level = serde_json::from_str::<String>(raw.get()).ok().and_then(|level| level.parse().ok());
    level.map(Some).ok_or_else(|| {
        ErrorObject::new(INVALID_PARAMS, format!("io.modelcontextprotocol/logLevel: {}", trunkline_protocol::mcp::InvalidLevel))
    })
}

fn is_token(json: &str) -> bool {
    json.starts_with('"') || json.bytes().all(|b| b == b'-' || b.is_ascii_digit())
}
