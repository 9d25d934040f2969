//! The stream of a session on which an upstream says what belongs to no answer. Many servers put their questions there, although they belong
//! to the call that runs; whose call that is, can only be told where one caller has the session to itself.

use std::time::Duration;

use futures_util::{FutureExt as _, future::BoxFuture};
use reqwest::header::HeaderMap;
use tokio::time::{Instant, sleep_until, timeout};

use super::wire::{Messages, Wire};

/// Longest wait for the stream to begin before a call does. After that it may still begin while the call runs.
const BEGINS_WITHIN: Duration = Duration::from_millis(500);
/// Longest life of one stream.
const LIFE: Duration = Duration::from_hours(12);
/// How often it is opened again after it ended.
const MOST_FAILURES: u32 = 3;
/// Before it is opened again, unless the upstream says otherwise.
const PAUSE: Duration = Duration::from_millis(500);
/// However long the upstream wants to be left alone.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The stream, if the upstream has one.
pub(super) struct Standalone {
    state: State,
    last_event: Option<String>,
    failures: u32,
}

enum State {
    None,
    /// Some servers begin it only when they have something to say.
    Opening(BoxFuture<'static, Option<Messages>>),
    Open(Box<Messages>),
    /// To be opened again at that time.
    Ended(Instant),
}

impl Standalone {
    /// None.
    pub(super) fn none() -> Self {
        Self { state: State::None, last_event: None, failures: 0 }
    }

    /// Opens it, with the headers of the session. What is asked after this finds it open, unless the upstream takes its time.
    pub(super) async fn open(wire: &Wire, headers: HeaderMap) -> Self {
        let state = State::Opening(begin(wire.clone(), headers).boxed());
        let mut standalone = Self { state, last_event: None, failures: 0 };
        let _ = timeout(BEGINS_WITHIN, standalone.opened()).await;
        standalone
    }

    /// May the upstream have one?
    pub(super) fn is_there(&self) -> bool {
        !matches!(self.state, State::None)
    }

    /// Forgets what was said while nobody listened: it belongs to calls that are over.
    pub(super) fn forget(&mut self) {
        self.opened().now_or_never();
        self.failures = 0;
        while let State::Open(messages) = &mut self.state
            && let Some(said) = messages.next().now_or_never()
        {
            if !matches!(said, Ok(Some(_))) {
                self.ended();
            }
        }
    }

    /// The next message. Without a stream it never comes. Nothing is lost when it is dropped while it waits.
    pub(super) async fn next(&mut self, wire: &Wire, headers: &HeaderMap) -> String {
        loop {
            match &mut self.state {
                State::None => std::future::pending().await,
                State::Opening(_) => self.opened().await,
                State::Open(messages) => match messages.next().await {
                    Ok(Some(text)) => return text,
                    Ok(None) | Err(_) => self.ended(),
                },
                State::Ended(again) => {
                    sleep_until(*again).await;
                    let mut headers = headers.clone();
                    if let Some(event) = self.last_event.as_ref().and_then(|event| event.parse().ok()) {
                        headers.insert("last-event-id", event);
                    }
                    self.state = State::Opening(begin(wire.clone(), headers).boxed());
                }
            }
        }
    }

    async fn opened(&mut self) {
        if let State::Opening(opening) = &mut self.state {
            let opened = opening.await;
            self.state = opened.map_or(State::None, |messages| State::Open(Box::new(messages)));
        }
    }

    fn ended(&mut self) {
        let State::Open(messages) = &self.state else { return };
        let pause = messages.retry.unwrap_or(PAUSE).min(LONGEST_PAUSE);
        self.last_event.clone_from(&messages.last_event);
        self.failures += 1;
        self.state = if self.failures > MOST_FAILURES { State::None } else { State::Ended(Instant::now() + pause) };
    }
}

impl std::fmt::Debug for Standalone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standalone").field("is_there", &self.is_there()).field("failures", &self.failures).finish_non_exhaustive()
    }
}

async fn begin(wire: Wire, headers: HeaderMap) -> Option<Messages> {
    let answer = wire.get(headers, Instant::now() + LIFE, LIFE, Duration::MAX).await.ok()?;
    (answer.is_success() && answer.is_stream).then_some(answer.messages)
}
