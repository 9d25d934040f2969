//! The window onto a parked request: what it says is said to the caller that is back.

use std::time::Duration;

use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use trunkline_protocol::jsonrpc::{ErrorObject, INTERNAL_ERROR, INVALID_PARAMS};

use super::letters::{FromParked, ToParked};
use crate::{
    Platform,
    bus::{self, Address, Mailbox, Undelivered},
    call::Outcome,
    dialogue::{Dialogue, InputRequired, Progress, Reply},
    execution::{Answer, Run},
    gateway::converse::Asked,
};

/// A parked request that has not said anything for this long is gone.
const SILENT: Duration = Duration::from_secs(10);

/// The window: goes on with a parked request for a caller that is back.
pub(in crate::gateway) async fn resume(
    platform: Platform,
    at: Address,
    responses: Option<Box<RawValue>>,
    dialogue: Dialogue,
    stop: CancellationToken,
) -> (Run, Option<Address>) {
    let mut mailbox = Mailbox::open(&platform);
    let letter = ToParked::Resume { responses, reply_to: mailbox.address().to_string() };
    if let Err(undelivered) = bus::send(&platform, &at, &letter).await {
        return (gone(undelivered), None);
    }
    let mut answered = false;
    loop {
        let letter = tokio::select! {
            () = stop.cancelled() => {
                let _ = bus::send(&platform, &at, &ToParked::Cancel).await;
                return (Run::failed(Outcome::Cancelled, "cancelled", "The caller took the call back."), None);
            }
            letter = tokio::time::timeout(SILENT, mailbox.next()) => letter.ok().flatten(),
        };
        let letter = letter.and_then(|letter| bus::open(&letter));
        let is_last = matches!(letter, Some(FromParked::Asked { .. } | FromParked::Done(_)));
        if is_last && bus::send(&platform, &at, &ToParked::Had).await.is_err() {
            tracing::debug!("a parked call cannot be told that its end was heard; it finds out by itself");
        }
        match letter {
            Some(FromParked::Beat) => {}
            Some(FromParked::Progress { progress, total, message }) => dialogue.progress(Progress {
                progress: progress.into(),
                total: total.map(Into::into),
                message: message.map(Into::into),
            }),
            Some(FromParked::Log { level, params }) => {
                if let Ok(level) = level.parse() {
                    dialogue.log(level, params).await;
                }
            }
            Some(FromParked::Asked { method, params }) => {
                let requests = Some(Asked { method, params }.to_requests());
                return (Reply::InputRequired(InputRequired { requests, state: None }).into(), Some(at));
            }
            Some(FromParked::Done(told)) => return (told.into(), None),
            None if answered => return (lost(), None),
            None => return (gone(Undelivered::Gone), None),
        }
        answered = true;
    }
}

/// It was there, and then it was not.
fn lost() -> Run {
    let text = "the waiting call cannot be reached any more; whether the tool finished is not known";
    let error = ErrorObject::new(INTERNAL_ERROR, text);
    Run {
        outcome: Outcome::Unknown,
        error: Some("call_lost".into()),
        answer: Answer::Reply(Reply::Error(error)),
        reported_micro: None,
        status: None,
    }
}

fn gone(undelivered: Undelivered) -> Run {
    let error = match undelivered {
        Undelivered::Gone => {
            ErrorObject::new(INVALID_PARAMS, "requestState belongs to a call that is not waiting any more: call again without it")
        }
        _ => ErrorObject::new(INTERNAL_ERROR, "the waiting call cannot be reached; try again"),
    };
    Run {
        outcome: Outcome::UpstreamError,
        error: Some("state_gone".into()),
        answer: Answer::Reply(Reply::Error(error)),
        reported_micro: None,
        status: None,
    }
}
