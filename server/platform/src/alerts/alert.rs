//! What an alert is, and its words: names and numbers, never content.

use chrono::{DateTime, Utc};

use crate::{
    error::{Error, Result},
    ids::{AlertId, UserId},
};

/// What can be out of the ordinary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// More calls of a tool fail than usual.
    ErrorRate,
    /// A tool is slower than usual.
    P99,
    /// Limits and budgets refuse many calls of a tool or an agent.
    Limits,
    /// A tool or a source fails what it is tried by.
    Probe,
    /// More credentials are refused than usual.
    Authentication,
    /// Sums of usage differ from the record of calls.
    Usage,
}

impl Kind {
    const ALL: [Self; 6] = [Self::ErrorRate, Self::P99, Self::Limits, Self::Probe, Self::Authentication, Self::Usage];

    /// As stored, and as hooks are told.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ErrorRate => "error_rate",
            Self::P99 => "p99",
            Self::Limits => "limits",
            Self::Probe => "probe",
            Self::Authentication => "authentication",
            Self::Usage => "usage",
        }
    }

    /// For people.
    pub fn label(self) -> &'static str {
        match self {
            Self::ErrorRate => "Errors",
            Self::P99 => "Slow",
            Self::Limits => "Refused",
            Self::Probe => "Probe",
            Self::Authentication => "Credentials",
            Self::Usage => "Sums",
        }
    }

    /// What it says of what is called `name`.
    pub(super) fn headline(self, name: &str, is_firing: bool) -> String {
        match (self, is_firing) {
            (Self::ErrorRate, true) => format!("{name} fails more than usual"),
            (Self::ErrorRate, false) => format!("{name} fails no more than usual"),
            (Self::P99, true) => format!("{name} is slower than usual"),
            (Self::P99, false) => format!("{name} is as fast as usual"),
            (Self::Limits, true) => format!("{name} is at its limits"),
            (Self::Limits, false) => format!("{name} is within its limits"),
            (Self::Probe, true) => format!("{name} fails its probes"),
            (Self::Probe, false) => format!("{name} passes its probes"),
            (Self::Authentication, true) => format!("{name} refuses more credentials than usual"),
            (Self::Authentication, false) => format!("{name} refuses no more credentials than usual"),
            (Self::Usage, true) => format!("{name} has sums of usage that differ from its record"),
            (Self::Usage, false) => format!("{name} has the sums of usage that its record gives"),
        }
    }

    /// Bad looks in a row after which it is told. Probes have been tried twice by then, and sums are counted once an hour.
    pub(super) fn bad_looks(self) -> i32 {
        if self.is_found_elsewhere() { 1 } else { 3 }
    }

    /// Good looks in a row after which it is over.
    pub(super) fn good_looks(self) -> i32 {
        if self.is_found_elsewhere() { 1 } else { 10 }
    }

    /// Does somebody else find out, at a pace of their own? What they last found stays as it is until they look again.
    fn is_found_elsewhere(self) -> bool {
        matches!(self, Self::Probe | Self::Usage)
    }

    /// Are members told by mail of it elsewhere? A probe has letters of its own.
    pub(super) fn has_letters_elsewhere(self) -> bool {
        self == Self::Probe
    }
}

impl std::str::FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| Error::internal("a stored alert has no known kind"))
    }
}

/// How an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Seen, but not often enough to tell anybody.
    Watched,
    /// It is the case.
    Firing,
    /// It was.
    Resolved,
}

impl State {
    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Watched => "watched",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

impl std::str::FromStr for State {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Watched, Self::Firing, Self::Resolved]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| Error::internal("a stored alert has no known state"))
    }
}

/// That something was out of the ordinary.
#[derive(Debug, Clone)]
pub struct Alert {
    /// Its id.
    pub id: AlertId,
    /// In which way.
    pub kind: Kind,
    /// Id of the tool, agent, source or tenant that it is about.
    pub subject: String,
    /// What that was called.
    pub name: String,
    /// How it stands.
    pub state: State,
    /// Looks in a row that found it bad.
    pub bad: i32,
    /// Looks in a row that found it well again.
    pub good: i32,
    /// What was usual when it began: a share, or milliseconds.
    pub usual: f64,
    /// What was seen last, in a sentence.
    pub message: String,
    /// When it was first seen.
    pub since: DateTime<Utc>,
    /// When it was last bad.
    pub last_bad_at: DateTime<Utc>,
    /// When it was over.
    pub resolved_at: Option<DateTime<Utc>>,
    /// Was anybody told that it began?
    pub is_told: bool,
    /// Who looks after it, and since when.
    pub acknowledged: Option<(UserId, DateTime<Utc>)>,
    /// Nobody is told of it until then.
    pub silenced_until: Option<DateTime<Utc>>,
}

impl Alert {
    /// Is nobody to be told of it now?
    pub fn is_silenced(&self, now: DateTime<Utc>) -> bool {
        self.silenced_until.is_some_and(|until| until > now)
    }

    /// In one line.
    pub fn headline(&self) -> String {
        self.kind.headline(&self.name, self.state != State::Resolved)
    }
}
