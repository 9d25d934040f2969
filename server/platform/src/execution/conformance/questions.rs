//! Questions to a caller's client: their parameters, and what an answer says. Answers come from outside and are read with care.

use serde_json::{Value, json};

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// The user fills in one text.
    Text { message: &'static str, field: &'static str },
    /// The user says yes or no.
    Confirm { message: &'static str, field: &'static str },
    /// The model writes something.
    Sample { prompt: &'static str, max_tokens: u32 },
    /// The client names its roots.
    Roots,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The text, `yes` or `no`, what the model wrote, or how many roots there are.
    Given(String),
    /// The user does not want to say; the word is the action.
    Declined(String),
    /// Nothing that answers the question.
    Unusable,
}

impl Question {
    /// The method that asks it.
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Text { .. } | Self::Confirm { .. } => "elicitation/create",
            Self::Sample { .. } => "sampling/createMessage",
            Self::Roots => "roots/list",
        }
    }

    /// The parameters.
    pub(super) fn params(self) -> Value {
        match self {
            Self::Text { message, field } => form(message, field, "string"),
            Self::Confirm { message, field } => form(message, field, "boolean"),
            Self::Sample { prompt, max_tokens } => sample(prompt, max_tokens),
            Self::Roots => json!({}),
        }
    }

    /// Reads an answer.
    pub(super) fn read(self, answer: &Value) -> Answer {
        match self {
            Self::Text { field, .. } => read_form(answer, |content| content[field].as_str().map(str::to_owned)),
            Self::Confirm { field, .. } => {
                read_form(answer, |content| content[field].as_bool().map(|yes| if yes { "yes" } else { "no" }.to_owned()))
            }
            Self::Sample { .. } => sampled_text(answer).map_or(Answer::Unusable, Answer::Given),
            Self::Roots => count_roots(answer).map_or(Answer::Unusable, |count| Answer::Given(count.to_string())),
        }
    }
}

/// Parameters of a question to the model.
pub(super) fn sample(prompt: &str, max_tokens: u32) -> Value {
    json!({ "messages": [{ "role": "user", "content": { "type": "text", "text": prompt } }], "maxTokens": max_tokens })
}

/// The first text that a model wrote: revisions differ in whether `content` is one block or several.
pub(super) fn sampled_text(answer: &Value) -> Option<String> {
    let content = &answer["content"];
    let blocks = content.as_array().map_or(std::slice::from_ref(content), Vec::as_slice);
    blocks.iter().find(|block| block["type"] == "text")?["text"].as_str().map(str::to_owned)
}

fn form(message: &str, field: &str, kind: &str) -> Value {
    let schema = json!({ "type": "object", "properties": { field: { "type": kind } }, "required": [field] });
    json!({ "message": message, "requestedSchema": schema })
}

fn read_form(answer: &Value, value: impl FnOnce(&Value) -> Option<String>) -> Answer {
    match answer["action"].as_str() {
        Some("accept") => value(&answer["content"]).map_or(Answer::Unusable, Answer::Given),
        Some(action @ ("decline" | "cancel")) => Answer::Declined(action.to_owned()),
        _ => Answer::Unusable,
    }
}

fn count_roots(answer: &Value) -> Option<usize> {
    let roots = answer["roots"].as_array()?;
    roots.iter().all(|root| root["uri"].is_string()).then_some(roots.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_with_care() {
        let name = Question::Text { message: "?", field: "name" };
        let sure = Question::Confirm { message: "?", field: "ok" };
        let sample = Question::Sample { prompt: "?", max_tokens: 1 };
        let given = |text: &str| Answer::Given(text.to_owned());
        for (question, answer, read) in [
            (name, json!({ "action": "accept", "content": { "name": "Ada", "more": 1 } }), given("Ada")),
            (name, json!({ "action": "accept", "content": { "name": 1 } }), Answer::Unusable),
            (name, json!({ "action": "accept" }), Answer::Unusable),
            (name, json!({ "action": "decline" }), Answer::Declined("decline".to_owned())),
            (name, json!(12345), Answer::Unusable),
            (sure, json!({ "action": "accept", "content": { "ok": false } }), given("no")),
            (sure, json!({ "action": "accept", "content": { "ok": "true" } }), Answer::Unusable),
            (sample, json!({ "content": { "type": "text", "text": "a" } }), given("a")),
            (sample, json!({ "content": [{ "type": "image" }, { "type": "text", "text": "b" }] }), given("b")),
            (sample, json!({ "content": [] }), Answer::Unusable),
            (Question::Roots, json!({ "roots": [{ "uri": "file:///a" }] }), given("1")),
            (Question::Roots, json!({ "roots": [1] }), Answer::Unusable),
        ] {
            assert_eq!(question.read(&answer), read, "{question:?} {answer}");
        }
    }
}
