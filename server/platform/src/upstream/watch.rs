//! Hearing of changes: one stream per watched upstream, in either era, opened again when it ends.

use std::{collections::BTreeSet, time::Duration};

use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;
use trunkline_protocol::{jsonrpc::Message, mcp::object::RawObject};

use super::{
    Server, Target, UpstreamError, Upstreams,
    conversation::answer_to_any,
    error::Fault,
    legacy,
    link::Link,
    modern,
    request::Request,
    session::{self, Session, Setup},
    wire::{Answer, MOST_EVENT, NOT_JSON_RPC},
};
use crate::{dialogue::Dialogue, egress::Egress};

/// Longest silence before a stream is opened anew: it may have died without a word.
const SILENCE: Duration = Duration::from_hours(1);
/// Longest life of one stream.
const LIFE: Duration = Duration::from_hours(12);
/// A stream that lived shorter has failed.
const SHORT_LIFE: Duration = Duration::from_secs(5);
/// Failures in a row after which the caller is told.
const MOST_FAILURES: u32 = 3;
/// Between two streams, unless the upstream says otherwise.
const PAUSE: Duration = Duration::from_secs(1);
/// However long the upstream wants to be left alone.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After so many messages in a row, an upstream waits a moment: reading it must not cost more than others.
const BURST: u32 = 50;
/// That moment.
const BREATH: Duration = Duration::from_millis(100);
/// Changes that wait for a slow reader. Of resources beyond them, all count as changed.
const MOST_PENDING: usize = 1_000;

/// What somebody wants to hear of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Changes of the list of tools.
    pub tools: bool,
    /// Changes of the list of prompts.
    pub prompts: bool,
    /// Changes of the lists of resources and templates.
    pub resources: bool,
    /// Changes of these resources.
    pub uris: Vec<String>,
}

/// Something has changed, or may have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// The list of tools.
    Tools,
    /// The list of prompts.
    Prompts,
    /// The list of resources or of templates.
    Resources,
    /// That resource.
    Resource(String),
}

/// Where a stream for changes stands.
struct Watch<'a> {
    link: &'a Link,
    /// Its URIs are sorted.
    wanted: &'a Wanted,
    changes: mpsc::Sender<Change>,
    /// Each at most once, however often it changed.
    pending: BTreeSet<Change>,
    /// Where the stream can be resumed.
    last_event: Option<String>,
    retry: Option<Duration>,
    /// Streams and sessions in a row that ended at once.
    failures: u32,
}

/// How a stream ended.
enum End {
    /// It can be opened again.
    Over,
    /// Nobody listens any more.
    Unwanted,
}

impl Upstreams {
    /// Tells what changes, until stopped. A stream that ends is opened again, and what may have been missed counts as changed. Fails when the
    /// server cannot be watched, or no more; the caller decides when to try again.
    pub async fn watch(
        &self,
        egress: &Egress,
        target: &Target,
        mut wanted: Wanted,
        changes: mpsc::Sender<Change>,
        stop: CancellationToken,
    ) -> Result<(), UpstreamError> {
        wanted.uris.sort_unstable();
        let link = self.link(egress, target)?;
        let (pending, last_event, retry) = (BTreeSet::new(), None, None);
        let mut watch = Watch { link: &link, wanted: &wanted, changes, pending, last_event, retry, failures: 0 };
        let server = tokio::select! {
            server = self.server(&link, Instant::now() + target.deadline) => server?,
            () = stop.cancelled() => return Ok(()),
        };
        if server.revision.has_handshake() {
            watch.in_sessions(target.deadline, &stop).await
        } else {
            let watched = watch.by_listening(target.deadline);
            stop.run_until_cancelled(watched).await.unwrap_or(Ok(()))
        }
    }
}

impl Watch<'_> {
    /// One session after the other, each of its own: its subscriptions belong to nobody else.
    async fn in_sessions(&mut self, within: Duration, stop: &CancellationToken) -> Result<(), UpstreamError> {
        loop {
            let since = Instant::now();
            let setup = Setup::of(&Dialogue::silent());
            let opened = session::open(self.link, &setup, Instant::now() + within);
            let Some(session) = stop.run_until_cancelled(opened).await else { return Ok(()) };
            let session = session.map_err(Fault::error)?;
            let watched = stop.run_until_cancelled(self.in_session(&session, within)).await;
            // One that is gone has nothing to end, but whether it is gone is the upstream's word only.
            session.end(self.link).await;
            match watched {
                // The next session may hear more than this one did.
                Some(Err(Fault::SessionGone(_))) => self.miss_nothing(),
                Some(ended) => return ended.map_err(Fault::error),
                None => return Ok(()),
            }
            let Some(paused) = stop.run_until_cancelled(self.pause(since)).await else { return Ok(()) };
            paused?;
        }
    }

    async fn in_session(&mut self, session: &Session, within: Duration) -> Result<(), Fault> {
        self.subscribe(session, within).await?;
        let mut is_first = true;
        loop {
            let opened = Instant::now();
            let mut headers = session.headers();
            let is_resumed = self.last_event.is_some();
            if let Some(event) = self.last_event.as_ref().and_then(|event| event.parse().ok()) {
                headers.insert("last-event-id", event);
            }
            let answer = self.link.wire.get(headers, opened + LIFE, SILENCE, SILENCE).await?;
            // To the first question it means that there is no stream here: ordinary servers answer so to a method that they do not have.
            if answer.status == 404 && session.has_id() && !is_first {
                self.last_event = None;
                return Err(Fault::SessionGone(UpstreamError::Status(404)));
            }
            check(&answer)?;
            is_first = false;
            if matches!(self.read(answer, Some(session)).await?, End::Unwanted) {
                return Ok(());
            }
            if !is_resumed && self.last_event.is_none() {
                self.miss_nothing();
            }
            self.pause(opened).await?;
        }
    }

    /// Asks to be told of each resource. One that cannot be subscribed to is left out.
    async fn subscribe(&self, session: &Session, within: Duration) -> Result<(), Fault> {
        if self.wanted.uris.is_empty() || !has_subscriptions(&session.server) {
            return Ok(());
        }
        let (dialogue, cancelled) = (Dialogue::silent(), CancellationToken::new());
        for uri in &self.wanted.uris {
            let mut params = RawObject::default();
            params.set_text("uri", uri);
            let request = Request {
                method: "resources/subscribe",
                params: &params,
                input: None,
                mirrored: &[],
                trace: None,
                dialogue: &dialogue,
                cancelled: &cancelled,
                deadline: Instant::now() + within,
            };
            legacy::ask(self.link, session, &request, None).await?;
        }
        Ok(())
    }

    /// One listening request after the other.
    async fn by_listening(&mut self, within: Duration) -> Result<(), UpstreamError> {
        let mut params = RawObject::default();
        params.set("notifications", self.filter());
        let (dialogue, cancelled) = (Dialogue::silent(), CancellationToken::new());
        loop {
            let opened = Instant::now();
            let request = Request {
                method: "subscriptions/listen",
                params: &params,
                input: None,
                mirrored: &[],
                trace: None,
                dialogue: &dialogue,
                cancelled: &cancelled,
                deadline: opened + within,
            };
            let body = modern::body(&request, &self.link.next_id());
            let answer = self.link.wire.subscribe(modern::headers(&request), body, opened + LIFE, SILENCE).await?;
            check(&answer)?;
            if matches!(self.read(answer, None).await?, End::Unwanted) {
                return Ok(());
            }
            self.miss_nothing();
            self.pause(opened).await?;
        }
    }

    /// `notifications` of a listening request.
    fn filter(&self) -> String {
        let wanted = self.wanted;
        let mut filter = json!({});
        for (key, is_wanted) in [
            ("toolsListChanged", wanted.tools),
            ("promptsListChanged", wanted.prompts),
            ("resourcesListChanged", wanted.resources),
        ] {
            if is_wanted {
                filter[key] = json!(true);
            }
        }
        if !wanted.uris.is_empty() {
            filter["resourceSubscriptions"] = json!(wanted.uris);
        }
        filter.to_string()
    }

    /// Reads one stream to its end, and tells what it says.
    async fn read(&mut self, mut answer: Answer, session: Option<&Session>) -> Result<End, UpstreamError> {
        let mut burst = 0;
        loop {
            let next = self.pending.first().cloned();
            let text = tokio::select! {
                text = answer.messages.next() => text,
                permit = self.changes.reserve(), if next.is_some() => {
                    let (Ok(permit), Some(change)) = (permit, next) else { return Ok(End::Unwanted) };
                    self.pending.remove(&change);
                    permit.send(change);
                    continue;
                }
                () = self.changes.closed() => return Ok(End::Unwanted),
            };
            (self.last_event, self.retry) = (answer.messages.last_event.clone(), answer.messages.retry);
            let text = match text {
                Ok(Some(text)) if text.len() > MOST_EVENT => return Err(UpstreamError::TooLarge),
                Ok(Some(text)) => text,
                // Silent for too long, or cut.
                Ok(None) | Err(UpstreamError::Timeout | UpstreamError::Broken(_)) => return Ok(End::Over),
                Err(error) => return Err(error),
            };
            self.hear(&text, session).await?;
            burst += 1;
            if burst % BURST == 0 {
                sleep(BREATH).await;
            }
        }
    }

    async fn hear(&mut self, text: &str, session: Option<&Session>) -> Result<(), UpstreamError> {
        match Message::parse(text.as_bytes()).map_err(|_| NOT_JSON_RPC)? {
            Message::Notification { method, params } => self.told(&method, params),
            Message::Request { id, method, .. } => {
                if let Some(session) = session {
                    let until = Instant::now() + PAUSE;
                    let reply = self.link.wire.post(session.headers(), answer_to_any(id, &method), until);
                    // A question to nobody: it does not matter whether the answer arrives.
                    let _ = timeout_at(until, reply).await;
                }
            }
            // The end of a listening request is the end of its stream.
            Message::Response { .. } => {}
        }
        Ok(())
    }

    fn told(&mut self, method: &str, params: Option<&RawValue>) {
        #[derive(Deserialize)]
        struct Updated {
            uri: String,
        }
        let wanted = self.wanted;
        match method {
            "notifications/tools/list_changed" if wanted.tools => drop(self.pending.insert(Change::Tools)),
            "notifications/prompts/list_changed" if wanted.prompts => drop(self.pending.insert(Change::Prompts)),
            "notifications/resources/list_changed" if wanted.resources => drop(self.pending.insert(Change::Resources)),
            "notifications/resources/updated" if !wanted.uris.is_empty() => {
                let updated = params.and_then(|params| serde_json::from_str::<Updated>(params.get()).ok());
                // Whoever tells of others wakes nobody.
                let updated = updated.filter(|updated| wanted.uris.binary_search(&updated.uri).is_ok());
                if let Some(Updated { uri }) = updated.filter(|_| self.pending.len() < MOST_PENDING) {
                    self.pending.insert(Change::Resource(uri));
                }
            }
            _ => {}
        }
    }

    /// While nobody listened, anything may have changed.
    fn miss_nothing(&mut self) {
        let wanted = self.wanted;
        let lists = [(wanted.tools, Change::Tools), (wanted.prompts, Change::Prompts), (wanted.resources, Change::Resources)];
        self.pending.extend(lists.into_iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, change)| change));
        self.pending.extend(wanted.uris.iter().take(MOST_PENDING).cloned().map(Change::Resource));
    }

    /// Waits before the next stream. Fails when streams keep ending at once.
    async fn pause(&mut self, opened: Instant) -> Result<(), UpstreamError> {
        self.failures = if opened.elapsed() < SHORT_LIFE { self.failures + 1 } else { 0 };
        if self.failures > MOST_FAILURES {
            return Err(UpstreamError::Broken("it closes its stream for changes at once"));
        }
        sleep(self.retry.unwrap_or(PAUSE).min(LONGEST_PAUSE)).await;
        Ok(())
    }
}

/// Is it a stream for changes?
fn check(answer: &Answer) -> Result<(), UpstreamError> {
    match answer.status {
        401 => Err(UpstreamError::Unauthorized),
        403 => Err(UpstreamError::Forbidden),
        200 if answer.is_stream => Ok(()),
        200 => Err(UpstreamError::Broken("it has no stream for changes")),
        status => Err(UpstreamError::Status(status)),
    }
}

/// Can resources be subscribed to?
fn has_subscriptions(server: &Server) -> bool {
    #[derive(Deserialize)]
    struct Capabilities {
        resources: Resources,
    }
    #[derive(Deserialize)]
    struct Resources {
        #[serde(default)]
        subscribe: bool,
    }
    let capabilities = server.capabilities.as_ref().and_then(|json| serde_json::from_str::<Capabilities>(json.get()).ok());
    capabilities.is_some_and(|capabilities| capabilities.resources.subscribe)
}
