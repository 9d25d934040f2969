//! The handshake era: sessions, server requests on streams, a stream for changes, resumption.

use std::{sync::atomic::Ordering, time::Duration};

use serde_json::{Value, json};
use tokio::sync::oneshot;
use trunkline_protocol::mcp::Revision;

use super::{
    Change, Seen, Session, State, Way,
    connection::Connection,
    failure, lock, offer, success,
    tools::{Call, End},
};

/// One request.
pub(super) async fn serve(state: &State, connection: &mut Connection, request: &Seen, revision: Revision) -> Option<()> {
    let version = request.header("mcp-protocol-version");
    if version.is_some_and(|version| version != revision.as_str()) && request.json["method"] != "initialize" {
        return refuse(connection, 400, "Bad Request: Unsupported protocol version").await;
    }
    if request.json["method"] == "initialize" {
        return initialize(state, connection, request, revision).await;
    }
    let session = request.header("mcp-session-id");
    if !lock(&state.faults).sessionless {
        match session {
            None => return refuse(connection, 400, "Bad Request: Server not initialized").await,
            Some(id) if !lock(&state.sessions).contains_key(id) => return refuse(connection, 404, "Session not found").await,
            Some(_) => {}
        }
    }
    if version.is_none() && revision != Revision::V2025_03_26 {
        return refuse(connection, 400, "Bad Request: the version is missing").await;
    }
    match request.http_method.as_str() {
        "GET" => listen(state, connection, request).await,
        "DELETE" => {
            let id = session.unwrap_or_default();
            lock(&state.sessions).remove(id);
            lock(&state.ended).push(id.to_owned());
            connection.plain(200, "").await
        }
        _ if request.json.get("method").is_none() => {
            let waiting = request.json["id"].as_str().and_then(|id| lock(&state.asked).remove(id));
            waiting.map(|sender| sender.send(request.json.clone()));
            connection.plain(202, "").await
        }
        _ if request.json.get("id").is_none() => notification(state, connection, request, session).await,
        _ => respond(state, connection, request, revision, session).await,
    }
}

async fn refuse(connection: &mut Connection, status: u16, text: &str) -> Option<()> {
    let body = json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32000, "message": text } });
    connection.json(status, &body.to_string()).await
}

async fn initialize(state: &State, connection: &mut Connection, request: &Seen, revision: Revision) -> Option<()> {
    if !lock(&state.faults).sessionless {
        let id = format!("session-{}", state.next());
        let capabilities = request.json["params"]["capabilities"].clone();
        lock(&state.sessions).insert(id.clone(), Session { capabilities, is_ready: false, level: None });
        connection.give_session(&id);
    }
    let result = json!({
        "protocolVersion": revision.as_str(),
        "capabilities": offer::capabilities(),
        "serverInfo": offer::server_info(),
        "instructions": "Be kind.",
    });
    let message = success(&request.json["id"], &result.to_string());
    if state.way == Way::Events {
        connection.event(&message).await?;
        return connection.end().await;
    }
    connection.json(200, &message).await
}

async fn notification(state: &State, connection: &mut Connection, request: &Seen, session: Option<&str>) -> Option<()> {
    match request.json["method"].as_str()? {
        "notifications/initialized" => {
            let key = session.unwrap_or_default().to_owned();
            lock(&state.sessions).entry(key).and_modify(|session| session.is_ready = true);
        }
        "notifications/cancelled" => {
            let id = &request.json["params"]["requestId"];
            lock(&state.cancelled).insert(format!("{} {id}", session.unwrap_or_default()));
        }
        _ => {}
    }
    connection.plain(202, "").await
}

async fn respond(
    state: &State,
    connection: &mut Connection,
    request: &Seen,
    revision: Revision,
    session: Option<&str>,
) -> Option<()> {
    let params = &request.json["params"];
    let mut call = Call { state, connection, request, revision, session };
    let answer = match request.json["method"].as_str()? {
        "ping" => Ok("{}".to_owned()),
        "logging/setLevel" => {
            let level = params["level"].as_str().map(str::to_owned);
            lock(&state.sessions).entry(session.unwrap_or_default().to_owned()).and_modify(|session| session.level = level);
            Ok("{}".to_owned())
        }
        "resources/subscribe" => {
            lock(&state.subscribed).insert(params["uri"].as_str().unwrap_or_default().to_owned());
            Ok("{}".to_owned())
        }
        "resources/unsubscribe" => {
            lock(&state.subscribed).remove(params["uri"].as_str().unwrap_or_default());
            Ok("{}".to_owned())
        }
        "tools/call" => match call_tool(&mut call, params["name"].as_str().unwrap_or_default()).await {
            End::Answer(answer) => answer,
            End::Written(over) => return over,
        },
        _ => match offer::answer(state, request, -32002).await {
            Some(answer) => answer,
            None => Err((-32601, "Method not found", Value::Null)),
        },
    };
    call.finish(answer).await
}

/// Tools that need what only this era has.
async fn call_tool(call: &mut Call<'_>, name: &str) -> End {
    match name {
        "ask" => answered(ask(call, "elicitation/create", question("What is your name?")).await),
        "ask_then_slow" => match ask(call, "elicitation/create", question("Go on?")).await {
            Some(_) => call.run("slow").await,
            None => End::Written(None),
        },
        "ask_twice" => {
            let first = ask(call, "elicitation/create", question("first?")).await;
            let second = ask(call, "elicitation/create", question("second?")).await;
            answered(first.zip(second).map(|(first, second)| json!([first, second])))
        }
        "sample" => {
            let content = json!({ "type": "text", "text": "What is the capital of France?" });
            let params = json!({ "messages": [{ "role": "user", "content": content }], "maxTokens": 10 });
            answered(ask(call, "sampling/createMessage", params).await)
        }
        "roots" => answered(ask(call, "roots/list", json!({})).await),
        "ask_aside" => answered(ask_aside(call).await),
        "odd_request" => answered(ask(call, "tools/list", json!({})).await),
        "cut" => End::Written(cut(call).await),
        _ => call.run(name).await,
    }
}

fn answered(answer: Option<Value>) -> End {
    match answer {
        Some(answer) => End::answer(Call::text(&answer.to_string())),
        None => End::Written(None),
    }
}

/// Parameters of a question to the user.
pub(super) fn question(message: &str) -> Value {
    let schema = json!({ "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"] });
    json!({ "message": message, "requestedSchema": schema })
}

/// Asks the client on the stream of the call; gives its `result` or `error`.
async fn ask(call: &mut Call<'_>, method: &str, params: Value) -> Option<Value> {
    let id = format!("ask-{}", call.state.next());
    let (sender, mut answer) = oneshot::channel();
    lock(&call.state.asked).insert(id.clone(), sender);
    call.connection.event(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()).await?;
    loop {
        if let Ok(answer) = answer.try_recv() {
            return Some(answer.get("result").or(answer.get("error")).cloned().unwrap_or_default());
        }
        if !call.connection.is_patient(Duration::from_millis(10)).await {
            call.state.hung_up.fetch_add(1, Ordering::Relaxed);
            return None;
        }
    }
}

/// Asks on the stream of the session, as servers do that do not say which call a question belongs to.
async fn ask_aside(call: &mut Call<'_>) -> Option<Value> {
    let id = format!("aside-{}", call.state.next());
    let (sender, mut answer) = oneshot::channel();
    lock(&call.state.asked).insert(id.clone(), sender);
    let about = call.arguments()["about"].as_str().unwrap_or_default();
    let request = json!({ "jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": question(about) });
    let _ = call.state.changes.send(Change::Aside(call.session.unwrap_or_default().to_owned(), request.to_string()));
    loop {
        if let Ok(answer) = answer.try_recv() {
            return Some(answer.get("result").or(answer.get("error")).cloned().unwrap_or_default());
        }
        if !call.connection.is_patient(Duration::from_millis(10)).await {
            call.state.hung_up.fetch_add(1, Ordering::Relaxed);
            return None;
        }
    }
}

/// Closes the stream before the answer, which is to be had by resuming.
async fn cut(call: &mut Call<'_>) -> Option<()> {
    let event = format!("event-{}", call.state.next());
    let answer = success(call.id(), &Call::text("resumed"));
    lock(&call.state.kept).insert(event.clone(), answer);
    call.connection.events(&format!("id: {event}\nretry: 20\ndata:\n\n")).await?;
    call.connection.end().await
}

/// The stream for changes, or the rest of another.
async fn listen(state: &State, connection: &mut Connection, request: &Seen) -> Option<()> {
    let streamless = lock(&state.faults).streamless;
    if let Some(status) = streamless {
        return connection.plain(status, "").await;
    }
    if let Some(event) = request.header("last-event-id") {
        let kept = lock(&state.kept).remove(event);
        if let Some(message) = kept {
            connection.event(&message).await?;
            return connection.end().await;
        }
    }
    let request_session = request.header("mcp-session-id").unwrap_or_default();
    let mut changes = state.changes.subscribe();
    connection.events(": listening\n\n").await?;
    state.listening.fetch_add(1, Ordering::Relaxed);
    let over = loop {
        let change = tokio::select! {
            change = changes.recv() => change.ok(),
            false = connection.is_patient(Duration::from_hours(1)) => None,
        };
        let (method, params) = match change {
            None => break None,
            Some(Change::Close) => break connection.end().await,
            Some(Change::Aside(session, request)) => {
                if request_session == session && connection.event(&request).await.is_none() {
                    break None;
                }
                continue;
            }
            Some(Change::Tools) => ("notifications/tools/list_changed", json!({})),
            Some(Change::Prompts) => ("notifications/prompts/list_changed", json!({})),
            Some(Change::Resources) => ("notifications/resources/list_changed", json!({})),
            Some(Change::Resource(uri)) => ("notifications/resources/updated", json!({ "uri": uri })),
        };
        if connection.event(&json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string()).await.is_none() {
            break None;
        }
    };
    state.listening.fetch_sub(1, Ordering::Relaxed);
    over
}

/// A failed answer with that status.
pub(super) async fn fail(connection: &mut Connection, status: u16, id: &Value, code: i64, data: &Value) -> Option<()> {
    connection.json(status, &failure(id, code, "refused", data)).await
}
