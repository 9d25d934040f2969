//! Letters kept in memory instead of sent: for development and tests.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, Utc};

use super::{EmailAddress, letter::Content};

/// The oldest letter goes when there are more.
const CAPACITY: usize = 200;

/// A letter that would have been sent.
#[derive(Clone, serde::Serialize)]
pub struct Captured {
    /// To whom.
    pub to: String,
    /// Subject line.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// The same as HTML.
    pub html: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// The last letters. Clones share them.
#[derive(Clone, Default)]
pub struct Outbox(Arc<Mutex<VecDeque<Captured>>>);

impl Outbox {
    /// Newest first.
    pub fn list(&self) -> Vec<Captured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(super) fn push(&self, to: &EmailAddress, content: Content, at: DateTime<Utc>) {
        let Content { subject, text, html } = content;
        let mut letters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        letters.truncate(CAPACITY - 1);
        letters.push_front(Captured { to: to.as_str().to_owned(), subject, text, html, at });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outbox_is_bounded_and_newest_first() {
        let outbox = Outbox::default();
        let to = EmailAddress::parse("ada@example.com").unwrap();
        for i in 0..CAPACITY + 5 {
            let content = Content { subject: i.to_string(), text: String::new(), html: String::new() };
            outbox.push(&to, content, DateTime::UNIX_EPOCH);
        }
        let letters = outbox.list();
        assert_eq!((letters.len(), letters[0].subject.as_str()), (CAPACITY, "204"));
    }
}
