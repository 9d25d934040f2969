//! One way to the collector: a message after the other, packed, each tried a few times. Whoever has something to tell never waits for it, and it is given up
//! when it takes too long.

use std::{io::Write as _, time::Duration};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use prost::Message;
use reqwest::{
    Method, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::wire::{ExportResponse, InstrumentationScope, Resource, text_of};
use crate::{
    Platform,
    egress::{Egress, OutboundAnswer, OutboundRequest},
};

/// Longest wait for the collector to take a message.
const DEADLINE: Duration = Duration::from_secs(5);
/// Pauses before a message is tried again.
const PAUSES: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// Longest pause that a collector may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// To the collector, for one kind of message.
pub(super) struct Transport {
    /// What it takes there, in a word.
    what: &'static str,
    url: Url,
    headers: HeaderMap,
    egress: Egress,
    /// It is said once that the collector is away, until it is back.
    is_away: bool,
}

/// Why a message was not taken.
struct NotTaken {
    why: String,
    again: Again,
}

/// May it be tried again?
#[derive(Clone, Copy)]
enum Again {
    /// That has no point.
    Never,
    /// When we like.
    Sometime,
    /// After that time, as the collector asks.
    After(Duration),
}

impl Transport {
    pub(super) fn new(what: &'static str, url: Url, headers: HeaderMap, egress: Egress) -> Self {
        Self { what, url, headers, egress, is_away: false }
    }

    /// Delivers a message of that many things, or gives it up. How many of them the collector has taken.
    pub(super) async fn send(&mut self, message: &impl Message, count: u64, stop: &CancellationToken) -> u64 {
        match self.deliver(packed(&message.encode_to_vec()), stop).await {
            Ok(rejected) => {
                self.is_away = false;
                count.saturating_sub(rejected)
            }
            Err(why) => {
                if !std::mem::replace(&mut self.is_away, true) {
                    tracing::warn!(reason = why, "the collector takes no {}", self.what);
                }
                0
            }
        }
    }

    /// How many things the collector has refused of those it took; or why it took none.
    async fn deliver(&self, body: Bytes, stop: &CancellationToken) -> Result<u64, String> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let NotTaken { why, again } = match self.once(body.clone()).await {
                Ok(rejected) => return Ok(rejected),
                Err(not_taken) => not_taken,
            };
            let pause = match (again, pauses.next()) {
                (Again::Never, _) | (_, None) => return Err(why),
                (Again::Sometime, Some(pause)) => pause,
                (Again::After(asked), Some(_)) => asked.min(LONGEST_PAUSE),
            };
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return Err(why);
            }
        }
    }

    async fn once(&self, body: Bytes) -> Result<u64, NotTaken> {
        let mut headers = self.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let request =
            OutboundRequest { method: Method::POST, url: self.url.clone(), headers, body: Some(body), deadline: DEADLINE };
        let answer = self.egress.send(request).await;
        let answer = answer.map_err(|error| NotTaken { why: error.to_string(), again: Again::Sometime })?;
        if answer.status.is_success() {
            return Ok(rejected(&answer));
        }
        Err(NotTaken { why: format!("it answered {}", answer.status.as_u16()), again: again(&answer) })
    }
}

/// Who tells, and with what.
pub(super) fn teller(platform: &Platform) -> (Option<Resource>, Option<InstrumentationScope>) {
    let version = env!("CARGO_PKG_VERSION");
    let id = platform.replicas.id().to_string();
    let attributes = [("service.name", "trunkline"), ("service.version", version), ("service.instance.id", &*id)];
    let resource = Resource { attributes: attributes.iter().map(|(key, text)| text_of(key, text)).collect() };
    let scope = InstrumentationScope { name: "trunkline".to_owned(), version: version.to_owned() };
    (Some(resource), Some(scope))
}

/// Packed: names of attributes are the same again and again. Writing into memory cannot fail.
fn packed(bytes: &[u8]) -> Bytes {
    let mut packer = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    let _ = packer.write_all(bytes);
    packer.finish().unwrap_or_default().into()
}

/// What it says that it refused. An answer that cannot be read says nothing.
fn rejected(answer: &OutboundAnswer) -> u64 {
    let read = ExportResponse::decode(answer.body.clone()).ok();
    let rejected = read.and_then(|answer| answer.partial_success).map(|partial| partial.rejected);
    rejected.and_then(|rejected| u64::try_from(rejected).ok()).unwrap_or_default()
}

/// The four statuses that the specification says to try again after.
fn again(answer: &OutboundAnswer) -> Again {
    let again =
        [StatusCode::TOO_MANY_REQUESTS, StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
    let seconds = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    match seconds {
        _ if !again.contains(&answer.status) => Again::Never,
        Some(seconds) => Again::After(Duration::from_secs(seconds)),
        None => Again::Sometime,
    }
}
