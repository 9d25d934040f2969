//! One request, from its POST to its answer. Whatever happens there is one, unless the client has taken the request back.

use std::{sync::Arc, time::Duration};

use serde_json::value::RawValue;
use trunkline_protocol::mcp::{
    HEADER_MISMATCH,
    object::{RawObject, json_string},
};

use super::{
    ask::ask,
    bridge::{Bridge, Running},
    failure::{Failure, Refused},
    headers::{self, SESSION},
    message::{Id, Kind, Message, Reply, Request},
    session::{Beginning, Session},
    stream::Incoming,
};

/// Longest wait for a turn.
const TURN_WITHIN: Duration = Duration::from_mins(1);
/// How often in a row a stream is resumed without news.
const MOST_RESUMES: u32 = 20;
/// Before a cut stream is resumed, unless it said when.
const RESUME_AFTER: Duration = Duration::from_millis(500);
/// Longest pause before that.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Pages of a list that this program reads by itself.
const MOST_PAGES: usize = 100;

/// What is not answered yet, and what a good answer settles.
struct Pending {
    ids: Vec<Id>,
    beginning: Option<Beginning>,
}

impl Bridge {
    /// Sends it and passes on all that comes back.
    pub(super) async fn exchange(&self, message: &Message, ids: Vec<Id>, running: &Running, beginning: Option<Beginning>) {
        let mut pending = Pending { ids, beginning };
        let outcome = tokio::select! {
            biased;
            () = running.dropped.cancelled() => Ok(()),
            () = self.cut.cancelled() => Err(Failure::Stopping),
            outcome = self.attempt(message, &mut pending, running) => outcome,
        };
        match outcome {
            Err(failure) if !running.taken_back.is_cancelled() => self.fail(&pending.ids, &failure).await,
            _ => {}
        }
    }

    async fn attempt(&self, message: &Message, pending: &mut Pending, running: &Running) -> Result<(), Failure> {
        let _turn = tokio::select! {
            biased;
            () = running.taken_back.cancelled() => return Ok(()),
            turn = tokio::time::timeout(TURN_WITHIN, self.turns.acquire()) => turn.map_err(|_| Failure::Busy)?,
        };
        let knows_sessions = !message.is_stateless() && pending.beginning.is_none();
        let mut session = if knows_sessions { self.sessions.current().await } else { None };
        let mut incoming = match self.post(message, pending, &mut session, running).await? {
            Ok(incoming) => incoming,
            Err(answer) => {
                self.pass(message, &answer, pending, None).await;
                return Ok(());
            }
        };
        let opened = incoming.headers().get(SESSION).cloned();
        let mut resumes = 0;
        loop {
            match incoming.next().await {
                Ok(Some(text)) => {
                    resumes = 0;
                    self.pass(message, &text, pending, opened.as_ref()).await;
                    if pending.ids.is_empty() {
                        incoming.finish().await;
                        return Ok(());
                    }
                }
                _ if running.taken_back.is_cancelled() => return Ok(()),
                ended => {
                    let failure = ended.err().unwrap_or(Failure::Cut);
                    resumes += 1;
                    incoming = self.resume(session.as_deref(), incoming, resumes, failure).await?;
                }
            }
        }
    }

    /// POSTs it; again, once, if that cannot have run it and can do better. An HTTP error that answers the request is its answer.
    async fn post(
        &self,
        message: &Message,
        pending: &Pending,
        session: &mut Option<Arc<Session>>,
        running: &Running,
    ) -> Result<Result<Incoming, String>, Failure> {
        let headers = headers::of(message, session.as_deref(), &self.schemas);
        let refused = match self.endpoint.post(headers.clone(), message.body.clone()).await? {
            Ok(incoming) => {
                running.reached.cancel();
                return Ok(Ok(incoming));
            }
            Err(refused) => refused,
        };
        let is_answer = answers(&refused, &pending.ids);
        let is_lost = refused.status == 404 && !is_answer && session.as_ref().is_some_and(|session| session.can_be_lost());
        let headers = match (&message.kind, session.as_ref()) {
            (_, Some(lost)) if is_lost => {
                let renewed = self.sessions.renew(lost).await?;
                let headers = headers::of(message, Some(&renewed), &self.schemas);
                *session = Some(renewed);
                Some(headers)
            }
            (Kind::Request(request), _) if is_mismatch(message, request, &refused) => {
                // The client knows the tool from a list that did not come by here.
                let learnt = self.learn(request).await;
                learnt.ok().map(|()| headers::of(message, session.as_deref(), &self.schemas)).filter(|better| *better != headers)
            }
            _ => None,
        };
        let refused = match headers {
            None => refused,
            Some(headers) => match self.endpoint.post(headers, message.body.clone()).await? {
                Ok(incoming) => {
                    running.reached.cancel();
                    return Ok(Ok(incoming));
                }
                Err(refused) => refused,
            },
        };
        if answers(&refused, &pending.ids) { Ok(Err(refused.body)) } else { Err(Failure::Refused(refused)) }
    }

    /// Reads the list of tools as the client of that request would.
    async fn learn(&self, request: &Request) -> Result<(), Failure> {
        let params = request.params.as_deref().and_then(|raw| RawObject::parse(raw.get()).ok()).unwrap_or_default();
        let mut meta = params.get("_meta").and_then(|raw| RawObject::parse(raw).ok()).unwrap_or_default();
        // Its progress is not that of the call.
        meta.remove("progressToken");
        let mut list = RawObject::default();
        list.set("_meta", meta.to_json());
        for _ in 0..MOST_PAGES {
            let asked = ask(&self.endpoint, None, "tools/list", &list.to_json()).await?;
            match self.schemas.learn(&asked.result) {
                Some(cursor) => list.set("cursor", json_string(&cursor)),
                None => break,
            }
        }
        Ok(())
    }

    /// Passes a text on, and remembers what it says.
    async fn pass(&self, message: &Message, text: &str, pending: &mut Pending, opened: Option<&reqwest::header::HeaderValue>) {
        for reply in replies(text) {
            let Some(at) = pending.ids.iter().position(|id| reply.answers(id)) else { continue };
            pending.ids.swap_remove(at);
            let (Kind::Request(request), Some(result)) = (&message.kind, reply.result) else { continue };
            match request.method.as_str() {
                "tools/list" => drop(self.schemas.learn(result)),
                "initialize" => {
                    if let Some(beginning) = pending.beginning.take() {
                        beginning.settle(request, opened.cloned(), result);
                    }
                }
                _ if !message.is_stateless() => self.sessions.keep(request).await,
                _ => {}
            }
        }
        self.output.message(text).await;
    }

    /// Goes on with a stream that ended before its time, where its revision has that.
    async fn resume(
        &self,
        session: Option<&Session>,
        ended: Incoming,
        times: u32,
        failure: Failure,
    ) -> Result<Incoming, Failure> {
        let (Some(session), Some(last)) = (session, &ended.last_event) else { return Err(failure) };
        if times > MOST_RESUMES {
            return Err(failure);
        }
        let pause = ended.retry.unwrap_or(RESUME_AFTER * times).min(LONGEST_PAUSE);
        tokio::time::sleep(pause).await;
        match self.endpoint.get(headers::of_stream(Some(session), Some(last))).await {
            Ok(Ok(resumed)) => Ok(resumed.after(ended)),
            // It may be another replica's turn to come back.
            Err(Failure::Unreachable(_) | Failure::Late) => Ok(ended),
            Ok(Err(refused)) if refused.status >= 500 || refused.status == 429 => Ok(ended),
            Ok(Err(_)) | Err(_) => Err(failure),
        }
    }
}

/// The messages of a text: one, or those of a batch.
fn replies(text: &str) -> Vec<Reply<'_>> {
    if !text.trim_start().starts_with('[') {
        return Reply::read(text).into_iter().collect();
    }
    let elements: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
    elements.into_iter().filter_map(|element| Reply::read(element.get())).collect()
}

fn answers(refused: &Refused, ids: &[Id]) -> bool {
    replies(&refused.body).iter().any(|reply| ids.iter().any(|id| reply.answers(id)))
}

/// Was a call refused for its mirrored arguments?
fn is_mismatch(message: &Message, request: &Request, refused: &Refused) -> bool {
    message.is_stateless()
        && request.method == "tools/call"
        && refused.status == 400
        && replies(&refused.body).iter().any(|reply| reply.error_code() == Some(HEADER_MISMATCH))
}
