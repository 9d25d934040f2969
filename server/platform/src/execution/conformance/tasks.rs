//! Tools that make sense in the background. They are ordinary answers: whoever calls them owns the task, and cancels it by dropping the answer.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;
use trunkline_protocol::jsonrpc::{ErrorObject, INTERNAL_ERROR};

use super::{
    asks::ask,
    questions::{Answer, Question},
    reply,
    request::Call,
    rounds,
};
use crate::dialogue::{Dialogue, Progress, Reply, Retry};

/// May a call run as a task?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskUse {
    /// It is answered at once.
    Never,
    /// As a task for a caller that takes tasks, else at once.
    Possible,
    /// Only as a task: a caller that takes none is refused before anything runs.
    Required,
}

/// How a tool's calls run.
pub fn task_use(tool: &str) -> TaskUse {
    match tool {
        "slow_compute" | "protocol_error_job" | "confirm_delete" | "multi_input" => TaskUse::Possible,
        "failing_job" | "test_tool_with_task" => TaskUse::Required,
        _ => TaskUse::Never,
    }
}

/// Will this round of a tool that runs as a task only ask for input? Then it is answered at once; the task begins when the input is there.
pub fn asks_first(tool: &str, retry: Option<&Retry>) -> bool {
    tool == "test_tool_with_task" && rounds::answers(FIRST, retry).is_none()
}

const FIRST: &[(&str, Question)] = &[("user_name", rounds::NAME)];
const STEP: Duration = Duration::from_secs(1);

/// Answers a call of one of these tools. `None`: it is none of them.
pub(super) async fn call(call: &Call, retry: Option<&Retry>, dialogue: &Dialogue) -> Option<Reply> {
    Some(match call.name.as_str() {
        "greet" => reply::text(format!("Hello, {}!", call.text("name").unwrap_or_default())),
        "slow_compute" => slow_compute(call, dialogue).await,
        "failing_job" => {
            sleep(STEP).await;
            reply::failure("The job failed, as it always does.")
        }
        "protocol_error_job" => {
            sleep(STEP / 4).await;
            Reply::Error(ErrorObject::new(INTERNAL_ERROR, "The job ended with a protocol error, as it always does."))
        }
        "confirm_delete" => confirm_delete(call, dialogue).await.unwrap_or_else(|reply| reply),
        "multi_input" => multi_input(dialogue).await.unwrap_or_else(|reply| reply),
        "test_tool_with_task" => match rounds::gather(FIRST, None, retry, dialogue) {
            Ok(said) => {
                sleep(STEP / 2).await;
                reply::text(format!("Worked for {}.", said[0]))
            }
            Err(reply) => reply,
        },
        _ => return None,
    })
}

/// Sleeps in steps of a second and tells how far it is.
async fn slow_compute(call: &Call, dialogue: &Dialogue) -> Reply {
    let seconds = call.arguments.get("seconds").and_then(Value::as_f64).unwrap_or_default();
    let Some(whole) = Duration::try_from_secs_f64(seconds).ok().filter(|whole| *whole <= STEP * 120) else {
        return reply::failure("seconds is not between 0 and 120");
    };
    let total = json!(seconds).to_string();
    let mut done = Duration::ZERO;
    while done < whole {
        let step = STEP.min(whole.saturating_sub(done));
        sleep(step).await;
        done += step;
        let progress = json!(done.as_secs_f64()).to_string().into();
        dialogue.progress(Progress { progress, total: Some(total.clone().into()), message: None });
    }
    reply::text(format!("Computed {} in {seconds} s.", call.text("label").unwrap_or("something")))
}

async fn confirm_delete(call: &Call, dialogue: &Dialogue) -> Result<Reply, Reply> {
    let file = call.text("filename").unwrap_or_default();
    let question = Question::Confirm { message: "", field: "confirm" };
    let mut params = question.params();
    params["message"] = json!(format!("Should {file} be deleted?"));
    Ok(match question.read(&ask(dialogue, question.method(), &params).await?) {
        Answer::Given(said) if said == "yes" => reply::text(format!("You want {file} to be deleted.")),
        Answer::Given(_) | Answer::Declined(_) => reply::text(format!("You want to keep {file}.")),
        Answer::Unusable => reply::failure("The answer does not fit the question: expected confirm, true or false."),
    })
}

/// Both questions are there at the same time.
async fn multi_input(dialogue: &Dialogue) -> Result<Reply, Reply> {
    let sure = Question::Confirm { message: "Are you sure?", field: "confirm" };
    let put = async |question: Question| ask(dialogue, question.method(), &question.params()).await;
    let (name, confirmed) = tokio::try_join!(put(rounds::NAME), put(sure))?;
    Ok(match (rounds::NAME.read(&name), sure.read(&confirmed)) {
        (Answer::Given(name), Answer::Given(said)) => reply::text(format!("{name} is sure: {said}.")),
        (Answer::Declined(_), _) | (_, Answer::Declined(_)) => reply::failure("A question was not answered."),
        _ => reply::failure("An answer does not fit its question: expected name, a text, and confirm, true or false."),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;
    use trunkline_protocol::mcp::capabilities::ClientCapabilities;

    use super::*;
    use crate::{
        catalog::definition::ItemKind,
        dialogue::{Listener, Said},
        execution::conformance::definitions,
    };

    fn client() -> (Dialogue, crate::dialogue::Heard) {
        let capabilities = ClientCapabilities::parse(r#"{"elicitation":{}}"#).expect("an object");
        Dialogue::open(Listener { capabilities, wants_progress: true, ..Listener::default() })
    }

    fn text(reply: &Reply) -> (String, bool) {
        let Reply::Result(raw) = reply else { panic!("expected a result: {reply:?}") };
        let result: Value = serde_json::from_str(raw.get()).expect("JSON");
        (result["content"][0]["text"].as_str().expect("text").to_owned(), result["isError"] == true)
    }

    #[tokio::test]
    async fn jobs_take_their_time_and_end_as_they_should() {
        let silent = Dialogue::silent();
        let run =
            async |name: &str, arguments: Value| call(&Call::of(name, arguments), None, &silent).await.expect("one of these");
        assert_eq!(text(&run("greet", json!({ "name": "Ada" })).await).0, "Hello, Ada!");
        let began = std::time::Instant::now();
        assert_eq!(text(&run("slow_compute", json!({ "seconds": 0.05, "label": "a" })).await).0, "Computed a in 0.05 s.");
        assert!(began.elapsed() >= Duration::from_millis(50));
        for wrong in [-1, 121] {
            assert!(text(&run("slow_compute", json!({ "seconds": wrong })).await).1, "{wrong}");
        }
        assert!(text(&run("failing_job", json!({})).await).1);
        assert!(matches!(run("protocol_error_job", json!({})).await, Reply::Error(error) if error.code == -32603));
        assert!(matches!(run("confirm_delete", json!({ "filename": "a" })).await, Reply::Error(error) if error.code == -32021));
    }

    #[tokio::test]
    async fn two_questions_are_there_at_the_same_time() {
        let (dialogue, mut heard) = client();
        let tool = Call::of("multi_input", json!({}));
        let (reply, ()) = tokio::join!(call(&tool, None, &dialogue), async {
            let mut questions = Vec::new();
            while questions.len() < 2 {
                let Some(Said::Question(question)) = heard.next().await else { panic!("expected a question") };
                questions.push(question);
            }
            for question in questions {
                let answer = json!({ "action": "accept", "content": { "name": "Ada", "confirm": true } });
                question.answer.send(Ok(to_raw_value(&answer).expect("JSON"))).expect("somebody waits");
            }
        });
        assert_eq!(text(&reply.expect("one of these")).0, "Ada is sure: yes.");
    }

    #[tokio::test]
    async fn input_comes_before_the_task() {
        let (dialogue, _heard) = client();
        let tool = Call::of("test_tool_with_task", json!({}));
        assert!(asks_first("test_tool_with_task", None) && !asks_first("slow_compute", None));
        assert!(matches!(call(&tool, None, &dialogue).await, Some(Reply::InputRequired(_))));
        let responses = json!({ "user_name": { "action": "accept", "content": { "name": "Ada" } } });
        let retry = Retry { responses: Some(to_raw_value(&responses).expect("JSON")), state: None };
        assert!(!asks_first("test_tool_with_task", Some(&retry)));
        assert_eq!(text(&call(&tool, Some(&retry), &dialogue).await.expect("one of these")).0, "Worked for Ada.");
    }

    #[test]
    fn every_tool_that_runs_as_a_task_is_listed() {
        let listed: Vec<Value> =
            definitions(ItemKind::Tools).iter().map(|raw| serde_json::from_str(raw.get()).expect("JSON")).collect();
        let names = listed.iter().filter_map(|tool| tool["name"].as_str());
        assert_eq!(names.filter(|name| task_use(name) != TaskUse::Never).count(), 6);
    }
}
