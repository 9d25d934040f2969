//! An answer as it comes: for event streams, which may be open for long and must still end.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{StatusCode, header::HeaderMap};
use tokio::time::{Instant, timeout_at};

use super::{Answer, Egress, EgressError, OutboundRequest, content_type, trail::OnItsWay};

/// No answer is read for longer, whatever its request says.
const LONGEST: Duration = Duration::from_hours(24);

/// Bounds of an answer that is read as it comes. The request's own deadline bounds the whole of it.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// Longest wait for the head of the answer.
    pub first_byte: Duration,
    /// Longest silence after it.
    pub idle: Duration,
    /// Most bytes, after decompression.
    pub bytes: u64,
}

/// The head of an answer, and its body as it comes. Dropping it closes the connection.
#[derive(Debug)]
pub struct OutboundStream {
    /// Status.
    pub status: StatusCode,
    /// `Content-Type`, lower case, without parameters.
    pub content_type: String,
    /// All headers.
    pub headers: HeaderMap,
    answer: Answer,
    idle: Duration,
    deadline: Instant,
    bytes_left: u64,
    on_its_way: OnItsWay,
}

impl Egress {
    /// Sends a request and reads the head of its answer; the body follows with `next_chunk`.
    pub async fn open(&self, mut request: OutboundRequest, limits: StreamLimits) -> Result<OutboundStream, EgressError> {
        self.check(&request.url)?;
        let now = Instant::now();
        let deadline = now + request.deadline.min(LONGEST);
        let first_byte = earlier(deadline, now, limits.first_byte);
        let mut on_its_way = OnItsWay::begin(&mut request);
        let answer = timeout_at(first_byte, self.begin(request)).await.unwrap_or(Err(EgressError::Timeout));
        let answer = answer.inspect_err(|error| on_its_way.ended(Some(*error)))?;
        on_its_way.answered(answer.status);
        Ok(OutboundStream {
            status: answer.status,
            content_type: content_type(&answer.headers),
            headers: answer.headers.clone(),
            answer,
            idle: limits.idle,
            deadline,
            bytes_left: limits.bytes,
            on_its_way,
        })
    }
}

impl OutboundStream {
    /// The next piece of the body; `None` at its end. Fails at the first bound that is reached, and the answer is useless from then on.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, EgressError> {
        let chunk = self.chunk().await;
        if !matches!(chunk, Ok(Some(_))) {
            self.on_its_way.ended(chunk.as_ref().err().copied());
        }
        chunk
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, EgressError> {
        let until = earlier(self.deadline, Instant::now(), self.idle);
        let chunk = timeout_at(until, self.answer.chunk()).await.map_err(|_| EgressError::Timeout)?;
        let Some(chunk) = chunk? else { return Ok(None) };
        self.bytes_left = self.bytes_left.checked_sub(chunk.len() as u64).ok_or(EgressError::TooLarge)?;
        Ok(Some(chunk))
    }
}

/// The deadline, or the end of a wait that begins now. A wait may be without end.
fn earlier(deadline: Instant, now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).map_or(deadline, |end| end.min(deadline))
}
