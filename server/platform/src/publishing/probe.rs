//! How a tool or a source is tried, and what is known of it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::{
    audit::Difference,
    error::{Error, Result},
    gate::Expected,
    ids::{ProbeId, ProbeRunId, SourceId, ToolId, UserId},
};

/// Seconds between two probes, where nobody says otherwise.
pub const EVERY_S: u32 = 300;
/// Shortest and longest pause between two probes, in seconds.
pub const PAUSES_S: std::ops::RangeInclusive<u32> = 30..=86_400;
/// Longest call, in milliseconds.
const WITHIN_MS: std::ops::RangeInclusive<u32> = 1..=60_000;
/// Largest arguments, in bytes.
const MOST_ARGUMENTS: usize = 64 * 1024;

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A tool of ours.
    Tool(ToolId),
    /// An MCP server.
    Source(SourceId),
}

/// How it is tried.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is said by itself")]
pub struct Terms {
    /// Of a source, which of its tools is called, as it names it; empty: one that only reads.
    pub called: String,
    /// Arguments of the call. `None`: what the schema gives.
    pub arguments: Option<Map<String, Value>>,
    /// Somebody said that the call may be made although the tool may change something.
    pub confirmed: bool,
    /// And that it may be made again and again.
    pub repeats: bool,
    /// What has to stand in the answer: a text, or `/pointer=JSON`; empty: nothing.
    pub expected: String,
    /// Longest time of the call, in milliseconds.
    pub within_ms: u32,
    /// Giving back what one was given is what the tool is for.
    pub may_echo: bool,
    /// Seconds between two probes; `None`: there are none.
    pub every_s: Option<u32>,
    /// Is it kept from callers while it fails?
    pub hides: bool,
}

/// What is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Not tried yet.
    Unknown,
    /// It passed when it was last sure.
    Well,
    /// It failed twice in a row, and has not passed twice in a row since.
    Failing,
}

/// A subject with how it is tried and what is known of it.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Its id.
    pub id: ProbeId,
    /// What is tried.
    pub subject: Subject,
    /// How.
    pub terms: Terms,
    /// Its arguments as they are stored.
    pub(super) sealed: Option<Vec<u8>>,
    /// Whose account the call uses, where each person uses their own.
    pub set_by: Option<UserId>,
    /// What is known.
    pub health: Health,
    /// Since when.
    pub since: Option<DateTime<Utc>>,
    /// Results in a row that speak against it.
    pub against: i32,
    /// The check that failed last; empty while it is well.
    pub failed: String,
    /// What was wrong.
    pub problem: String,
    /// When it was tried last.
    pub checked_at: Option<DateTime<Utc>>,
}

/// Why it was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Somebody wanted to publish.
    Gate,
    /// It was due.
    Probe,
    /// Calls of agents were given back what they had sent.
    Echo,
}

/// One time that it was tried.
#[derive(Debug, Clone)]
pub struct RunReport {
    /// Its id.
    pub id: ProbeRunId,
    /// Why.
    pub kind: Kind,
    /// Number of the version that was tried; `None`: of a source.
    pub version: Option<i32>,
    /// Did all checks pass?
    pub passed: bool,
    /// How long the call took, in milliseconds.
    pub took_ms: i32,
    /// When.
    pub at: DateTime<Utc>,
    /// Each check.
    pub checks: Vec<StoredCheck>,
}

/// A check as it is stored.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct StoredCheck {
    /// Which, as `gate::Check::as_str`.
    pub check: String,
    /// `passed`, `failed` or `skipped`.
    pub verdict: String,
    /// How long it took.
    #[serde(default)]
    pub took_ms: Option<u64>,
    /// What is wrong.
    #[serde(default)]
    pub problem: Option<String>,
    /// What would be right.
    #[serde(default)]
    pub advice: Option<String>,
}

macro_rules! words {
    ($($name:ident { $($variant:ident $word:literal),* })*) => {$(
        impl $name {
            /// As stored and shown.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// The one of that stored word.
            pub(super) fn find(word: &str) -> Result<Self> {
                [$(Self::$variant),*]
                    .into_iter()
                    .find(|one| one.as_str() == word)
                    .ok_or_else(|| Error::internal("a stored word is not known"))
            }
        }
    )*};
}

words! {
    Health { Unknown "unknown", Well "well", Failing "failing" }
    Kind { Gate "gate", Probe "probe", Echo "echo" }
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            called: String::new(),
            arguments: None,
            confirmed: false,
            repeats: false,
            expected: String::new(),
            within_ms: 10_000,
            may_echo: false,
            every_s: Some(EVERY_S),
            hides: false,
        }
    }
}

impl Terms {
    /// Ok if they can be used; names the field that cannot.
    pub fn check(&self) -> Result<()> {
        if self.called.len() > 1024 || self.called.chars().any(char::is_control) {
            return Err(Error::invalid("called", "expected the name of a tool, as its server names it"));
        }
        if let Some(arguments) = &self.arguments {
            let size = serde_json::to_string(arguments).map_err(Error::internal)?.len();
            if size > MOST_ARGUMENTS {
                return Err(Error::invalid("sample", format!("expected at most {} KiB", MOST_ARGUMENTS / 1024)));
            }
        }
        if self.expected.chars().count() > 400 {
            return Err(Error::invalid("expected", "expected at most 400 characters"));
        }
        if !WITHIN_MS.contains(&self.within_ms) {
            return Err(Error::invalid("within_ms", "expected 1 to 60000 milliseconds"));
        }
        if self.every_s.is_some_and(|pause| !PAUSES_S.contains(&pause)) {
            return Err(Error::invalid("every_s", "expected 30 to 86400 seconds, or nothing for no probes"));
        }
        Ok(())
    }

    /// What has to stand in the answer, as it is judged.
    pub(super) fn expectations(&self) -> Vec<Expected> {
        let text = self.expected.trim();
        if text.is_empty() {
            return Vec::new();
        }
        let at = text.split_once('=').filter(|(pointer, _)| pointer.starts_with('/'));
        let at = at.and_then(|(pointer, value)| Some((pointer, serde_json::from_str::<Value>(value).ok()?)));
        vec![at.map_or_else(|| Expected::Text(text.to_owned()), |(pointer, value)| Expected::At(pointer.to_owned(), value))]
    }

    /// What differs in others. Of arguments only that they do: they may be somebody's data.
    pub(super) fn note(&self, after: &Self) -> Difference {
        let arguments = |terms: &Self| if terms.arguments.is_some() { "entered" } else { "from the schema" };
        let is_other = self.arguments.is_some() && after.arguments.is_some() && self.arguments != after.arguments;
        Difference::default()
            .of("called", &self.called, &after.called)
            .of("sample", arguments(self), if is_other { "entered anew" } else { arguments(after) })
            .of("confirmed", self.confirmed, after.confirmed)
            .of("repeats", self.repeats, after.repeats)
            .of("expects", !self.expected.is_empty(), !after.expected.is_empty())
            .of("within_ms", self.within_ms, after.within_ms)
            .of("may_echo", self.may_echo, after.may_echo)
            .of("every_s", self.every_s, after.every_s)
            .of("hides", self.hides, after.hides)
    }
}

impl Probe {
    /// One of which nothing is known.
    pub(super) fn new(id: ProbeId, subject: Subject) -> Self {
        Self {
            id,
            subject,
            terms: Terms::default(),
            sealed: None,
            set_by: None,
            health: Health::Unknown,
            since: None,
            against: 0,
            failed: String::new(),
            problem: String::new(),
            checked_at: None,
        }
    }
}

/// What is known of tools, by tool.
pub type HealthOfTools = HashMap<ToolId, (Health, bool)>;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn expectations_are_texts_or_places() {
        let of = |text: &str| Terms { expected: text.to_owned(), ..Terms::default() }.expectations();
        assert_eq!(of(" "), []);
        assert_eq!(of("sunny"), [Expected::Text("sunny".to_owned())]);
        assert_eq!(of("/ok=true"), [Expected::At("/ok".to_owned(), json!(true))]);
        assert_eq!(of("/ok=yes"), [Expected::Text("/ok=yes".to_owned())]);
    }

    #[test]
    fn each_term_that_cannot_be_used_is_named() {
        for (terms, field) in [
            (Terms { called: "a\nb".to_owned(), ..Terms::default() }, "called"),
            (Terms { within_ms: 0, ..Terms::default() }, "within_ms"),
            (Terms { every_s: Some(1), ..Terms::default() }, "every_s"),
            (Terms { expected: "x".repeat(401), ..Terms::default() }, "expected"),
        ] {
            let error = terms.check().expect_err("refused").to_string();
            assert!(!error.is_empty(), "{field}");
        }
        assert!(Terms::default().check().is_ok());
    }
}
