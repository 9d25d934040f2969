//! Upstream MCP servers, of any revision: which one they speak, what they have, one exchange with one of them, and hearing of changes.
//!
//! Everything is kept per tenant, source and credential: connections, sessions, the probe's verdict. What is sent is ours: our headers, our
//! name, our progress tokens, and of the caller only what its request says. Its token is not known here.
//!
//! An upstream that hangs costs its own callers their deadline and nobody else anything; nothing here is a queue for all.

mod conversation;
mod error;
mod legacy;
mod link;
mod list;
mod modern;
mod pool;
mod probe;
mod request;
mod session;
mod standalone;
mod watch;
mod wire;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::header::HeaderName;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use trunkline_protocol::mcp::{Revision, mirrored::Mirrored, object::RawObject};
use url::Url;

pub use error::UpstreamError;
pub use watch::{Change, Wanted};

pub use crate::dialogue::{InputRequired, ItemKind, Reply, Retry};

use crate::{
    dialogue::Dialogue,
    egress::Egress,
    ids::{SourceId, TenantId},
    secret::Plaintext,
};
use error::Fault;
use link::{Link, LinkKey, lock};
use list::Pages;
use pool::Pool;
use request::Request;
use wire::Wire;

/// Most upstreams that this process keeps anything of.
const MOST_LINKS: usize = 1024;
/// What nobody has used for so long is dropped, and sessions are ended.
pub const IDLE: Duration = Duration::from_mins(10);

/// An upstream MCP server as one source reaches it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Whose source it is.
    pub tenant: TenantId,
    /// The source.
    pub source: SourceId,
    /// The server's endpoint.
    pub url: Url,
    /// The header that carries its secret, with the secret. Sent to that URL and nowhere else.
    pub header: Option<(HeaderName, Plaintext)>,
    /// Longest time for one exchange.
    pub deadline: Duration,
}

/// What an upstream says of itself. For display and for what is asked of it; never trusted.
#[derive(Debug, Clone)]
pub struct Server {
    /// The revision that is spoken with it.
    pub revision: Revision,
    /// `serverInfo`, as it came.
    pub info: Option<Box<RawValue>>,
    /// Its capabilities, as they came. `None`: it did not say.
    pub capabilities: Option<Box<RawValue>>,
    /// For models.
    pub instructions: Option<String>,
}

/// One request to an upstream.
#[derive(Debug, Clone, Copy)]
pub struct UpstreamRequest<'a> {
    /// `tools/call`, `prompts/get`, `resources/read` or `completion/complete`.
    pub method: &'a str,
    /// The caller's parameters, its name already the upstream's. Of `_meta` only what is not ours to say.
    pub params: &'a RawObject<'a>,
    /// The answers to an earlier `InputRequired`.
    pub input: Option<&'a Retry>,
    /// Arguments that are mirrored in headers.
    pub mirrored: &'a [Mirrored],
    /// Of the span that this exchange is.
    pub trace: Option<&'a TraceContext>,
}

/// W3C trace context.
#[derive(Debug, Clone)]
pub struct TraceContext {
    /// `traceparent`.
    pub traceparent: String,
    /// `tracestate`.
    pub tracestate: Option<String>,
}

/// All upstreams of this process.
#[derive(Debug, Default)]
pub struct Upstreams {
    links: Mutex<HashMap<LinkKey, Arc<Link>>>,
    next_link: AtomicU64,
    pool: Pool,
}

impl Server {
    /// Does it have that capability?
    pub fn has(&self, capability: &str) -> bool {
        let capabilities = self.capabilities.as_ref().and_then(|json| RawObject::parse(json.get()).ok());
        capabilities.is_some_and(|capabilities| capabilities.get(capability).is_some_and(|json| json.starts_with('{')))
    }
}

impl Upstreams {
    /// Asks an upstream, now, what it speaks and has.
    pub async fn probe(&self, egress: &Egress, target: &Target) -> Result<Arc<Server>, UpstreamError> {
        let link = self.link(egress, target)?;
        link.set_verdict(None);
        self.server(&link, Instant::now() + target.deadline).await
    }

    /// All items of a kind: every page, at most 10,000 items of 4 MiB on 50 pages. A kind that the server does not have is an empty list.
    pub async fn list(&self, egress: &Egress, target: &Target, kind: ItemKind) -> Result<Vec<Box<RawValue>>, UpstreamError> {
        let link = self.link(egress, target)?;
        let deadline = Instant::now() + target.deadline;
        if !kind.is_served_by(&*self.server(&link, deadline).await?) {
            return Ok(Vec::new());
        }
        let (dialogue, cancelled) = (Dialogue::silent(), CancellationToken::new());
        let (mut pages, mut next) = (Pages::default(), Some(Pages::first()));
        while let Some(params) = next {
            let request = Request {
                method: kind.method(),
                params: &params,
                input: None,
                mirrored: &[],
                trace: None,
                dialogue: &dialogue,
                cancelled: &cancelled,
                deadline,
            };
            next = pages.take(kind, self.run(&link, &request).await?)?;
        }
        Ok(pages.into_items())
    }

    /// One request and its answer. Whatever the upstream says meanwhile goes to the dialogue; a cancellation reaches it in its era's manner.
    pub async fn exchange(
        &self,
        egress: &Egress,
        target: &Target,
        request: UpstreamRequest<'_>,
        dialogue: &Dialogue,
        cancelled: CancellationToken,
    ) -> Result<Reply, UpstreamError> {
        let link = self.link(egress, target)?;
        let request = Request {
            method: request.method,
            params: request.params,
            input: request.input,
            mirrored: request.mirrored,
            trace: request.trace,
            dialogue,
            cancelled: &cancelled,
            deadline: Instant::now() + target.deadline,
        };
        self.run(&link, &request).await
    }

    /// Forgets an upstream whose source changed or is gone. Requests that run go on to their end.
    pub fn forget(&self, tenant: TenantId, source: SourceId) {
        lock(&self.links).retain(|key, _| key.tenant != tenant || key.source != source);
        self.drop_sessions();
    }

    /// Drops what nobody has used for so long and ends its sessions over there. Called by a background tick.
    pub async fn sweep(&self, idle: Duration) {
        let is_idle = |link: &Arc<Link>| Arc::strong_count(link) == 1 && link.idle() >= idle && !self.pool.has_any(link);
        lock(&self.links).retain(|_, link| !is_idle(link));
        self.pool.sweep(idle).await;
    }

    /// In the era that the upstream speaks; once more if it turns out to speak the other.
    async fn run(&self, link: &Arc<Link>, request: &Request<'_>) -> Result<Reply, UpstreamError> {
        match self.run_once(link, request).await {
            Err(Fault::OtherEra(..)) => {
                link.set_verdict(None);
                match self.run_once(link, request).await {
                    Err(Fault::OtherEra(_, Some(error))) => Ok(Reply::Error(error)),
                    other => other.map_err(Fault::error),
                }
            }
            other => other.map_err(Fault::error),
        }
    }

    async fn run_once(&self, link: &Arc<Link>, request: &Request<'_>) -> Result<Reply, Fault> {
        let server = tokio::select! {
            server = self.server(link, request.deadline) => server?,
            () = request.cancelled.cancelled() => return Err(UpstreamError::Cancelled.into()),
        };
        if server.revision.has_handshake() {
            legacy::run(&self.pool, link, request).await
        } else {
            modern::run(link, request).await
        }
    }

    /// What the last probe found, or a new one does.
    async fn server(&self, link: &Arc<Link>, deadline: Instant) -> Result<Arc<Server>, UpstreamError> {
        if let Some(server) = link.verdict() {
            return Ok(server);
        }
        let _turn = timeout_at(deadline, link.probing.lock()).await.map_err(|_| UpstreamError::Timeout)?;
        if let Some(server) = link.verdict() {
            return Ok(server);
        }
        let server = probe::probe(&self.pool, link, deadline).await?;
        link.set_verdict(Some(Arc::clone(&server)));
        Ok(server)
    }

    /// What is kept for that target, from now on if it was nothing.
    fn link(&self, egress: &Egress, target: &Target) -> Result<Arc<Link>, UpstreamError> {
        egress.check(&target.url)?;
        let key = LinkKey::of(target);
        let mut links = lock(&self.links);
        if let Some(link) = links.get(&key) {
            link.touch();
            return Ok(Arc::clone(link));
        }
        if links.len() >= MOST_LINKS {
            let free = links.iter().filter(|(_, link)| Arc::strong_count(link) == 1);
            let oldest = free.max_by_key(|(_, link)| link.idle()).map(|(key, _)| key.clone()).ok_or(UpstreamError::Busy)?;
            links.remove(&oldest);
        }
        let egress = egress.separate().map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "an outbound client cannot be made");
            UpstreamError::Unreachable
        })?;
        let wire = Wire::new(egress, target.url.clone(), target.header.clone());
        let link = Arc::new(Link::new(self.next_link.fetch_add(1, Ordering::Relaxed), target.tenant, wire));
        links.insert(key, Arc::clone(&link));
        Ok(link)
    }

    /// Sessions of links that are not kept any more.
    fn drop_sessions(&self) {
        let kept: Vec<u64> = lock(&self.links).values().map(|link| link.number).collect();
        self.pool.drop_links(|link| !kept.contains(&link.number));
    }
}
