//! The record for somebody else: one entry a line, readable, with what it takes to verify it without us. Written in pages; memory does not grow.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::{PAGE, link::EntryRow, store};
use crate::{
    Platform,
    actor::{Member, Permission},
    error::{Error, Result},
    ids::TenantId,
};

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Jsonl,
    /// RFC 4180, with a header.
    Csv,
}

/// What an export has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Calls alone, or every entry.
    pub calls_only: bool,
    /// From that moment on.
    pub since: Option<DateTime<Utc>>,
    /// Before that moment.
    pub until: Option<DateTime<Utc>>,
}

/// Members of a call that people read, in their order.
const CALL: &[&str] = &[
    "id",
    "tenant",
    "agent",
    "client",
    "user",
    "tool",
    "tool_version",
    "decision",
    "reason",
    "outcome",
    "started_at",
    "duration_ms",
    "upstream_ms",
    "bytes_in",
    "bytes_out",
    "tokens_out",
    "cost_micro",
    "revision",
    "jsonrpc_id",
    "trace_id",
];
/// The same of any entry.
const ENTRY: &[&str] =
    &["id", "tenant", "at", "actor_kind", "actor", "action", "subject", "decision", "reason", "request_id", "details"];
/// What proves them: the entry as it was hashed, the hash before, and what stands between this line and the ones beside it.
pub(super) const PROOF: &[&str] = &["seq", "hash", "previous", "before", "entry", "after"];

/// Names of the readable members.
pub(super) fn names(calls_only: bool) -> &'static [&'static str] {
    if calls_only { CALL } else { ENTRY }
}

/// The readable members, from the canonical entry alone: so they can be held against it.
pub(super) fn readable(entry: &Value, calls_only: bool) -> Map<String, Value> {
    let call = &entry["call"];
    let ms = |name: &str| call[name].as_f64().map(|us| json!(us / 1000.0)).unwrap_or_default();
    let value = |name: &str| match name {
        "id" | "tenant" | "decision" | "reason" => entry[name].clone(),
        "started_at" => entry["at"].clone(),
        "duration_ms" => ms("latency_us"),
        "upstream_ms" => ms("upstream_us"),
        "tool" => call["tool_name"].clone(),
        _ if calls_only => call[name].clone(),
        _ => entry[name].clone(),
    };
    names(calls_only).iter().map(|name| ((*name).to_owned(), value(name))).collect()
}

/// One cell. A text that a spreadsheet would take for a formula gets an apostrophe.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.starts_with(['=', '+', '-', '@']) => format!("'{text}"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// One line, before it is known what comes after it.
#[derive(Debug)]
struct Line {
    members: Map<String, Value>,
}

/// An export on its way.
#[derive(Debug)]
pub struct Export {
    tenant: TenantId,
    range: Range,
    format: Format,
    next: Option<(i64, i64)>,
    previous: Vec<u8>,
    /// Hash before the first of `between`.
    before_between: Vec<u8>,
    between: Vec<Value>,
    pending: Option<Line>,
    begun: bool,
}

impl Export {
    /// Begins: the range is fixed now, what comes later is not in it.
    pub async fn begin(platform: &Platform, tenant: TenantId, range: Range, format: Format) -> Result<Self> {
        let mut tx = platform.db.tenant(tenant).await?;
        let next = store::bounds(&mut tx, range.since, range.until).await?;
        let previous = match next {
            Some((first, _)) if first > 1 => store::hash_at(&mut tx, first - 1).await?.ok_or_else(|| gone(first - 1))?,
            _ => super::ROOT.to_vec(),
        };
        tx.commit().await?;
        let before_between = previous.clone();
        Ok(Self { tenant, range, format, next, previous, before_between, between: Vec::new(), pending: None, begun: false })
    }

    /// The same for a member who may see it.
    pub async fn begin_own(platform: &Platform, actor: &Member, range: Range, format: Format) -> Result<Self> {
        actor.require(Permission::ViewAudit)?;
        Self::begin(platform, actor.tenant, range, format).await
    }

    /// The next lines, or nothing when it is whole.
    pub async fn next(&mut self, platform: &Platform) -> Result<Option<String>> {
        let mut text = String::new();
        if !self.begun && self.format == Format::Csv {
            let header: Vec<&str> = names(self.range.calls_only).iter().chain(PROOF).copied().collect();
            text.push_str(&header.join(","));
            text.push_str("\r\n");
        }
        let was_begun = std::mem::replace(&mut self.begun, true);
        let Some((first, last)) = self.next else {
            // What comes after the last line stands in it: so the end of a chain can be verified too.
            let after = std::mem::take(&mut self.between);
            let end = self.pending.take().map(|mut line| {
                line.members.insert("after".to_owned(), Value::Array(after));
                line
            });
            if let Some(line) = end {
                self.write(&line, &mut text);
            } else if was_begun {
                return Ok(None);
            }
            return Ok(Some(text));
        };
        let mut tx = platform.db.tenant(self.tenant).await?;
        let after = u64::try_from(first - 1).unwrap_or(0);
        let page = store::page(&mut tx, after, PAGE.min(last - first + 1)).await?;
        tx.commit().await?;
        let mut expected = first;
        for (link, entry) in page {
            let entry = entry.filter(|_| link.seq == expected).ok_or_else(|| gone(expected))?;
            expected += 1;
            self.add(link.seq, link.hash, &entry, &mut text)?;
        }
        if expected == first {
            return Err(gone(first));
        }
        self.next = (expected <= last).then_some((expected, last));
        Ok(Some(text))
    }

    fn add(&mut self, seq: i64, hash: Vec<u8>, entry: &EntryRow, text: &mut String) -> Result<()> {
        let canonical = entry.canonical();
        let in_time =
            self.range.since.is_none_or(|since| entry.at >= since) && self.range.until.is_none_or(|until| entry.at < until);
        if !in_time || (self.range.calls_only && !entry.is_call()) {
            if self.between.is_empty() {
                self.before_between.clone_from(&self.previous);
            }
            self.between.push(Value::String(canonical));
            self.previous = hash;
            return Ok(());
        }
        let previous = if self.between.is_empty() { &self.previous } else { &self.before_between };
        let value: Value = serde_json::from_str(&canonical).map_err(Error::internal)?;
        let mut members = readable(&value, self.range.calls_only);
        members.insert("seq".to_owned(), json!(seq));
        members.insert("hash".to_owned(), json!(hex(&hash)));
        members.insert("previous".to_owned(), json!(hex(previous)));
        members.insert("before".to_owned(), Value::Array(std::mem::take(&mut self.between)));
        members.insert("entry".to_owned(), Value::String(canonical));
        members.insert("after".to_owned(), json!([]));
        self.previous = hash;
        if let Some(line) = self.pending.replace(Line { members }) {
            self.write(&line, text);
        }
        Ok(())
    }

    fn write(&self, line: &Line, text: &mut String) {
        match self.format {
            Format::Jsonl => {
                text.push_str(&Value::Object(line.members.clone()).to_string());
                text.push('\n');
            }
            Format::Csv => {
                let cells = names(self.range.calls_only).iter().chain(PROOF).map(|name| {
                    let cell = line.members.get(*name).map(cell).unwrap_or_default();
                    if cell.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
                });
                text.push_str(&cells.collect::<Vec<_>>().join(","));
                text.push_str("\r\n");
            }
        }
    }
}

fn gone(seq: i64) -> Error {
    Error::conflict(format!("Entry {seq} of the chain is gone. `trunkline audit verify` says more."))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.len().is_multiple_of(2).then(|| digits.chunks_exact(2).map(byte).collect())?
}
