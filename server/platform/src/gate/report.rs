//! What came of going through the gate.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::Stopped;

/// What is checked, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// It speaks a revision that is spoken here, and takes the credential.
    Handshake,
    /// It offers tools.
    List,
    /// Their definitions can be used and judged.
    Definitions,
    /// A real call is answered.
    Call,
    /// With a result, and the tool does not say that it failed.
    Result,
    /// There is something in it.
    Content,
    /// Its structured content is what the tool's output schema promises.
    Schema,
    /// It came in time.
    Time,
    /// It is not the request given back.
    Echo,
    /// It has what is expected.
    Expected,
}

impl Check {
    const ALL: [Self; 10] = [
        Self::Handshake,
        Self::List,
        Self::Definitions,
        Self::Call,
        Self::Result,
        Self::Content,
        Self::Schema,
        Self::Time,
        Self::Echo,
        Self::Expected,
    ];

    /// As stored and told.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::List => "list",
            Self::Definitions => "definitions",
            Self::Call => "call",
            Self::Result => "result",
            Self::Content => "content",
            Self::Schema => "schema",
            Self::Time => "time",
            Self::Echo => "echo",
            Self::Expected => "expected",
        }
    }

    /// The check of that stored word.
    pub fn find(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|check| check.as_str() == word)
    }

    /// In words.
    pub fn label(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::List => "list of tools",
            Self::Definitions => "definitions",
            Self::Call => "a real call",
            Self::Result => "result",
            Self::Content => "content",
            Self::Schema => "output schema",
            Self::Time => "time",
            Self::Echo => "not an echo",
            Self::Expected => "what is expected",
        }
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Well.
    Passed,
    /// Not well.
    Failed,
    /// One before it stood in its way.
    Skipped,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Which.
    pub check: Check,
    /// How it ended.
    pub verdict: Verdict,
    /// How long the server took, where it was asked.
    pub took_ms: Option<u64>,
    /// What is wrong.
    pub problem: Option<String>,
    /// What would be right, or where to look.
    pub advice: Option<&'static str>,
}

/// All checks, and what was learnt of the server.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Did all of them pass?
    pub passed: bool,
    /// The revision that is spoken with it.
    pub revision: Option<&'static str>,
    /// What it says that it is. Not to be trusted.
    pub server: Option<Value>,
    /// How many tools it offers.
    pub tools: Option<usize>,
    /// The tool that was called.
    pub tool: Option<String>,
    /// Each check, in the order of `Check`.
    pub checks: Vec<Checked>,
}

impl Report {
    /// The first check that failed, if one did.
    pub fn failure(&self) -> Option<&Checked> {
        self.checks.iter().find(|checked| checked.verdict == Verdict::Failed)
    }

    /// How long its call took, in milliseconds; 0 if none was made.
    pub fn took_ms(&self) -> u64 {
        self.checks.iter().find(|checked| checked.check == Check::Call).and_then(|checked| checked.took_ms).unwrap_or_default()
    }
}

/// A report on its way.
#[derive(Debug, Default)]
pub(super) struct Checks {
    pub(super) report: Report,
    /// No call was asked for, and so none is missing.
    pub(super) without_call: bool,
}

impl Checks {
    pub(super) fn pass(&mut self, check: Check, took: Option<Duration>) {
        self.add(check, Verdict::Passed, took, None);
    }

    /// Failed, and the others can still be looked at. What is wrong, and what would be right.
    pub(super) fn note(&mut self, check: Check, took: Option<Duration>, (problem, advice): (impl Into<String>, &'static str)) {
        self.add(check, Verdict::Failed, took, Some((problem.into(), advice)));
    }

    /// Failed, and with it all that comes after.
    pub(super) fn fail<T>(
        &mut self,
        check: Check,
        took: Option<Duration>,
        why: (impl Into<String>, &'static str),
    ) -> Result<T, Stopped> {
        self.note(check, took, why);
        Err(Stopped)
    }

    fn add(&mut self, check: Check, verdict: Verdict, took: Option<Duration>, why: Option<(String, &'static str)>) {
        let took_ms = took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        let (problem, advice) = why.unzip();
        self.report.checks.push(Checked { check, verdict, took_ms, problem, advice });
    }

    pub(super) fn into_report(self) -> Report {
        let asked = if self.without_call { 3 } else { Check::ALL.len() };
        self.into_report_of(&Check::ALL[..asked])
    }

    /// Of those checks only: the others are about something that is not there.
    pub(super) fn into_report_of(self, expected: &[Check]) -> Report {
        let mut report = self.report;
        for check in expected {
            if !report.checks.iter().any(|checked| checked.check == *check) {
                let (check, verdict) = (*check, Verdict::Skipped);
                report.checks.push(Checked { check, verdict, took_ms: None, problem: None, advice: None });
            }
        }
        report.passed = report.checks.iter().all(|checked| checked.verdict == Verdict::Passed);
        report
    }
}
