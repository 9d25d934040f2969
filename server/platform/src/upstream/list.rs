//! All pages of a list, bounded: a list that never ends is refused, not cut.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::value::RawValue;
use trunkline_protocol::{
    jsonrpc::METHOD_NOT_FOUND,
    mcp::object::{RawObject, json_string},
};

use super::{ItemKind, Reply, Server, UpstreamError};

/// Most items.
const MOST_ITEMS: usize = 10_000;
/// Most bytes of all items.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// Most pages.
const MOST_PAGES: usize = 50;

impl ItemKind {
    /// The method that lists it.
    pub fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::ResourceTemplates => "resources/templates/list",
        }
    }

    /// The capability that a server with such items has.
    fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::ResourceTemplates => "resources",
        }
    }

    /// May the server have such items? One that did not say what it can do may have anything.
    pub(super) fn is_served_by(self, server: &Server) -> bool {
        server.capabilities.is_none() || server.has(self.capability())
    }
}

/// Pages that are gathered.
#[derive(Debug, Default)]
pub(super) struct Pages {
    items: Vec<Box<RawValue>>,
    bytes: usize,
    cursors: BTreeSet<String>,
}

impl Pages {
    /// Parameters of the first page.
    pub(super) fn first() -> RawObject<'static> {
        RawObject::default()
    }

    /// Takes a page; gives the parameters of the next, if there is one.
    pub(super) fn take(&mut self, kind: ItemKind, reply: Reply) -> Result<Option<RawObject<'static>>, UpstreamError> {
        let result = match reply {
            Reply::Result(result) => result,
            Reply::Error(error) if error.code == METHOD_NOT_FOUND && self.cursors.is_empty() => return Ok(None),
            Reply::Error(_) | Reply::InputRequired(_) => return Err(UpstreamError::Broken("it refuses to list what it has")),
        };
        let unreadable = UpstreamError::Broken("its list cannot be read");
        let (items, cursor) = read(kind, &result).ok_or(unreadable)?;
        self.bytes += items.iter().map(|item| item.get().len()).sum::<usize>();
        if self.items.len() + items.len() > MOST_ITEMS || self.bytes > MOST_BYTES {
            return Err(UpstreamError::TooLarge);
        }
        if items.iter().any(|item| !item.get().starts_with('{')) {
            return Err(unreadable);
        }
        self.items.extend(items);
        let Some(cursor) = cursor else { return Ok(None) };
        let mut next = RawObject::default();
        next.set("cursor", json_string(&cursor));
        if self.cursors.len() + 1 >= MOST_PAGES || !self.cursors.insert(cursor) {
            return Err(UpstreamError::Broken("its list never ends"));
        }
        Ok(Some(next))
    }

    /// All items, in their order.
    pub(super) fn into_items(self) -> Vec<Box<RawValue>> {
        self.items
    }
}

/// The items and where the list goes on. `null` is no cursor; an empty one is.
fn read(kind: ItemKind, result: &RawValue) -> Option<(Vec<Box<RawValue>>, Option<String>)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Page {
        #[serde(default)]
        tools: Option<Vec<Box<RawValue>>>,
        #[serde(default)]
        prompts: Option<Vec<Box<RawValue>>>,
        #[serde(default)]
        resources: Option<Vec<Box<RawValue>>>,
        #[serde(default)]
        resource_templates: Option<Vec<Box<RawValue>>>,
        #[serde(default)]
        next_cursor: Option<String>,
    }
    let page: Page = serde_json::from_str(result.get()).ok()?;
    let items = match kind {
        ItemKind::Tools => page.tools,
        ItemKind::Prompts => page.prompts,
        ItemKind::Resources => page.resources,
        ItemKind::ResourceTemplates => page.resource_templates,
    };
    Some((items?, page.next_cursor))
}
