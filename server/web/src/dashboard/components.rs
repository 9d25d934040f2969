//! Shapes that the components in `templates/components` expect.

use chrono::{DateTime, Utc};

/// One of several to choose from.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// What the form sends.
    pub value: String,
    /// What is shown.
    pub label: String,
    /// What it means.
    pub hint: String,
    /// Is it chosen?
    pub chosen: bool,
}

/// One of several views of a page.
#[derive(Debug, Clone)]
pub struct Tab {
    /// Where it leads.
    pub url: String,
    /// What is shown.
    pub label: String,
    /// Is it the one at hand?
    pub current: bool,
}

/// A point in time, for machines and for browsers without scripts.
#[derive(Debug, Clone)]
pub struct Moment {
    /// As RFC 3339.
    pub iso: String,
    /// In words, in UTC.
    pub text: String,
}

impl Moment {
    /// A day.
    pub fn day(at: DateTime<Utc>) -> Self {
        Self { iso: at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true), text: at.format("%-d %b %Y").to_string() }
    }
}
