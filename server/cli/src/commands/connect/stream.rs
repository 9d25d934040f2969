//! Messages of an answer, in whichever form it comes.

use std::{collections::VecDeque, time::Duration};

use reqwest::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap},
};
use serde::de::IgnoredAny;
use trunkline_protocol::mcp::event_stream::{Decoder, Event};

use super::failure::Failure;
use crate::terminal;

/// Longest answer, and longest event of a stream.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// A stream that says nothing for this long, not even a comment, is dead. The platform writes one every 15 seconds.
const SILENT: Duration = Duration::from_secs(90);
/// What a stream gets to end after its last message, so that its connection can be used again.
const END_WITHIN: Duration = Duration::from_millis(250);

/// An answer that began well.
#[derive(Debug)]
pub(super) struct Incoming {
    response: Response,
    form: Form,
    /// Where the stream can be resumed.
    pub(super) last_event: Option<String>,
    /// When, if it said.
    pub(super) retry: Option<Duration>,
}

#[derive(Debug)]
enum Form {
    /// Nothing comes.
    Nothing,
    /// Something else. It matters only where an answer is wanted.
    Unknown,
    /// One text.
    Json,
    /// Events.
    Events { decoder: Box<Decoder>, read: VecDeque<Event> },
}

impl Incoming {
    /// Nothing is read yet.
    pub(super) fn new(response: Response) -> Self {
        let form = match (response.status(), content_type(response.headers()).as_str()) {
            (StatusCode::ACCEPTED | StatusCode::NO_CONTENT, _) => Form::Nothing,
            (_, "application/json") => Form::Json,
            (_, "text/event-stream") => Form::Events { decoder: Box::new(Decoder::new(MAX_BYTES)), read: VecDeque::new() },
            _ => Form::Unknown,
        };
        Self { response, form, last_event: None, retry: None }
    }

    /// Its headers.
    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The next text of JSON. `None` when nothing more comes.
    pub(super) async fn next(&mut self) -> Result<Option<String>, Failure> {
        match self.form {
            Form::Nothing => Ok(None),
            Form::Unknown => Err(Failure::Broken),
            Form::Json => {
                self.form = Form::Nothing;
                let text = rest(&mut self.response).await?;
                serde_json::from_str::<IgnoredAny>(&text).map_err(|_| Failure::Broken)?;
                Ok(Some(text))
            }
            Form::Events { .. } => self.next_event().await,
        }
    }

    async fn next_event(&mut self) -> Result<Option<String>, Failure> {
        let Form::Events { decoder, read } = &mut self.form else { return Ok(None) };
        loop {
            while let Some(event) = read.pop_front() {
                if let Some(id) = event.id {
                    self.last_event = Some(id);
                }
                if let Some(ms) = event.retry_ms {
                    self.retry = Some(Duration::from_millis(ms));
                }
                if event.data.is_empty() || event.name.is_some_and(|name| name != "message") {
                    continue;
                }
                if serde_json::from_str::<IgnoredAny>(&event.data).is_ok() {
                    return Ok(Some(event.data));
                }
                terminal::complain("connect: the endpoint sent an event that is not a message; it is left out");
            }
            match chunk(&mut self.response).await? {
                Some(bytes) => read.extend(decoder.push(bytes.as_ref()).map_err(|_| Failure::TooLarge)?),
                None => return Ok(None),
            }
        }
    }

    /// It is the rest of that one.
    pub(super) fn after(self, ended: Self) -> Self {
        Self { last_event: ended.last_event, retry: ended.retry, ..self }
    }

    /// Nothing more is wanted of it.
    pub(super) async fn finish(mut self) {
        let end = async { while let Ok(Some(_)) = chunk(&mut self.response).await {} };
        let _ = tokio::time::timeout(END_WITHIN, end).await;
    }
}

/// A whole answer as text.
pub(super) async fn whole(mut response: Response) -> Result<String, Failure> {
    rest(&mut response).await
}

async fn rest(response: &mut Response) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    while let Some(piece) = chunk(response).await? {
        if bytes.len() + piece.as_ref().len() > MAX_BYTES {
            return Err(Failure::TooLarge);
        }
        bytes.extend_from_slice(piece.as_ref());
    }
    String::from_utf8(bytes).map_err(|_| Failure::Broken)
}

async fn chunk(response: &mut Response) -> Result<Option<impl AsRef<[u8]> + use<>>, Failure> {
    tokio::time::timeout(SILENT, response.chunk()).await.map_err(|_| Failure::Late)?.map_err(|_| Failure::Cut)
}

fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
