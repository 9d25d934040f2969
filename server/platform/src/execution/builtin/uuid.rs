//! Makes random UUIDs (RFC 9562, version 4), one on each line.

use serde_json::{Map, Value};
use uuid::Builder;

use crate::{execution::Run, random};

pub(super) fn run(arguments: &Map<String, Value>) -> Run {
    let count = arguments.get("count").and_then(Value::as_u64).unwrap_or(1).min(100);
    let uuids: Vec<String> = (0..count).map(|_| Builder::from_random_bytes(random::bytes()).into_uuid().to_string()).collect();
    Run::ok(uuids.join("\n"))
}
