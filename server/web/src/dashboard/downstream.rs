//! The requests that were made for one call, on the same scale as the call itself.

use trunkline_platform::{egress::Exchange, usage::Call};

use super::{components::Part, format};

/// One of them.
pub(super) struct RequestRow {
    pub(super) method: String,
    pub(super) to: String,
    /// How it ended, in a word or a status.
    pub(super) end: String,
    /// `good`, `warn` or `bad`.
    pub(super) tone: &'static str,
    pub(super) at: String,
    pub(super) took: Part,
}

/// All that are told one by one, and what is to be said of the rest.
pub(super) fn rows(call: &Call) -> (Vec<RequestRow>, String) {
    let before_us = call.auth_us + call.admission_us;
    let rows = call.downstream.requests.iter().map(|request| row(request, before_us, call.latency_us.max(1)));
    let more = match call.downstream.more {
        0 => String::new(),
        more => format!("{} more were made, which are only counted.", format::count(more.into())),
    };
    (rows.collect(), more)
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of one call")]
fn row(request: &Exchange, before_us: i64, whole_us: i64) -> RequestRow {
    let share = |us: i64| (us as f64 / whole_us as f64 * 100.0).clamp(0.0, 100.0);
    let offset = share(before_us + request.at_us);
    let text = format::micros(request.took_us);
    // What took no time that could be seen is still a line.
    let percent = share(request.took_us).min(100.0 - offset).max(0.5);
    let (end, tone) = end(request);
    RequestRow {
        method: request.method.to_string(),
        to: request.to.clone(),
        end,
        tone,
        at: format::micros(before_us + request.at_us),
        took: Part { name: "upstream", label: "", text, offset: offset.min(99.5), percent },
    }
}

fn end(request: &Exchange) -> (String, &'static str) {
    let word = match request.error.as_deref() {
        None => None,
        Some("refused") => Some("not allowed"),
        Some("unreachable") => Some("not reached"),
        Some("timeout") => Some("too slow"),
        Some("too_large") => Some("too large"),
        Some("given_up") => Some("given up"),
        Some(_) => Some("broken"),
    };
    match (word, request.status) {
        (Some(word), None) => (word.to_owned(), "bad"),
        (Some(word), Some(status)) => (format!("{status}, {word}"), "bad"),
        (None, Some(status)) if status >= 500 => (status.to_string(), "bad"),
        (None, Some(status)) if status >= 400 => (status.to_string(), "warn"),
        (None, Some(status)) => (status.to_string(), "good"),
        (None, None) => ("no answer yet".to_owned(), "warn"),
    }
}
