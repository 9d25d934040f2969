//! What the client said, read as far as a bridge must know it.

use serde::Deserialize;
use serde_json::value::RawValue;
use trunkline_protocol::{
    jsonrpc::{self, ErrorObject, INVALID_REQUEST, Malformed, Message as Envelope},
    mcp::{Params, is_stateless_date},
};

use super::stdio::{Line, MAX_LINE};

/// A request's id, as it was written.
#[derive(Debug, Clone)]
pub(super) struct Id(pub(super) Box<RawValue>);

impl Id {
    /// The same for ids that are written differently and mean the same.
    pub(super) fn key(raw: &RawValue) -> String {
        serde_json::from_str::<serde_json::Value>(raw.get()).map_or_else(|_| raw.get().to_owned(), |value| value.to_string())
    }

    /// Is it that one?
    pub(super) fn is(&self, raw: &RawValue) -> bool {
        self.0.get() == raw.get() || Self::key(&self.0) == Self::key(raw)
    }
}

/// One line of the client.
#[derive(Debug)]
pub(super) struct Message {
    /// As it goes out.
    pub(super) body: String,
    /// The revision that it claims in `_meta`.
    pub(super) claim: Option<String>,
    /// What it is.
    pub(super) kind: Kind,
}

/// What a line is.
#[derive(Debug)]
pub(super) enum Kind {
    /// Wants an answer.
    Request(Request),
    /// Wants none; for `notifications/cancelled`, the request that it ends.
    Notification {
        /// Its method.
        method: String,
        /// Whose end it is.
        cancels: Option<String>,
    },
    /// Answers a request of the server.
    Response,
    /// Several of them; the ids of its requests.
    Batch(Vec<Id>),
}

/// A request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: Id,
    pub(super) method: String,
    /// Its parameters, as they were written.
    pub(super) params: Option<Box<RawValue>>,
    /// What `Mcp-Name` mirrors.
    pub(super) name: Option<String>,
    /// Its arguments, as they were written.
    pub(super) arguments: Option<Box<RawValue>>,
}

impl Message {
    /// Reads a line. `None` for an empty one; the error is the answer to a broken one.
    pub(super) fn read(line: Line) -> Option<Result<Self, ErrorObject>> {
        let bytes = match line {
            Line::Whole(bytes) if bytes.trim_ascii().is_empty() => return None,
            Line::Whole(bytes) => bytes,
            Line::TooLong => {
                let message = format!("a line has at most {} MiB", MAX_LINE / 1024 / 1024);
                return Some(Err(ErrorObject::new(INVALID_REQUEST, message)));
            }
        };
        Some(Self::parse(bytes).map_err(|malformed| {
            let message = malformed.to_string().replace("the body", "the line");
            ErrorObject::new(malformed.code(), message)
        }))
    }

    fn parse(bytes: Vec<u8>) -> Result<Self, Malformed> {
        let (claim, kind) = if jsonrpc::is_array(&bytes) { (None, batch(&bytes)?) } else { one(&bytes)? };
        // Every message of it was read as a text.
        let body = String::from_utf8(bytes).map_err(|_| Malformed::Json)?;
        Ok(Self { body, claim, kind })
    }

    /// Does it belong to the era without handshake?
    pub(super) fn is_stateless(&self) -> bool {
        self.claim.as_deref().is_some_and(is_stateless_date)
    }

    /// Does it begin a session?
    pub(super) fn begins_session(&self) -> bool {
        !self.is_stateless() && matches!(&self.kind, Kind::Request(request) if request.method == "initialize")
    }
}

fn one(bytes: &[u8]) -> Result<(Option<String>, Kind), Malformed> {
    Ok(match Envelope::parse(bytes)? {
        Envelope::Request { id, method, params } => {
            // What cannot be read is for the server to refuse.
            let read = Params::read(params).unwrap_or_default();
            let claim = claim(&read);
            let request = Request {
                id: Id(id.to_owned()),
                name: read.mirrored_name(&method).map(|name| name.clone().into_owned()),
                arguments: read.arguments.map(ToOwned::to_owned),
                method: method.into_owned(),
                params: params.map(ToOwned::to_owned),
            };
            (claim, Kind::Request(request))
        }
        Envelope::Notification { method, params } => {
            // What cannot be read is for the server to refuse.
            let read = Params::read(params).unwrap_or_default();
            let cancels = read.request_id.filter(|_| method == "notifications/cancelled").map(Id::key);
            (claim(&read), Kind::Notification { method: method.into_owned(), cancels })
        }
        Envelope::Response { .. } => (None, Kind::Response),
    })
}

fn claim(params: &Params<'_>) -> Option<String> {
    serde_json::from_str(params.meta.as_ref()?.protocol_version?.get()).ok()
}

fn batch(bytes: &[u8]) -> Result<Kind, Malformed> {
    let mut ids = Vec::new();
    for element in jsonrpc::batch(bytes)? {
        if let Envelope::Request { id, .. } = Envelope::parse(element.get().as_bytes())? {
            ids.push(Id(id.to_owned()));
        }
    }
    Ok(Kind::Batch(ids))
}

/// What the server said, read as far as a bridge must know it.
#[derive(Debug, Deserialize)]
pub(super) struct Reply<'a> {
    #[serde(borrow, default)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) error: Option<&'a RawValue>,
}

impl<'a> Reply<'a> {
    /// Reads a message of the server; `None` if it is none.
    pub(super) fn read(message: &'a str) -> Option<Self> {
        serde_json::from_str(message).ok()
    }

    /// Is it the answer to that request?
    pub(super) fn answers(&self, id: &Id) -> bool {
        self.method.is_none() && (self.result.is_some() || self.error.is_some()) && self.id.is_some_and(|raw| id.is(raw))
    }

    /// The code of its error.
    pub(super) fn error_code(&self) -> Option<i64> {
        #[derive(Deserialize)]
        struct Code {
            code: i64,
        }
        serde_json::from_str(self.error?.get()).ok().map(|Code { code }| code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Result<Message, i64>> {
        Message::read(Line::Whole(text.into())).map(|read| read.map_err(|error| error.code))
    }

    #[test]
    fn claim_decides_the_era() {
        let call = |date: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{{"a":1}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"{date}"}}}}}}"#
            )
        };
        let modern = read(&call("2026-07-28")).unwrap().unwrap();
        assert!(modern.is_stateless());
        let Kind::Request(request) = &modern.kind else { panic!("{modern:?}") };
        assert_eq!(
            (request.name.as_deref(), request.arguments.as_ref().map(|raw| raw.get())),
            (Some("echo"), Some(r#"{"a":1}"#))
        );
        assert!(!read(&call("2025-11-25")).unwrap().unwrap().is_stateless());
        assert!(read(r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#).unwrap().unwrap().begins_session());
    }

    #[test]
    fn broken_lines_have_an_error_and_empty_ones_nothing() {
        assert!(read(" \r").is_none());
        assert_eq!(read("{").unwrap().err(), Some(jsonrpc::PARSE_ERROR));
        assert_eq!(read("{}").unwrap().err(), Some(INVALID_REQUEST));
        assert_eq!(Message::read(Line::Whole(vec![0xff])).unwrap().map_err(|error| error.code).err(), Some(jsonrpc::PARSE_ERROR));
        assert_eq!(Message::read(Line::TooLong).unwrap().map_err(|error| error.code).err(), Some(INVALID_REQUEST));
    }

    #[test]
    fn answers_are_found_by_their_id_however_it_is_written() {
        let id = |json: &str| Id(RawValue::from_string(json.to_owned()).unwrap());
        let answers = |message: &str, json: &str| Reply::read(message).is_some_and(|reply| reply.answers(&id(json)));
        assert!(answers(r#"{"jsonrpc":"2.0","id":"a","result":{}}"#, r#""\u0061""#));
        assert!(answers(r#"{"id":7,"error":{"code":1}}"#, "7"));
        assert!(!answers(r#"{"id":7,"method":"ping"}"#, "7") && !answers(r#"{"id":"7","result":{}}"#, "7"));
        assert!(!answers(r#"{"error":{"code":1}}"#, "7") && Reply::read("[").is_none());
    }

    #[test]
    fn batch_has_the_ids_of_its_requests() {
        let text = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"x"},{"jsonrpc":"2.0","id":"b","method":"ping"}]"#;
        let Kind::Batch(ids) = read(text).unwrap().unwrap().kind else { panic!() };
        assert_eq!(ids.iter().map(|id| id.0.get()).collect::<Vec<_>>(), ["1", "\"b\""]);
        assert!(read("[7]").unwrap().is_err());
    }
}
