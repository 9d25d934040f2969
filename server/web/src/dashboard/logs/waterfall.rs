//! Where the time of a call went: its steps and the requests that were made for it, one below the other on one scale.

use trunkline_platform::{egress::Exchange, usage::Call};

use crate::dashboard::{components::Part, format};

/// A bar with what it stands for.
pub(super) struct WaterRow {
    /// What it was.
    pub(super) label: String,
    /// What else is to be said of it.
    pub(super) note: &'static str,
    /// Is it a request, within the tool's time?
    pub(super) is_request: bool,
    /// How it ended, in a word or a status, and `good`, `warn` or `bad`; empty for steps that just take their time.
    pub(super) end: String,
    pub(super) tone: &'static str,
    pub(super) at: String,
    pub(super) took: Part,
}

/// The steps in their order, each request under the tool that made it; and what is to be said of requests that are only counted.
pub(super) fn rows(call: &Call) -> (Vec<WaterRow>, String) {
    let before_us = call.auth_us + call.admission_us;
    let scale = Scale { whole_us: call.latency_us.max(before_us + call.upstream_us).max(1) };
    let rest_us = (call.latency_us - before_us - call.upstream_us).max(0);
    let mut rows = vec![
        scale.step("auth", "Authentication", "who calls", (0, call.auth_us)),
        scale.step("admission", "Admission", "limits, budgets, places", (call.auth_us, call.admission_us)),
        scale.step("upstream", "Upstream", "the tool", (before_us, call.upstream_us)),
    ];
    rows.extend(call.downstream.requests.iter().map(|request| scale.request(request, before_us)));
    let rest = "its intent, the schema, and what lies between the steps";
    rows.push(scale.step("rest", "Record and all else", rest, (before_us + call.upstream_us, rest_us)));
    let more = match call.downstream.more {
        0 => String::new(),
        more => format!("{} more were made, which are only counted.", format::count(more.into())),
    };
    (rows, more)
}

/// What a whole bar is.
struct Scale {
    whole_us: i64,
}

impl Scale {
    #[expect(clippy::cast_precision_loss, reason = "microseconds of one call")]
    fn share(&self, us: i64) -> f64 {
        (us as f64 / self.whole_us as f64 * 100.0).clamp(0.0, 100.0)
    }

    fn part(&self, name: &'static str, (at_us, took_us): (i64, i64)) -> Part {
        let offset = self.share(at_us);
        // What took no time that could be seen is still a line; what took none is none.
        let percent = if took_us == 0 { 0.0 } else { self.share(took_us).min(100.0 - offset).max(0.5) };
        Part { name, text: format::micros(took_us), offset: offset.min(99.5), percent }
    }

    fn step(&self, name: &'static str, label: &str, note: &'static str, (at_us, took_us): (i64, i64)) -> WaterRow {
        let took = self.part(name, (at_us, took_us));
        WaterRow {
            label: label.to_owned(),
            note,
            is_request: false,
            end: String::new(),
            tone: "",
            at: format::micros(at_us),
            took,
        }
    }

    fn request(&self, request: &Exchange, before_us: i64) -> WaterRow {
        let at_us = before_us + request.at_us;
        let (end, tone) = end(request);
        WaterRow {
            label: format!("{} {}", request.method, request.to),
            note: "",
            is_request: true,
            end,
            tone,
            at: format::micros(at_us),
            took: self.part("upstream", (at_us, request.took_us.max(1))),
        }
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
