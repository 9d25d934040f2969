//! Definitions as they stand with us: what became of each, and what waits.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;

use crate::{
    catalog::definition::{Finding, ItemKind},
    ids::{ChangeId, DefinitionId, ToolId},
};

/// What became of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefinitionState {
    /// New; nobody has looked yet.
    Waiting,
    /// Served.
    Approved,
    /// Somebody does not want it.
    Off,
    /// It cannot be served.
    Blocked,
}

/// A definition in a list.
#[derive(Debug, Clone)]
pub struct ListedDefinition {
    /// Its id.
    pub id: DefinitionId,
    /// What it defines.
    pub kind: ItemKind,
    /// Its name or URI upstream.
    pub upstream_key: String,
    /// As our callers see it.
    pub exposed_key: String,
    /// As it is served, or was seen last.
    pub definition: Box<RawValue>,
    /// What became of it.
    pub state: DefinitionState,
    /// Why it is blocked; of one that waits, what the gate found where the policy alone would have let it in; else empty.
    pub reason: String,
    /// What was found in it.
    pub findings: Vec<Finding>,
    /// The tool that serves it.
    pub tool: Option<ListedTool>,
    /// Since when its source no longer has it.
    pub removed_at: Option<DateTime<Utc>>,
    /// When it last became what it is.
    pub changed_at: DateTime<Utc>,
    /// The change that waits.
    pub pending: Option<ListedChange>,
}

/// The tool of a definition.
#[derive(Debug, Clone, Copy)]
pub struct ListedTool {
    /// Its id.
    pub id: ToolId,
    /// Is it switched on?
    pub enabled: bool,
}

/// A change that waits.
#[derive(Debug, Clone)]
pub struct ListedChange {
    /// Its id.
    pub id: ChangeId,
    /// What it introduces.
    pub findings: Vec<Finding>,
    /// What the gate found, where the policy alone would have taken it; else empty.
    pub reason: String,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

/// A change of a definition, whatever became of it.
#[derive(Debug, Clone)]
pub struct Change {
    /// Its id.
    pub id: ChangeId,
    /// What the source has now.
    pub definition: Box<RawValue>,
    /// What it introduces.
    pub findings: Vec<Finding>,
    /// What the gate found, where the policy alone would have taken it; else empty.
    pub reason: String,
    /// What became of it.
    pub state: ChangeState,
    /// Since when it was known.
    pub created_at: DateTime<Utc>,
    /// When somebody decided.
    pub decided_at: Option<DateTime<Utc>>,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names say it")]
pub enum ChangeState {
    Pending,
    Approved,
    Rejected,
    /// The source changed again before anybody decided.
    Withdrawn,
}

/// How many definitions of a source there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Served.
    pub on: i64,
    /// New, for somebody to look at.
    pub waiting: i64,
    /// With a change that waits.
    pub changed: i64,
    /// That cannot be served.
    pub blocked: i64,
    /// That nobody wants.
    pub off: i64,
    /// That the source no longer has.
    pub removed: i64,
}

/// Which definitions to list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DefinitionFilter {
    /// Of that kind only.
    pub kind: Option<ItemKind>,
    /// In that state only.
    pub show: Show,
}

/// Which states to list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Show {
    /// All of them.
    #[default]
    All,
    /// Served.
    On,
    /// New ones.
    Waiting,
    /// With a change that waits.
    Changed,
    /// That cannot be served.
    Blocked,
    /// That nobody wants.
    Off,
    /// That the source no longer has.
    Removed,
}

impl DefinitionState {
    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Off => "off",
            Self::Blocked => "blocked",
        }
    }

    pub(in crate::catalog) fn find(word: &str) -> Option<Self> {
        [Self::Waiting, Self::Approved, Self::Off, Self::Blocked].into_iter().find(|state| state.as_str() == word)
    }
}

impl ChangeState {
    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
        }
    }

    pub(in crate::catalog) fn find(word: &str) -> Option<Self> {
        [Self::Pending, Self::Approved, Self::Rejected, Self::Withdrawn].into_iter().find(|state| state.as_str() == word)
    }
}

impl Show {
    /// All of them, in the order they are offered.
    pub const ALL: [Self; 7] = [Self::All, Self::On, Self::Waiting, Self::Changed, Self::Blocked, Self::Off, Self::Removed];

    /// As in addresses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::On => "on",
            Self::Waiting => "waiting",
            Self::Changed => "changed",
            Self::Blocked => "blocked",
            Self::Off => "off",
            Self::Removed => "removed",
        }
    }

    /// The one of that word.
    pub fn find(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|show| show.as_str() == word)
    }
}
