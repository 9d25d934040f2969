//! Event streams. What is said goes through a bounded queue to the client; what waits longer than a keep-alive loses its reader. Never
//! buffered, never compressed. Streams of sessions are kept for resumption.

use std::{convert::Infallible, time::Duration};

use actix_web::{
    HttpResponse,
    http::header::{self, HeaderValue},
    web::Bytes,
};
use futures_util::stream;
use tokio::sync::mpsc;
use trunkline_platform::{
    Platform,
    session::{Session, StreamLog},
};
use trunkline_protocol::mcp::event_stream::Event;

/// Proxies close what is silent for a minute; some for half of it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Events that wait for a slow reader.
const WAITING: usize = 16;
/// A reader that takes nothing for this long has lost its stream.
const READ_WITHIN: Duration = Duration::from_secs(15);

/// The writing end of a stream. It goes on when the reader is gone, so that what a session was sent can be had again.
pub(super) struct Line {
    platform: Platform,
    reader: Option<mpsc::Sender<Bytes>>,
    log: Option<StreamLog>,
}

/// A stream and its answer. `kept` names the session and the request for which it is kept, so that it can be resumed.
pub(super) fn open(platform: &Platform, kept: Option<(&Session, &str)>) -> (Line, HttpResponse) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let log = kept.map(|(session, request)| StreamLog::begin(platform, session, request));
    platform.metrics.open_streams.inc();
    (Line { platform: platform.clone(), reader: Some(sender), log }, respond(receiver))
}

impl Line {
    /// Says something at once, so that the client and every proxy on the way know that this is a stream: where the revision has it, an
    /// event from which it can be resumed.
    pub(super) async fn begin(&mut self, with_event: bool) {
        match &mut self.log {
            Some(log) if with_event => {
                let id = Box::pin(log.append(&self.platform, "", false)).await;
                self.write(Event { id: Some(id.to_string()), ..Event::default() }.encode()).await;
            }
            _ => self.write(": open\n\n".to_owned()).await,
        }
    }

    /// A JSON-RPC message.
    pub(super) async fn message(&mut self, data: String) {
        self.event(data, false).await;
    }

    /// The message after which nothing comes.
    pub(super) async fn last(mut self, data: String) {
        self.event(data, true).await;
    }

    /// The end without a message: nobody waits for one.
    pub(super) async fn end(mut self) {
        if let Some(log) = &mut self.log {
            log.append(&self.platform, "", true).await;
        }
    }

    /// Says when to come back and closes the connection; what follows can be had by resuming.
    pub(super) async fn pause(&mut self, retry_ms: u64) {
        if self.log.is_some() {
            self.retry(retry_ms).await;
            self.reader = None;
        }
    }

    /// Says when to come back, should the connection be cut. Where nothing can be resumed, nobody comes back.
    pub(super) async fn retry(&mut self, retry_ms: u64) {
        if let Some(log) = &mut self.log {
            let id = Box::pin(log.append(&self.platform, "", false)).await;
            self.write(Event { id: Some(id.to_string()), retry_ms: Some(retry_ms), ..Event::default() }.encode()).await;
        }
    }

    /// An event as it was sent before.
    pub(super) async fn again(&mut self, id: String, data: String) {
        self.write(Event { id: Some(id), name: name(&data), data, retry_ms: None }.encode()).await;
    }

    /// Waits until the reader is gone. It may have gone before the first word.
    pub(super) async fn closed(&self) {
        if let Some(reader) = &self.reader {
            reader.closed().await;
        }
    }

    /// Is anybody reading?
    pub(super) fn is_read(&self) -> bool {
        self.reader.as_ref().is_some_and(|reader| !reader.is_closed())
    }

    async fn event(&mut self, data: String, is_last: bool) {
        let id = match &mut self.log {
            Some(log) => Some(Box::pin(log.append(&self.platform, &data, is_last)).await.to_string()),
            None => None,
        };
        self.write(Event { id, name: name(&data), data, retry_ms: None }.encode()).await;
    }

    async fn write(&mut self, text: String) {
        let Some(reader) = &self.reader else { return };
        match tokio::time::timeout(READ_WITHIN, reader.send(text.into())).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => self.reader = None,
            Err(_) => {
                self.platform.metrics.slow_readers.inc();
                tracing::info!(waited_s = READ_WITHIN.as_secs(), "a stream was closed: its client does not read");
                self.reader = None;
            }
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.platform.metrics.open_streams.dec();
    }
}

/// Events without data only have an id.
fn name(data: &str) -> Option<String> {
    (!data.is_empty()).then(|| "message".to_owned())
}

/// The reading end, with a comment whenever nothing was said for a while.
fn respond(receiver: mpsc::Receiver<Bytes>) -> HttpResponse {
    let events = stream::unfold(receiver, |mut receiver| async move {
        let next = tokio::time::timeout(KEEP_ALIVE, receiver.recv()).await;
        match next {
            Err(_) => Some((Ok::<_, Infallible>(Bytes::from_static(b": waiting\n\n")), receiver)),
            Ok(event) => event.map(|event| (Ok(event), receiver)),
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
