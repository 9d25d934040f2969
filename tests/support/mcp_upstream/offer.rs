//! What it offers: lists in pages, resources, prompts, completion. The same in both eras.

use serde_json::{Value, json};

use super::{Seen, State, lock};

/// Items on one page.
const PAGE: usize = 5;

/// An answer's result, or its error's code, text and data.
pub(super) type Answer = Result<String, (i64, &'static str, Value)>;

/// Answers what is the same in both eras; `None` for a method that is not known here.
pub(super) async fn answer(state: &State, request: &Seen, not_found: i64) -> Option<Answer> {
    let params = &request.json["params"];
    let method = request.json["method"].as_str()?;
    if method.ends_with("/list") {
        let hang = lock(&state.faults).lists_hang;
        if hang {
            std::future::pending::<()>().await;
        }
    }
    let answer = match method {
        "tools/list" => page(state, "tools", &tools(state), params),
        "prompts/list" => page(state, "prompts", &prompts(), params),
        "resources/list" => page(state, "resources", &resources(), params),
        "resources/templates/list" => page(state, "resourceTemplates", &templates(), params),
        "resources/read" => match params["uri"].as_str() {
            Some("note://gone") => Err((not_found, "no such resource", json!({ "uri": "note://gone" }))),
            Some("note://hang") => std::future::pending().await,
            Some(uri) if uri.starts_with("note://") => {
                Ok(json!({ "contents": [{ "uri": uri, "mimeType": "text/plain", "text": format!("the text of {uri}"), "x-kept": [1.50, 1e2] }] })
                    .to_string())
            }
            uri => Err((not_found, "no such resource", json!({ "uri": uri }))),
        },
        "prompts/get" => match params["name"].as_str() {
            Some("greet") => {
                let text = format!("Greet {}.", params["arguments"]["who"].as_str().unwrap_or("nobody"));
                Ok(json!({ "messages": [{ "role": "user", "content": { "type": "text", "text": text } }] }).to_string())
            }
            _ => Err((-32602, "no such prompt", Value::Null)),
        },
        "completion/complete" => {
            let begun = params["argument"]["value"].as_str().unwrap_or_default();
            let values: Vec<_> = ["ada", "alan", "grace"].into_iter().filter(|name| name.starts_with(begun)).collect();
            Ok(json!({ "completion": { "values": values, "total": values.len(), "hasMore": false } }).to_string())
        }
        _ => return None,
    };
    Some(answer)
}

fn page(state: &State, member: &str, items: &[Value], params: &Value) -> Answer {
    let endless = lock(&state.faults).lists_endless;
    let start = match &params["cursor"] {
        Value::Null => 0,
        cursor => cursor.as_str().and_then(|text| text.parse().ok()).ok_or((-32602, "no such cursor", Value::Null))?,
    };
    let items: Vec<_> = if endless { items.iter().take(1).collect() } else { items.iter().skip(start).take(PAGE).collect() };
    let mut result = json!({ member: items });
    if endless || start + PAGE < self::count(state, member) {
        result["nextCursor"] = json!((start + PAGE).to_string());
    }
    Ok(result.to_string())
}

fn count(state: &State, member: &str) -> usize {
    match member {
        "tools" => tools(state).len(),
        "prompts" => prompts().len(),
        "resources" => resources().len(),
        _ => templates().len(),
    }
}

/// Every tool has one of these names; what it does is in `tools.rs`.
const TOOLS: &[&str] = &[
    "echo",
    "raw",
    "slow",
    "fail",
    "tool_error",
    "ask",
    "ask_twice",
    "ask_aside",
    "sample",
    "roots",
    "log",
    "wrong_id",
    "two_answers",
    "endless",
    "huge_event",
    "huge_result",
    "hang",
    "broken",
    "cut",
    "gone",
    "unknown_type",
    "odd_request",
    "silent",
    "flood",
];

fn tools(state: &State) -> Vec<Value> {
    let plain = TOOLS.iter().map(|name| {
        json!({
            "name": name,
            "description": format!("Does {name}."),
            "inputSchema": { "type": "object" },
            "x-unknown": { "kept": [1, 2.50, null] },
        })
    });
    let region = json!({
        "name": "region",
        "description": "Has parameters in headers.",
        "inputSchema": region_schema(),
        "annotations": { "readOnlyHint": true },
    });
    plain.chain([region]).chain(lock(&state.extra_tools).iter().cloned()).collect()
}

/// Input schema of the tool whose arguments are mirrored in headers.
pub(crate) fn region_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" },
            "count": { "type": "integer", "x-mcp-header": "Count" },
            "deep": { "type": "object", "properties": { "flag": { "type": "boolean", "x-mcp-header": "Flag" } } },
            "plain": { "type": "string" },
        },
    })
}

fn prompts() -> Vec<Value> {
    vec![json!({ "name": "greet", "description": "Greets.", "arguments": [{ "name": "who", "required": true }] })]
}

fn resources() -> Vec<Value> {
    (1..=7).map(|i| json!({ "uri": format!("note://{i}"), "name": format!("note {i}"), "mimeType": "text/plain" })).collect()
}

fn templates() -> Vec<Value> {
    vec![json!({ "uriTemplate": "note://{id}", "name": "any note" })]
}

/// What it says it can do.
pub(super) fn capabilities() -> Value {
    json!({
        "tools": { "listChanged": true },
        "prompts": { "listChanged": true },
        "resources": { "subscribe": true, "listChanged": true },
        "completions": {},
        "logging": {},
    })
}

/// Who it says it is.
pub(super) fn server_info() -> Value {
    json!({ "name": "upstream", "version": "1.2.3" })
}
