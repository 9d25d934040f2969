//! Tools that ask the caller's client while they run.

use serde_json::{Value, json, value::to_raw_value};

use super::{questions, reply, request::Call};
use crate::dialogue::{AskError, Dialogue, Reply};

/// Answers a call of one of these tools. `None`: it is none of them.
pub(super) async fn call(call: &Call, dialogue: &Dialogue) -> Option<Reply> {
    Some(match call.name.as_str() {
        "test_sampling" => sampling(call, dialogue).await,
        "test_elicitation" => {
            let message = call.text("message").unwrap_or_default();
            form(dialogue, "User response", &json!({ "message": message, "requestedSchema": contact() })).await
        }
        "test_elicitation_sep1034_defaults" => {
            let params = json!({ "message": "Please review the values and change what is wrong", "requestedSchema": defaults() });
            form(dialogue, "Elicitation completed", &params).await
        }
        "test_elicitation_sep1330_enums" => {
            let params = json!({ "message": "Please choose from each of the lists", "requestedSchema": choices() });
            form(dialogue, "Elicitation completed", &params).await
        }
        _ => return None,
    })
}

/// Asks, and reads the answer.
pub(super) async fn ask(dialogue: &Dialogue, method: &str, params: &Value) -> Result<Value, Reply> {
    let raw = to_raw_value(params).map_err(|_| reply::invalid("the question could not be written"))?;
    let asked: Result<_, AskError> = dialogue.ask(method, raw).await;
    let answer = asked.map_err(|error| reply::unanswered(method, params, &error))?;
    serde_json::from_str(answer.get()).map_err(|_| reply::failure(format!("The answer to {method} cannot be read.")))
}

async fn sampling(call: &Call, dialogue: &Dialogue) -> Reply {
    let params = questions::sample(call.text("prompt").unwrap_or_default(), 100);
    match ask(dialogue, "sampling/createMessage", &params).await {
        Ok(answer) => match questions::sampled_text(&answer) {
            Some(text) => reply::text(format!("LLM response: {text}")),
            None => reply::failure("The model's answer has no text."),
        },
        Err(reply) => reply,
    }
}

/// Shows a form and returns what came back.
async fn form(dialogue: &Dialogue, title: &str, params: &Value) -> Reply {
    match ask(dialogue, "elicitation/create", params).await {
        Ok(answer) => match answer["action"].as_str() {
            Some(action @ ("accept" | "decline" | "cancel")) => {
                let content = answer.get("content").cloned().unwrap_or_else(|| json!({}));
                reply::text(format!("{title}: action={action}, content={content}"))
            }
            _ => reply::failure("The answer has no action: expected accept, decline or cancel."),
        },
        Err(reply) => reply,
    }
}

fn contact() -> Value {
    json!({
        "type": "object",
        "properties": {
            "username": { "type": "string", "description": "User's response" },
            "email": { "type": "string", "description": "User's email address" },
        },
        "required": ["username", "email"],
    })
}

fn defaults() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "description": "A text", "default": "John Doe" },
            "age": { "type": "integer", "description": "A whole number", "default": 30 },
            "score": { "type": "number", "description": "A number", "default": 95.5 },
            "status": { "type": "string", "description": "A choice", "enum": ["active", "inactive", "pending"], "default": "active" },
            "verified": { "type": "boolean", "description": "Yes or no", "default": true },
        },
        "required": [],
    })
}

fn choices() -> Value {
    let titled = |word: &str| {
        let option = |value: &str, nth: &str| json!({ "const": value, "title": format!("{nth} {word}") });
        json!([option("value1", "First"), option("value2", "Second"), option("value3", "Third")])
    };
    let untitled = json!(["option1", "option2", "option3"]);
    json!({
        "type": "object",
        "properties": {
            "untitledSingle": { "type": "string", "description": "One of these", "enum": untitled },
            "titledSingle": { "type": "string", "description": "One of these, by title", "oneOf": titled("Option") },
            "legacyEnum": {
                "type": "string",
                "description": "One of these, by title, as it was written before",
                "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"],
            },
            "untitledMulti": {
                "type": "array",
                "description": "Some of these",
                "minItems": 1,
                "maxItems": 3,
                "items": { "type": "string", "enum": untitled },
            },
            "titledMulti": {
                "type": "array",
                "description": "Some of these, by title",
                "minItems": 1,
                "maxItems": 3,
                "items": { "anyOf": titled("Choice") },
            },
        },
        "required": [],
    })
}

#[cfg(test)]
mod tests {
    use trunkline_protocol::mcp::capabilities::ClientCapabilities;

    use super::*;
    use crate::dialogue::{Listener, Said};

    /// Runs a tool with a client that gives that answer, and returns the result's text and what was asked.
    async fn asked(tool: &str, arguments: Value, answer: Value) -> (String, Value) {
        let capabilities = ClientCapabilities::parse(r#"{"elicitation":{},"sampling":{}}"#).expect("an object");
        let (dialogue, mut heard) = Dialogue::open(Listener { capabilities, asks_inline: true, ..Listener::default() });
        let tool = Call::of(tool, arguments);
        let (reply, params) = tokio::join!(call(&tool, &dialogue), async {
            let Some(Said::Question(question)) = heard.next().await else { panic!("expected a question") };
            question.answer.send(Ok(to_raw_value(&answer).expect("JSON"))).expect("somebody waits");
            serde_json::from_str(question.params.get()).expect("JSON")
        });
        let Some(Reply::Result(result)) = reply else { panic!("expected a result: {reply:?}") };
        let result: Value = serde_json::from_str(result.get()).expect("JSON");
        (result["content"][0]["text"].as_str().expect("text").to_owned(), params)
    }

    #[tokio::test]
    async fn the_answer_of_model_and_user_is_returned() {
        let model = json!({ "role": "assistant", "content": { "type": "text", "text": "Paris" }, "model": "m" });
        let (text, params) = asked("test_sampling", json!({ "prompt": "Capital?" }), model).await;
        assert_eq!((text.as_str(), params["messages"][0]["content"]["text"].as_str()), ("LLM response: Paris", Some("Capital?")));
        let user = json!({ "action": "accept", "content": { "username": "ada" } });
        let (text, params) = asked("test_elicitation", json!({ "message": "Who?" }), user).await;
        assert_eq!(text, r#"User response: action=accept, content={"username":"ada"}"#);
        assert_eq!(params["message"], "Who?");
        let (text, _) = asked("test_elicitation_sep1034_defaults", json!({}), json!({ "action": "cancel" })).await;
        assert_eq!(text, "Elicitation completed: action=cancel, content={}");
        let (text, _) = asked("test_elicitation_sep1330_enums", json!({}), json!(7)).await;
        assert!(text.starts_with("The answer has no action"), "{text}");
    }

    #[tokio::test]
    async fn a_client_that_cannot_be_asked_learns_what_is_missing() {
        let tool = Call::of("test_sampling", json!({ "prompt": "?" }));
        let Some(Reply::Error(error)) = call(&tool, &Dialogue::silent()).await else { panic!("expected an error") };
        assert_eq!((error.code, error.data), (-32021, Some(json!({ "requiredCapabilities": { "sampling": {} } }))));
    }
}
