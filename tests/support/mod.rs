//! What tests act with: an installation of their own, actors with verbs, and the world around it.

mod agent;
mod app;
mod logs;
mod services;
pub(crate) mod tools;

pub(crate) use agent::{Agent, Answer, Era};
pub(crate) use app::TestApp;

use std::time::{Duration, Instant};

/// Longest wait for something that should happen soon. Generous: the machine may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Asks again and again until there is an answer. Panics with `what` when there is none in time.
pub(crate) async fn eventually<T>(what: &str, within: Duration, mut question: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = Instant::now();
    loop {
        if let Some(answer) = question().await {
            return answer;
        }
        assert!(asked.elapsed() < within, "{what}: not within {} s", within.as_secs_f32());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
