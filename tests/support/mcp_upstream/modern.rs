//! The stateless era, strictly: every header is held against the body.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use serde_json::{Value, json};
use trunkline_protocol::mcp::{Revision, headers};

use super::{
    Change, Seen, State,
    connection::Connection,
    legacy::{fail, question},
    lock, offer,
    tools::{Call, End, with_type},
};

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// One request.
pub(super) async fn serve(state: &State, connection: &mut Connection, request: &Seen) -> Option<()> {
    let id = &request.json["id"];
    if request.http_method != "POST" {
        return connection.plain(405, "").await;
    }
    if let Some((code, data)) = fault(request) {
        let status = if code == -32601 { 404 } else { 400 };
        return fail(connection, status, id, code, &data).await;
    }
    let params = &request.json["params"];
    let mut call = Call { state, connection, request, revision: Revision::V2026_07_28, session: None };
    let answer = match request.json["method"].as_str()? {
        "server/discover" => Ok(json!({
            "supportedVersions": ["2026-07-28"],
            "capabilities": offer::capabilities(),
            "instructions": "Be kind.",
            "ttlMs": 0,
            "cacheScope": "private",
            "_meta": { "io.modelcontextprotocol/serverInfo": offer::server_info() },
        })
        .to_string()),
        "subscriptions/listen" => return listen(&mut call).await,
        "tools/call" => match call_tool(&mut call, params["name"].as_str().unwrap_or_default()).await {
            End::Answer(answer) => answer,
            End::Written(over) => return over,
        },
        _ => match offer::answer(state, request, -32602).await {
            Some(answer) => answer,
            None => return fail(call.connection, 404, id, -32601, &Value::Null).await,
        },
    };
    call.finish(answer).await
}

/// What is wrong with a request: its code and details.
fn fault(request: &Seen) -> Option<(i64, Value)> {
    let (params, meta) = (&request.json["params"], &request.json["params"]["_meta"]);
    let method = request.json["method"].as_str()?;
    let Some(version) = meta[VERSION].as_str() else {
        // A handshake gets to know what is spoken here.
        let code = if method == "initialize" { -32022 } else { -32602 };
        return Some((code, json!({ "supported": ["2026-07-28"] })));
    };
    if !meta[CAPABILITIES].is_object() {
        return Some((-32602, json!("no capabilities")));
    }
    if request.header("mcp-protocol-version") != Some(version) || request.header("mcp-method") != Some(method) {
        return Some((-32020, json!("version or method")));
    }
    if version != "2026-07-28" {
        return Some((-32022, json!({ "supported": ["2026-07-28"], "requested": version })));
    }
    let name = match method {
        "tools/call" | "prompts/get" => params["name"].as_str(),
        "resources/read" => params["uri"].as_str(),
        _ => None,
    };
    let sent = request.header("mcp-name").and_then(headers::decode);
    if name != sent.as_deref() {
        return Some((-32020, json!({ "name": name, "header": sent })));
    }
    if method == "tools/call" && name == Some("region") {
        return parameters_fault(request);
    }
    None
}

/// Arguments that are not mirrored as the schema says.
fn parameters_fault(request: &Seen) -> Option<(i64, Value)> {
    let arguments = &request.json["params"]["arguments"];
    let mut wanted = BTreeMap::new();
    for (header, value) in
        [("region", &arguments["region"]), ("count", &arguments["count"]), ("flag", &arguments["deep"]["flag"])]
    {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        wanted.insert(format!("mcp-param-{header}"), text);
    }
    let sent = request.headers.iter().filter(|(name, _)| name.starts_with("mcp-param-"));
    let sent: BTreeMap<_, _> =
        sent.map(|(name, value)| (name.clone(), headers::decode(value).unwrap_or_default().into_owned())).collect();
    (sent != wanted).then(|| (-32020, json!({ "wanted": wanted, "sent": sent })))
}

/// Tools that need what only this era has.
async fn call_tool(call: &mut Call<'_>, name: &str) -> End {
    let message = json!({ "role": "user", "content": { "type": "text", "text": "What is the capital of France?" } });
    let sample = json!({ "messages": [message], "maxTokens": 10 });
    match name {
        "big_state" => big_state(call),
        "ask" => rounds(call, &[("elicitation/create", "elicitation", question("What is your name?"))]),
        "ask_twice" => rounds(
            call,
            &[
                ("elicitation/create", "elicitation", question("first?")),
                ("elicitation/create", "elicitation", question("second?")),
            ],
        ),
        "sample" => rounds(call, &[("sampling/createMessage", "sampling", sample)]),
        "roots" => rounds(call, &[("roots/list", "roots", json!({}))]),
        "log" if call.request.json["params"]["_meta"]["io.modelcontextprotocol/logLevel"].is_null() => {
            End::answer(Call::text("nobody wants a log"))
        }
        _ => call.run(name).await,
    }
}

/// One question after the other; the state says how far it is and what was answered.
fn rounds(call: &Call<'_>, questions: &[(&str, &str, Value)]) -> End {
    let params = &call.request.json["params"];
    let mut answers: Vec<Value> =
        params["requestState"].as_str().and_then(|state| serde_json::from_str(state).ok()).unwrap_or_default();
    if let Some(answer) = params["inputResponses"].get("answer") {
        answers.push(answer.clone());
    }
    let Some((method, capability, question)) = questions.get(answers.len()) else {
        let answers = if questions.len() == 1 { answers.remove(0) } else { json!(answers) };
        return End::answer(Call::text(&answers.to_string()));
    };
    if params["_meta"][CAPABILITIES][*capability].is_null() {
        return End::Answer(Err((-32021, "missing capability", json!({ "requiredCapabilities": { (*capability): {} } }))));
    }
    let state = json!(answers).to_string();
    let requests = json!({ "answer": { "method": method, "params": question } });
    End::Answer(Ok(json!({ "resultType": "input_required", "inputRequests": requests, "requestState": state }).to_string()))
}

/// Asks with a state of so many bytes; says how much of it came back.
fn big_state(call: &Call<'_>) -> End {
    if let Some(state) = call.request.json["params"]["requestState"].as_str() {
        return End::answer(Call::text(&format!("{} came back", state.len())));
    }
    let bytes = call.arguments()["bytes"].as_u64().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(1);
    let requests = json!({ "answer": { "method": "elicitation/create", "params": question("Go on?") } });
    let result = json!({ "resultType": "input_required", "inputRequests": requests, "requestState": "s".repeat(bytes) });
    End::Answer(Ok(result.to_string()))
}

/// A stream for the changes it asks for.
async fn listen(call: &mut Call<'_>) -> Option<()> {
    let wanted = call.request.json["params"]["notifications"].clone();
    let meta = json!({ "io.modelcontextprotocol/subscriptionId": call.request.json["id"] });
    call.notify("notifications/subscriptions/acknowledged", json!({ "notifications": wanted, "_meta": meta })).await?;
    let uris: Vec<&str> = wanted["resourceSubscriptions"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    lock(&call.state.subscribed).extend(uris.iter().map(|uri| (*uri).to_owned()));
    let mut changes = call.state.changes.subscribe();
    call.state.listening.fetch_add(1, Ordering::Relaxed);
    let over = loop {
        let change = tokio::select! {
            change = changes.recv() => change.ok(),
            false = call.connection.is_patient(Duration::from_hours(1)) => None,
        };
        let (method, mut params) = match change {
            None => break None,
            Some(Change::Close) => {
                let result = with_type(Revision::V2026_07_28, &json!({ "_meta": meta }).to_string());
                break call.finish(Ok(result)).await;
            }
            Some(Change::Tools) if wanted["toolsListChanged"] == true => ("notifications/tools/list_changed", json!({})),
            Some(Change::Prompts) if wanted["promptsListChanged"] == true => ("notifications/prompts/list_changed", json!({})),
            Some(Change::Resources) if wanted["resourcesListChanged"] == true => {
                ("notifications/resources/list_changed", json!({}))
            }
            Some(Change::Resource(uri)) if uris.contains(&uri.as_str()) => {
                ("notifications/resources/updated", json!({ "uri": uri }))
            }
            Some(_) => continue,
        };
        params["_meta"] = meta.clone();
        if call.notify(method, params).await.is_none() {
            break None;
        }
    };
    call.state.listening.fetch_sub(1, Ordering::Relaxed);
    over
}
