//! What a parked request and the window onto it write to each other.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use trunkline_protocol::jsonrpc::ErrorObject;

use crate::{
    call::Outcome,
    dialogue::{InputRequired, Reply},
    execution::{Answer, Run},
};

/// To a parked request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToParked {
    /// The caller is back.
    Resume { responses: Option<Box<RawValue>>, reply_to: String },
    /// The window has the end, or the next question.
    Had,
    /// The caller went away for good.
    Cancel,
}

/// From a parked request to the window onto it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromParked {
    /// It is there and goes on; again and again while it has nothing else to say.
    Beat,
    Progress {
        progress: String,
        total: Option<String>,
        message: Option<String>,
    },
    Log {
        level: String,
        params: Box<RawValue>,
    },
    Asked {
        method: String,
        params: Box<RawValue>,
    },
    Done(Told),
}

/// A run, as it travels.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Told {
    outcome: String,
    error: Option<String>,
    text: Option<(String, bool)>,
    result: Option<Box<RawValue>>,
    requests: Option<Box<RawValue>>,
    state: Option<String>,
    refused: Option<(i64, String, Option<serde_json::Value>)>,
    #[serde(default)]
    reported_micro: Option<i64>,
}

impl From<Run> for Told {
    fn from(run: Run) -> Self {
        let mut told = Self {
            outcome: run.outcome.as_str().to_owned(),
            error: run.error.map(std::borrow::Cow::into_owned),
            text: None,
            result: None,
            requests: None,
            state: None,
            refused: None,
            reported_micro: run.reported_micro,
        };
        match run.answer {
            Answer::Text(text) => told.text = Some((text.text, text.is_error)),
            // The call itself cannot be come back to any more: it has to be made again.
            Answer::Connect(connect) => told.text = Some((connect.text(), true)),
            Answer::Reply(Reply::Result(result)) => told.result = Some(result),
            Answer::Reply(Reply::InputRequired(needed)) => (told.requests, told.state) = (needed.requests, needed.state),
            Answer::Reply(Reply::Error(error)) => told.refused = Some((error.code, error.message.into_owned(), error.data)),
        }
        told
    }
}

impl From<Told> for Run {
    fn from(told: Told) -> Self {
        let reported_micro = told.reported_micro;
        let answer = match told {
            Told { text: Some((text, is_error)), .. } => {
                Answer::Text(trunkline_protocol::mcp::tools::ToolResult { text, is_error })
            }
            Told { result: Some(result), .. } => Answer::Reply(Reply::Result(result)),
            Told { refused: Some((code, message, data)), .. } => {
                Answer::Reply(Reply::Error(ErrorObject { code, message: message.into(), data }))
            }
            Told { requests, state, .. } => Answer::Reply(Reply::InputRequired(InputRequired { requests, state })),
        };
        Self {
            outcome: Outcome::find(&told.outcome).unwrap_or(Outcome::Unknown),
            error: told.error.map(Into::into),
            answer,
            reported_micro,
            status: None,
        }
    }
}
