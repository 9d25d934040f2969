//! The methods: a match over what is served; each translates to one verb of the gateway.

use std::{pin::pin, time::Duration};

use actix_web::{HttpResponse, rt};
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use trunkline_platform::gateway::{self, AdmittedCall, CallRequest, Caller, Measure};
use trunkline_protocol::{
    jsonrpc::{self, ErrorObject, INVALID_PARAMS, METHOD_NOT_FOUND},
    mcp::{
        ClientInfo, Request,
        lifecycle::{self, Served},
        results,
    },
};

use super::{accept::Accept, respond, stream};
use crate::WebState;

/// A call that takes longer is answered by a stream, where the client can read one: proxies and people see that something happens.
const QUICK: Duration = Duration::from_millis(100);

const INSTRUCTIONS: &str = "Tools of one organisation, served by Trunkline. A result's _meta[\"trunkline/limits\"] says how many calls are left; \
     a 429 says when to try again.";

/// What a method needs to know of its request.
pub(super) struct Exchange<'a> {
    pub(super) state: &'a WebState,
    pub(super) tenant: &'a str,
    pub(super) accept: Accept,
    pub(super) measure: Measure,
    pub(super) request_id: &'a str,
    pub(super) bytes_in: usize,
}

/// Answers one request.
pub(super) async fn dispatch(exchange: &Exchange<'_>, caller: Caller, request: &Request<'_>) -> HttpResponse {
    let has_handshake = request.revision.has_handshake();
    if request.method == "tools/call" {
        return call_tool(exchange, caller, request).await;
    }
    let caller = match gateway::admit_list(&exchange.state.platform, caller).await {
        Ok(caller) => caller,
        Err(refusal) => return respond::refusal(exchange.state, exchange.tenant, request.id, &refusal),
    };
    let result = match &*request.method {
        "tools/list" => return list_tools(exchange, &caller, request),
        "initialize" if has_handshake => {
            let revision = lifecycle::negotiate(request.params.protocol_version.as_deref());
            lifecycle::initialize(revision, Served::default(), false, INSTRUCTIONS).to_string()
        }
        "ping" if has_handshake => "{}".to_owned(),
        "server/discover" if !has_handshake => lifecycle::discover(Served::default(), INSTRUCTIONS).to_string(),
        _ => {
            let error = ErrorObject::new(METHOD_NOT_FOUND, "this method is not served here");
            return respond::error(request.revision.unknown_method_status(), Some(request.id), &error);
        }
    };
    answer(exchange, request.id, &result)
}

/// A result that is there already.
fn answer(exchange: &Exchange<'_>, id: &RawValue, result: &str) -> HttpResponse {
    match exchange.accept {
        Accept::Json | Accept::Either => respond::result(id, result),
        Accept::EventStream => {
            let (sender, receiver) = oneshot::channel();
            // The receiver is in our hands, so it is there.
            let _ = sender.send(jsonrpc::success(id, result));
            stream::respond(receiver, None)
        }
    }
}

fn list_tools(exchange: &Exchange<'_>, caller: &Caller, request: &Request<'_>) -> HttpResponse {
    let Some(page) = gateway::list_tools(&exchange.state.platform, caller, request.params.cursor.as_deref()) else {
        let error = ErrorObject::new(INVALID_PARAMS, "the cursor is not one that this list gave you");
        return respond::error(200, Some(request.id), &error);
    };
    let descriptions = page.tools.iter().map(|tool| tool.description(request.revision));
    answer(exchange, request.id, &results::list(request.revision, "tools", descriptions, page.next_cursor.as_deref()))
}

async fn call_tool(exchange: &Exchange<'_>, caller: Caller, request: &Request<'_>) -> HttpResponse {
    let Some(name) = request.params.name.as_deref() else {
        let error = ErrorObject::new(INVALID_PARAMS, "params.name is missing: the name of a tool");
        return respond::error(200, Some(request.id), &error);
    };
    let call = CallRequest {
        name,
        arguments: request.params.arguments,
        revision: request.revision,
        client_name: client(request).map(|client| &*client.name).unwrap_or_default(),
        bytes_in: exchange.bytes_in,
        request_id: exchange.request_id,
    };
    match gateway::admit_call(&exchange.state.platform, caller, &call, exchange.measure).await {
        Ok(admitted) => run(exchange, admitted, request).await,
        Err(refusal) => respond::refusal(exchange.state, exchange.tenant, request.id, &refusal),
    }
}

fn client<'r>(request: &'r Request<'_>) -> Option<&'r ClientInfo<'r>> {
    let params = &request.params;
    params.meta.as_ref().and_then(|meta| meta.client_info.as_ref()).or(params.client_info.as_ref())
}

/// Runs an admitted call: JSON when it is quick or must be, else a stream.
async fn run(exchange: &Exchange<'_>, admitted: AdmittedCall, request: &Request<'_>) -> HttpResponse {
    let platform = exchange.state.platform.clone();
    let cancel = CancellationToken::new();
    let token = cancel.clone();
    let finish = async move { admitted.run(&platform, token).await.result };
    match exchange.accept {
        Accept::Json => respond::result(request.id, &finish.await),
        Accept::Either => {
            let mut finish = Box::pin(finish);
            match tokio::time::timeout(QUICK, &mut finish).await {
                Ok(result) => respond::result(request.id, &result),
                Err(_) => streamed(finish, request, cancel),
            }
        }
        Accept::EventStream => streamed(finish, request, cancel),
    }
}

/// The call goes on in a task of its own. Where the revision says so, closing the stream cancels it; it is recorded in any case.
fn streamed(finish: impl Future<Output = String> + 'static, request: &Request<'_>, cancel: CancellationToken) -> HttpResponse {
    let (sender, receiver) = oneshot::channel();
    let id = request.id.to_owned();
    let task = async move {
        let result = pin!(finish).await;
        // A client that went away does not read it.
        let _ = sender.send(jsonrpc::success(&id, &result));
    };
    rt::spawn(task.in_current_span());
    let guard = request.revision.disconnect_cancels().then(|| cancel.drop_guard());
    stream::respond(receiver, guard)
}
