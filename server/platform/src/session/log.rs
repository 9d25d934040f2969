//! What was sent on a stream of a session, kept for a while in Redis, so that a client that lost its connection can go on from the last event
//! it saw, on any replica.

use std::{fmt, str::FromStr};

use redis::{cmd, streams::StreamRangeReply};

use serde_json::value::RawValue;
use trunkline_protocol::jsonrpc::{ErrorObject, INTERNAL_ERROR};

use super::Session;
use crate::{Platform, redis::Away};

/// How long a stream can be resumed after its last event, in seconds.
const KEPT_S: u64 = 300;
/// Events of one stream that are kept; older ones go.
const MOST_EVENTS: usize = 1_000;
/// Largest event that is kept, in bytes, and most of one stream. What is larger cannot be had again.
const MAX_EVENT: usize = 64 * 1024;
const MOST_BYTES: usize = 1024 * 1024;
/// Events that one reading gives.
const AT_ONCE: usize = 100;

/// Id of an event: which stream, and how many before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventId {
    /// The stream.
    pub stream: String,
    /// Counts from 0.
    pub number: u64,
}

/// Not an id of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the id of an event that this session was sent")]
pub struct InvalidEventId;

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.stream, self.number)
    }
}

impl FromStr for EventId {
    type Err = InvalidEventId;

    fn from_str(text: &str) -> Result<Self, InvalidEventId> {
        let (stream, number) = text.split_once('-').ok_or(InvalidEventId)?;
        let fits = stream.len() == STREAM_ID
            && stream.bytes().all(|b| b.is_ascii_alphanumeric())
            && number.len() <= NUMBER_DIGITS
            && number.bytes().all(|b| b.is_ascii_digit());
        match number.parse() {
            // Redis counts from 1, and `after` is exclusive.
            Ok(number) if fits && number < u64::MAX - 1 => Ok(Self { stream: stream.to_owned(), number }),
            _ => Err(InvalidEventId),
        }
    }
}

const STREAM_ID: usize = 16;
/// No stream has that many events; what follows the number still fits.
const NUMBER_DIGITS: usize = 15;

/// An event as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Its id.
    pub id: EventId,
    /// The message; empty in an event that only has an id.
    pub data: String,
    /// Is it the last one of its stream?
    pub is_last: bool,
}

/// How far a stream has come, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// The replica that writes it.
    pub replica: String,
    /// The request that it answers: its id as it was written.
    pub request: String,
    /// Has it ended?
    pub is_last: bool,
}

/// The log of one stream while it is written.
#[derive(Debug)]
pub struct StreamLog {
    key: String,
    stream: String,
    request: String,
    next: u64,
    bytes: usize,
}

fn key(platform: &Platform, session: &Session, stream: &str) -> String {
    platform.redis.tenant_key(session.tenant, &format!("e:{}:{stream}", session.id))
}

impl StreamLog {
    /// A stream of that session without events, for the answer to a request. `request` is its id as it was written.
    pub fn begin(platform: &Platform, session: &Session, request: &str) -> Self {
        let stream = crate::random::base62(STREAM_ID);
        Self { key: key(platform, session, &stream), stream, request: request.to_owned(), next: 0, bytes: 0 }
    }

    /// Adds an event and gives its id. It has its id even where Redis is away; it just cannot be had again then.
    pub async fn append(&mut self, platform: &Platform, data: &str, is_last: bool) -> EventId {
        let id = EventId { stream: self.stream.clone(), number: self.next };
        self.next += 1;
        let fits = data.len() <= MAX_EVENT && self.bytes + data.len() <= MOST_BYTES;
        self.bytes += if fits { data.len() } else { 0 };
        // Its place is kept: whoever resumes learns that the stream went on, and that an answer cannot be had again.
        let too_large = ErrorObject::new(INTERNAL_ERROR, "the answer was sent once and is too large to be sent again");
        let instead = match RawValue::from_string(self.request.clone()) {
            Ok(request) if is_last && !fits => too_large.to_body(Some(&request)),
            _ => String::new(),
        };
        let data = if fits { data } else { &instead };
        let mut add = cmd("XADD");
        // Redis counts from 1: nothing may be 0-0.
        add.arg(&self.key).arg("MAXLEN").arg("~").arg(MOST_EVENTS).arg(format!("0-{}", id.number + 1)).arg("d").arg(data);
        // With each event, since the first ones of a long stream go. The names cost nothing: Redis keeps them once.
        add.arg("h").arg(platform.bus.replica()).arg("r").arg(&self.request);
        if is_last {
            add.arg("l").arg("1");
        }
        let expire = async {
            platform.redis.command::<()>(&add).await?;
            platform.redis.command::<()>(cmd("EXPIRE").arg(&self.key).arg(KEPT_S)).await
        };
        if let Err(error) = expire.await {
            tracing::debug!(%error, "an event cannot be kept for resumption");
        }
        id
    }
}

/// The newest event of that stream. `None`: there is no such stream of this session (any more).
pub async fn newest(platform: &Platform, session: &Session, stream: &str) -> Result<Option<Newest>, Away> {
    let mut range = cmd("XREVRANGE");
    range.arg(key(platform, session, stream)).arg("+").arg("-").arg("COUNT").arg(1);
    let reply: StreamRangeReply = platform.redis.command(&range).await?;
    let newest = reply.ids.first();
    Ok(newest
        .and_then(|entry| Some(Newest { replica: entry.get("h")?, request: entry.get("r")?, is_last: entry.contains_key("l") })))
}

/// Events of that stream after `after`, in order, as far as they are there. `None`: there is no such stream of this session (any more).
pub async fn replay(platform: &Platform, session: &Session, after: &EventId) -> Result<Option<Vec<LoggedEvent>>, Away> {
    let key = key(platform, session, &after.stream);
    let mut range = cmd("XRANGE");
    range.arg(&key).arg(format!("(0-{}", after.number + 1)).arg("+").arg("COUNT").arg(AT_ONCE);
    let reply: StreamRangeReply = platform.redis.command(&range).await?;
    if reply.ids.is_empty() && !platform.redis.command::<bool>(cmd("EXISTS").arg(&key)).await? {
        return Ok(None);
    }
    let events = reply.ids.into_iter().filter_map(|entry| {
        let number: u64 = entry.id.strip_prefix("0-")?.parse().ok()?;
        Some(LoggedEvent {
            id: EventId { stream: after.stream.clone(), number: number.checked_sub(1)? },
            data: entry.get("d")?,
            is_last: entry.contains_key("l"),
        })
    });
    Ok(Some(events.collect()))
}
