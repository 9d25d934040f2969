//! The record for somebody else: one entry a line, readable, with what it takes to verify it without us. Written in pages; memory does not grow.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::{
    PAGE,
    link::EntryRow,
    online, parquet,
    receipt::Dropped,
    signer,
    store::{self, LinkRow},
};
use crate::{
    Platform,
    actor::{Member, Permission},
    error::{Error, Result},
    hex,
    ids::TenantId,
};

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Jsonl,
    /// RFC 4180, with a header.
    Csv,
    /// Apache Parquet, with typed columns.
    Parquet,
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
    "network",
    "region",
    "arguments_digest",
    "definition_digest",
    "upstream_status",
    "downstream",
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
    dropped: Dropped,
    previous: Vec<u8>,
    /// Hash before the first of `between`.
    before_between: Vec<u8>,
    between: Vec<Value>,
    pending: Option<Line>,
    begun: bool,
    finished: bool,
    parquet: Option<parquet::Writer>,
}

impl Export {
    /// Begins: the range is fixed now, what comes later is not in it. What retention has dropped before is left out.
    pub async fn begin(platform: &Platform, tenant: TenantId, range: Range, format: Format) -> Result<Self> {
        let key = signer::public_key(platform).await?;
        let dropped = Dropped::new(online::receipts(platform, tenant, &key).await?.iter());
        let mut tx = platform.db.tenant(tenant).await?;
        let next = store::bounds(&mut tx, range.since, range.until).await?.and_then(|(first, last)| {
            let first = u64::try_from(first)
                .ok()
                .and_then(|first| dropped.run(first))
                .map_or(Some(first), |(_, end)| i64::try_from(end + 1).ok())?;
            (first <= last).then_some((first, last))
        });
        let previous = match next {
            Some((first, _)) if first > 1 => store::hash_at(&mut tx, first - 1).await?.ok_or_else(|| gone(first - 1))?,
            _ => super::ROOT.to_vec(),
        };
        tx.commit().await?;
        let before_between = previous.clone();
        let parquet = (format == Format::Parquet).then(|| parquet::Writer::new(range.calls_only)).transpose()?;
        let (between, pending) = (Vec::new(), None);
        let (begun, finished) = (false, false);
        Ok(Self { tenant, range, format, next, dropped, previous, before_between, between, pending, begun, finished, parquet })
    }

    /// The same for a member who may see it.
    pub async fn begin_own(platform: &Platform, actor: &Member, range: Range, format: Format) -> Result<Self> {
        actor.require(Permission::ViewAudit)?;
        Self::begin(platform, actor.tenant, range, format).await
    }

    /// The next part, or nothing when it is whole.
    pub async fn next(&mut self, platform: &Platform) -> Result<Option<Vec<u8>>> {
        let mut out = Vec::new();
        if !std::mem::replace(&mut self.begun, true) && self.format == Format::Csv {
            let header: Vec<&str> = names(self.range.calls_only).iter().chain(PROOF).copied().collect();
            out.extend_from_slice(header.join(",").as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        let Some((first, last)) = self.next else {
            if self.finished {
                return Ok(None);
            }
            self.finish(&mut out)?;
            return Ok(Some(out));
        };
        let mut tx = platform.db.tenant(self.tenant).await?;
        let after = u64::try_from(first - 1).unwrap_or(0);
        let page = store::page(&mut tx, after, PAGE.min(last - first + 1)).await?;
        tx.commit().await?;
        let mut expected = first;
        for (link, entry) in page {
            if link.seq != expected {
                return Err(gone(expected));
            }
            expected += 1;
            match entry {
                Some(entry) => self.add(link, &entry, &mut out)?,
                None if u64::try_from(link.seq).is_ok_and(|seq| self.dropped.run(seq).is_some()) => {
                    self.put_between(json!({ "dropped": hex::encode(&link.hash) }), link.hash);
                }
                None => return Err(gone(link.seq)),
            }
        }
        if expected == first {
            return Err(gone(first));
        }
        self.next = (expected <= last).then_some((expected, last));
        Ok(Some(out))
    }

    /// What comes after the last line stands in it: so the end of a chain can be verified too.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.finished = true;
        let after = std::mem::take(&mut self.between);
        if let Some(mut line) = self.pending.take() {
            line.members.insert("after".to_owned(), Value::Array(after));
            self.write(&line, out)?;
        }
        self.parquet.as_mut().map_or(Ok(()), |parquet| parquet.finish(out))
    }

    fn add(&mut self, LinkRow { seq, hash, form, .. }: LinkRow, entry: &EntryRow, out: &mut Vec<u8>) -> Result<()> {
        let canonical = entry.canonical(form);
        let in_time =
            self.range.since.is_none_or(|since| entry.at >= since) && self.range.until.is_none_or(|until| entry.at < until);
        if !in_time || (self.range.calls_only && !entry.is_call()) {
            self.put_between(Value::String(canonical), hash);
            return Ok(());
        }
        let previous = if self.between.is_empty() { &self.previous } else { &self.before_between };
        let value: Value = serde_json::from_str(&canonical).map_err(Error::internal)?;
        let mut members = readable(&value, self.range.calls_only);
        members.insert("seq".to_owned(), json!(seq));
        members.insert("hash".to_owned(), json!(hex::encode(&hash)));
        members.insert("previous".to_owned(), json!(hex::encode(previous)));
        members.insert("before".to_owned(), Value::Array(std::mem::take(&mut self.between)));
        members.insert("entry".to_owned(), Value::String(canonical));
        members.insert("after".to_owned(), json!([]));
        self.previous = hash;
        if let Some(line) = self.pending.replace(Line { members }) {
            self.write(&line, out)?;
        }
        Ok(())
    }

    fn put_between(&mut self, what: Value, hash: Vec<u8>) {
        if self.between.is_empty() {
            self.before_between.clone_from(&self.previous);
        }
        self.between.push(what);
        self.previous = hash;
    }

    fn write(&mut self, line: &Line, out: &mut Vec<u8>) -> Result<()> {
        match (self.format, &mut self.parquet) {
            (Format::Parquet, Some(parquet)) => parquet.add(&line.members, out)?,
            (Format::Jsonl | Format::Parquet, _) => {
                serde_json::to_writer(&mut *out, &line.members).map_err(Error::internal)?;
                out.push(b'\n');
            }
            (Format::Csv, _) => {
                let cells = names(self.range.calls_only).iter().chain(PROOF).map(|name| {
                    let cell = line.members.get(*name).map(cell).unwrap_or_default();
                    if cell.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
                });
                out.extend_from_slice(cells.collect::<Vec<_>>().join(",").as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        }
        Ok(())
    }
}

fn gone(seq: i64) -> Error {
    Error::conflict(format!("Entry {seq} of the chain is gone. `trunkline audit verify` says more."))
}
