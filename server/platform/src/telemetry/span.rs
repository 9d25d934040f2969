//! From a call that has ended to its spans. Their attributes are this file's list and nothing else: no arguments, no results, no paths, no words
//! of others. Names follow the conventions of OpenTelemetry for MCP and HTTP; `trunkline.` is in front of what they have no name for.

use std::time::Duration;

use chrono::{DateTime, Utc};
use url::Url;

use super::{
    Told,
    wire::{AnyValue, KeyValue, Kind, Span, Status, Value, text_of},
};
use crate::{call::Outcome, egress::Exchange, trace::SpanId};

/// HTTP methods with a name of their own in the conventions.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];
const ERROR: Status = Status { code: 2 };
/// Bits of `flags`: it is known whether the parent is somebody else's, and it is.
const PARENT_IS_KNOWN: u32 = 1 << 8;
const PARENT_IS_REMOTE: u32 = 1 << 9;

impl Told {
    /// How many spans it has.
    pub(super) fn spans(&self) -> u64 {
        let parts = 2 + usize::from(self.admission_at_us.is_some()) + usize::from(self.record_us.is_some());
        (parts + self.entry.downstream.requests.len()) as u64
    }

    /// All of them, the call's own first.
    pub(super) fn into_spans(self) -> Vec<Span> {
        let entry = &self.entry;
        let mut spans = Vec::with_capacity(usize::try_from(self.spans()).unwrap_or_default());
        spans.push(self.server());
        spans.push(self.part("auth", 0, entry.auth_us));
        spans.extend(self.admission_at_us.map(|at_us| self.part("admission", at_us, entry.admission_us)));
        spans.extend(entry.downstream.requests.iter().map(|exchange| self.request(exchange)));
        spans.extend(self.record_us.map(|(at_us, took_us)| self.part("record", at_us, took_us)));
        spans
    }

    /// The call itself.
    fn server(&self) -> Span {
        let (entry, trace) = (&self.entry, &self.trace);
        // What does not exist for its caller is a word of theirs.
        let tool = entry.tool.as_ref().map(|_| entry.tool_name.as_str());
        let end_us = self.record_us.map_or(0, |(at_us, took_us)| at_us.saturating_add(took_us)).max(entry.latency_us);
        let error = (entry.outcome != Outcome::Ok).then(|| entry.error.as_deref().unwrap_or_else(|| entry.outcome.as_str()));
        let is_remote = if trace.parent.is_some() { PARENT_IS_REMOTE } else { 0 };
        let texts = [
            ("mcp.method.name", Some("tools/call")),
            ("gen_ai.operation.name", Some("execute_tool")),
            ("gen_ai.tool.name", tool),
            ("mcp.protocol.version", Some(&*entry.revision)),
            ("mcp.agent.id", Some(&entry.agent.to_string())),
            ("mcp.client.name", Some(entry.client_name.as_str()).filter(|name| !name.is_empty())),
            ("mcp.result", Some(entry.outcome.as_str())),
            ("error.type", error),
            ("trunkline.tenant.id", Some(&entry.tenant.to_string())),
            ("trunkline.call.id", Some(&entry.id.to_string())),
        ];
        let numbers = [("mcp.input.bytes", entry.bytes_in), ("mcp.output.bytes", entry.bytes_out)];
        Span {
            parent_span_id: trace.parent.map(|parent| parent.bytes().to_vec()).unwrap_or_default(),
            name: tool.map_or_else(|| "tools/call".to_owned(), |tool| format!("tools/call {tool}")),
            kind: Kind::Server.into(),
            attributes: attributes(&texts, &numbers),
            status: error.map(|_| ERROR),
            flags: u32::from(trace.flags) | PARENT_IS_KNOWN | is_remote,
            ..self.span(trace.span, 0, end_us)
        }
    }

    /// A step of ours.
    fn part(&self, name: &str, at_us: i64, took_us: i64) -> Span {
        Span { name: name.to_owned(), kind: Kind::Internal.into(), ..self.child(SpanId::draw(), at_us, took_us) }
    }

    /// A request to somebody else.
    fn request(&self, exchange: &Exchange) -> Span {
        let server = Url::parse(&exchange.to).ok();
        let method = if METHODS.contains(&&*exchange.method) { &*exchange.method } else { "_OTHER" };
        let failed = exchange.status.filter(|status| *status >= 400).map(|status| status.to_string());
        let error = exchange.error.as_deref().or(failed.as_deref());
        let texts = [
            ("http.request.method", Some(method)),
            ("server.address", server.as_ref().and_then(Url::host_str)),
            ("error.type", error),
        ];
        let port = server.as_ref().and_then(Url::port_or_known_default).map(|port| ("server.port", i64::from(port)));
        let status = exchange.status.map(|status| ("http.response.status_code", i64::from(status)));
        let numbers: Vec<_> = port.into_iter().chain(status).collect();
        let at_us = self.upstream_at_us.saturating_add(exchange.at_us);
        Span {
            name: if method == "_OTHER" { "HTTP" } else { method }.to_owned(),
            kind: Kind::Client.into(),
            attributes: attributes(&texts, &numbers),
            status: error.map(|_| ERROR),
            ..self.child(exchange.span.unwrap_or_else(SpanId::draw), at_us, exchange.took_us)
        }
    }

    fn child(&self, span: SpanId, at_us: i64, took_us: i64) -> Span {
        let flags = u32::from(self.trace.flags) | PARENT_IS_KNOWN;
        Span { parent_span_id: self.trace.span.bytes().to_vec(), flags, ..self.span(span, at_us, took_us) }
    }

    fn span(&self, span: SpanId, at_us: i64, took_us: i64) -> Span {
        Span {
            trace_id: self.trace.id.bytes().to_vec(),
            span_id: span.bytes().to_vec(),
            trace_state: self.trace.state.clone().unwrap_or_default(),
            start_time_unix_nano: after(self.began, at_us),
            end_time_unix_nano: after(self.began, at_us.saturating_add(took_us)),
            ..Span::default()
        }
    }
}

/// Nanoseconds of the time so many microseconds later.
fn after(began: DateTime<Utc>, us: i64) -> u64 {
    let began = began.timestamp_nanos_opt().and_then(|nanos| u64::try_from(nanos).ok()).unwrap_or_default();
    let later = Duration::from_micros(u64::try_from(us).unwrap_or_default());
    began.saturating_add(u64::try_from(later.as_nanos()).unwrap_or(u64::MAX))
}

fn attributes(texts: &[(&str, Option<&str>)], numbers: &[(&str, i64)]) -> Vec<KeyValue> {
    let texts = texts.iter().filter_map(|(key, text)| Some(text_of(key, (*text)?)));
    texts.chain(numbers.iter().map(|(key, number)| of(key, Value::Whole(*number)))).collect()
}

fn of(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}
