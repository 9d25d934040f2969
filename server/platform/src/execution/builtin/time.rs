//! Tells the time at an offset from UTC, as RFC 3339.

use chrono::FixedOffset;
use serde_json::{Map, Value};

use crate::{clock::Clock, execution::Run};

pub(super) fn run(clock: &dyn Clock, arguments: &Map<String, Value>) -> Run {
    let minutes = arguments.get("offset_minutes").and_then(Value::as_i64).unwrap_or(0);
    let offset = i32::try_from(minutes).ok().and_then(|minutes| FixedOffset::east_opt(minutes.checked_mul(60)?));
    match offset {
        Some(offset) => Run::ok(clock.now().with_timezone(&offset).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
        None => Run::invalid_arguments("offset_minutes is not between -1080 and 1080"),
    }
}
