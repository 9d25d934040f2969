//! Computes the SHA-256 of a text.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::{execution::Run, hex};

pub(super) fn run(arguments: &Map<String, Value>) -> Run {
    match arguments.get("text").and_then(Value::as_str) {
        Some(text) => Run::ok(hex::encode(&Sha256::digest(text))),
        None => Run::invalid_arguments("text is missing"),
    }
}
