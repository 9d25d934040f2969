//! One client: pooled connections, answers unpacked, and nothing that leads elsewhere than to the address that was asked for.
//!
//! This is hyper's client and no other above it, since only there one hears of informational answers (1xx): a server may send as many as it likes
//! before the one that counts, and all of them that have come are read before anything else of the same thread runs.

use std::{
    error::Error,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, StatusCode, Uri,
    body::Incoming,
    ext::on_informational,
    header::{ACCEPT, CONTENT_LENGTH, HeaderMap, HeaderValue, USER_AGENT},
};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;
use tokio::task::{consume_budget, coop::has_budget_remaining};
use tokio_util::sync::CancellationToken;
use tower_http::decompression::{Decompression, DecompressionBody};
use tower_service::Service;

use super::{EgressError, OutboundRequest, guard};

/// Longest wait for a connection, with its name and its TLS.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Most informational answers to one request: one every ten seconds while a tool takes a quarter of an hour.
const MOST_INFORMATIONAL: u32 = 100;
/// More than tokio lets a task do before it has to give way (128).
const BUDGET: usize = 256;

type AnyError = Box<dyn Error + Send + Sync>;

/// The client. Clones share its connections.
#[derive(Debug, Clone)]
pub(super) struct Client(Decompression<legacy::Client<Connector, Full<Bytes>>>);

/// The head of an answer, and its body as it comes.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Pin<Box<DecompressionBody<Incoming>>>,
}

impl Client {
    /// One with that way to addresses, and that trust. Its connections live on the runtime that it is used on.
    pub(super) fn new(resolver: &guard::Resolver, tls: &ClientConfig) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(resolver.clone());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // A stream may be silent for long; a peer that is gone must be noticed all the same.
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        #[expect(clippy::disallowed_methods, reason = "the one place that builds a client")]
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder.timer(TokioTimer::new()).pool_timer(TokioTimer::new());
        builder.pool_idle_timeout(Duration::from_mins(1)).pool_max_idle_per_host(256);
        Self(Decompression::new(builder.build(Connector(HttpsConnector::from((tcp, tls.clone()))))))
    }

    /// Sends a request, up to the head of its answer.
    pub(super) async fn send(&self, request: OutboundRequest) -> Result<Answer, EgressError> {
        let mut request = prepared(request)?;
        let flooded = CancellationToken::new();
        heed(&mut request, flooded.clone());
        let answer = self.0.clone().call(request);
        tokio::select! {
            biased;
            () = flooded.cancelled() => Err(EgressError::Broken),
            answer = answer => {
                let (head, body) = answer.map_err(|error| classify(&error))?.into_parts();
                Ok(Answer { status: head.status, headers: head.headers, body: Box::pin(body) })
            }
        }
    }
}

impl Answer {
    /// How long its body is, where that is said before.
    pub(super) fn length(&self) -> Option<u64> {
        self.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// The next piece of the body; `None` at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, EgressError> {
        while let Some(frame) = self.body.frame().await {
            // Trailers are of no interest.
            if let Ok(data) = frame.map_err(|error| classify(&*error))?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

fn prepared(request: OutboundRequest) -> Result<Request<Full<Bytes>>, EgressError> {
    let uri: Uri = request.url.as_str().parse().map_err(|_| EgressError::Refused)?;
    let mut prepared = Request::new(Full::new(request.body.unwrap_or_default()));
    (*prepared.method_mut(), *prepared.uri_mut(), *prepared.headers_mut()) = (request.method, uri, request.headers);
    for (name, value) in [(ACCEPT, "*/*"), (USER_AGENT, concat!("trunkline/", env!("CARGO_PKG_VERSION")))] {
        prepared.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    Ok(prepared)
}

/// Counts informational answers. After the last one that is heard, the task of the connection gives way before it reads on, so that whoever waits for
/// the answer is told, goes away, and the connection ends.
fn heed(request: &mut Request<Full<Bytes>>, flooded: CancellationToken) {
    let heard = Arc::new(AtomicU32::new(0));
    on_informational(request, move |_| {
        if heard.fetch_add(1, Ordering::Relaxed) >= MOST_INFORMATIONAL {
            flooded.cancel();
            give_way();
        }
    });
}

/// Uses up what this task may still do at this turn.
fn give_way() {
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..BUDGET {
        if !has_budget_remaining() || std::pin::pin!(consume_budget()).as_mut().poll(&mut context).is_pending() {
            break;
        }
    }
}

/// Why nothing came back.
fn classify(error: &(dyn Error + 'static)) -> EgressError {
    let causes = || std::iter::successors(Some(error), |error| (*error).source());
    let is_late = |cause: &(dyn Error + 'static)| {
        cause.is::<Late>() || cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::TimedOut)
    };
    if causes().any(<dyn Error>::is::<guard::AddressRefused>) {
        EgressError::Refused
    } else if causes().any(is_late) {
        EgressError::Timeout
    } else if error.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect) {
        EgressError::Unreachable
    } else {
        EgressError::Broken
    }
}

/// No connection in time.
#[derive(Debug, thiserror::Error)]
#[error("no connection in time")]
struct Late;

/// Connects within `CONNECT_WITHIN`.
#[derive(Debug, Clone)]
struct Connector(HttpsConnector<HttpConnector<guard::Resolver>>);

impl Service<Uri> for Connector {
    type Response = <HttpsConnector<HttpConnector<guard::Resolver>> as Service<Uri>>::Response;
    type Error = AnyError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, AnyError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), AnyError>> {
        Poll::Ready(ready!(self.0.poll_ready(context)))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(CONNECT_WITHIN, self.0.call(to));
        Box::pin(async move { connecting.await.unwrap_or_else(|_| Err(Late.into())) })
    }
}
