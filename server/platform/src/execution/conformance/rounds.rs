//! Tools that return their questions as required input and go on when the caller comes back with the answers.
//!
//! The state is plain text here: whoever carries it to the caller and back seals it and binds it to the caller and the request.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    questions::{Answer, Question},
    reply,
    request::Call,
};
use crate::dialogue::{Dialogue, Progress, Reply, Retry};

/// What the user is called.
pub(super) const NAME: Question = Question::Text { message: "What is your name?", field: "name" };
const CONFIRM: Question = Question::Confirm { message: "Please confirm", field: "ok" };
const CAPITAL: Question = Question::Sample { prompt: "What is the capital of France?", max_tokens: 100 };
const GREETING: Question = Question::Sample { prompt: "Generate a greeting", max_tokens: 50 };
const STEP_1: Question = Question::Text { message: "Step 1: What is your name?", field: "name" };
const STEP_2: Question = Question::Text { message: "Step 2: What is your favorite color?", field: "color" };
const ANY_TEXT: Question = Question::Text { message: "Please say something", field: "value" };
const ANY_SAMPLE: Question = Question::Sample { prompt: "Please say something", max_tokens: 50 };

/// Answers a call of one of these tools. `None`: it is none of them.
pub(super) fn call(call: &Call, retry: Option<&Retry>, dialogue: &Dialogue) -> Option<Reply> {
    let round = |asked: &[(&str, Question)], state: Option<&str>| gather(asked, state, retry, dialogue);
    let gathered = match call.name.as_str() {
        "test_input_required_result_elicitation" => {
            round(&[("user_name", NAME)], None).map(|said| format!("Hello, {}!", said[0]))
        }
        "test_input_required_result_sampling" => {
            round(&[("capital_question", CAPITAL)], None).map(|said| format!("The model says: {}", said[0]))
        }
        "test_input_required_result_list_roots" => {
            round(&[("client_roots", Question::Roots)], None).map(|said| format!("The client has {} roots.", said[0]))
        }
        "test_input_required_result_request_state" => {
            round(&[("confirm", CONFIRM)], Some("request-state")).map(|said| format!("state-ok, confirmed: {}", said[0]))
        }
        "test_input_required_result_tampered_state" => {
            round(&[("confirm", CONFIRM)], Some("tampered-state")).map(|said| format!("integrity-ok, confirmed: {}", said[0]))
        }
        "test_input_required_result_multiple_inputs" => {
            let asked = [("user_name", NAME), ("greeting", GREETING), ("client_roots", Question::Roots)];
            round(&asked, Some("multiple-inputs")).map(|said| format!("{} to {}, with {} roots.", said[1], said[0], said[2]))
        }
        "test_input_required_result_multi_round" => multi_round(retry, dialogue),
        "test_input_required_result_capabilities" => capabilities(retry, dialogue),
        "test_streaming_elicitation" => {
            let message = Some(r#""The question follows.""#.into());
            dialogue.progress(Progress { progress: "1".into(), total: Some("2".into()), message });
            round(&[("user_name", NAME)], None).map(|said| format!("Hello, {}!", said[0]))
        }
        _ => return None,
    };
    Some(gathered.map_or_else(|reply| reply, reply::text))
}

/// The answers to all of the questions, in their order. Else what the caller gets: the questions, again if an answer is missing or unusable.
pub(super) fn gather(
    asked: &[(&str, Question)],
    state: Option<&str>,
    retry: Option<&Retry>,
    dialogue: &Dialogue,
) -> Result<Vec<String>, Reply> {
    let given = given_state(retry);
    if given.is_some() && given != state {
        return Err(foreign_state());
    }
    // Answers without the state that was given with the questions are none.
    let Some(answers) = answers(asked, retry).filter(|_| given == state) else {
        return Err(require(asked, state.map(str::to_owned), dialogue));
    };
    let texts = answers.into_iter().zip(asked).map(|(answer, (key, _))| match answer {
        Answer::Given(text) => Ok(text),
        Answer::Declined(action) => Err(reply::failure(format!("{key} was not answered: {action}."))),
        Answer::Unusable => Err(reply::failure(format!("{key} was not answered."))),
    });
    texts.collect()
}

/// The answers to all of the questions, if they are there, each given or declined.
pub(super) fn answers(asked: &[(&str, Question)], retry: Option<&Retry>) -> Option<Vec<Answer>> {
    let responses = responses(retry);
    let read = asked.iter().map(|(key, question)| responses.get(*key).map_or(Answer::Unusable, |answer| question.read(answer)));
    read.map(|answer| (answer != Answer::Unusable).then_some(answer)).collect()
}

/// The state that came back, if any.
fn given_state(retry: Option<&Retry>) -> Option<&str> {
    retry.and_then(|retry| retry.state.as_deref())
}

fn foreign_state() -> Reply {
    reply::invalid("requestState is none that was given with this request's questions")
}

/// The answers by key; none if they are not an object.
fn responses(retry: Option<&Retry>) -> Map<String, Value> {
    let raw = retry.and_then(|retry| retry.responses.as_deref());
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

/// The questions as required input; for a client that cannot be asked one of them, an error that says so.
fn require(asked: &[(&str, Question)], state: Option<String>, dialogue: &Dialogue) -> Reply {
    let mut requests = Map::new();
    for (key, question) in asked {
        let (method, params) = (question.method(), question.params());
        if !dialogue.capabilities().allows(method, &params) {
            return reply::not_capable(method, &params);
        }
        requests.insert((*key).to_owned(), json!({ "method": method, "params": params }));
    }
    reply::input_required(&Value::Object(requests), state)
}

/// Where the two rounds are.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
enum Step {
    Name,
    Color { name: String },
}

impl Step {
    fn to_state(&self) -> String {
        // An enum of texts always has a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn multi_round(retry: Option<&Retry>, dialogue: &Dialogue) -> Result<String, Reply> {
    let step = match given_state(retry) {
        None => Step::Name,
        Some(state) => serde_json::from_str(state).map_err(|_| foreign_state())?,
    };
    let state = step.to_state();
    match step {
        Step::Name => {
            let said = gather(&[("step1", STEP_1)], Some(&state), retry, dialogue)?;
            let next = Step::Color { name: said[0].clone() };
            Err(require(&[("step2", STEP_2)], Some(next.to_state()), dialogue))
        }
        Step::Color { name } => {
            let said = gather(&[("step2", STEP_2)], Some(&state), retry, dialogue)?;
            Ok(format!("{name} likes {}.", said[0]))
        }
    }
}

/// Asks only what the client can be asked.
fn capabilities(retry: Option<&Retry>, dialogue: &Dialogue) -> Result<String, Reply> {
    let mut asked = vec![("elicit_input", ANY_TEXT), ("sample_input", ANY_SAMPLE), ("client_roots", Question::Roots)];
    asked.retain(|(_, question)| dialogue.capabilities().allows(question.method(), &question.params()));
    if asked.is_empty() {
        return Ok("The client declares nothing that it can be asked.".to_owned());
    }
    gather(&asked, Some("capabilities"), retry, dialogue).map(|said| format!("The client says: {}", said.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::value::{RawValue, to_raw_value};
    use trunkline_protocol::mcp::capabilities::ClientCapabilities;

    use super::*;
    use crate::dialogue::{InputRequired, Listener};

    fn dialogue(capabilities: &str) -> Dialogue {
        let capabilities = ClientCapabilities::parse(capabilities).expect("an object");
        Dialogue::open(Listener { capabilities, ..Listener::default() }).0
    }

    fn everything() -> Dialogue {
        dialogue(r#"{"elicitation":{},"sampling":{},"roots":{}}"#)
    }

    fn retry(responses: &Value, state: Option<&str>) -> Retry {
        let responses: Box<RawValue> = to_raw_value(responses).expect("JSON");
        Retry { responses: Some(responses), state: state.map(str::to_owned) }
    }

    fn run(name: &str, retry: Option<&Retry>, dialogue: &Dialogue) -> Reply {
        call(&Call::of(name, json!({})), retry, dialogue).expect("one of these tools")
    }

    /// The questions by key, and the state.
    fn required(reply: Reply) -> (Value, Option<String>) {
        let Reply::InputRequired(InputRequired { requests, state }) = reply else { panic!("expected questions: {reply:?}") };
        (serde_json::from_str(requests.expect("questions").get()).expect("JSON"), state)
    }

    fn completed(reply: &Reply) -> Value {
        let Reply::Result(raw) = reply else { panic!("expected a result: {reply:?}") };
        serde_json::from_str(raw.get()).expect("JSON")
    }

    fn code(reply: &Reply) -> i64 {
        let Reply::Error(error) = reply else { panic!("expected an error: {reply:?}") };
        error.code
    }

    fn accept(content: &Value) -> Value {
        json!({ "action": "accept", "content": content })
    }

    #[test]
    fn a_question_is_asked_until_it_is_answered() {
        let (name, client) = ("test_input_required_result_elicitation", everything());
        let (requests, state) = required(run(name, None, &client));
        assert_eq!((requests["user_name"]["method"].as_str(), state), (Some("elicitation/create"), None));
        for wrong in [json!({ "wrong_key": accept(&json!({})) }), json!({ "user_name": 12345 }), json!(null), json!([1])] {
            required(run(name, Some(&retry(&wrong, None)), &client));
        }
        let right = json!({ "user_name": accept(&json!({ "name": "Ada" })), "more": accept(&json!({})) });
        let result = completed(&run(name, Some(&retry(&right, None)), &client));
        assert_eq!(result["content"][0]["text"], "Hello, Ada!");
        let declined = completed(&run(name, Some(&retry(&json!({ "user_name": { "action": "decline" } }), None)), &client));
        assert_eq!(declined["isError"], true);
    }

    #[test]
    fn only_a_state_that_was_given_is_taken() {
        let (name, client) = ("test_input_required_result_request_state", everything());
        let (_, state) = required(run(name, None, &client));
        let confirmed = json!({ "confirm": accept(&json!({ "ok": true })) });
        let result = completed(&run(name, Some(&retry(&confirmed, state.as_deref())), &client));
        assert_eq!(result["content"][0]["text"], "state-ok, confirmed: yes");
        assert_eq!(code(&run(name, Some(&retry(&confirmed, Some("another"))), &client)), -32602);
        required(run(name, Some(&retry(&confirmed, None)), &client));
        let stateless = "test_input_required_result_elicitation";
        assert_eq!(code(&run(stateless, Some(&retry(&json!({}), Some("any"))), &client)), -32602);
    }

    #[test]
    fn state_changes_from_round_to_round() {
        let (name, client) = ("test_input_required_result_multi_round", everything());
        let (_, first) = required(run(name, None, &client));
        let step1 = json!({ "step1": accept(&json!({ "name": "Ada" })) });
        let (requests, second) = required(run(name, Some(&retry(&step1, first.as_deref())), &client));
        assert!(requests["step2"].is_object() && second.is_some() && second != first);
        let step2 = json!({ "step2": accept(&json!({ "color": "blue" })) });
        let result = completed(&run(name, Some(&retry(&step2, second.as_deref())), &client));
        assert_eq!(result["content"][0]["text"], "Ada likes blue.");
        assert_eq!(code(&run(name, Some(&retry(&step2, Some("{}"))), &client)), -32602);
    }

    #[test]
    fn several_questions_need_all_of_their_answers() {
        let (name, client) = ("test_input_required_result_multiple_inputs", everything());
        let (requests, state) = required(run(name, None, &client));
        assert_eq!(requests.as_object().map(Map::len), Some(3));
        let mut said = json!({
            "user_name": accept(&json!({ "name": "Ada" })),
            "greeting": { "role": "assistant", "content": { "type": "text", "text": "Hello" }, "model": "m" },
        });
        required(run(name, Some(&retry(&said, state.as_deref())), &client));
        said["client_roots"] = json!({ "roots": [{ "uri": "file:///a" }] });
        let result = completed(&run(name, Some(&retry(&said, state.as_deref())), &client));
        assert_eq!(result["content"][0]["text"], "Hello to Ada, with 1 roots.");
    }

    #[test]
    fn nothing_is_asked_that_the_client_does_not_declare() {
        let reply = run("test_input_required_result_elicitation", None, &dialogue(r#"{"sampling":{}}"#));
        let Reply::Error(error) = reply else { panic!("expected an error") };
        assert_eq!((error.code, error.data), (-32021, Some(json!({ "requiredCapabilities": { "elicitation": {} } }))));
        let name = "test_input_required_result_capabilities";
        let (requests, _) = required(run(name, None, &dialogue(r#"{"sampling":{}}"#)));
        assert_eq!(
            requests.as_object().map(|asked| asked.keys().cloned().collect::<Vec<_>>()),
            Some(vec!["sample_input".to_owned()])
        );
        completed(&run(name, None, &dialogue("{}")));
    }
}
