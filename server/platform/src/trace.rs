//! W3C Trace Context: which trace a call belongs to, and what whoever is asked for it is told. No I/O, and nothing is kept here.

use std::{fmt, str::FromStr};

use crate::{hex, random};

/// Longest `tracestate` that is passed on, in bytes; a longer one is left out, as the specification allows.
const LONGEST_STATE: usize = 512;
/// The flag of traces that are kept.
const SAMPLED: u8 = 1;

/// One trace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

/// One span of a trace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SpanId([u8; 8]);

/// What a caller says with `traceparent` and `tracestate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    trace: TraceId,
    span: SpanId,
    flags: u8,
    state: Option<String>,
}

/// The trace of one call here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Its id: the caller's, where there is one.
    pub id: TraceId,
    /// The caller's span. `None` where the trace begins here.
    pub parent: Option<SpanId>,
    /// The span of the call. Of a trace that is not recorded here it is the caller's: nobody else will hear of one of ours.
    pub span: SpanId,
    /// Flags, as they came.
    pub flags: u8,
    /// Are spans of it told to a collector?
    pub is_recorded: bool,
    /// `tracestate`, as it came.
    pub state: Option<String>,
}

impl TraceId {
    /// As in `traceparent`, in binary.
    pub fn bytes(&self) -> [u8; 16] {
        self.0
    }

    /// Is it one of that share of all traces? Decided by the random part of the id alone, so that everybody with the same share decides alike.
    pub fn is_within(&self, share: f64) -> bool {
        // Its last 53 bits.
        let random = u128::from_be_bytes(self.0) & ((1 << 53) - 1);
        #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
        let drawn = random as f64 / (1_u64 << 53) as f64;
        drawn < share
    }
}

impl SpanId {
    /// A new one.
    pub fn draw() -> Self {
        Self(drawn())
    }

    /// As in `traceparent`, in binary.
    pub fn bytes(&self) -> [u8; 8] {
        self.0
    }
}

/// Random, and never all zeros, which would be no id.
fn drawn<const N: usize>() -> [u8; N] {
    loop {
        let bytes = random::bytes();
        if bytes != [0; N] {
            return bytes;
        }
    }
}

/// Why a text is no id of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the id of a trace: 32 digits in base 16, lower case, not all of them 0")]
pub struct InvalidTrace;

impl FromStr for TraceId {
    type Err = InvalidTrace;

    fn from_str(text: &str) -> Result<Self, InvalidTrace> {
        id(text).map(Self).ok_or(InvalidTrace)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Given {
    /// Version 00 with trace and span that are not all zeros. Anything else is as good as nothing.
    pub fn read(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let parts: Vec<_> = traceparent.split('-').collect();
        let ["00", trace, span, flags] = parts[..] else { return None };
        let [flags] = *hex::decode(flags)? else { return None };
        let (trace, span) = (TraceId(id(trace)?), SpanId(id(span)?));
        // What cannot be a header, or is too long for one, is not passed on.
        let fits = |state: &&str| state.len() <= LONGEST_STATE && state.bytes().all(|b| matches!(b, b' '..=b'~'));
        Some(Self { trace, span, flags, state: tracestate.filter(fits).map(str::to_owned) })
    }

    /// The span that it was said in.
    pub fn span(&self) -> SpanId {
        self.span
    }

    /// Does the caller keep it?
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

fn id<const N: usize>(text: &str) -> Option<[u8; N]> {
    <[u8; N]>::try_from(hex::decode(text)?).ok().filter(|bytes| *bytes != [0; N])
}

impl Trace {
    /// Goes on with the caller's trace, with a span of ours if that is told to anybody.
    pub fn follow(given: Given, is_recorded: bool) -> Self {
        let span = if is_recorded { SpanId::draw() } else { given.span };
        Self { id: given.trace, parent: Some(given.span), span, flags: given.flags, is_recorded, state: given.state }
    }

    /// Begins one; that share of them is recorded.
    pub fn begin(share: f64) -> Self {
        let id = TraceId(drawn());
        let is_recorded = id.is_within(share);
        Self { id, parent: None, span: SpanId::draw(), flags: u8::from(is_recorded), is_recorded, state: None }
    }

    /// Work that goes on after the call was answered: a child of the call's own span.
    #[must_use]
    pub fn successor(&self) -> Self {
        let span = if self.is_recorded { SpanId::draw() } else { self.span };
        Self { parent: Some(self.span), span, ..self.clone() }
    }

    /// `traceparent` for whoever is asked in that span.
    pub fn traceparent(&self, span: SpanId) -> String {
        format!("00-{}-{span}-{:02x}", self.id, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_recorded_has_a_span_of_ours_and_what_is_not_goes_on_as_it_came() {
        let given = Given::read(GIVEN, Some("a=1")).expect("a trace");
        let recorded = Trace::follow(given.clone(), true);
        assert_eq!((recorded.id.to_string().as_str(), recorded.flags), (&GIVEN[3..35], 1));
        assert_ne!(recorded.span, given.span);
        assert_eq!((recorded.parent, recorded.state.as_deref()), (Some(given.span), Some("a=1")));
        let passed = Trace::follow(given, false);
        assert_eq!(passed.traceparent(passed.span), GIVEN);
        let after = recorded.successor();
        assert_eq!((after.parent, after.id), (Some(recorded.span), recorded.id));
    }

    #[test]
    fn what_is_no_trace_context_is_nothing() {
        let zero = "0".repeat(32);
        let broken = [
            String::new(),
            "x".to_owned(),
            format!("00-{zero}-b7ad6b7169203331-01"),
            GIVEN.replace("b7ad6b7169203331", &zero[..16]),
            GIVEN.to_uppercase(),
            format!("{GIVEN}-00"),
            GIVEN.replace("00-", "ff-"),
            GIVEN.replace("-01", "-1"),
            GIVEN.replace("0af7", "0a"),
        ];
        for text in broken {
            assert_eq!(Given::read(&text, None), None, "{text}");
        }
        for state in ["a".repeat(513), "a=\r\nb".to_owned(), "ä=1".to_owned()] {
            assert_eq!(Given::read(GIVEN, Some(&state)).and_then(|given| given.state), None, "{state}");
        }
    }

    #[test]
    fn a_share_is_a_share() {
        let of = |share: f64| (0..10_000).filter(|_| Trace::begin(share).is_recorded).count();
        assert_eq!((of(0.0), of(1.0)), (0, 10_000));
        let tenth = of(0.1);
        assert!((800..1_200).contains(&tenth), "{tenth}");
        let begun = Trace::begin(1.0);
        assert_eq!(Given::read(&begun.traceparent(begun.span), None).map(|given| given.is_sampled()), Some(true));
    }
}
