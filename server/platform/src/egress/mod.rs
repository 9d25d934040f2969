//! The only outbound HTTP client for addresses that tenants name: public destinations only, decided after resolution on exactly the
//! addresses that are dialled; no redirects, no proxies, no cookies; every answer bounded in time and size.
//!
//! An answer is read whole (`send`) or as it comes (`open`).

mod client;
mod guard;
mod stream;
mod trail;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::{
    Method, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap},
};
use rustls::{ClientConfig, crypto::aws_lc_rs};
use rustls_platform_verifier::BuilderVerifierExt as _;
use thread_local::ThreadLocal;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio_util::context::TokioContext;
use url::Url;

use client::{Answer, Client};
pub use guard::is_public;
pub use stream::{OutboundStream, StreamLimits};
use trail::OnItsWay;
pub use trail::{Exchange, Exchanges, Trail};

use crate::{
    error::{Error, Result},
    network::Network,
};

/// How far calls may reach.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Private networks that tools may reach all the same, such as `10.1.0.0/16`. Empty in a hosted installation.
    pub allow: Vec<Network>,
    /// Plain `http://` too, at any port. Off in a hosted installation: secrets would travel in the clear.
    pub allow_http: bool,
}

/// Longest answer that is read, in bytes after decompression.
pub const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// One request to somebody else's server.
#[derive(Debug, Clone)]
pub struct OutboundRequest {
    /// Method.
    pub method: Method,
    /// Absolute URL, `https` or `http`.
    pub url: Url,
    /// Headers. Hop-by-hop ones and `Host` are set by the client.
    pub headers: HeaderMap,
    /// Body, if any.
    pub body: Option<Bytes>,
    /// Longest time for the whole exchange.
    pub deadline: Duration,
}

/// What came back, whole.
#[derive(Debug)]
pub struct OutboundAnswer {
    /// Status.
    pub status: StatusCode,
    /// `Content-Type`, lower case, without parameters.
    pub content_type: String,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

/// Why nothing usable came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// The address is private, or the URL is not one that tools may use.
    #[error("the address is not allowed")]
    Refused,
    /// No connection, no name, no TLS.
    #[error("the server could not be reached")]
    Unreachable,
    /// Not in time.
    #[error("the server did not answer in time")]
    Timeout,
    /// More than `MAX_ANSWER_BYTES`.
    #[error("the answer is larger than 4 MiB")]
    TooLarge,
    /// Not HTTP, cut short, or in a coding that nobody asked for.
    #[error("the answer is broken")]
    Broken,
}

impl EgressError {
    /// In one word.
    fn class(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::Broken => "broken",
        }
    }
}

/// The client.
#[derive(Debug, Clone)]
pub struct Egress {
    client: Client,
    resolver: guard::Resolver,
    tls: ClientConfig,
    allow_http: bool,
    /// Where the connections of `client` live: they are shared, and outlive the request that opened them.
    runtime: Handle,
    /// Connections of one worker of the listener each, for exchanges that end within their request. Nothing of such an exchange wakes another
    /// thread, which would cost as much as the exchange itself. Nobody else waits for them when the worker ends.
    own: Arc<ThreadLocal<Client>>,
}

impl Egress {
    /// A client that reaches public addresses and `settings.allow`. Its connections live on this runtime.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn new(settings: &Settings) -> Result<Self> {
        let resolver = guard::Resolver::new(settings.allow.clone().into());
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(rustls::ConfigBuilder::with_platform_verifier)
            .map_err(Error::internal)?
            .with_no_client_auth();
        let client = Client::new(&resolver, &tls);
        Ok(Self { client, resolver, tls, allow_http: settings.allow_http, runtime: Handle::current(), own: Arc::default() })
    }

    /// The same way out with connections of its own: what one tenant opened with its credential is never reused for anybody else.
    pub fn separate(&self) -> Result<Self> {
        let mut tls = self.tls.clone();
        tls.resumption = rustls::client::Resumption::in_memory_sessions(8);
        Ok(Self { client: Client::new(&self.resolver, &tls), tls, own: Arc::default(), ..self.clone() })
    }

    /// Is plain HTTP allowed, as on a developer's computer?
    pub fn allows_http(&self) -> bool {
        self.allow_http
    }

    /// May this URL be used at all? Its host is checked again, with its addresses, when it is dialled.
    pub fn check(&self, url: &Url) -> std::result::Result<(), EgressError> {
        if !self.allow_http && (url.scheme() != "https" || !is_usual_port(url.port_or_known_default())) {
            return Err(EgressError::Refused);
        }
        guard::check_url(url, &self.resolver.allow)
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&self, mut request: OutboundRequest) -> std::result::Result<OutboundAnswer, EgressError> {
        self.check(&request.url)?;
        let (deadline, mut on_its_way) = (request.deadline, OnItsWay::begin(&mut request));
        let answer = tokio::time::timeout(deadline, self.exchange(request, &on_its_way)).await;
        let answer = answer.unwrap_or(Err(EgressError::Timeout));
        on_its_way.ended(answer.as_ref().err().copied());
        answer
    }

    async fn exchange(
        &self,
        request: OutboundRequest,
        on_its_way: &OnItsWay,
    ) -> std::result::Result<OutboundAnswer, EgressError> {
        let mut answer = match self.of_this_worker() {
            Some(own) => own.send(request).await?,
            None => self.begin(request).await?,
        };
        on_its_way.answered(answer.status);
        if is_packed(&answer.headers) {
            return Err(EgressError::Broken);
        }
        let body = read(&mut answer).await?;
        let Answer { status, headers, .. } = answer;
        Ok(OutboundAnswer { status, content_type: content_type(&headers), headers, body })
    }

    /// Sends a request, up to the head of its answer.
    async fn begin(&self, request: OutboundRequest) -> std::result::Result<Answer, EgressError> {
        TokioContext::new(self.client.send(request), self.runtime.clone()).await
    }

    /// The client of this thread, where a thread is a runtime.
    fn of_this_worker(&self) -> Option<&Client> {
        let is_alone = Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread;
        is_alone.then(|| self.own.get_or(|| Client::new(&self.resolver, &self.tls)))
    }
}

/// Lower case, without parameters.
fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.split(';').next()).map(|value| value.trim().to_ascii_lowercase()).unwrap_or_default()
}

/// Is the body packed in a way that nobody asked for, or more than once? What the client has unpacked has lost this header. Other words in it, such as
/// `utf-8`, are a common mistake and mean nothing.
fn is_packed(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    codings.flat_map(|value| value.split(',')).any(|coding| {
        let coding = coding.trim().to_ascii_lowercase();
        matches!(&*coding, "gzip" | "x-gzip" | "deflate" | "br" | "zstd" | "compress" | "x-compress")
    })
}

/// Ports that serve HTTP by convention, and those that anybody may listen on.
fn is_usual_port(port: Option<u16>) -> bool {
    matches!(port, Some(443 | 8443 | 1024..))
}

/// Reads the body up to the bound, without copying when it came in one piece.
async fn read(answer: &mut Answer) -> std::result::Result<Bytes, EgressError> {
    if answer.length().is_some_and(|length| length > MAX_ANSWER_BYTES as u64) {
        return Err(EgressError::TooLarge);
    }
    let Some(first) = answer.chunk().await? else { return Ok(Bytes::new()) };
    let Some(second) = answer.chunk().await? else { return bounded(first) };
    let mut whole = Vec::from(bounded(first)?);
    whole.extend_from_slice(&second);
    while let Some(chunk) = answer.chunk().await? {
        if whole.len() > MAX_ANSWER_BYTES {
            return Err(EgressError::TooLarge);
        }
        whole.extend_from_slice(&chunk);
    }
    bounded(whole.into())
}

fn bounded(body: Bytes) -> std::result::Result<Bytes, EgressError> {
    if body.len() > MAX_ANSWER_BYTES { Err(EgressError::TooLarge) } else { Ok(body) }
}
