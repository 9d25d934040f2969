//! What goes over the pipe: frames of four bytes of length (big endian) and as much JSON.

use std::{
    io::{self, Read, Write},
    path::PathBuf,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::Confinement;

/// Longest frame in bytes: a body, or an output, whose every byte JSON has to escape.
pub const MAX_FRAME: usize = 8 * 1024 * 1024;

/// To the sandbox.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// The first one.
    Prepare(Setup),
    /// Say that you are there, between two calls.
    Ping,
    /// Run a function. There is one at a time.
    Run(Job),
    /// What became of a request.
    Answer {
        /// Which request.
        id: u32,
        /// An answer, or why there is none.
        result: Result<Answer, String>,
    },
}

/// What the process needs before it closes itself off.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setup {
    /// A directory of ours alone, where the compiled engine is kept. Compiled code is trusted: whoever may write there may run anything here.
    pub cache: PathBuf,
}

/// One call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// A module whose default export is the function.
    pub code: String,
    /// The first argument, as JSON.
    pub input: String,
    /// Longest time for all of it, in milliseconds.
    pub timeout_ms: u32,
}

/// From the sandbox.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// Prepared and closed off.
    Ready(Confinement),
    /// It is there.
    Pong,
    /// It cannot be prepared.
    Broken(String),
    /// The function asks for something from outside.
    Request {
        /// Comes back with the answer.
        id: u32,
        /// What.
        request: Request,
    },
    /// The function has ended.
    Done(Done),
}

/// An HTTP request that a function wants made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// Where to.
    pub url: String,
    /// `GET` …
    pub method: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// Text.
    pub body: Option<String>,
}

/// What came back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Body,
}

/// A body as JSON can carry it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// It is UTF-8.
    Text(String),
    /// It is not: base64.
    Base64(String),
}

/// How a call ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Done {
    /// What it gave.
    pub outcome: Outcome,
    /// What it logged, oldest first.
    pub logs: Vec<Line>,
    /// Lines that did not fit.
    pub lost_lines: u32,
    /// Requests it made.
    pub requests: u32,
    /// Time in which code ran, in microseconds.
    pub busy_us: u64,
}

/// What a call gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// A string, or what is no object, as text.
    Text(String),
    /// An object, as JSON.
    Object(String),
    /// Nothing usable.
    Failed(Failure),
}

/// Why a call gave nothing usable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its kind.
    pub class: Class,
    /// In words, without where.
    pub message: String,
    /// Line of the code, from 1.
    pub line: Option<u32>,
}

/// Kinds of failures, as in `_meta["trunkline/error"]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    /// The code threw, or is not code.
    Threw,
    /// It took too long.
    Timeout,
    /// It wanted too much memory.
    Memory,
    /// What it gave is too large, or no JSON.
    Output,
    /// The engine failed.
    Crashed,
}

impl Class {
    /// As the caller reads it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Threw => "tool_threw",
            Self::Timeout => "tool_timeout",
            Self::Memory => "tool_memory",
            Self::Output => "tool_output",
            Self::Crashed => "tool_crashed",
        }
    }
}

/// One line of `console`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// `log`, `info`, `warn`, `error` or `debug`.
    pub level: String,
    /// What it says.
    pub text: String,
    /// Since the call began, in milliseconds.
    pub at_ms: u32,
}

/// Writes a frame.
pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - 4;
    if length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame would be too long"));
    }
    frame[..4].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    Ok(frame)
}

/// Takes the first frame out of what has come so far. `None`: it is not whole yet.
pub fn decode<T: DeserializeOwned>(arrived: &[u8]) -> io::Result<Option<(T, usize)>> {
    let Some((length, rest)) = arrived.split_first_chunk::<4>() else { return Ok(None) };
    let length = checked(*length)?;
    let Some(body) = rest.get(..length) else { return Ok(None) };
    Ok(Some((serde_json::from_slice(body)?, length + 4)))
}

/// Reads a frame, however long it takes. `None`: the other end is closed.
pub(crate) fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    if let Err(error) = from.read_exact(&mut length) {
        return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
    }
    let mut body = vec![0; checked(length)?];
    from.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}

/// Sends a frame.
pub(crate) fn write<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    to.write_all(&encode(message)?)?;
    to.flush()
}

fn checked(length: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too long"));
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_whole_or_not_there() {
        let frame = encode(&Report::Broken("why".to_owned())).expect("a frame");
        for cut in 0..frame.len() {
            assert!(decode::<Report>(&frame[..cut]).expect("no error").is_none(), "{cut}");
        }
        let (report, length) = decode::<Report>(&[&frame[..], b"more"].concat()).expect("a frame").expect("whole");
        assert!(matches!(report, Report::Broken(why) if why == "why") && length == frame.len());
    }

    #[test]
    fn what_is_too_long_is_refused_by_its_head() {
        let head = u32::try_from(MAX_FRAME + 1).expect("fits").to_be_bytes();
        assert!(decode::<Report>(&head).is_err());
        assert!(read::<Report>(&mut &head[..]).is_err());
        assert!(encode(&"x".repeat(MAX_FRAME)).is_err());
    }
}
