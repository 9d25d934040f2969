//! Gives its text back: for first calls and for finding out whether a connection works.

use serde_json::{Map, Value};

use crate::execution::Run;

pub(super) fn run(arguments: &Map<String, Value>) -> Run {
    match arguments.get("text").and_then(Value::as_str) {
        Some(text) => Run::ok(text.to_owned()),
        None => Run::invalid_arguments("text is missing"),
    }
}
