//! An event stream: one event with the answer, comments while it is not there. Never buffered, never compressed.

use std::{convert::Infallible, time::Duration};

use actix_web::{
    HttpResponse,
    http::header::{self, HeaderValue},
    web::Bytes,
};
use futures_util::stream;
use tokio::sync::oneshot;
use tokio_util::sync::DropGuard;

/// Proxies close what is silent for a minute; some for half of it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a stream waits for. Dropped with the body when the client goes away; the guard then cancels the call, if it is there.
struct Pending {
    answer: oneshot::Receiver<String>,
    guard: Option<DropGuard>,
    opened: bool,
}

/// A stream that ends with the answer. `guard` cancels the call when the client closes the stream before that.
pub(super) fn respond(answer: oneshot::Receiver<String>, guard: Option<DropGuard>) -> HttpResponse {
    let pending = Pending { answer, guard, opened: false };
    let events = stream::unfold(Some(pending), |pending| async move {
        let mut pending = pending?;
        if !pending.opened {
            // At once, so that the client and every proxy on the way know that this is a stream.
            pending.opened = true;
            return Some((Ok::<_, Infallible>(Bytes::from_static(b": open\n\n")), Some(pending)));
        }
        match tokio::time::timeout(KEEP_ALIVE, &mut pending.answer).await {
            Err(_) => Some((Ok(Bytes::from_static(b": waiting\n\n")), Some(pending))),
            Ok(answer) => {
                // The answer is here: closing the stream cancels nothing any more.
                if let Some(guard) = pending.guard.take() {
                    guard.disarm();
                }
                answer.ok().map(|answer| (Ok(Bytes::from(format!("event: message\ndata: {answer}\n\n"))), None))
            }
        }
    });
    let mut response = HttpResponse::Ok().streaming(events);
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-store"),
        (header::CONTENT_ENCODING, "identity"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
