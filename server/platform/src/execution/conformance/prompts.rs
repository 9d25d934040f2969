//! Prompts, and completion of their arguments.

use serde::Deserialize;
use serde_json::{Value, json};
use trunkline_protocol::mcp::object::RawObject;

use super::{questions::Question, reply, request::Call, rounds};
use crate::dialogue::{Dialogue, Reply, Retry};

const CONTEXT: Question = Question::Text { message: "What context should the prompt use?", field: "context" };

/// Answers `prompts/get`.
pub(super) fn get(params: &RawObject<'_>, retry: Option<&Retry>, dialogue: &Dialogue) -> Reply {
    match Call::read(params) {
        Some(call) => messages(&call, retry, dialogue).map_or_else(
            |reply| reply,
            |contents| {
                let messages: Vec<Value> =
                    contents.into_iter().map(|content| json!({ "role": "user", "content": content })).collect();
                reply::result(&json!({ "messages": messages }))
            },
        ),
        None => reply::invalid("name is not a text, or arguments is not an object"),
    }
}

/// Contents of a prompt's messages.
fn messages(prompt: &Call, retry: Option<&Retry>, dialogue: &Dialogue) -> Result<Vec<Value>, Reply> {
    let text = |text: String| json!({ "type": "text", "text": text });
    let argument =
        |name: &str| prompt.text(name).ok_or_else(|| reply::invalid(format!("the argument {name} is missing, or not a text")));
    Ok(match prompt.name.as_str() {
        "test_simple_prompt" => vec![text("This is a simple prompt for testing.".to_owned())],
        "test_prompt_with_arguments" => {
            vec![text(format!("Prompt with arguments: arg1='{}', arg2='{}'", argument("arg1")?, argument("arg2")?))]
        }
        "test_prompt_with_embedded_resource" => {
            let content = "Embedded resource content for testing.";
            let resource = json!({ "uri": argument("resourceUri")?, "mimeType": "text/plain", "text": content });
            vec![
                json!({ "type": "resource", "resource": resource }),
                text("Please process the embedded resource above.".to_owned()),
            ]
        }
        "test_prompt_with_image" => vec![
            json!({ "type": "image", "data": reply::PNG, "mimeType": "image/png" }),
            text("Please analyze the image above.".to_owned()),
        ],
        "test_input_required_result_prompt" => {
            let said = rounds::gather(&[("user_context", CONTEXT)], None, retry, dialogue)?;
            vec![text(format!("Prompt with context: {}", said[0]))]
        }
        name => return Err(reply::invalid(format!("there is no prompt {name:?}"))),
    })
}

/// Params of `completion/complete`.
#[derive(Deserialize)]
struct Completion {
    argument: Argument,
    r#ref: Reference,
}

#[derive(Deserialize)]
struct Argument {
    name: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Reference {
    #[serde(rename = "ref/prompt")]
    Prompt { name: String },
    #[serde(rename = "ref/resource")]
    Resource { uri: String },
}

/// Answers `completion/complete`.
pub(super) fn complete(params: &RawObject<'_>) -> Reply {
    let Ok(asked) = serde_json::from_str::<Completion>(&params.to_json()) else {
        return reply::invalid("expected ref, of a prompt by name or a resource by uri, and argument with name and value");
    };
    let Some(known) = values(&asked.r#ref, &asked.argument.name) else {
        return reply::invalid(format!("there is no such ref with an argument {:?}", asked.argument.name));
    };
    let values: Vec<&str> = known.iter().copied().filter(|value| value.starts_with(&asked.argument.value)).collect();
    reply::result(&json!({ "completion": { "values": values, "total": values.len(), "hasMore": false } }))
}

/// What an argument can be.
fn values(of: &Reference, argument: &str) -> Option<&'static [&'static str]> {
    match (of, argument) {
        (Reference::Prompt { name }, "arg1" | "arg2") if name == "test_prompt_with_arguments" => {
            Some(&["paris", "park", "party", "test", "testing"])
        }
        (Reference::Prompt { name }, "resourceUri") if name == "test_prompt_with_embedded_resource" => {
            Some(&["test://static-binary", "test://static-text", "test://watched-resource"])
        }
        (Reference::Resource { uri }, "id") if uri == "test://template/{id}/data" => Some(&["1", "12", "123"]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json_of(reply: &Reply) -> Value {
        let Reply::Result(raw) = reply else { panic!("expected a result: {reply:?}") };
        serde_json::from_str(raw.get()).expect("JSON")
    }

    fn get_prompt(params: &str) -> Reply {
        get(&RawObject::parse(params).expect("an object"), None, &Dialogue::silent())
    }

    #[test]
    fn arguments_stand_in_their_prompts() {
        let reply = get_prompt(r#"{"name":"test_prompt_with_arguments","arguments":{"arg1":"hello","arg2":"world"}}"#);
        assert_eq!(json_of(&reply)["messages"][0]["content"]["text"], "Prompt with arguments: arg1='hello', arg2='world'");
        let reply = get_prompt(r#"{"name":"test_prompt_with_embedded_resource","arguments":{"resourceUri":"test://a"}}"#);
        assert_eq!(json_of(&reply)["messages"][0]["content"]["resource"]["uri"], "test://a");
        for broken in [
            r#"{"name":"test_prompt_with_arguments","arguments":{"arg1":"hello"}}"#,
            r#"{"name":"test_simple_prompt","arguments":[]}"#,
            r#"{"name":"none"}"#,
            "{}",
        ] {
            assert!(matches!(get_prompt(broken), Reply::Error(error) if error.code == -32602), "{broken}");
        }
    }

    #[test]
    fn completion_gives_what_begins_alike() {
        let complete = |params: &str| complete(&RawObject::parse(params).expect("an object"));
        let reply = complete(
            r#"{"ref":{"type":"ref/prompt","name":"test_prompt_with_arguments"},"argument":{"name":"arg1","value":"par"}}"#,
        );
        assert_eq!(json_of(&reply)["completion"]["values"], json!(["paris", "park", "party"]));
        let reply = complete(
            r#"{"ref":{"type":"ref/resource","uri":"test://template/{id}/data"},"argument":{"name":"id","value":"12"}}"#,
        );
        assert_eq!(json_of(&reply)["completion"]["total"], 2);
        for broken in [
            r#"{"ref":{"type":"ref/prompt","name":"none"},"argument":{"name":"arg1","value":""}}"#,
            r#"{"ref":{"type":"ref/other"},"argument":{"name":"arg1","value":""}}"#,
            "{}",
        ] {
            assert!(matches!(complete(broken), Reply::Error(error) if error.code == -32602), "{broken}");
        }
    }
}
