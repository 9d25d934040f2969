//! Exports as Apache Parquet, for tables that are asked and not read. Typed columns, written in row groups: memory does not grow with the export.

use std::{fs::File, io, sync::Arc};

use ::parquet::{
    column::writer::ColumnWriter,
    data_type::ByteArray,
    errors::ParquetError,
    file::{
        properties::WriterProperties, reader::FileReader as _, serialized_reader::SerializedFileReader,
        writer::SerializedFileWriter,
    },
    record::Field,
    schema::{parser::parse_message_type, types::TypePtr},
};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::{
    export::{PROOF, names},
    link::time,
};
use crate::error::{Error, Result};

/// A row group is written when it has that many lines,
const GROUP_LINES: usize = 10_000;
/// or texts of that many bytes.
const GROUP_BYTES: usize = 8 << 20;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Text; of what is no text, its JSON.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Double,
    /// A moment in UTC, to the microsecond.
    Time,
}

fn kind(name: &str) -> Kind {
    match name {
        "seq" | "bytes_in" | "bytes_out" | "tokens_out" | "cost_micro" => Kind::Integer,
        "duration_ms" | "upstream_ms" => Kind::Double,
        "at" | "started_at" => Kind::Time,
        _ => Kind::Text,
    }
}

/// A member as this format can keep it, which is all of it.
pub(super) fn kept(name: &str, value: &Value) -> Value {
    match (kind(name), value) {
        (Kind::Text, Value::Null | Value::String(_)) => value.clone(),
        (Kind::Text, other) => Value::String(other.to_string()),
        _ => value.clone(),
    }
}

fn schema(calls_only: bool) -> Result<TypePtr> {
    let column = |name: &str| match kind(name) {
        Kind::Text => format!("OPTIONAL BYTE_ARRAY {name} (STRING);"),
        Kind::Integer => format!("OPTIONAL INT64 {name};"),
        Kind::Double => format!("OPTIONAL DOUBLE {name};"),
        Kind::Time => format!("OPTIONAL INT64 {name} (TIMESTAMP(MICROS,true));"),
    };
    let columns: String = names(calls_only).iter().chain(PROOF).map(|name| column(name)).collect();
    let message = format!("message {} {{ {columns} }}", if calls_only { "call" } else { "entry" });
    parse_message_type(&message).map(Arc::new).map_err(Error::internal)
}

/// Lines on their way into a file.
pub(super) struct Writer {
    calls_only: bool,
    file: SerializedFileWriter<Vec<u8>>,
    lines: Vec<Map<String, Value>>,
    bytes: usize,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("lines", &self.lines.len()).finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn new(calls_only: bool) -> Result<Self> {
        let properties = Arc::new(WriterProperties::builder().build());
        let file = SerializedFileWriter::new(Vec::new(), schema(calls_only)?, properties).map_err(Error::internal)?;
        Ok(Self { calls_only, file, lines: Vec::new(), bytes: 0 })
    }

    /// Adds a line; what can be written so far is added to `out`.
    pub(super) fn add(&mut self, line: &Map<String, Value>, out: &mut Vec<u8>) -> Result<()> {
        self.bytes += line.values().filter_map(Value::as_str).map(str::len).sum::<usize>();
        self.lines.push(line.clone());
        if self.lines.len() < GROUP_LINES && self.bytes < GROUP_BYTES {
            return Ok(());
        }
        self.write_group()?;
        out.append(self.file.inner_mut());
        Ok(())
    }

    /// Adds what is left, and the end.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        if !self.lines.is_empty() {
            self.write_group()?;
        }
        self.file.finish().map_err(Error::internal)?;
        out.append(self.file.inner_mut());
        Ok(())
    }

    fn write_group(&mut self) -> Result<()> {
        let lines = std::mem::take(&mut self.lines);
        self.bytes = 0;
        let mut group = self.file.next_row_group().map_err(Error::internal)?;
        for name in names(self.calls_only).iter().chain(PROOF) {
            let Some(mut column) = group.next_column().map_err(Error::internal)? else {
                return Err(Error::internal("the schema has fewer columns than the lines"));
            };
            write_column(column.untyped(), name, &lines).map_err(Error::internal)?;
            column.close().map_err(Error::internal)?;
        }
        group.close().map_err(Error::internal)?;
        self.file.flush().map_err(Error::internal)
    }
}

fn write_column(
    column: &mut ColumnWriter<'_>,
    name: &str,
    lines: &[Map<String, Value>],
) -> std::result::Result<(), ParquetError> {
    let values: Vec<&Value> = lines.iter().map(|line| line.get(name).unwrap_or(&Value::Null)).collect();
    let levels: Vec<i16> = values.iter().map(|value| i16::from(!value.is_null())).collect();
    let there = values.into_iter().filter(|value| !value.is_null());
    let unfit = |value: &Value| ParquetError::General(format!("{name} is {value}"));
    match column {
        ColumnWriter::ByteArrayColumnWriter(column) => {
            let texts = there.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            let texts: Vec<ByteArray> = texts.map(|text| ByteArray::from(text.into_bytes())).collect();
            column.write_batch(&texts, Some(&levels), None)?;
        }
        ColumnWriter::Int64ColumnWriter(column) => {
            let number = |value: &Value| match value {
                Value::String(text) => text.parse::<DateTime<Utc>>().ok().map(|at| at.timestamp_micros()),
                value => value.as_i64(),
            };
            let numbers: std::result::Result<Vec<i64>, _> =
                there.map(|value| number(value).ok_or_else(|| unfit(value))).collect();
            column.write_batch(&numbers?, Some(&levels), None)?;
        }
        ColumnWriter::DoubleColumnWriter(column) => {
            let numbers: std::result::Result<Vec<f64>, _> =
                there.map(|value| value.as_f64().ok_or_else(|| unfit(value))).collect();
            column.write_batch(&numbers?, Some(&levels), None)?;
        }
        _ => return Err(ParquetError::General(format!("{name} is of a kind that no export has"))),
    }
    Ok(())
}

/// The lines of such a file, as they went into it.
pub(super) fn lines(file: File) -> io::Result<impl Iterator<Item = io::Result<Map<String, Value>>>> {
    let rows = SerializedFileReader::new(file).map_err(unreadable)?;
    let mut groups = 0..rows.num_row_groups();
    let mut group = Vec::new().into_iter();
    Ok(std::iter::from_fn(move || {
        loop {
            if let Some(line) = group.next() {
                return Some(Ok(line));
            }
            match read_group(&rows, groups.next()?) {
                Ok(read) => group = read.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }))
}

/// One row group: the iterator over all would borrow the file that it reads.
fn read_group(file: &SerializedFileReader<File>, group: usize) -> io::Result<Vec<Map<String, Value>>> {
    let group = file.get_row_group(group).map_err(unreadable)?;
    let mut lines = Vec::new();
    for row in group.get_row_iter(None).map_err(unreadable)? {
        let row = row.map_err(unreadable)?;
        let members = row.get_column_iter().map(|(name, field)| Ok((name.clone(), value(field)?)));
        lines.push(members.collect::<io::Result<_>>()?);
    }
    Ok(lines)
}

fn value(field: &Field) -> io::Result<Value> {
    Ok(match field {
        Field::Null => Value::Null,
        Field::Str(text) => Value::String(text.clone()),
        Field::Long(number) => Value::from(*number),
        Field::Double(number) => Value::from(*number),
        Field::TimestampMicros(micros) => DateTime::from_timestamp_micros(*micros).map(time).into(),
        other => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{other:?} is nothing that an export has"))),
    })
}

fn unreadable(error: ParquetError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
