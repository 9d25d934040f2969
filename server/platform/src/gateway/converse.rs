//! A request that may talk while it runs: driven to its end, to its deadline, or to a question that only a new request can answer.

use std::{pin::Pin, time::Duration};

use serde_json::value::RawValue;
use tokio::{sync::oneshot, time::Instant};
use tokio_util::sync::CancellationToken;
use trunkline_protocol::mcp::object::{RawObject, json_string};

use super::{draft::Draft, parked, speak::Voice};
use crate::{
    Platform,
    bus::Address,
    call::Outcome,
    dialogue::{ANSWER_WITHIN, Heard, Question},
    execution::Run,
    ids::AgentId,
};

/// No request runs longer than this, whatever it asks and however it progresses.
pub(super) const LONGEST: Duration = Duration::from_mins(15);
/// Time that something cancelled has to say so upstream.
const FAREWELL: Duration = Duration::from_secs(2);
/// Key of the one question that a parked request asks.
pub(super) const QUESTION: &str = "question";

/// A request that runs.
pub(super) type Work = Pin<Box<dyn Future<Output = Run> + Send>>;

/// It, with what belongs to it.
pub(super) struct Ongoing {
    pub(super) work: Work,
    pub(super) heard: Heard,
    /// Tells it to stop.
    pub(super) stop: CancellationToken,
    pub(super) patience: Patience,
    /// For whom.
    pub(super) agent: AgentId,
}

/// How long it may still take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    each: Duration,
    next: Instant,
    last: Instant,
}

impl Patience {
    pub(super) fn new(each: Duration) -> Self {
        let now = Instant::now();
        Self { each, next: now + each, last: now + LONGEST }
    }

    /// Time that somebody else needs for an answer is not the tool's.
    pub(super) fn wait_for_answer(&mut self) {
        self.next = Instant::now() + ANSWER_WITHIN + self.each;
    }

    /// The answer is there: the tool has its time again.
    pub(super) fn go_on(&mut self) {
        self.next = Instant::now() + self.each;
    }

    pub(super) fn until(&self) -> Instant {
        self.next.min(self.last)
    }
}

/// How one leg of it ended.
pub(super) enum Leg {
    Done(Run),
    /// It waits in the background, at that address, for the answer to its question.
    Parked {
        question: Asked,
        at: Address,
    },
}

/// A question that a new request will answer.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) params: Box<RawValue>,
}

impl Asked {
    /// As `inputRequests` has it.
    pub(super) fn to_requests(&self) -> Box<RawValue> {
        let json = format!("{{{}:{}}}", json_string(QUESTION), self.to_request().get());
        RawValue::from_string(json).unwrap_or_default()
    }

    /// One request of it.
    pub(super) fn to_request(&self) -> Box<RawValue> {
        let mut request = RawObject::default();
        request.set_text("method", &self.method);
        request.set("params", self.params.get());
        RawValue::from_string(request.to_json()).unwrap_or_default()
    }
}

/// Drives it until something ends this leg.
pub(super) async fn drive(platform: &Platform, voice: &Voice, ongoing: Ongoing, cancelled: &CancellationToken) -> Leg {
    drive_recorded(platform, voice, ongoing, None, cancelled).await
}

/// The same with the draft of its call: one that is parked has an entry of its own if nobody comes back to it.
pub(super) async fn drive_recorded(
    platform: &Platform,
    voice: &Voice,
    mut ongoing: Ongoing,
    draft: Option<&Draft>,
    cancelled: &CancellationToken,
) -> Leg {
    loop {
        tokio::select! {
            biased;
            () = cancelled.cancelled() => {
                farewell(platform, ongoing);
                return Leg::Done(Run::failed(Outcome::Cancelled, "cancelled", "The caller took the call back."));
            }
            Some(said) = ongoing.heard.next() => {
                let asks = matches!(said, crate::dialogue::Said::Question(_));
                match voice.pass(platform, said).await {
                    Some(question) => return park(platform, ongoing, draft, question),
                    None if asks => ongoing.patience.wait_for_answer(),
                    None => {}
                }
            }
            run = &mut ongoing.work => {
                while let Some(said) = ongoing.heard.left() {
                    voice.pass(platform, said).await;
                }
                return Leg::Done(run);
            }
            () = tokio::time::sleep_until(ongoing.patience.until()) => {
                farewell(platform, ongoing);
                return Leg::Done(timed_out());
            }
        }
    }
}

pub(super) fn timed_out() -> Run {
    Run::failed(Outcome::Timeout, "upstream_timeout", "The tool did not finish in time.")
}

/// Lets it tell its upstream, without anybody waiting for that.
pub(super) fn farewell(platform: &Platform, ongoing: Ongoing) {
    let Ongoing { work, heard, stop, .. } = ongoing;
    drop(heard);
    stop_work(platform, work, &stop);
}

/// The same for work that nobody has listened to.
pub(super) fn stop_work(platform: &Platform, work: Work, stop: &CancellationToken) {
    stop.cancel();
    platform.conversations.spawn(async move {
        let _ = tokio::time::timeout(FAREWELL, work).await;
    });
}

fn park(platform: &Platform, ongoing: Ongoing, draft: Option<&Draft>, question: Question) -> Leg {
    let Question { method, params, answer } = question;
    let asked = Asked { method, params };
    let draft = draft.and_then(|draft| draft.successor(platform));
    match parked::hold(platform, ongoing, draft, asked.clone(), answer) {
        Some(at) => Leg::Parked { question: asked, at },
        None => Leg::Done(Run::failed(
            Outcome::Limited,
            "too_many_waiting",
            "Too many calls of this installation wait for input; try again later.",
        )),
    }
}

/// Where the answer to a parked question goes.
pub(super) type AnswerTo = oneshot::Sender<Result<Box<RawValue>, trunkline_protocol::jsonrpc::ErrorObject>>;
