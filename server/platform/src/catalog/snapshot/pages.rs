//! Large pages of lists as they were written once: whoever shows the same scopes at the same endpoint gets the same bytes.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
};

use trunkline_protocol::{mcp::Revision, oauth::scope::ScopeSet};

use crate::{
    dialogue::ItemKind,
    ids::{AgentId, ToolsetId},
};

/// Pages kept of one snapshot: those read last.
const KEPT: usize = 8;
/// Smaller ones are written faster than they are looked for.
const WORTH_KEEPING: usize = 8 * 1024;

/// All that a page depends on beside its snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageKey<'a> {
    /// What is listed.
    pub kind: ItemKind,
    /// As this revision describes it.
    pub revision: Revision,
    /// What was shown, and the agent's ceiling.
    pub scopes: [Cow<'a, ScopeSet>; 2],
    /// The toolset whose endpoint it is at.
    pub toolset: Option<ToolsetId>,
    /// The agent, if it is pinned to versions of its own.
    pub pinned: Option<AgentId>,
    /// The item before its first.
    pub after: Option<Cow<'a, str>>,
}

/// One page.
#[derive(Debug)]
pub struct Page {
    /// Its items: JSON, with commas between them.
    pub items: String,
    /// Key of its last item, where others follow.
    pub last: Option<String>,
}

/// Pages of one snapshot, latest first; they go with it.
#[derive(Debug, Default)]
pub struct Pages(Mutex<Vec<(PageKey<'static>, Arc<Page>)>>);

impl Pages {
    /// The page; `write` is called where it is not kept.
    pub fn get(&self, key: PageKey<'_>, write: impl FnOnce() -> Page) -> Arc<Page> {
        if let Some(page) = self.find(&key) {
            return page;
        }
        let page = Arc::new(write());
        if page.items.len() >= WORTH_KEEPING {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.truncate(KEPT - 1);
            kept.insert(0, (key.into_owned(), Arc::clone(&page)));
        }
        page
    }

    fn find(&self, key: &PageKey<'_>) -> Option<Arc<Page>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(of, _)| of == key)?;
        kept.get_mut(..=at)?.rotate_right(1);
        kept.first().map(|(_, page)| Arc::clone(page))
    }
}

impl PageKey<'_> {
    fn into_owned(self) -> PageKey<'static> {
        PageKey {
            kind: self.kind,
            revision: self.revision,
            scopes: self.scopes.map(|scopes| Cow::Owned(scopes.into_owned())),
            toolset: self.toolset,
            pinned: self.pinned,
            after: self.after.map(|after| Cow::Owned(after.into_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: ItemKind, after: &str) -> PageKey<'_> {
        let scopes = || Cow::Owned(ScopeSet::default());
        PageKey {
            kind,
            revision: Revision::V2026_07_28,
            scopes: [scopes(), scopes()],
            toolset: None,
            pinned: None,
            after: Some(after.into()),
        }
    }

    fn get(pages: &Pages, key: PageKey<'_>, size: usize) -> bool {
        let mut is_written = false;
        pages.get(key, || {
            is_written = true;
            Page { items: " ".repeat(size), last: None }
        });
        is_written
    }

    #[test]
    fn a_page_is_written_once_for_each_key() {
        let pages = Pages::default();
        assert!(get(&pages, key(ItemKind::Tools, "a"), WORTH_KEEPING));
        assert!(!get(&pages, key(ItemKind::Tools, "a"), WORTH_KEEPING));
        assert!(get(&pages, key(ItemKind::Prompts, "a"), WORTH_KEEPING));
        assert!(get(&pages, PageKey { toolset: Some(ToolsetId::NIL), ..key(ItemKind::Tools, "a") }, WORTH_KEEPING));
        assert!(get(&pages, PageKey { pinned: Some(AgentId::NIL), ..key(ItemKind::Tools, "a") }, WORTH_KEEPING));
        let none = Cow::<ScopeSet>::Owned(ScopeSet::default());
        let reads = Cow::<ScopeSet>::Owned(ScopeSet::parse("tools:read").expect("scopes"));
        for scopes in [[reads.clone(), none.clone()], [none, reads]] {
            assert!(get(&pages, PageKey { scopes, ..key(ItemKind::Tools, "a") }, WORTH_KEEPING));
        }
    }

    #[test]
    fn small_pages_and_those_read_long_ago_are_not_kept() {
        let pages = Pages::default();
        assert!(get(&pages, key(ItemKind::Tools, "small"), WORTH_KEEPING - 1));
        assert!(get(&pages, key(ItemKind::Tools, "small"), WORTH_KEEPING));
        for name in ["1", "2", "3", "4", "5", "6", "7"] {
            assert!(get(&pages, key(ItemKind::Tools, name), WORTH_KEEPING));
        }
        assert!(!get(&pages, key(ItemKind::Tools, "small"), WORTH_KEEPING));
        assert!(get(&pages, key(ItemKind::Tools, "8"), WORTH_KEEPING));
        assert!(!get(&pages, key(ItemKind::Tools, "small"), WORTH_KEEPING));
        assert!(get(&pages, key(ItemKind::Tools, "1"), WORTH_KEEPING));
    }
}
