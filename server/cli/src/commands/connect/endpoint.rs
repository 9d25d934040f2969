//! The endpoint over HTTP: one client, one bearer, deadlines.

use std::{error::Error as _, sync::Arc, time::Duration};

use anyhow::Context as _;
use reqwest::{
    Client, Method, Response,
    header::{AUTHORIZATION, HeaderMap, RETRY_AFTER},
    redirect::Policy,
};
use url::Url;

use super::{
    failure::{Failure, Refused},
    key::Key,
    stream::{self, Incoming},
};

/// Longest wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// Longest wait for the head of an answer. An endpoint that needs longer opens a stream meanwhile.
const HEAD_WITHIN: Duration = Duration::from_mins(1);

/// Where messages go. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    client: Client,
    url: Url,
    key: Arc<Key>,
}

impl Endpoint {
    /// Nothing is connected before it is used.
    pub(super) fn new(url: Url, key: Key) -> anyhow::Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "it runs on the computer of its user, and goes where that user says")]
        let builder = Client::builder();
        let client = builder
            // The key goes to the named place only.
            .redirect(Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            .tcp_nodelay(true)
            // A stream may be silent for long; a peer that is gone must be noticed all the same.
            .tcp_keepalive(Duration::from_secs(30))
            .user_agent(concat!("trunkline-connect/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("the HTTP client cannot be made")?;
        Ok(Self { client, url, key: Arc::new(key) })
    }

    /// Its URL.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Sends a message.
    pub(super) async fn post(&self, headers: HeaderMap, body: String) -> Result<Result<Incoming, Refused>, Failure> {
        self.send(Method::POST, headers, Some(body)).await
    }

    /// Opens a stream.
    pub(super) async fn get(&self, headers: HeaderMap) -> Result<Result<Incoming, Refused>, Failure> {
        self.send(Method::GET, headers, None).await
    }

    /// Ends a session.
    pub(super) async fn delete(&self, headers: HeaderMap) -> Result<Result<Incoming, Refused>, Failure> {
        self.send(Method::DELETE, headers, None).await
    }

    async fn send(
        &self,
        method: Method,
        mut headers: HeaderMap,
        body: Option<String>,
    ) -> Result<Result<Incoming, Refused>, Failure> {
        headers.insert(AUTHORIZATION, self.key.bearer.clone());
        let mut request = self.client.request(method, self.url.clone()).headers(headers);
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = tokio::time::timeout(HEAD_WITHIN, request.send()).await.map_err(|_| Failure::Late)?;
        let response = response.map_err(|error| Failure::Unreachable(cause(&error)))?;
        if response.status().is_success() { Ok(Ok(Incoming::new(response))) } else { self.refused(response).await.map(Err) }
    }

    async fn refused(&self, response: Response) -> Result<Refused, Failure> {
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = stream::whole(response).await?;
        Ok(Refused { status, retry_after, body, key_origin: self.key.origin.clone() })
    }
}

/// The innermost reason, which is what a person can act on.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost = error.source();
    while let Some(deeper) = innermost.and_then(std::error::Error::source) {
        innermost = Some(deeper);
    }
    innermost.map_or_else(|| error.to_string(), ToString::to_string)
}
