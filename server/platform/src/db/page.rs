//! Parts of long lists that people leaf through.

/// What is looked for, and which page of it.
#[derive(Debug, Clone)]
pub struct Search {
    words: String,
    page: u32,
}

/// One page of what was found.
#[derive(Debug, Clone)]
pub struct Found<T> {
    /// What stands on the page.
    pub items: Vec<T>,
    /// How many there are on all pages.
    pub total: i64,
    /// Number of this page, from 1.
    pub page: u32,
}

/// Items on one page.
pub const PAGE: u32 = 50;
/// More pages than any list has.
const LAST_PAGE: u32 = 100_000;

impl Search {
    /// Looks for names that contain the words; empty words are in every name. Pages count from 1.
    pub fn new(words: &str, page: u32) -> Self {
        Self { words: words.trim().chars().take(100).collect(), page: page.clamp(1, LAST_PAGE) }
    }

    /// The words, in lower case.
    pub(crate) fn pattern(&self) -> String {
        self.words.to_lowercase()
    }

    /// Items on the pages before.
    pub(crate) fn offset(&self) -> i64 {
        i64::from(self.page - 1) * i64::from(PAGE)
    }

    /// What was found, as this page of it.
    pub(crate) fn found<T>(&self, items: Vec<T>, total: i64) -> Found<T> {
        Found { items, total, page: self.page }
    }
}

impl<T> Found<T> {
    /// Are there pages after this one?
    pub fn has_next(&self) -> bool {
        i64::from(self.page) * i64::from(PAGE) < self.total
    }
}
