//! Answers: what an operation accepts, and the schema of what it gives.

use serde_json::Value;

use super::{
    body::is_json,
    document::Document,
    schema::{Refs, Schemas},
};

/// Longest `Accept`, in bytes.
const MAX_ACCEPT: usize = 300;

/// `Accept`, and the schema of the JSON answer, if there is one. `notes`: what is not as the document has it.
pub(super) fn read(
    document: &Document,
    schemas: &mut Schemas<'_>,
    operation: &Value,
    notes: &mut Vec<String>,
) -> (String, Option<Value>) {
    let any = || ("*/*".to_owned(), None);
    let Some(responses) = operation.get("responses").and_then(Value::as_object) else { return any() };
    let good = |status: &str| status.starts_with('2');
    let mut found: Vec<(&String, &Value)> = responses.iter().filter(|(status, _)| good(status)).collect();
    if found.is_empty() {
        found.extend(responses.iter().filter(|(status, _)| *status == "default"));
    }
    let contents = || {
        found
            .iter()
            .filter_map(|(_, answer)| document.resolve(answer).ok()?.get("content")?.as_object())
            .flat_map(|content| content.iter())
    };
    let mut kinds: Vec<&str> = contents().map(|(kind, _)| kind.trim()).collect();
    kinds.dedup();
    // JSON first: that is what a model reads best.
    kinds.sort_by_key(|kind| !is_json(kind));
    let accept = kinds.join(", ");
    let is_header = !accept.is_empty() && accept.len() <= MAX_ACCEPT && accept.bytes().all(|b| (0x20..0x7f).contains(&b));
    let accept = if is_header { accept } else { "*/*".to_owned() };

    // A promise is made where every good answer is JSON of one kind: one with another shape, or none, would break it.
    let [(_, answer)] = found.as_slice() else { return (accept, None) };
    let is_all_json = !kinds.is_empty() && kinds.iter().all(|kind| is_json(kind));
    let schema = document.resolve(answer).ok().and_then(|_| contents().find(|(kind, _)| is_json(kind))?.1.get("schema"));
    let Some(raw) = schema.filter(|_| is_all_json) else { return (accept, None) };
    let mut refs = Refs::new();
    let converted = schemas.convert(raw, &mut refs).and_then(|root| schemas.finish(root, refs));
    match converted {
        Ok(finished) if finished.is_cut => {
            notes.push("The schema of its answers is too large to promise; answers are given as text.".to_owned());
            (accept, None)
        }
        // A promise that anything may come is none.
        Ok(finished) if finished.schema.as_object().is_none_or(serde_json::Map::is_empty) => (accept, None),
        Ok(finished) => (accept, Some(finished.schema)),
        Err(why) => {
            notes.push(format!("Its answers have no schema that can be used: {why}."));
            (accept, None)
        }
    }
}
