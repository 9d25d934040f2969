//! Tools that answer without asking: at once, or telling on the way how far they are.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;
use trunkline_protocol::mcp::LogLevel;

use super::{World, reply, request::Call, resources};
use crate::{
    bus::{self, Word},
    dialogue::{Dialogue, Progress, Reply},
};

/// Between two things that a tool says.
const STEP: Duration = Duration::from_millis(50);
/// After how many milliseconds a caller whose stream was closed comes back.
const COME_BACK_MS: u64 = 100;

/// Answers a call of one of these tools. `None`: it is none of them.
pub(super) async fn call(world: World<'_>, call: &Call, dialogue: &Dialogue) -> Option<Reply> {
    if let Some(word) = trigger(world, &call.name) {
        return Some(match bus::say(world.platform, word).await {
            Ok(()) => reply::text("Said."),
            Err(error) => reply::failure(format!("Not every listener was told: {error}.")),
        });
    }
    match content(&call.name) {
        Some(content) => Some(reply::result(&json!({ "content": content }))),
        None => at_length(call, dialogue).await,
    }
}

/// What a tool tells all replicas.
fn trigger(world: World<'_>, tool: &str) -> Option<Word> {
    let tenant = world.tenant.uuid();
    let changed = |list: &str| Some(Word::ListChanged { tenant, list: list.to_owned() });
    match tool {
        "test_trigger_tool_change" => changed("tools"),
        "test_trigger_prompt_change" => changed("prompts"),
        "test_trigger_resource_change" => changed("resources"),
        "test_trigger_resource_update" => Some(Word::ResourceUpdated { tenant, uri: resources::WATCHED.to_owned() }),
        _ => None,
    }
}

/// What a tool always returns.
fn content(tool: &str) -> Option<Value> {
    let image = json!({ "type": "image", "data": reply::PNG, "mimeType": "image/png" });
    let resource = |uri: &str, mime_type: &str, text: &str| json!({ "type": "resource", "resource": { "uri": uri, "mimeType": mime_type, "text": text } });
    match tool {
        "test_simple_text" => Some(json!([{ "type": "text", "text": "This is a simple text response for testing." }])),
        "test_image_content" => Some(json!([image])),
        "test_audio_content" => Some(json!([{ "type": "audio", "data": reply::WAV, "mimeType": "audio/wav" }])),
        "test_embedded_resource" => {
            Some(json!([resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")]))
        }
        "test_multiple_content_types" => Some(json!([
            { "type": "text", "text": "Multiple content types test:" },
            image,
            resource("test://mixed-content-resource", "application/json", r#"{"test":"data","value":123}"#),
        ])),
        _ => None,
    }
}

async fn at_length(call: &Call, dialogue: &Dialogue) -> Option<Reply> {
    Some(match call.name.as_str() {
        "test_error_handling" => reply::failure("This tool intentionally returns an error for testing"),
        "test_missing_capability" if dialogue.capabilities().sampling() => reply::text("The client declares sampling."),
        "test_missing_capability" => reply::not_capable("sampling/createMessage", &json!({})),
        "test_x_mcp_header" => reply::text(format!("Region: {}", call.text("region").unwrap_or("none"))),
        "json_schema_2020_12_tool" => reply::text(format!("Called with {}", Value::Object(call.arguments.clone()))),
        "test_tool_with_logging" => {
            log(dialogue, "Tool execution started").await;
            sleep(STEP).await;
            log(dialogue, "Tool processing data").await;
            sleep(STEP).await;
            log(dialogue, "Tool execution completed").await;
            reply::text("The tool has run and logged three messages.")
        }
        "test_logging_tool" => {
            log(dialogue, "The tool was called").await;
            reply::text("The tool has run and logged one message.")
        }
        "test_tool_with_progress" => {
            progress(dialogue, "0");
            sleep(STEP).await;
            progress(dialogue, "50");
            sleep(STEP).await;
            progress(dialogue, "100");
            reply::text("The tool has run and reported its progress.")
        }
        "test_reconnection" => {
            dialogue.pause(COME_BACK_MS).await;
            sleep(Duration::from_millis(2 * COME_BACK_MS)).await;
            reply::text("The result came after the stream was closed.")
        }
        _ => return None,
    })
}

async fn log(dialogue: &Dialogue, text: &str) {
    let params = json!({ "level": LogLevel::Info.as_str(), "logger": "conformance", "data": text });
    if let Ok(params) = serde_json::value::to_raw_value(&params) {
        dialogue.log(LogLevel::Info, params).await;
    }
}

fn progress(dialogue: &Dialogue, percent: &'static str) {
    dialogue.progress(Progress { progress: percent.into(), total: Some("100".into()), message: None });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialogue::{Listener, Said};

    #[tokio::test]
    async fn logs_progress_and_pauses_are_said_in_order() {
        for (tool, said) in [
            ("test_tool_with_logging", vec!["started", "processing", "completed"]),
            ("test_logging_tool", vec!["called"]),
            ("test_tool_with_progress", vec!["0", "50", "100"]),
            ("test_reconnection", vec!["100"]),
        ] {
            let listener = Listener { wants_progress: true, log_level: Some(LogLevel::Info), ..Listener::default() };
            let (dialogue, mut heard) = Dialogue::open(listener);
            let reply = at_length(&Call::of(tool, json!({})), &dialogue).await;
            assert!(matches!(reply, Some(Reply::Result(_))), "{tool}: {reply:?}");
            drop(dialogue);
            for expected in said {
                match heard.next().await {
                    Some(Said::Progress(progress)) => assert_eq!(progress.progress, expected),
                    Some(Said::Log(params)) => assert!(params.get().contains(expected), "{params}"),
                    Some(Said::Pause(retry_ms)) => assert_eq!(retry_ms.to_string(), expected),
                    other => panic!("{tool}: {other:?}"),
                }
            }
            assert!(heard.next().await.is_none(), "{tool}");
        }
    }

    #[tokio::test]
    async fn undeclared_sampling_is_refused_by_name() {
        let reply = at_length(&Call::of("test_missing_capability", json!({})), &Dialogue::silent()).await;
        let Some(Reply::Error(error)) = reply else { panic!("expected an error: {reply:?}") };
        assert_eq!((error.code, error.data), (-32021, Some(json!({ "requiredCapabilities": { "sampling": {} } }))));
    }

    #[test]
    fn content_has_the_types_that_its_tool_is_named_for() {
        let types = |tool: &str| {
            let content = content(tool).unwrap_or_default();
            content
                .as_array()
                .into_iter()
                .flatten()
                .map(|block| block["type"].as_str().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(types("test_simple_text"), ["text"]);
        assert_eq!(types("test_audio_content"), ["audio"]);
        assert_eq!(types("test_multiple_content_types"), ["text", "image", "resource"]);
        assert!(types("other").is_empty());
    }
}
