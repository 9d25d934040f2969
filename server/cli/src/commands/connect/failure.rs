//! Why there is no answer, as the error that the client gets instead, which says what to do.

use serde::Deserialize;
use serde_json::{Value, json};
use trunkline_protocol::jsonrpc::{ErrorObject, INTERNAL_ERROR};

/// Why there is none.
#[derive(Debug)]
pub(super) enum Failure {
    /// No connection, or one that broke before an answer began.
    Unreachable(String),
    /// Nothing came in time.
    Late,
    /// It began and did not come to its end.
    Cut,
    /// More than is read.
    TooLarge,
    /// Something that is no MCP.
    Broken,
    /// Too many requests run.
    Busy,
    /// A request with this id runs already.
    Twice,
    /// This program ends.
    Stopping,
    /// An HTTP error that is no answer to the request.
    Refused(Refused),
    /// The answer to a request of this program's own is an error.
    Answered(String),
}

/// An HTTP error.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: u16,
    /// Seconds, if it said.
    pub(super) retry_after: Option<u64>,
    pub(super) body: String,
    /// Where the key came from.
    pub(super) key_origin: String,
}

/// The error in its body, if it has one.
#[derive(Debug, Deserialize)]
struct Said {
    code: i64,
    message: String,
    #[serde(default)]
    data: Option<Value>,
}

impl Failure {
    /// The error for the client. Codes outside of the reserved range are the HTTP status times ten, as the platform's own are.
    pub(super) fn error(&self) -> ErrorObject {
        match self {
            Self::Unreachable(cause) => retryable(
                5020,
                format!("the endpoint cannot be reached ({cause}): check its URL and the network, then try again"),
            ),
            Self::Late => retryable(5040, "the endpoint did not answer in time; whether it ran the request is not known"),
            Self::Cut => retryable(5021, "the answer was cut off; whether the request ran is not known"),
            Self::TooLarge => ErrorObject::new(5022, "the answer is larger than 16 MiB"),
            Self::Broken => ErrorObject::new(5023, "what answers at this URL does not speak MCP: check the URL"),
            Self::Busy => retryable(4291, "too many requests run at once: wait for the answers to some of them"),
            Self::Twice => ErrorObject::new(
                trunkline_protocol::jsonrpc::INVALID_REQUEST,
                "a request with this id runs already: each request needs an id of its own",
            ),
            Self::Stopping => retryable(5031, "the connection is being closed; whether the request ran is not known"),
            Self::Refused(refused) => refused.error(),
            Self::Answered(message) => ErrorObject::new(INTERNAL_ERROR, format!("the session cannot be begun again: {message}")),
        }
    }

    /// One line for a person.
    pub(super) fn line(&self) -> String {
        match self {
            Self::Answered(message) => message.clone(),
            other => other.error().message.into_owned(),
        }
    }
}

fn retryable(code: i64, message: impl Into<std::borrow::Cow<'static, str>>) -> ErrorObject {
    ErrorObject::new(code, message).with_data(json!({ "retryable": true }))
}

impl Refused {
    fn error(&self) -> ErrorObject {
        let said = self.said();
        let words = said.as_ref().map(|said| format!(" (it says: {})", said.message)).unwrap_or_default();
        let wait = self.retry_after.map_or_else(|| "later".to_owned(), |seconds| format!("in {seconds} s"));
        let message = match self.status {
            401 => format!(
                "the endpoint does not take the key of {}{words}: make a new key on the agent's page of the dashboard, put it there, and \
                 start this server again",
                self.key_origin
            ),
            403 => format!("the key may not do this{words}: ask a member of the tenant for what is missing"),
            404 => format!("there is nothing at this URL{words}: check the tenant in it"),
            429 => format!("over a limit{words}: try again {wait}"),
            503 => format!("the endpoint cannot decide this at the moment{words}: try again {wait}"),
            300..=399 => {
                "the endpoint answers with a redirect, which the key must not follow: use the URL it leads to".to_owned()
            }
            status => format!("the endpoint answers with HTTP status {status}{words}"),
        };
        let code = match (&said, self.status) {
            (Some(said), status) if !matches!(status, 401 | 403 | 404 | 429 | 503) => said.code,
            (_, status) => i64::from(status) * 10,
        };
        let mut data = said.and_then(|said| said.data).filter(Value::is_object).unwrap_or_else(|| json!({}));
        data["http_status"] = json!(self.status);
        if matches!(self.status, 429 | 503) {
            data["retryable"] = json!(true);
            if let Some(seconds) = self.retry_after.filter(|_| data["retry_after_ms"].is_null()) {
                data["retry_after_ms"] = json!(seconds.saturating_mul(1_000));
            }
        }
        ErrorObject::new(code, message).with_data(data)
    }

    fn said(&self) -> Option<Said> {
        #[derive(Deserialize)]
        struct Body {
            error: Said,
        }
        serde_json::from_str(&self.body).ok().map(|Body { error }| error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &str) -> ErrorObject {
        let body = body.to_owned();
        Failure::Refused(Refused { status, retry_after: Some(7), body, key_origin: "the variable TRUNKLINE_KEY".into() }).error()
    }

    #[test]
    fn http_errors_say_what_to_do() {
        for (status, words) in [
            (401, "TRUNKLINE_KEY"),
            (403, "ask a member"),
            (404, "check the tenant"),
            (429, "try again in 7 s"),
            (503, "try again in 7 s"),
            (302, "redirect"),
            (500, "500"),
        ] {
            let error = refused(status, "<html>");
            assert_eq!(error.code, i64::from(status) * 10);
            assert!(error.message.contains(words), "{status}: {}", error.message);
        }
        assert_eq!(refused(429, "").data.unwrap()["retry_after_ms"], 7_000);
    }

    #[test]
    fn what_the_endpoint_says_is_kept() {
        let body = r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"send less","data":{"a":1}}}"#;
        let error = refused(413, body);
        assert!(error.code == -32600 && error.message.contains("send less"));
        assert_eq!(error.data.unwrap(), json!({ "a": 1, "http_status": 413 }));
    }
}
