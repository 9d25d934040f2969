//! One request in the making: the same for both eras up to its headers and its `_meta`.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trunkline_protocol::mcp::{mirrored::Mirrored, object::RawObject};

use super::{Retry, TraceContext};
use crate::dialogue::Dialogue;

/// Keys of `_meta` that are ours to set.
const RESERVED: &str = "io.modelcontextprotocol/";

/// A request and what it needs on its way.
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) params: &'a RawObject<'a>,
    pub(super) input: Option<&'a Retry>,
    pub(super) mirrored: &'a [Mirrored],
    pub(super) trace: Option<&'a TraceContext>,
    pub(super) dialogue: &'a Dialogue,
    pub(super) cancelled: &'a CancellationToken,
    pub(super) deadline: Instant,
}

impl<'a> Request<'a> {
    /// `_meta` with what the caller put into it, less the keys that say who calls.
    pub(super) fn meta(&self) -> RawObject<'a> {
        let mut meta = self.params.get("_meta").and_then(|json| RawObject::parse(json).ok()).unwrap_or_default().into_owned();
        let ours: Vec<String> = meta.iter().map(|(key, _)| key.to_owned()).filter(|key| key.starts_with(RESERVED)).collect();
        for key in ours.iter().map(String::as_str).chain(["progressToken", "traceparent", "tracestate", "baggage"]) {
            meta.remove(key);
        }
        meta
    }

    /// `params` with that `_meta`.
    pub(super) fn params(&self, meta: &RawObject<'_>) -> RawObject<'a> {
        let mut params = self.params.clone();
        params.remove("_meta");
        if !meta.is_empty() {
            params.set("_meta", meta.to_json());
        }
        params
    }

    /// Trace context as headers. What is not a header value is left out.
    pub(super) fn trace_headers(&self, headers: &mut HeaderMap) {
        let Some(trace) = self.trace else { return };
        let state = trace.tracestate.as_deref().map(|state| ("tracestate", state));
        for (name, value) in [Some(("traceparent", trace.traceparent.as_str())), state].into_iter().flatten() {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }

    /// The name that is mirrored into a header, by method.
    pub(super) fn name(&self) -> Option<String> {
        match self.method {
            "tools/call" | "prompts/get" => self.params.text("name"),
            "resources/read" => self.params.text("uri"),
            _ => None,
        }
    }

    /// Arguments that are mirrored into headers.
    pub(super) fn mirrored(&self) -> Vec<(HeaderName, HeaderValue)> {
        if self.mirrored.is_empty() {
            return Vec::new();
        }
        let arguments = self.params.get("arguments").and_then(|json| serde_json::from_str::<Map<String, Value>>(json).ok());
        let arguments = arguments.unwrap_or_default();
        let header = |mirrored: &Mirrored| {
            let value = HeaderValue::from_str(&mirrored.value(&arguments)?).ok()?;
            Some((HeaderName::from_bytes(mirrored.header.as_bytes()).ok()?, value))
        };
        self.mirrored.iter().filter_map(header).collect()
    }
}
