//! Verifies an export, without the database: from its lines, the public key and the checkpoints that were kept. Line by line.

use std::{
    fs::File,
    io::{self, BufRead},
};

use serde_json::{Map, Value};

use super::{
    checkpoint::Checkpoint,
    export::{Format, cell, names, readable},
    link::{Hash, ROOT},
    outside::Outside,
    parquet,
    receipt::Dropped,
    verify::{Finding, Verifier, Wrong},
};
use crate::hex;

/// What an export was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Its lines.
    pub lines: u64,
    /// First and last place in the chain that it covers, with what stands between its lines.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// The last place that a checkpoint vouches for.
    pub signed: u64,
}

/// Checkpoints in their order, gone along with the chain, and what may be missing from it.
struct Vouching<'a> {
    checkpoints: std::iter::Peekable<std::vec::IntoIter<&'a Checkpoint>>,
    dropped: Dropped,
    signed: u64,
}

impl<'a> Vouching<'a> {
    fn new(outside: &'a Outside) -> Self {
        let mut sorted: Vec<&Checkpoint> = outside.checkpoints.iter().collect();
        sorted.sort_by_key(|checkpoint| checkpoint.seq);
        let dropped = Dropped::new(outside.receipts.iter());
        Self { checkpoints: sorted.into_iter().peekable(), dropped, signed: 0 }
    }

    /// What stands between two lines.
    fn follow(&mut self, verifier: &mut Verifier, between: &[Between]) -> Result<(), Finding> {
        for between in between {
            let next = verifier.seq() + 1;
            match between {
                Between::Entry(entry) => verifier.follow(entry),
                Between::Dropped { dropped } => {
                    let hash = hex::decode(dropped).filter(|_| self.dropped.run(next).is_some());
                    verifier.pass(next, &hash.ok_or(Finding { seq: next, wrong: Wrong::NoEntry })?)?;
                }
            }
            self.at(verifier)?;
        }
        Ok(())
    }

    fn at(&mut self, verifier: &Verifier) -> Result<(), Finding> {
        while let Some(checkpoint) = self.checkpoints.next_if(|checkpoint| checkpoint.seq <= verifier.seq()) {
            if checkpoint.seq == verifier.seq() {
                verifier.checkpoint(checkpoint)?;
                self.signed = checkpoint.seq;
            }
        }
        Ok(())
    }
}

/// Verifies an export. What was kept outside is of its tenant and was verified with the key. `partial`: more may have come after its end.
pub fn verify_export(
    export: impl BufRead,
    format: Format,
    outside: &Outside,
    partial: bool,
) -> io::Result<Result<Exported, Finding>> {
    let mut records = Records { export, format, header: Vec::new() };
    let lines = std::iter::from_fn(move || records.next().transpose());
    verify_lines(lines, format, outside, partial)
}

/// The same of an export as Parquet, which has to be a file: its table of contents stands at its end.
pub fn verify_parquet(file: File, outside: &Outside, partial: bool) -> io::Result<Result<Exported, Finding>> {
    verify_lines(parquet::lines(file)?, Format::Parquet, outside, partial)
}

fn verify_lines(
    export: impl Iterator<Item = io::Result<Map<String, Value>>>,
    format: Format,
    outside: &Outside,
    partial: bool,
) -> io::Result<Result<Exported, Finding>> {
    let mut vouching = Vouching::new(outside);
    let mut verifier: Option<Verifier> = None;
    let (mut lines, mut first) = (0, 0);
    for members in export {
        let members = members?;
        lines += 1;
        let line = match Line::read(&members) {
            Ok(line) => line,
            Err(member) => return Ok(Err(Finding { seq: verifier.map_or(1, |at| at.seq() + 1), wrong: Wrong::Differs(member) })),
        };
        if verifier.is_none() {
            first = line.begins_at();
        }
        if let Err(finding) = line.verify(&mut verifier, &mut vouching, format) {
            return Ok(Err(finding));
        }
    }
    let Some(verifier) = verifier else {
        let missing = vouching.checkpoints.next().map(|checkpoint| checkpoint.seq);
        return Ok(match missing {
            Some(signed) if !partial => Err(Finding { seq: 1, wrong: Wrong::Truncated { signed } }),
            _ => Ok(Exported { lines, first, last: 0, signed: 0 }),
        });
    };
    if let Some(beyond) = vouching.checkpoints.next().filter(|_| !partial)
        && let Err(finding) = verifier.end(beyond)
    {
        return Ok(Err(finding));
    }
    Ok(Ok(Exported { lines, first, last: verifier.seq(), signed: vouching.signed }))
}

/// What a line says.
struct Line<'a> {
    members: &'a Map<String, Value>,
    seq: u64,
    hash: Vec<u8>,
    previous: Hash,
    before: Vec<Between>,
    entry: &'a str,
    after: Vec<Between>,
}

/// An entry of the chain that is not a line of the export.
#[derive(Debug, serde::Deserialize)]
#[serde(untagged)]
enum Between {
    /// As it was hashed.
    Entry(String),
    /// Its hash in hexadecimal; retention has dropped it.
    Dropped { dropped: String },
}

impl<'a> Line<'a> {
    /// Fails with the name of the member that is not as it should be.
    fn read(members: &'a Map<String, Value>) -> Result<Self, String> {
        let text = |name: &str| members.get(name).and_then(Value::as_str).ok_or_else(|| name.to_owned());
        let number = |name: &str| match members.get(name) {
            Some(Value::Number(number)) => number.as_u64().ok_or_else(|| name.to_owned()),
            Some(Value::String(text)) => text.parse().map_err(|_| name.to_owned()),
            _ => Err(name.to_owned()),
        };
        let list = |name: &str| -> Result<Vec<Between>, String> {
            match members.get(name) {
                Some(Value::String(text)) => serde_json::from_str(text).map_err(|_| name.to_owned()),
                Some(list) => serde_json::from_value(list.clone()).map_err(|_| name.to_owned()),
                None => Err(name.to_owned()),
            }
        };
        Ok(Self {
            seq: number("seq")?,
            hash: hex::decode(text("hash")?).ok_or("hash")?,
            previous: hex::decode(text("previous")?).and_then(|bytes| bytes.try_into().ok()).ok_or("previous")?,
            before: list("before")?,
            entry: text("entry")?,
            after: list("after")?,
            members,
        })
    }

    fn begins_at(&self) -> u64 {
        self.seq.saturating_sub(self.before.len() as u64)
    }

    fn verify(&self, at: &mut Option<Verifier>, vouching: &mut Vouching<'_>, format: Format) -> Result<(), Finding> {
        let begins = self.begins_at().max(1);
        let verifier = at.get_or_insert_with(|| Verifier::after(begins - 1, self.previous));
        let next = verifier.seq() + 1;
        if begins != next {
            return Err(Finding { seq: next, wrong: Wrong::NoLink });
        }
        // The first link has nothing before it.
        if verifier.head() != self.previous || (begins == 1 && self.previous != ROOT) {
            return Err(Finding { seq: next, wrong: Wrong::Changed });
        }
        vouching.follow(verifier, &self.before)?;
        verifier.link(self.seq, &self.hash, Some(self.entry))?;
        self.agree(format)?;
        vouching.at(verifier)?;
        vouching.follow(verifier, &self.after)
    }

    /// The readable members say what is hashed.
    fn agree(&self, format: Format) -> Result<(), Finding> {
        let entry: Value = serde_json::from_str(self.entry).unwrap_or_default();
        let calls_only = !self.members.contains_key("actor_kind");
        let expected = readable(&entry, calls_only);
        for name in names(calls_only) {
            let expected = &expected[*name];
            let agrees = match (self.members.get(*name), format) {
                (Some(Value::String(text)), Format::Csv) => *text == cell(expected),
                (Some(value), Format::Jsonl) => value == expected,
                (Some(value), Format::Parquet) => *value == parquet::kept(name, expected),
                _ => false,
            };
            if !agrees {
                return Err(Finding { seq: self.seq, wrong: Wrong::Differs((*name).to_owned()) });
            }
        }
        Ok(())
    }
}

/// The lines of an export, as objects.
struct Records<R> {
    export: R,
    format: Format,
    header: Vec<String>,
}

impl<R: BufRead> Records<R> {
    fn next(&mut self) -> io::Result<Option<Map<String, Value>>> {
        match self.format {
            Format::Jsonl | Format::Parquet => loop {
                let mut line = String::new();
                if self.export.read_line(&mut line)? == 0 {
                    return Ok(None);
                }
                if !line.trim().is_empty() {
                    return serde_json::from_str(&line)
                        .map(Some)
                        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
                }
            },
            Format::Csv => {
                if self.header.is_empty() {
                    self.header = self.cells()?.unwrap_or_default();
                }
                let Some(cells) = self.cells()? else { return Ok(None) };
                let values = cells.into_iter().map(Value::String);
                Ok(Some(self.header.iter().cloned().zip(values).collect()))
            }
        }
    }

    /// One record: cells between quotes may have line breaks.
    fn cells(&mut self) -> io::Result<Option<Vec<String>>> {
        let mut record = String::new();
        loop {
            if self.export.read_line(&mut record)? == 0 {
                break;
            }
            if record.matches('"').count().is_multiple_of(2) {
                break;
            }
        }
        if record.is_empty() {
            return Ok(None);
        }
        let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
        let mut rest = record.trim_end_matches(['\r', '\n']).chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '"' if quoted && rest.peek() == Some(&'"') => {
                    rest.next();
                    cell.push('"');
                }
                '"' => quoted = !quoted,
                ',' if !quoted => cells.push(std::mem::take(&mut cell)),
                c => cell.push(c),
            }
        }
        cells.push(cell);
        Ok(Some(cells))
    }
}
