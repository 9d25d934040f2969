//! A request that takes its time: JSON when it is quick or must be, else a stream on which it can talk.

use std::{sync::Arc, time::Duration};

use actix_web::{HttpResponse, rt};
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use trunkline_platform::{
    Platform,
    gateway::{Finished, Outgoing, Refusal, Voice},
    quota::Remaining,
    session::{Running, Session},
};
use trunkline_protocol::{
    jsonrpc,
    mcp::{Request, Revision},
};

use super::{
    accept::Accept,
    methods::Exchange,
    place::Place,
    respond,
    stream::{self, Line},
};
use crate::WebState;

/// A request that takes longer is answered by a stream, where the client can read one: proxies and people see that something happens.
const QUICK: Duration = Duration::from_millis(100);
/// Messages that wait to be written.
const WAITING: usize = 16;

/// What answering needs to know of the request.
pub(super) struct Answering {
    state: WebState,
    place: Place,
    accept: Accept,
    id: Box<RawValue>,
    revision: Revision,
    session: Option<Arc<Session>>,
    /// What is left of its limits, known before it runs.
    left: Option<Remaining>,
}

impl Answering {
    pub(super) fn new(
        exchange: &Exchange<'_>,
        request: &Request<'_>,
        session: Option<Arc<Session>>,
        left: Option<Remaining>,
    ) -> Self {
        Self {
            state: exchange.state.clone(),
            place: exchange.place.clone(),
            accept: exchange.accept,
            id: request.id.to_owned(),
            revision: request.revision,
            session,
            left,
        }
    }

    fn respond(&self, outcome: Result<Finished, Refusal>) -> HttpResponse {
        match outcome {
            Ok(Finished { answer: Ok(result), left, .. }) => respond::call_result(&self.id, &result, left),
            Ok(Finished { answer: Err(error), .. }) => {
                respond::error(self.revision.error_status(error.code), Some(&self.id), &error)
            }
            Err(refusal) => respond::refusal(&self.state, &self.place, &self.id, &refusal),
        }
    }
}

/// Runs it. Where the revision says so, closing the stream cancels it; in a session a notification does.
pub(super) async fn answer<W, F>(answering: Answering, mut voice: Voice, work: W) -> HttpResponse
where
    W: FnOnce(Voice, CancellationToken) -> F,
    F: Future<Output = Result<Finished, Refusal>> + 'static,
{
    let cancel = CancellationToken::new();
    let platform = answering.state.platform.clone();
    let running =
        answering.session.as_ref().map(|session| Running::enter(&platform, session, answering.id.get(), cancel.clone()));
    if answering.accept == Accept::Json {
        let outcome = work(voice, cancel).await;
        drop(running);
        return answering.respond(outcome);
    }
    let (outlet, mut outgoing) = mpsc::channel(WAITING);
    voice.outlet = Some(outlet);
    let mut work = Box::pin(work(voice, cancel.clone()));
    let (mut first, mut ended) = (None, None);
    if answering.accept == Accept::Either {
        tokio::select! {
            biased;
            said = outgoing.recv() => first = said,
            outcome = &mut work => {
                // What was said before the end comes before the end.
                first = outgoing.try_recv().ok();
                match first {
                    // An error has its own status; a stream has begun with 200.
                    None => return answering.respond(outcome),
                    Some(_) => ended = Some(outcome),
                }
            }
            () = tokio::time::sleep(QUICK) => {}
        }
    }
    let work = async move {
        match ended {
            Some(outcome) => outcome,
            None => work.await,
        }
    };
    let kept = answering.session.as_deref().map(|session| (session, answering.id.get()));
    let (line, mut response) = stream::open(&platform, kept);
    if let Some(left) = answering.left {
        respond::tell_limits(response.headers_mut(), left, left.reset_ms);
    }
    let pumped = async move {
        pump(answering, line, first, outgoing, Box::pin(work), cancel).await;
        drop(running);
    };
    rt::spawn(pumped.in_current_span());
    response
}

async fn pump<F>(
    answering: Answering,
    mut line: Line,
    first: Option<Outgoing>,
    mut outgoing: mpsc::Receiver<Outgoing>,
    mut work: std::pin::Pin<Box<F>>,
    cancel: CancellationToken,
) where
    F: Future<Output = Result<Finished, Refusal>> + 'static,
{
    line.begin(answering.revision.has_priming_event()).await;
    if let Some(said) = first {
        pass(&mut line, said).await;
    }
    let cancels = answering.revision.disconnect_cancels();
    loop {
        tokio::select! {
            biased;
            Some(said) = outgoing.recv() => pass(&mut line, said).await,
            outcome = &mut work => {
                while let Ok(said) = outgoing.try_recv() {
                    pass(&mut line, said).await;
                }
                if cancel.is_cancelled() {
                    line.end().await;
                } else {
                    line.last(message(&answering, outcome)).await;
                }
                return;
            }
            () = line.closed(), if cancels && !cancel.is_cancelled() => cancel.cancel(),
        }
        if cancels && !line.is_read() {
            cancel.cancel();
        }
    }
}

async fn pass(line: &mut Line, said: Outgoing) {
    match said {
        Outgoing::Message(message) => line.message(message).await,
        Outgoing::Pause(retry_ms) => line.pause(retry_ms).await,
        Outgoing::Retry(retry_ms) => line.retry(retry_ms).await,
    }
}

fn message(answering: &Answering, outcome: Result<Finished, Refusal>) -> String {
    match outcome {
        Ok(Finished { answer: Ok(result), .. }) => jsonrpc::success(&answering.id, &result),
        Ok(Finished { answer: Err(error), .. }) => error.to_body(Some(&answering.id)),
        Err(refusal) => respond::refusal_error(&refusal).to_body(Some(&answering.id)),
    }
}

/// A stream of one message that is there already.
pub(super) fn stream_one(platform: &Platform, message: String) -> HttpResponse {
    let (line, response) = stream::open(platform, None);
    rt::spawn(line.last(message).in_current_span());
    response
}
