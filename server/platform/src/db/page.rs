//! Parts of long lists that people leaf through.

/// What is looked for, and which page of it.
#[derive(Debug, Clone)]
pub struct Search {
    words: String,
    page: u32,
    size: u32,
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
    /// How many stand on a full page.
    pub size: u32,
}

/// Items on one page, unless asked otherwise.
const PAGE: u32 = 50;
/// More pages than any list has.
const LAST_PAGE: u32 = 100_000;

impl Search {
    /// Looks for names that contain the words; empty words are in every name. Pages count from 1.
    pub fn new(words: &str, page: u32) -> Self {
        Self { words: words.trim().chars().take(100).collect(), page: page.clamp(1, LAST_PAGE), size: PAGE }
    }

    /// The same with so many items on a page, at least one.
    #[must_use]
    pub fn sized(self, size: u32) -> Self {
        Self { size: size.max(1), ..self }
    }

    /// The words, in lower case.
    pub(crate) fn pattern(&self) -> String {
        self.words.to_lowercase()
    }

    /// Items on the pages before.
    pub(crate) fn offset(&self) -> i64 {
        i64::from(self.page - 1) * i64::from(self.size)
    }

    /// Items on this page, at most.
    pub(crate) fn limit(&self) -> i64 {
        self.size.into()
    }

    /// What was found, as this page of it.
    pub(crate) fn found<T>(&self, items: Vec<T>, total: i64) -> Found<T> {
        Found { items, total, page: self.page, size: self.size }
    }
}

impl<T> Found<T> {
    /// Are there pages after this one?
    pub fn has_next(&self) -> bool {
        i64::from(self.page) * i64::from(self.size) < self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_to_the_end() {
        let second = Search::new(" Ab ", 2).sized(25);
        assert_eq!((second.pattern().as_str(), second.offset(), second.limit()), ("ab", 25, 25));
        assert!(!second.found(vec![(); 25], 50).has_next());
        assert!(second.found(vec![(); 25], 51).has_next());
        assert_eq!(Search::new("", 0).offset(), 0);
        assert_eq!(Search::new("", u32::MAX).page, LAST_PAGE);
    }
}
