//! Requests of this program's own, beside those of the client.

use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use trunkline_protocol::jsonrpc;

use super::{
    endpoint::Endpoint,
    failure::Failure,
    headers::{self, SESSION},
    message::{Id, Message, Reply},
    schemas::Schemas,
    session::Session,
    stdio::Line,
    stream::Incoming,
};

/// The id of all of them: at most one is in an answer.
const ID: &str = "trunkline-connect";

/// What came back.
#[derive(Debug)]
pub(super) struct Asked {
    /// The session that the answer opened.
    pub(super) session: Option<HeaderValue>,
    pub(super) result: Box<RawValue>,
}

/// Asks, and waits for the result. An error of the endpoint is a failure.
pub(super) async fn ask(endpoint: &Endpoint, session: Option<&Session>, method: &str, params: &str) -> Result<Asked, Failure> {
    let id = Id(to_raw_value(ID).map_err(|_| Failure::Broken)?);
    let mut incoming = send(endpoint, session, jsonrpc::request(id.0.get(), method, params)).await?;
    let opened = incoming.headers().get(SESSION).cloned();
    while let Some(text) = incoming.next().await? {
        let Some(reply) = Reply::read(&text).filter(|reply| reply.answers(&id)) else { continue };
        let result = match (reply.result, reply.error) {
            (Some(result), _) => Ok(Asked { session: opened, result: result.to_owned() }),
            (None, error) => Err(Failure::Answered(error.map(words).unwrap_or_default())),
        };
        incoming.finish().await;
        return result;
    }
    Err(Failure::Cut)
}

/// Says something that wants no answer.
pub(super) async fn tell(endpoint: &Endpoint, session: &Session, method: &str) -> Result<(), Failure> {
    send(endpoint, Some(session), jsonrpc::notification(method, "{}")).await.map(|_| ())
}

async fn send(endpoint: &Endpoint, session: Option<&Session>, body: String) -> Result<Incoming, Failure> {
    // Parameters of the client went through once already.
    let Some(Ok(message)) = Message::read(Line::Whole(body.into_bytes())) else { return Err(Failure::Broken) };
    let headers = headers::of(&message, session, &Schemas::default());
    endpoint.post(headers, message.body).await?.map_err(Failure::Refused)
}

fn words(error: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Words {
        message: String,
    }
    serde_json::from_str(error.get()).map_or_else(|_| error.get().to_owned(), |Words { message }| message)
}
