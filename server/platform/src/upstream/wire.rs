//! One HTTP request to an upstream, and the messages of its answer one by one, whether it is JSON, a batch or an event stream. Headers are
//! ours only; the secret goes to the one URL it belongs to, and redirects are not followed.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use reqwest::{
    Method,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use trunkline_protocol::{
    jsonrpc,
    mcp::event_stream::{Decoder, Event},
};
use url::Url;

use super::{UpstreamError, error::Fault};
use crate::{
    egress::{Egress, MAX_ANSWER_BYTES, OutboundRequest, OutboundStream, StreamLimits},
    secret::Plaintext,
};

/// Longest result.
pub(super) const MOST_RESULT: usize = MAX_ANSWER_BYTES;
/// Longest message that is not an answer.
pub(super) const MOST_EVENT: usize = 1024 * 1024;
/// Around a result: the envelope.
const ENVELOPE: usize = 64 * 1024;
/// Most events of one answer.
const MOST_EVENTS: u32 = 10_000;
/// Most bytes of one answer that is a stream.
const MOST_STREAM: u64 = 64 * 1024 * 1024;
/// Longest session id.
const MOST_SESSION_ID: usize = 1024;
/// Carries a session of the handshake era.
pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// Broken in its form, whatever it says.
pub(super) const NOT_JSON_RPC: UpstreamError = UpstreamError::Broken("it sent something that is not JSON-RPC 2.0");

/// The way to one upstream with one credential.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    egress: Egress,
    url: Url,
    secret: Option<(HeaderName, Plaintext)>,
}

/// The head of an answer, and its messages.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) session: Option<HeaderValue>,
    pub(super) is_stream: bool,
    pub(super) messages: Messages,
}

/// Messages as they come.
#[derive(Debug)]
pub(super) struct Messages {
    body: Body,
    waiting: VecDeque<String>,
    events_left: u32,
    /// Where the stream can be resumed, if it can.
    pub(super) last_event: Option<String>,
    /// When, if it said so.
    pub(super) retry: Option<Duration>,
}

#[derive(Debug)]
enum Body {
    Over,
    Json(Box<OutboundStream>, Vec<u8>),
    Events(Box<OutboundStream>, Decoder),
}

/// An answer that is not a success.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// Its JSON-RPC error: the id it names, if any, and the error object.
    pub(super) error: Option<(Option<String>, Box<RawValue>)>,
}

impl Wire {
    pub(super) fn new(egress: Egress, url: Url, secret: Option<(HeaderName, Plaintext)>) -> Self {
        Self { egress, url, secret }
    }

    /// Sends one message.
    pub(super) async fn post(&self, mut headers: HeaderMap, body: String, until: Instant) -> Result<Answer, UpstreamError> {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        let limits = StreamLimits { first_byte: Duration::MAX, idle: Duration::MAX, bytes: MOST_STREAM };
        self.send(Method::POST, headers, Some(body), until, limits).await
    }

    /// Opens a stream for what the upstream says by itself. It begins in time, and is silent for at most `idle`.
    pub(super) async fn get(
        &self,
        mut headers: HeaderMap,
        until: Instant,
        begins: Duration,
        idle: Duration,
    ) -> Result<Answer, UpstreamError> {
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        let limits = StreamLimits { first_byte: begins, idle, bytes: u64::MAX };
        self.send(Method::GET, headers, None, until, limits).await
    }

    /// Sends one message whose answer is a stream that stays open, silent for at most `idle`.
    pub(super) async fn subscribe(
        &self,
        mut headers: HeaderMap,
        body: String,
        until: Instant,
        idle: Duration,
    ) -> Result<Answer, UpstreamError> {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        let limits = StreamLimits { first_byte: Duration::from_secs(15), idle, bytes: u64::MAX };
        let mut answer = self.send(Method::POST, headers, Some(body), until, limits).await?;
        answer.messages.events_left = u32::MAX;
        Ok(answer)
    }

    /// Ends a session.
    pub(super) async fn delete(&self, headers: HeaderMap, until: Instant) -> Result<u16, UpstreamError> {
        let limits = StreamLimits { first_byte: Duration::MAX, idle: Duration::MAX, bytes: 0 };
        self.send(Method::DELETE, headers, None, until, limits).await.map(|answer| answer.status)
    }

    async fn send(
        &self,
        method: Method,
        mut headers: HeaderMap,
        body: Option<String>,
        until: Instant,
        limits: StreamLimits,
    ) -> Result<Answer, UpstreamError> {
        if let Some((name, secret)) = &self.secret {
            let value = HeaderValue::from_str(secret.reveal());
            let mut value = value.map_err(|_| UpstreamError::Unauthorized)?;
            value.set_sensitive(true);
            headers.insert(name.clone(), value);
        }
        let deadline = until.saturating_duration_since(Instant::now());
        let url = self.url.clone();
        let request = OutboundRequest { method, url, headers, body: body.map(Bytes::from), deadline };
        // On the heap: it is part of many futures, and large.
        let mut stream = Box::pin(self.egress.open(request, limits)).await?;
        let session = stream.headers.remove(SESSION_ID).filter(|id| {
            // What would be sent back with every request must be one.
            (1..=MOST_SESSION_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
        });
        let (status, is_stream) = (stream.status.as_u16(), stream.content_type == "text/event-stream");
        let body = match stream.content_type.as_str() {
            "text/event-stream" => Body::Events(Box::new(stream), Decoder::new(MOST_RESULT + ENVELOPE)),
            "application/json" => Body::Json(Box::new(stream), Vec::new()),
            _ => Body::Over,
        };
        let messages = Messages { body, waiting: VecDeque::new(), events_left: MOST_EVENTS, last_event: None, retry: None };
        Ok(Answer { status, session, is_stream, messages })
    }
}

impl Messages {
    /// The next message; `None` at the end. Nothing is lost when it is dropped while it waits.
    pub(super) async fn next(&mut self) -> Result<Option<String>, UpstreamError> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Ok(Some(message));
            }
            match &mut self.body {
                Body::Over => return Ok(None),
                Body::Json(stream, bytes) => match stream.next_chunk().await? {
                    Some(chunk) if bytes.len() + chunk.len() > MOST_RESULT + ENVELOPE => return Err(UpstreamError::TooLarge),
                    Some(chunk) => bytes.extend_from_slice(&chunk),
                    None => {
                        let bytes = std::mem::take(bytes);
                        self.body = Body::Over;
                        self.waiting = split(bytes)?;
                    }
                },
                Body::Events(stream, decoder) => match stream.next_chunk().await? {
                    Some(chunk) => {
                        let events = decoder.push(&chunk).map_err(|_| UpstreamError::TooLarge)?;
                        for event in events {
                            self.take(event)?;
                        }
                    }
                    None => self.body = Body::Over,
                },
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<(), UpstreamError> {
        self.events_left = self.events_left.checked_sub(1).ok_or(UpstreamError::Broken("its answer never ends"))?;
        if let Some(id) = event.id.filter(|id| id.len() <= MOST_SESSION_ID) {
            self.last_event = Some(id);
        }
        if let Some(retry_ms) = event.retry_ms {
            self.retry = Some(Duration::from_millis(retry_ms));
        }
        // A priming event has an id and no data; other names are not messages.
        if !event.data.is_empty() && event.name.is_none_or(|name| name == "message") {
            self.waiting.push_back(event.data);
        }
        Ok(())
    }
}

/// The messages of a JSON body: one, or those of a batch. An empty body has none.
fn split(bytes: Vec<u8>) -> Result<VecDeque<String>, UpstreamError> {
    if jsonrpc::is_array(&bytes) {
        let messages = jsonrpc::batch(&bytes).map_err(|_| NOT_JSON_RPC)?;
        return Ok(messages.into_iter().map(|message| message.get().to_owned()).collect());
    }
    let text = String::from_utf8(bytes).map_err(|_| NOT_JSON_RPC)?;
    Ok(if text.trim().is_empty() { VecDeque::new() } else { VecDeque::from([text]) })
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Reads why it is not a success. What is not a JSON-RPC error is only a status.
    pub(super) async fn refusal(mut self, until: Instant) -> Result<Refusal, Fault> {
        #[derive(Deserialize)]
        struct Envelope<'a> {
            #[serde(borrow, default)]
            id: Option<&'a RawValue>,
            error: Box<RawValue>,
        }
        match self.status {
            401 => return Err(UpstreamError::Unauthorized.into()),
            403 => return Err(UpstreamError::Forbidden.into()),
            _ => {}
        }
        let message = tokio::time::timeout_at(until, self.messages.next()).await.map_err(|_| UpstreamError::Timeout)?;
        let message = message.ok().flatten();
        let envelope = message.as_deref().and_then(|text| serde_json::from_str::<Envelope<'_>>(text).ok());
        let error = envelope.map(|envelope| (envelope.id.map(|id| id.get().to_owned()), envelope.error));
        Ok(Refusal { status: self.status, error })
    }
}

impl Refusal {
    /// The code of its error.
    pub(super) fn code(&self) -> Option<i64> {
        #[derive(Deserialize)]
        struct Coded {
            code: i64,
        }
        let (_, error) = self.error.as_ref()?;
        serde_json::from_str::<Coded>(error.get()).ok().map(|coded| coded.code)
    }

    /// Its error, if it answers the request with that id.
    pub(super) fn error_for(&self, id: &str) -> Option<&RawValue> {
        self.error.as_ref().filter(|(named, _)| named.as_deref() == Some(id)).map(|(_, error)| &**error)
    }

    /// It as an error.
    pub(super) fn as_error(&self) -> UpstreamError {
        UpstreamError::Status(self.status)
    }
}
