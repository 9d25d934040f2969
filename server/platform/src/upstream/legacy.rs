//! A request in a session of the handshake era.

use std::{sync::Arc, time::Duration};

use reqwest::header::HeaderMap;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};
use trunkline_protocol::jsonrpc::{self, ErrorObject};

use super::{
    Reply, UpstreamError,
    conversation::{Conversation, Outcome, Posted, QUESTIONS_WITHIN, error_object},
    error::Fault,
    link::Link,
    pool::{Lease, Pool},
    request::Request,
    session::{Session, Setup, is_other_era},
    standalone::Standalone,
    wire::Refusal,
};

/// Longest time for a cancellation to arrive. The caller waits for it.
const WITHDRAW_WITHIN: Duration = Duration::from_secs(1);

/// Asks in the session for what the caller's client can be asked; once more in a new one if that is gone.
pub(super) async fn run(pool: &Pool, link: &Arc<Link>, request: &Request<'_>) -> Result<Reply, Fault> {
    if request.input.is_some() {
        return Err(UpstreamError::Broken("it asked for input in another revision than it speaks now").into());
    }
    let setup = Setup::of(request.dialogue);
    match ask_in(obtain(pool, link, &setup, request).await?, link, request).await {
        Err(Fault::SessionGone(_)) => ask_in(obtain(pool, link, &setup, request).await?, link, request).await,
        other => other,
    }
}

async fn obtain(pool: &Pool, link: &Arc<Link>, setup: &Setup, request: &Request<'_>) -> Result<Lease, Fault> {
    tokio::select! {
        lease = pool.obtain(link, setup, request.deadline) => lease,
        () = request.cancelled.cancelled() => Err(UpstreamError::Cancelled.into()),
    }
}

/// Asks in a session, and says what it is worth after that.
async fn ask_in(mut lease: Lease, link: &Link, request: &Request<'_>) -> Result<Reply, Fault> {
    let session = Arc::clone(lease.session());
    let reply = {
        let mut aside = lease.is_own().then(|| session.standalone.try_lock().ok()).flatten();
        if let Some(aside) = &mut aside {
            aside.forget();
        }
        ask(link, &session, request, aside.as_deref_mut()).await
    };
    match &reply {
        Err(Fault::SessionGone(_)) => lease.is_gone(),
        // Something of the request may still go on over there; nobody else should hear of it.
        Err(_) => {}
        Ok(_) => lease.is_good(),
    }
    reply
}

/// Asks once and waits for the answer. A request that is given up is withdrawn.
pub(super) async fn ask(
    link: &Link,
    session: &Session,
    request: &Request<'_>,
    aside: Option<&mut Standalone>,
) -> Result<Reply, Fault> {
    let id = link.next_id();
    let mut headers = session.headers();
    let to_answer = headers.clone();
    request.trace_headers(&mut headers);
    let asked = async {
        let posted = async {
            // Questions stop the clock; this bound does not.
            let until = request.deadline + QUESTIONS_WITHIN;
            let answer = link.wire.post(headers, body(request, &id), until).await?;
            if answer.is_success() {
                return Ok(Posted::Answer(answer.messages));
            }
            refused(&answer.refusal(until).await?, &id, session.has_id()).map(Posted::Refused)
        };
        let (dialogue, wire, deadline) = (request.dialogue, &link.wire, request.deadline);
        Conversation { id: &id, dialogue, wire, session: Some(to_answer.clone()), deadline }.answer(posted, aside).await
    };
    let outcome = tokio::select! {
        outcome = asked => outcome,
        () = request.cancelled.cancelled() => Err(UpstreamError::Cancelled.into()),
    };
    if let Err(Fault::Upstream(UpstreamError::Cancelled | UpstreamError::Timeout | UpstreamError::TooLarge)) = outcome {
        withdraw(link, to_answer, &id).await;
    }
    reply(outcome?)
}

fn body(request: &Request<'_>, id: &str) -> String {
    let mut meta = request.meta();
    if request.dialogue.wants_progress() {
        meta.set("progressToken", id.to_owned());
    }
    jsonrpc::request(id, request.method, &request.params(&meta).to_json())
}

/// Says that nobody waits any more. Closing the stream does not say it in this era.
async fn withdraw(link: &Link, headers: HeaderMap, id: &str) {
    let body = jsonrpc::notification("notifications/cancelled", &format!(r#"{{"requestId":{id}}}"#));
    let until = Instant::now() + WITHDRAW_WITHIN;
    let posted = timeout_at(until, link.wire.post(headers, body, until)).await;
    if !matches!(posted, Ok(Ok(_))) {
        tracing::debug!("an upstream does not take a cancellation");
    }
}

/// An answer with another status than success.
fn refused(refusal: &Refusal, id: &str, has_session: bool) -> Result<ErrorObject, Fault> {
    let error = refusal.as_error();
    let written = refusal.error_for(id).map(error_object).transpose()?;
    if is_other_era(refusal.code(), refusal.status) {
        return Err(Fault::OtherEra(error, written));
    }
    match (refusal.status, refusal.code(), written) {
        (_, _, Some(written)) => Ok(written),
        // Some servers say 400 for a session that they do not know.
        (404, ..) | (400, Some(-32000), _) if has_session => Err(Fault::SessionGone(error)),
        (404 | 405, ..) => Err(Fault::OtherEra(error, None)),
        _ => Err(error.into()),
    }
}

/// What the answer means. Results of this era have no type; one that has another than `complete` is of no era.
fn reply(outcome: Outcome) -> Result<Reply, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        #[serde(default)]
        result_type: Option<String>,
    }
    let result = match outcome {
        Ok(result) => result,
        Err(error) => return Ok(Reply::Error(error)),
    };
    let typed: Typed = serde_json::from_str(result.get()).map_err(|_| UpstreamError::Broken("its result cannot be read"))?;
    match typed.result_type.as_deref() {
        None | Some("complete") => Ok(Reply::Result(result)),
        Some(_) => Err(UpstreamError::Broken("its result is of an unknown type").into()),
    }
}
