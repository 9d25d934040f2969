//! Streams that stay open for changes: `subscriptions/listen` in the stateless era, GET in a session.

use std::{collections::HashSet, sync::Arc, time::Duration};

use actix_web::{HttpResponse, rt};
use tokio::{
    sync::{broadcast::error::RecvError, mpsc},
    time::Instant,
};
use tracing::Instrument as _;
use trunkline_platform::{
    Platform,
    bus::{self, Word},
    gateway::{self, Caller, Change, Ears, Interest, OpenStream, StreamUse, tasks},
    session::{self, EventId, LoggedEvent, Newest, Session},
};
use trunkline_protocol::{
    jsonrpc::{self, ErrorObject, INTERNAL_ERROR, INVALID_PARAMS},
    mcp::{
        Request, SUBSCRIPTION_ID, Wanted,
        object::{RawObject, json_string},
        results::{self, Caching},
    },
};

use super::{
    accept::Accept,
    methods::{Exchange, speaks_tasks},
    respond,
    stream::{self, Line},
};

/// Changes that wait to be written.
const WAITING: usize = 16;
/// Resources of one subscription.
const MOST_URIS: usize = 1_000;
/// At every so many looks, whether the caller is still one is asked.
const WHO_AT_EVERY: u32 = 5;
/// How often a resumed stream looks for more events.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// With which of these looks it also asks how its replica is.
const ASK_AT_EVERY: u32 = 5;
/// A replica that has not listened for this long is gone. One that lost its connection is back sooner.
const GONE_AFTER: Duration = Duration::from_secs(3);

/// `subscriptions/listen`.
pub(super) async fn subscribe(exchange: &Exchange<'_>, caller: Caller, request: &Request<'_>) -> HttpResponse {
    let platform = &exchange.state.platform;
    let ears = Ears::open(platform);
    let caller = match gateway::admit_list(platform, caller).await {
        Ok(caller) => caller,
        Err(refusal) => return respond::refusal(exchange.state, exchange.place, request.id, &refusal),
    };
    let refuse = |error: &ErrorObject| respond::error(request.revision.error_status(error.code), Some(request.id), error);
    let Some(wanted) = &request.params.notifications else {
        return refuse(&ErrorObject::new(INVALID_PARAMS, "params.notifications is missing: what to hear of"));
    };
    if exchange.accept == Accept::Json {
        return respond::transport(406, "a subscription is answered by text/event-stream");
    }
    if wanted.task_ids.is_some() && !speaks_tasks(request) {
        return refuse(&tasks::undeclared());
    }
    let Some(open_stream) = OpenStream::enter(platform, caller.agent.id, StreamUse::Listening) else {
        return respond::too_many_streams(Some(request.id), StreamUse::Listening);
    };
    let (interest, honoured) = match interest(platform, &caller, wanted).await {
        Ok(interest) => interest,
        Err(error) => return refuse(&error),
    };
    let (mut line, response) = stream::open(platform, None);
    let (platform, id) = (platform.clone(), request.id.to_owned());
    let listening = async move {
        let _open_stream = open_stream;
        let mut acknowledged = RawObject::default();
        acknowledged.set("notifications", honoured);
        line.message(notification("notifications/subscriptions/acknowledged", acknowledged, Some(id.get()))).await;
        forward(&platform, caller, interest, ears, &mut line, Some(id.get())).await;
        let mut meta = RawObject::default();
        meta.set(SUBSCRIPTION_ID, id.get());
        let mut result = RawObject::default();
        result.set("_meta", meta.to_json());
        let result = results::complete(trunkline_protocol::mcp::Revision::V2026_07_28, result, Caching::NotTold, &[]);
        line.last(jsonrpc::success(&id, &result)).await;
    };
    rt::spawn(listening.in_current_span());
    response
}

/// What of it can be heard here, and the same as the acknowledgement says it.
async fn interest(platform: &Platform, caller: &Caller, wanted: &Wanted<'_>) -> Result<(Interest, String), ErrorObject> {
    let served = gateway::served(caller);
    let uris = wanted.resource_subscriptions.as_deref().unwrap_or_default();
    if uris.len() > MOST_URIS {
        return Err(ErrorObject::new(INVALID_PARAMS, format!("a subscription has at most {MOST_URIS} resources")));
    }
    let uris: HashSet<String> =
        uris.iter().filter(|uri| gateway::find_resource(caller, uri).is_ok()).map(|uri| uri.clone().into_owned()).collect();
    let mut known_tasks = HashSet::new();
    for id in wanted.task_ids.iter().flatten().take(MOST_URIS) {
        if tasks::exists(platform, caller, id).await {
            known_tasks.insert(id.clone().into_owned());
        }
    }
    let interest = Interest {
        tools: wanted.tools_list_changed == Some(true),
        prompts: served.prompts && wanted.prompts_list_changed == Some(true),
        resources: served.resources && wanted.resources_list_changed == Some(true),
        uris,
        tasks: known_tasks,
    };
    let mut honoured = RawObject::default();
    for (key, heard) in [
        ("toolsListChanged", interest.tools),
        ("promptsListChanged", interest.prompts),
        ("resourcesListChanged", interest.resources),
    ] {
        if heard {
            honoured.set(key, "true");
        }
    }
    for (key, ids) in [("resourceSubscriptions", &interest.uris), ("taskIds", &interest.tasks)] {
        if !ids.is_empty() {
            let mut ids: Vec<_> = ids.iter().collect();
            ids.sort();
            honoured.set(key, serde_json::json!(ids).to_string());
        }
    }
    Ok((interest, honoured.to_json()))
}

/// Writes changes until the reader is gone or nothing will come any more.
async fn forward(
    platform: &Platform,
    caller: Caller,
    interest: Interest,
    ears: Ears,
    line: &mut Line,
    subscription: Option<&str>,
) {
    let (sender, mut changes) = mpsc::channel(WAITING);
    let watching = begin(platform, caller, interest, ears, sender);
    loop {
        tokio::select! {
            change = changes.recv() => match change {
                Some(change) => line.message(change_message(&change, subscription)).await,
                None => break,
            },
            () = line.closed() => break,
        }
        if !line.is_read() {
            break;
        }
    }
    watching.abort();
}

/// Begins to watch. Not in the future that waits for it, which would have room for all of this one as long as it lives.
fn begin(
    platform: &Platform,
    caller: Caller,
    interest: Interest,
    ears: gateway::Ears,
    changes: mpsc::Sender<Change>,
) -> rt::task::JoinHandle<()> {
    rt::spawn(gateway::watch(platform.clone(), caller, interest, ears, changes).in_current_span())
}

fn change_message(change: &Change, subscription: Option<&str>) -> String {
    let mut params = RawObject::default();
    let method = match change {
        Change::List(list) => format!("notifications/{list}/list_changed"),
        Change::Resource(uri) => {
            params.set("uri", json_string(uri));
            "notifications/resources/updated".to_owned()
        }
        Change::Task(task) => {
            params = RawObject::parse(task).unwrap_or_default();
            "notifications/tasks".to_owned()
        }
    };
    notification(&method, params, subscription)
}

fn notification(method: &str, mut params: RawObject<'_>, subscription: Option<&str>) -> String {
    if let Some(id) = subscription {
        let mut meta = RawObject::default();
        meta.set(SUBSCRIPTION_ID, id);
        params.set("_meta", meta.to_json());
    }
    jsonrpc::notification(method, &params.to_json())
}

/// GET in a session: what no request of it asked for. One such stream per session: a newer one takes over.
pub(super) async fn stream_of(platform: &Platform, caller: Caller, session: Arc<Session>) -> HttpResponse {
    let ears = Ears::open(platform);
    let Some(open_stream) = OpenStream::enter(platform, caller.agent.id, StreamUse::Listening) else {
        return respond::too_many_streams(None, StreamUse::Listening);
    };
    let (mut line, response) = stream::open(platform, None);
    let platform = platform.clone();
    let mark = session::mark();
    let opened = Word::StreamOpened { tenant: session.tenant.uuid(), session: session.id.clone(), mark: mark.clone() };
    let mut words = platform.bus.listen();
    // Other replicas that do not hear it keep a stream that nobody reads until its next comment.
    let _ = bus::say(&platform, opened).await;
    let listening = async move {
        let _open_stream = open_stream;
        line.begin(false).await;
        let interest = Interest { tools: true, prompts: true, resources: true, ..Interest::default() };
        let taken_over = async {
            loop {
                match words.recv().await {
                    Ok(Word::StreamOpened { session: id, mark: other, .. }) if id == session.id && other != mark => return,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        };
        tokio::select! {
            () = forward(&platform, caller, interest, ears, &mut line, None) => {}
            () = taken_over => {}
        }
    };
    rt::spawn(listening.in_current_span());
    response
}

/// GET with `Last-Event-ID`: the rest of a stream, whichever replica wrote it, and what is still to come on it.
pub(super) async fn resume(platform: &Platform, caller: Caller, session: Arc<Session>, last: &str) -> HttpResponse {
    let Some(open_stream) = OpenStream::enter(platform, caller.agent.id, StreamUse::Resumed) else {
        return respond::too_many_streams(None, StreamUse::Resumed);
    };
    let Ok(after) = last.parse::<EventId>() else {
        return respond::transport(400, "Last-Event-ID is not the id of an event that this session was sent");
    };
    let first = match session::replay(platform, &session, &after).await {
        Ok(Some(events)) => events,
        Ok(None) => return respond::transport(400, "the stream of Last-Event-ID cannot be resumed any more"),
        Err(_) => return respond::unavailable(None, 1_000),
    };
    let (mut line, response) = stream::open(platform, None);
    let platform = platform.clone();
    let resumed = async move {
        let _open_stream = open_stream;
        line.begin(false).await;
        go_on(&platform, &caller, &session, after, first, line).await;
    };
    rt::spawn(resumed.in_current_span());
    response
}

/// Writes these events and those that come after them, until the last one. Where the replica that wrote them is gone, says so.
async fn go_on(
    platform: &Platform,
    caller: &Caller,
    session: &Session,
    mut after: EventId,
    mut events: Vec<LoggedEvent>,
    mut line: Line,
) {
    let mut missing_since = None;
    for look in 1_u32.. {
        for event in events {
            after = event.id;
            if !(event.is_last && event.data.is_empty()) {
                line.again(after.to_string(), event.data).await;
            }
            if event.is_last {
                return;
            }
        }
        // Whoever may not call any more may not read on either.
        if look.is_multiple_of(WHO_AT_EVERY) && caller.again(platform).await.is_none() {
            return;
        }
        if look.is_multiple_of(ASK_AT_EVERY)
            && let Ok(Some(newest)) = session::newest(platform, session, &after.stream).await
        {
            if newest.is_last && is_read_to_its_end(platform, session, &after).await {
                return;
            }
            // While it cannot be asked for, it is believed to be there.
            if bus::is_listening(platform, &newest.replica).await.unwrap_or(true) {
                missing_since = None;
            } else if missing_since.get_or_insert_with(Instant::now).elapsed() >= GONE_AFTER {
                // Without an id: who resumes again is told again.
                return line.last(lost(newest)).await;
            }
        }
        tokio::select! {
            () = line.closed() => return,
            () = platform.closing.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if !line.is_read() {
            return;
        }
        events = match session::replay(platform, session, &after).await {
            Ok(Some(events)) => events,
            Ok(None) => return,
            // It may be back with the next look.
            Err(_) => Vec::new(),
        };
    }
}

/// Nothing comes after that event of a stream that has ended.
async fn is_read_to_its_end(platform: &Platform, session: &Session, after: &EventId) -> bool {
    matches!(session::replay(platform, session, after).await, Ok(Some(events)) if events.is_empty())
}

fn lost(newest: Newest) -> String {
    let error =
        ErrorObject::new(INTERNAL_ERROR, "the server that answered this request stopped; whether it was done is not known");
    let id = serde_json::value::RawValue::from_string(newest.request).ok();
    error.to_body(id.as_deref())
}
