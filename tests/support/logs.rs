//! Errors in the log are failures, unless the test says that it causes them: `error!` means that somebody must act.
//!
//! One collector for the process, since servers have threads of their own. An event that no running test expects fails every test whose
//! installation was alive at the time; its text says what happened.

use std::{
    fmt::Write as _,
    sync::{Mutex, OnceLock, PoisonError},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{EnvFilter, Layer, layer::Context, prelude::*};

static UNEXPECTED: Mutex<Vec<String>> = Mutex::new(Vec::new());
static EXPECTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Watches from now on. `TRUNKLINE_LOG` prints what is logged, too.
pub(super) fn watch() -> Watch {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        let level = std::env::var("TRUNKLINE_LOG").unwrap_or_else(|_| "off".to_owned());
        let shown = tracing_subscriber::fmt::layer().with_test_writer().with_filter(EnvFilter::new(level));
        let logged = trunkline::telemetry::filter("info").expect("a filter");
        tracing_subscriber::registry().with(Errors.with_filter(logged)).with(shown).init();
    });
    Watch { seen: lock(&UNEXPECTED).len(), expected: Vec::new() }
}

/// What has been logged since it was made.
#[derive(Debug)]
pub(super) struct Watch {
    seen: usize,
    expected: Vec<String>,
}

impl Watch {
    /// From now on, errors with that text are what the test wants.
    pub(super) fn expect(&mut self, text: &str) {
        lock(&EXPECTED).push(text.to_owned());
        self.expected.push(text.to_owned());
    }

    /// Errors nobody expected.
    pub(super) fn unexpected(&self) -> Vec<String> {
        lock(&UNEXPECTED)[self.seen..].to_vec()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut expected = lock(&EXPECTED);
        for text in &self.expected {
            if let Some(at) = expected.iter().position(|other| other == text) {
                expected.swap_remove(at);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Errors;

impl<S: Subscriber> Layer<S> for Errors {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() != Level::ERROR {
            return;
        }
        let mut text = Text(event.metadata().target().to_owned());
        event.record(&mut text);
        if !lock(&EXPECTED).iter().any(|expected| text.0.contains(expected)) {
            lock(&UNEXPECTED).push(text.0);
        }
    }
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}
