//! Saying that a person has to connect an account first, in the caller's revision: as input that the call requires, as an error that names the
//! page, or as a text with the link.

use serde_json::{json, value::RawValue};
use trunkline_protocol::{
    jsonrpc::ErrorObject,
    mcp::{Revision, URL_ELICITATION_REQUIRED, tools::ToolResult},
};

use super::{Voice, state::Held};
use crate::{
    call::Outcome,
    dialogue::{InputRequired, Reply, Retry},
    execution::{Answer, ConnectFirst, Run},
};

/// Key of the one thing that is asked.
const KEY: &str = "connection";

/// Puts a run that needs a connection into words for that caller; every other run stays as it is. `waits`: the request may be answered with
/// required input, and come back.
pub(super) fn say(voice: &Voice, waits: bool, run: Run, held: Option<Held>) -> (Run, Option<Held>) {
    let Answer::Connect(connect) = run.answer else { return (run, held) };
    let can_open = voice.capabilities.elicitation_url();
    let (answer, held) = match voice.revision {
        Revision::V2026_07_28 if can_open && waits => {
            let requests = RawValue::from_string(required(&connect)).ok();
            let retry = connect.retry.unwrap_or(Retry { responses: None, state: None });
            (Answer::Reply(Reply::InputRequired(InputRequired { requests, state: None })), Some(Held::connect(retry)))
        }
        Revision::V2025_11_25 if can_open => (Answer::Reply(Reply::Error(error(&connect))), None),
        _ => (Answer::Text(ToolResult { text: connect.text(), is_error: true }), None),
    };
    (Run { answer, ..run }, held)
}

fn required(connect: &ConnectFirst) -> String {
    let params = json!({ "mode": "url", "message": connect.message, "url": connect.url });
    json!({ KEY: { "method": "elicitation/create", "params": params } }).to_string()
}

fn error(connect: &ConnectFirst) -> ErrorObject {
    let id = crate::random::base62(22);
    let elicitation = json!({ "mode": "url", "elicitationId": id, "url": connect.url, "message": connect.message });
    ErrorObject::new(URL_ELICITATION_REQUIRED, connect.message.clone()).with_data(json!({ "elicitations": [elicitation] }))
}

/// What the tool's server gets after its caller has come back from there: what it had been brought before. The failure is a result for a
/// caller whose person does not want to connect.
pub(super) fn come_back(before: &Retry, responses: Option<&RawValue>) -> Result<Option<Retry>, Run> {
    let responses: serde_json::Value = responses.and_then(|json| serde_json::from_str(json.get()).ok()).unwrap_or_default();
    if matches!(responses[KEY]["action"].as_str(), Some("decline" | "cancel")) {
        let text = "The person does not want to connect their account now, so the tool did not run.";
        return Err(Run::failed(Outcome::ToolError, "connection_declined", text));
    }
    let has_any = before.responses.is_some() || before.state.is_some();
    Ok(has_any.then(|| before.clone()))
}
