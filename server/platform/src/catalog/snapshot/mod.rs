//! What the hot path needs of a tenant, in memory: its agents, keys, tools, prompts, resources, sources and limits. Loaded when first needed, replaced when the tenant's
//! epoch changes, dropped when idle. A call never asks Postgres.

mod denied;
mod loaded;
mod one;
mod pages;
mod read;
mod slots;
mod words;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use trunkline_protocol::oauth::scope::{Scope, ScopeSet};

use super::{credential::Held, definition::canonical_members, source::Reached, toolset::Toolset};
use crate::{
    agents::{Agent, Key},
    call::Fingerprint,
    certificates::CertificateTrust,
    dialogue::ItemKind,
    error::Result,
    ids::{AgentId, CredentialId, SourceId, TenantId, ToolId, ToolsetId},
    quota::{BudgetTable, LimitTable, resilience::ResilienceTable},
    secret::{DataKey, DataKeys, Digest, Rotating, SealError},
};

pub use denied::Denied;
pub use loaded::{LoadedItem, LoadedSource, LoadedTool};
pub(crate) use one::{load_one, load_version};
pub use pages::{Page, PageKey, Pages};
pub(crate) use slots::of_tenant;
pub use slots::{Current, Snapshots};
pub(crate) use words::words_of;

/// A tenant at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Which.
    pub tenant: TenantId,
    /// Its name in URLs.
    pub slug: String,
    /// May its agents call?
    pub active: bool,
    /// The epoch it was loaded under. Admission compares it with the one in Redis.
    pub epoch: String,
    agents: HashMap<AgentId, Arc<Agent>>,
    keys: HashMap<String, (Arc<Key>, Digest)>,
    /// By name.
    tools: Vec<Arc<LoadedTool>>,
    /// Versions that some agents are given instead of those.
    pins: HashMap<AgentId, HashMap<ToolId, Arc<LoadedTool>>>,
    /// By kind, then by key.
    items: Vec<Arc<LoadedItem>>,
    sources: HashMap<SourceId, Arc<LoadedSource>>,
    /// Of those: origins of HTTP tools at which people use their own accounts.
    apis: Vec<Arc<LoadedSource>>,
    toolsets: HashMap<String, Arc<Toolset>>,
    /// Sources of their tools.
    toolset_sources: HashMap<ToolsetId, HashSet<SourceId>>,
    /// Limits that depart from the defaults.
    pub limits: LimitTable,
    /// How its upstreams are treated.
    pub resilience: ResilienceTable,
    /// What may be spent.
    pub budgets: BudgetTable,
    /// Grants and tokens that were revoked while a token of theirs may still be good by itself.
    pub denied: Denied,
    /// What client certificates mean.
    pub certificates: CertificateTrust,
    /// Sealed secrets. Read anew with the keys: both may have changed.
    credentials: HashMap<CredentialId, Arc<Held>>,
    data_key: Option<DataKeys>,
    record_key: DataKey,
    /// Its lists, as they were written.
    pub pages: Pages,
}

impl Snapshot {
    /// The agent.
    pub fn agent(&self, id: AgentId) -> Option<&Arc<Agent>> {
        self.agents.get(&id)
    }

    /// All agents.
    pub fn agents(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.agents.values()
    }

    /// The key with that lookup part, if its digest matches.
    pub fn key(&self, lookup: &str, digest: &Digest) -> Option<&Arc<Key>> {
        self.keys.get(lookup).filter(|(_, stored)| stored.matches(digest)).map(|(key, _)| key)
    }

    /// The key with that lookup part, whose digest has been held against it before.
    pub(crate) fn key_by_lookup(&self, lookup: &str) -> Option<&Arc<Key>> {
        self.keys.get(lookup).map(|(key, _)| key)
    }

    /// Tools that are switched on, by name.
    pub fn tools(&self) -> &[Arc<LoadedTool>] {
        &self.tools
    }

    /// The tool of that name.
    pub fn tool(&self, name: &str) -> Option<&Arc<LoadedTool>> {
        let at = self.tools.binary_search_by(|tool| tool.tool.name.as_str().cmp(name)).ok()?;
        self.tools.get(at)
    }

    /// That tool as the agent is given it: in the version that it is pinned to, if it is.
    pub fn version_for<'a>(&'a self, agent: AgentId, tool: &'a Arc<LoadedTool>) -> &'a Arc<LoadedTool> {
        self.pins.get(&agent).and_then(|pins| pins.get(&tool.tool.id)).unwrap_or(tool)
    }

    /// Is the agent pinned to a version of any tool?
    pub fn is_pinned(&self, agent: AgentId) -> bool {
        self.pins.contains_key(&agent)
    }

    /// Do those scopes open that tool?
    pub(crate) fn opens(&self, scopes: &ScopeSet, tool: &LoadedTool) -> bool {
        let in_toolset = |scope: &Scope| match scope {
            Scope::Toolset(name) => self.toolset(name).is_some_and(|toolset| toolset.tools.contains(&tool.tool.id)),
            _ => false,
        };
        scopes.permits_tool(tool.tool.name.as_str(), tool.tool.version.effect) || scopes.iter().any(in_toolset)
    }

    /// Prompts that are served, by name.
    pub fn prompts(&self) -> &[Arc<LoadedItem>] {
        self.items_of(ItemKind::Prompts)
    }

    /// Resources that are served, by URI.
    pub fn resources(&self) -> &[Arc<LoadedItem>] {
        self.items_of(ItemKind::Resources)
    }

    /// Resource templates that are served, by URI template.
    pub fn templates(&self) -> &[Arc<LoadedItem>] {
        self.items_of(ItemKind::ResourceTemplates)
    }

    /// The prompt, resource or template of that key.
    pub fn item(&self, kind: ItemKind, key: &str) -> Option<&Arc<LoadedItem>> {
        let items = self.items_of(kind);
        let at = items.binary_search_by(|item| item.key.as_str().cmp(key)).ok()?;
        items.get(at)
    }

    fn items_of(&self, kind: ItemKind) -> &[Arc<LoadedItem>] {
        let start = self.items.partition_point(|item| item.kind < kind);
        let end = self.items.partition_point(|item| item.kind <= kind);
        &self.items[start..end]
    }

    /// The source.
    pub fn source(&self, id: SourceId) -> Option<&Arc<LoadedSource>> {
        self.sources.get(&id)
    }

    /// All sources.
    pub fn sources(&self) -> impl Iterator<Item = &Arc<LoadedSource>> {
        self.sources.values()
    }

    /// How the source is reached, with the tenant's secret opened; `None` if not over the network. Where each person uses their own account,
    /// calls go by `Source::target_of_person`.
    pub(crate) fn reached(&self, source: &LoadedSource, now: DateTime<Utc>) -> Result<Option<Reached>> {
        source.source.reached(self.tenant, source.held.as_deref(), self.data_key.as_ref(), now)
    }

    /// The source whose accounts people use for that HTTP tool, if there is one at its origin.
    pub fn accounts_of(&self, tool: &LoadedTool) -> Option<&Arc<LoadedSource>> {
        let origin = tool.tool.version.executor.origin()?;
        self.apis.iter().find(|api| api.provider.as_ref().is_some_and(|provider| provider.origin == origin))
    }

    /// All toolsets, in no order.
    pub fn toolsets(&self) -> impl Iterator<Item = &Arc<Toolset>> {
        self.toolsets.values()
    }

    /// The toolset of that name.
    pub fn toolset(&self, name: &str) -> Option<&Arc<Toolset>> {
        self.toolsets.get(name)
    }

    /// Has the toolset a tool of that source?
    pub fn toolset_has_source(&self, toolset: ToolsetId, source: SourceId) -> bool {
        self.toolset_sources.get(&toolset).is_some_and(|sources| sources.contains(&source))
    }

    /// What the record keeps of arguments.
    pub(crate) fn fingerprint(&self, arguments: &Map<String, Value>) -> Fingerprint {
        Fingerprint(self.record_key.mac(canonical_members(arguments).as_bytes()))
    }

    /// The tool's secret, opened for one call.
    pub(crate) fn secret(&self, tool: &LoadedTool, now: DateTime<Utc>) -> Option<Result<Rotating, SealError>> {
        let held = self.credentials.get(&tool.tool.version.credential?)?;
        Some(held.open(self.data_key.as_ref(), now))
    }
}
