//! Takes the parts of a JSON document that JSON Pointers (RFC 6901) name.

use serde_json::{Map, Value};

use crate::execution::Run;

pub(super) fn run(arguments: &Map<String, Value>) -> Run {
    let read;
    let document = match arguments.get("document") {
        Some(Value::String(text)) => match serde_json::from_str::<Value>(text) {
            Ok(value) => {
                read = value;
                &read
            }
            Err(error) => return Run::invalid_arguments(&format!("document is not JSON: {error}")),
        },
        Some(value) => value,
        None => return Run::invalid_arguments("document is missing"),
    };
    let pointers = arguments.get("pointers").and_then(Value::as_array).into_iter().flatten();
    let mut found = Map::new();
    for pointer in pointers.filter_map(Value::as_str) {
        if !(pointer.is_empty() || pointer.starts_with('/')) {
            return Run::invalid_arguments(&format!("“{pointer}” is no JSON Pointer: it begins with /, such as /orders/0/total"));
        }
        found.insert(pointer.to_owned(), document.pointer(pointer).cloned().unwrap_or_default());
    }
    Run::ok(Value::Object(found).to_string())
}
