//! Requests that were made on behalf of one call: where to, how they ended, how long each took. Whoever runs the call lays a trail around its
//! work; the way out marks it, so that nothing between the two has to pass it on. Where no trail is laid, nothing is kept.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use reqwest::{
    Method, StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{EgressError, OutboundRequest};
use crate::trace::{Given, SpanId, Trace};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Requests that are told one by one. A function makes at most 32, and what is tried again at most a few more.
const MOST: usize = 64;

tokio::task_local! {
    static TRAIL: Trail;
}

/// One request to somebody else's server. Never its path or content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// `scheme://host`, with the port where it is not the scheme's own.
    pub to: String,
    /// HTTP method.
    pub method: Cow<'static, str>,
    /// HTTP status, if there was an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why nothing usable came: `refused`, `unreachable`, `timeout`, `too_large`, `broken`, or `given_up` where nobody waited any longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Cow<'static, str>>,
    /// From the beginning of the tool's work, in microseconds.
    pub at_us: i64,
    /// To the end of the answer, in microseconds.
    pub took_us: i64,
    /// Its span, where the trace of its call is recorded. Told to a collector, and kept nowhere.
    #[serde(skip)]
    pub span: Option<SpanId>,
}

/// All of one call, in the order in which they began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchanges {
    /// The first of them.
    #[serde(default)]
    pub requests: Vec<Exchange>,
    /// Those after [`MOST`], which are only counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Exchanges {
    /// Was none made?
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }
}

/// What is marked while a call's work goes on. Clones are the same trail.
#[derive(Debug, Clone, Default)]
pub struct Trail {
    marks: Arc<Mutex<Marks>>,
    /// The trace that the call belongs to: whoever is asked is told.
    trace: Option<Arc<Trace>>,
}

#[derive(Debug, Default)]
struct Marks {
    made: Vec<Mark>,
    /// Spans that stand in a message already, and whose requests are about to be made.
    promised: Vec<SpanId>,
    more: u32,
    next: u64,
}

#[derive(Debug)]
struct Mark {
    number: u64,
    began: Instant,
    took: Option<Duration>,
    exchange: Exchange,
}

impl Trail {
    /// Of a call that belongs to a trace.
    pub fn of(trace: Option<Arc<Trace>>) -> Self {
        Self { marks: Arc::default(), trace }
    }

    /// The trace of the work that is going on, and `traceparent` of the request that is made next, for messages that say it in their body.
    pub fn promise() -> Option<(String, Option<String>)> {
        let promise = |trail: &Self| {
            let trace = trail.trace.as_ref()?;
            let span = if trace.is_recorded { trail.marks().promise() } else { trace.span };
            Some((trace.traceparent(span), trace.state.clone()))
        };
        TRAIL.try_with(promise).ok().flatten()
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the work with this trail around it.
    pub fn around<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        TRAIL.scope(self.clone(), work)
    }

    /// What was made since the last time, measured from that moment. A request that is still on its way has taken as long as it has by now.
    pub fn take(&self, from: Instant) -> Exchanges {
        let (made, more) = {
            let mut marks = self.marks();
            (std::mem::take(&mut marks.made), std::mem::take(&mut marks.more))
        };
        let told = |mark: Mark| Exchange {
            at_us: micros(mark.began.saturating_duration_since(from)),
            took_us: micros(mark.took.unwrap_or_else(|| mark.began.elapsed())),
            ..mark.exchange
        };
        Exchanges { requests: made.into_iter().map(told).collect(), more }
    }
}

impl Marks {
    fn promise(&mut self) -> SpanId {
        let span = SpanId::draw();
        // What was promised and never made is not worth more room than what can be made.
        if self.promised.len() < MOST {
            self.promised.push(span);
        }
        span
    }

    /// The span that the headers say, if it was promised for this request; or a new one.
    fn span(&mut self, headers: &HeaderMap) -> SpanId {
        let said = headers.get(TRACEPARENT).and_then(|value| Given::read(value.to_str().ok()?, None));
        let promised = said.and_then(|said| self.promised.iter().position(|span| *span == said.span()));
        promised.map_or_else(SpanId::draw, |at| self.promised.swap_remove(at))
    }

    fn begin(&mut self, method: &Method, url: &Url, span: Option<SpanId>) -> Option<u64> {
        if self.made.len() >= MOST {
            self.more = self.more.saturating_add(1);
            return None;
        }
        self.next += 1;
        let (to, method) = (url.origin().ascii_serialization(), word(method));
        let exchange = Exchange { to, method, status: None, error: None, at_us: 0, took_us: 0, span };
        self.made.push(Mark { number: self.next, began: Instant::now(), took: None, exchange });
        Some(self.next)
    }

    /// Is it still there? What was taken is told already.
    fn find(&mut self, number: u64) -> Option<&mut Mark> {
        self.made.iter_mut().rev().find(|mark| mark.number == number)
    }
}

/// A request on its way. Dropped before it has ended, it was given up.
#[derive(Debug, Default)]
pub(super) struct OnItsWay(Option<(Trail, u64)>);

impl OnItsWay {
    /// One begins, if there is a trail. The request is told of its trace.
    pub(super) fn begin(request: &mut OutboundRequest) -> Self {
        let begun = TRAIL.try_with(|trail| {
            let mut marks = trail.marks();
            let span = trail.trace.as_ref().filter(|trace| trace.is_recorded).map(|_| marks.span(&request.headers));
            let number = marks.begin(&request.method, &request.url, span);
            drop(marks);
            if let Some(trace) = &trail.trace {
                // Of what is only counted nobody is told a span: it is the call's.
                tell(trace, number.and(span).unwrap_or(trace.span), &mut request.headers);
            }
            Some((trail.clone(), number?))
        });
        Self(begun.ok().flatten())
    }

    /// The head of its answer is there.
    pub(super) fn answered(&self, status: StatusCode) {
        self.mark(|mark| mark.exchange.status = Some(status.as_u16()));
    }

    /// Nothing more is to come.
    pub(super) fn ended(&mut self, error: Option<EgressError>) {
        self.mark(|mark| {
            mark.took = Some(mark.began.elapsed());
            mark.exchange.error = error.map(|error| error.class().into());
        });
        self.0 = None;
    }

    fn mark(&self, note: impl FnOnce(&mut Mark)) {
        if let Some((trail, number)) = &self.0 {
            let mut marks = trail.marks();
            if let Some(mark) = marks.find(*number) {
                note(mark);
            }
        }
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.mark(|mark| {
            mark.took = Some(mark.began.elapsed());
            // Whoever has the head may have no use for the rest.
            if mark.exchange.status.is_none() {
                mark.exchange.error = Some("given_up".into());
            }
        });
    }
}

/// Trace and state. What a caller has attached to them (`baggage`) is for us and goes no further.
fn tell(trace: &Trace, span: SpanId, headers: &mut HeaderMap) {
    headers.remove(TRACESTATE);
    let state = trace.state.as_deref().map(|state| (TRACESTATE, state));
    for (name, value) in [Some((TRACEPARENT, &*trace.traceparent(span))), state].into_iter().flatten() {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
}

fn word(method: &Method) -> Cow<'static, str> {
    match *method {
        Method::GET => "GET".into(),
        Method::POST => "POST".into(),
        Method::PUT => "PUT".into(),
        Method::PATCH => "PATCH".into(),
        Method::DELETE => "DELETE".into(),
        Method::HEAD => "HEAD".into(),
        Method::OPTIONS => "OPTIONS".into(),
        ref other => other.to_string().into(),
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url() -> Url {
        Url::parse("https://api.example.com:443/secret?of=theirs").expect("a URL")
    }

    fn to(method: Method) -> OutboundRequest {
        OutboundRequest { method, url: url(), headers: HeaderMap::new(), body: None, deadline: Duration::from_secs(1) }
    }

    #[tokio::test]
    async fn each_request_is_told_its_own_span_and_the_one_that_was_promised() {
        let trace = Arc::new(Trace::begin(1.0));
        let trail = Trail::of(Some(Arc::clone(&trace)));
        let mut sent = [to(Method::GET), to(Method::POST), to(Method::POST)];
        let promised = trail
            .around(async {
                let (promised, _) = Trail::promise().expect("a trace");
                for request in &mut sent[1..] {
                    request.headers.insert(TRACEPARENT, HeaderValue::from_str(&promised).expect("a value"));
                }
                for request in &mut sent {
                    OnItsWay::begin(request).ended(None);
                }
                promised
            })
            .await;
        let told = sent.map(|request| request.headers[TRACEPARENT].to_str().expect("text").to_owned());
        assert_eq!(told[1], promised);
        assert!(told[0] != told[1] && told[2] != told[1], "a second try is another request: {told:?}");
        let spans = trail.take(Instant::now()).requests.into_iter().map(|one| trace.traceparent(one.span.expect("a span")));
        assert_eq!(spans.collect::<Vec<_>>(), told);
    }

    #[tokio::test]
    async fn requests_are_told_in_their_order_and_never_what_they_were_about() {
        let (trail, from) = (Trail::default(), Instant::now());
        trail
            .around(async {
                let mut first = OnItsWay::begin(&mut to(Method::GET));
                let second = OnItsWay::begin(&mut to(Method::POST));
                first.answered(StatusCode::OK);
                first.ended(None);
                drop(second);
                OnItsWay::begin(&mut to(Method::PUT)).ended(Some(EgressError::Timeout));
            })
            .await;
        let told = trail.take(from);
        let ends: Vec<_> = told.requests.iter().map(|one| (&*one.method, one.status, one.error.as_deref())).collect();
        assert_eq!(ends, [("GET", Some(200), None), ("POST", None, Some("given_up")), ("PUT", None, Some("timeout"))]);
        assert!(told.requests.iter().all(|one| one.to == "https://api.example.com" && one.at_us >= 0), "{told:?}");
        assert!(trail.take(from).is_empty(), "told once");
    }

    #[tokio::test]
    async fn what_is_too_many_is_counted_and_without_a_trail_nothing_is() {
        drop(OnItsWay::begin(&mut to(Method::GET)));
        let trail = Trail::default();
        trail.around(async { (0..MOST + 3).for_each(|_| OnItsWay::begin(&mut to(Method::GET)).ended(None)) }).await;
        let told = trail.take(Instant::now());
        assert_eq!((told.requests.len(), told.more), (MOST, 3));
    }

    #[tokio::test]
    async fn a_request_that_outlives_its_call_is_told_as_it_is_then() {
        let trail = Trail::default();
        let mut open = trail.around(async { OnItsWay::begin(&mut to(Method::GET)) }).await;
        open.answered(StatusCode::OK);
        assert_eq!(trail.take(Instant::now()).requests[0].status, Some(200));
        open.ended(Some(EgressError::Broken));
        assert!(trail.take(Instant::now()).is_empty());
    }
}
