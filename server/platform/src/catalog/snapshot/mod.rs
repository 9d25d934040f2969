//! What the hot path needs of a tenant, in memory: its agents, keys, tools, prompts, resources, sources and limits. Loaded when first needed, replaced when the tenant's
//! epoch changes, dropped when idle. A call never asks Postgres.

mod denied;
mod loaded;
mod pages;
mod words;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use trunkline_protocol::oauth::scope::{Scope, ScopeSet};

pub use denied::Denied;
pub use loaded::{LoadedItem, LoadedSource, LoadedTool};
pub use pages::{Page, PageKey, Pages};
pub(crate) use words::words_of;

use super::{
    Executor,
    credential::Held,
    definition::canonical_members,
    drafts,
    source::{self, Reached},
    store,
    tool::Tool,
    toolset::{self, Toolset},
};
use crate::{
    Platform,
    accounts::TenantSlug,
    agents::{self, Agent, Key},
    call::Fingerprint,
    certificates::CertificateTrust,
    connections::{self, Moment},
    db::TenantTx,
    dialogue::ItemKind,
    epoch,
    error::{Error, Result},
    ids::{AgentId, CredentialId, DefinitionId, SourceId, TenantId, ToolId, ToolVersionId, ToolsetId, uuid_v7},
    quota::{BudgetTable, LimitTable, resilience::ResilienceTable},
    secret::{DataKey, DataKeys, Digest, Rotating, SealError},
    vault,
};

/// Snapshots unused for this long are dropped, in seconds.
const IDLE_S: i64 = 600;
/// Longest a "there is no such tenant" is believed, in seconds, and how many are remembered.
const ABSENT_S: i64 = 10;
const MAX_ABSENT: usize = 10_000;

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

/// For each toolset the sources of its tools that are served.
fn sources_of(toolsets: &[Toolset], tools: &[Arc<LoadedTool>]) -> HashMap<ToolsetId, HashSet<SourceId>> {
    let of_tool = |tool: &Arc<LoadedTool>| match &tool.tool.version.executor {
        Executor::Upstream { source, .. } => Some((tool.tool.id, *source)),
        _ => None,
    };
    let sources: HashMap<ToolId, SourceId> = tools.iter().filter_map(of_tool).collect();
    let of_toolset = |toolset: &Toolset| toolset.tools.iter().filter_map(|tool| sources.get(tool).copied()).collect();
    toolsets.iter().map(|toolset| (toolset.id, of_toolset(toolset))).collect()
}

/// A tool as it stands in the database, switched on or not, with its secret: for trying it out.
pub(crate) async fn load_one(
    platform: &Platform,
    tx: &mut TenantTx,
    id: ToolId,
) -> Result<Option<(LoadedTool, Option<Result<Rotating, SealError>>)>> {
    let Some(tool) = store::find(tx, id).await? else { return Ok(None) };
    let secret = secret_of(platform, tx, &tool).await?;
    Ok(Some((LoadedTool::new(tool)?, secret)))
}

/// A tool as it would be with that version, with its secret, and whether the version was ever published: for trying it before anybody can.
pub(crate) async fn load_version(
    platform: &Platform,
    tx: &mut TenantTx,
    id: ToolId,
    number: i32,
) -> Result<Option<(LoadedTool, Option<Result<Rotating, SealError>>, bool)>> {
    let Some((tool, life)) = drafts::tool_at(tx, id, number).await? else { return Ok(None) };
    let secret = secret_of(platform, tx, &tool).await?;
    Ok(Some((LoadedTool::new(tool)?, secret, life.was_published)))
}

async fn secret_of(platform: &Platform, tx: &mut TenantTx, tool: &Tool) -> Result<Option<Result<Rotating, SealError>>> {
    let Some(id) = tool.version.credential else { return Ok(None) };
    let held = Held::find(platform, tx, id).await?;
    let keys = vault::find(tx, &platform.master_key).await?;
    Ok(held.map(|held| held.open(keys.as_ref(), platform.clock.now())))
}

/// The snapshot of the tenant of that transaction.
pub(crate) async fn of_tenant(platform: &Platform, tx: &mut TenantTx) -> Result<Current> {
    let slug = store::slug(tx).await?;
    platform.snapshots.get(platform, &slug).await?.ok_or(Error::not_found("tenant"))
}

#[derive(Debug, Default)]
struct Slot {
    current: ArcSwapOption<(u64, Snapshot)>,
    loading: Mutex<()>,
    used_at: AtomicI64,
}

/// All snapshots of this replica.
#[derive(Debug, Default)]
pub struct Snapshots {
    slots: RwLock<HashMap<String, Arc<Slot>>>,
    absent: RwLock<HashMap<String, i64>>,
}

/// A snapshot that is being used.
#[derive(Debug, Clone)]
pub struct Current(Arc<(u64, Snapshot)>);

impl Current {
    /// The moment that it is of.
    pub(crate) fn moment(&self) -> Moment {
        (self.0.0, self.0.1.epoch.clone())
    }
}

impl std::ops::Deref for Current {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0.1
    }
}

impl Snapshots {
    /// The tenant's snapshot, loaded if there is none or a change was heard of. `None`: no such tenant.
    pub async fn get(&self, platform: &Platform, slug: &str) -> Result<Option<Current>> {
        let now = platform.clock.now().timestamp();
        let known = self.slots.read().unwrap_or_else(PoisonError::into_inner).get(slug).cloned();
        if let Some(slot) = &known {
            slot.used_at.store(now, Ordering::Relaxed);
            if let Some(current) = slot.current.load_full().filter(|current| is_fresh(platform, current)) {
                return Ok(Some(Current(current)));
            }
        }
        // Strangers choose these names: what cannot be one costs nothing, and what is not one is asked for once in a while.
        if known.is_none() && (slug.parse::<TenantSlug>().is_err() || self.is_absent(slug, now)) {
            return Ok(None);
        }
        let slot = known.unwrap_or_else(|| self.slot(slug, now));
        let found = load(platform, slug, &slot, None).await?;
        if found.is_none() {
            self.slots.write().unwrap_or_else(PoisonError::into_inner).remove(slug);
            self.note_absent(slug, now);
        }
        Ok(found)
    }

    /// The slot in which the first request loads and the others wait.
    fn slot(&self, slug: &str, now: i64) -> Arc<Slot> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry(slug.to_owned()).or_default();
        slot.used_at.store(now, Ordering::Relaxed);
        Arc::clone(slot)
    }

    /// Loads again, because Redis knows another epoch than `stale`.
    pub async fn reload(&self, platform: &Platform, slug: &str, stale: &str) -> Result<Option<Current>> {
        let slot = self.slots.read().unwrap_or_else(PoisonError::into_inner).get(slug).cloned();
        match slot {
            Some(slot) => load(platform, slug, &slot, Some(stale)).await,
            None => self.get(platform, slug).await,
        }
    }

    /// Drops what has not been used lately. Called by a background tick.
    pub fn drop_idle(&self, now: i64) {
        self.slots
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, slot| now - slot.used_at.load(Ordering::Relaxed) < IDLE_S);
        self.absent.write().unwrap_or_else(PoisonError::into_inner).retain(|_, until| *until > now);
    }

    /// Tenants that are in memory.
    pub fn tenants(&self) -> Vec<TenantId> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.values().filter_map(|slot| slot.current.load().as_ref().map(|current| current.1.tenant)).collect()
    }

    fn is_absent(&self, slug: &str, now: i64) -> bool {
        self.absent.read().unwrap_or_else(PoisonError::into_inner).get(slug).is_some_and(|until| *until > now)
    }

    fn note_absent(&self, slug: &str, now: i64) {
        let mut absent = self.absent.write().unwrap_or_else(PoisonError::into_inner);
        if absent.len() >= MAX_ABSENT {
            absent.clear();
        }
        absent.insert(slug.to_owned(), now + ABSENT_S);
    }
}

fn is_fresh(platform: &Platform, current: &(u64, Snapshot)) -> bool {
    platform.generations.of(current.1.tenant) == current.0
}

/// One load at a time per tenant; who waited takes what the other loaded. Not cut when the caller goes away.
async fn load(platform: &Platform, slug: &str, slot: &Slot, stale: Option<&str>) -> Result<Option<Current>> {
    let _guard = slot.loading.lock().await;
    let before = slot.current.load_full();
    let good = |current: &(u64, Snapshot)| is_fresh(platform, current) && stale.is_none_or(|stale| current.1.epoch != stale);
    if let Some(current) = before.clone().filter(|current| good(current)) {
        return Ok(Some(Current(current)));
    }
    let Some(loaded) = read(platform, slug, before.as_deref().map(|current| &current.1)).await? else {
        slot.current.store(None);
        return Ok(None);
    };
    let loaded = Arc::new(loaded);
    slot.current.store(Some(Arc::clone(&loaded)));
    if let Some(before) = &before {
        forget_changed(platform, &before.1, &loaded.1);
    }
    Ok(Some(Current(loaded)))
}

/// Connections and sessions of a source that is reached otherwise now, or not at all, end with the snapshot that knew them.
fn forget_changed(platform: &Platform, before: &Snapshot, now: &Snapshot) {
    let is_same = |id: &SourceId, edition| now.sources.get(id).is_some_and(|loaded| loaded.edition() == edition);
    for (id, _) in before.sources.iter().filter(|(id, loaded)| !is_same(id, loaded.edition())) {
        platform.upstreams.forget(before.tenant, *id);
    }
}

async fn read(platform: &Platform, slug: &str, before: Option<&Snapshot>) -> Result<Option<(u64, Snapshot)>> {
    let mut tx = platform.db.system().await?;
    let Some(tenant) = store::find_tenant(&mut tx, slug).await? else { return Ok(None) };
    tx.commit().await?;
    // Before the rows, so that a change in between makes this snapshot stale instead of hiding.
    let generation = platform.generations.of(tenant);
    let epoch = epoch::read(&platform.redis, tenant).await;
    let mut tx = platform.db.tenant(tenant).await?;
    let active = store::is_active(&mut tx).await?;
    let (agents, keys) = agents::load(&mut tx).await?;
    let served = store::served_tools(&mut tx).await?;
    // A version never changes, so what was loaded and compiled of it is still right.
    let kept: HashMap<ToolVersionId, &Arc<LoadedTool>> =
        before.iter().flat_map(|snapshot| &snapshot.tools).map(|tool| (tool.tool.version.id, tool)).collect();
    let missing: Vec<ToolId> = served.iter().filter(|(_, version)| !kept.contains_key(version)).map(|(tool, _)| *tool).collect();
    let missing = store::list_some(&mut tx, &missing).await?;
    let pinned = read_pins(&mut tx, before).await?;
    let items = read_items(&mut tx, before).await?;
    let sources = source::store::list(&mut tx).await?;
    let mut providers: HashMap<_, _> =
        connections::load(&mut tx).await?.into_iter().map(|provider| (provider.source, provider)).collect();
    let toolsets = toolset::load(&mut tx).await?;
    let credentials = Held::load(platform, &mut tx).await?;
    let credentials: HashMap<_, _> = credentials.into_iter().map(|held| (held.id(), Arc::new(held))).collect();
    let limits = LimitTable::load(&mut tx).await?;
    let resilience = ResilienceTable::load(&mut tx).await?;
    let budgets = BudgetTable::load(&mut tx).await?;
    let denied = Denied::load(&mut tx, platform.clock.now()).await?;
    let certificates = CertificateTrust::load(&mut tx).await?;
    let data_key = vault::find(&mut tx, &platform.master_key).await?;
    let record_key = vault::record_key(&mut tx, &platform.master_key, uuid_v7(platform.clock.now())).await?;
    tx.commit().await?;

    let mut tools: Vec<_> = served.iter().filter_map(|(_, version)| kept.get(version).map(|tool| Arc::clone(tool))).collect();
    for tool in missing {
        tools.push(Arc::new(LoadedTool::new(tool)?));
    }
    // The database sorts by its collation, the binary search by bytes.
    tools.sort_by(|a, b| a.tool.name.cmp(&b.tool.name));
    let pins = serve_pins(pinned, &tools);
    let mut load_source = |source: source::Source| {
        let held = source.credential().and_then(|id| credentials.get(&id).cloned());
        // What runs goes on to be counted.
        let running = before.and_then(|before| before.sources.get(&source.id)).map(|loaded| Arc::clone(&loaded.running));
        let provider = providers.remove(&source.id);
        (source.id, Arc::new(LoadedSource { source, held, provider, running: running.unwrap_or_default() }))
    };
    let sources: HashMap<_, _> = sources.into_iter().map(&mut load_source).collect();
    let asks_for_accounts = |loaded: &&Arc<LoadedSource>| {
        loaded.source.enabled && loaded.provider.is_some() && matches!(loaded.source.kind, source::SourceKind::Api { .. })
    };
    let snapshot = Snapshot {
        tenant,
        slug: slug.to_owned(),
        active,
        epoch,
        agents: agents.into_iter().map(|agent| (agent.id, Arc::new(agent))).collect(),
        keys: keys.into_iter().map(|stored| (stored.key.lookup.clone(), (Arc::new(stored.key), stored.digest))).collect(),
        pins,
        items,
        apis: sources.values().filter(asks_for_accounts).cloned().collect(),
        sources,
        toolset_sources: sources_of(&toolsets, &tools),
        tools,
        toolsets: toolsets.into_iter().map(|toolset| (toolset.name.to_string(), Arc::new(toolset))).collect(),
        limits,
        resilience,
        budgets,
        denied,
        certificates,
        credentials,
        data_key,
        record_key,
        pages: Pages::default(),
    };
    Ok(Some((generation, snapshot)))
}

/// Versions that agents are pinned to; one that is in memory is not read again.
async fn read_pins(tx: &mut TenantTx, before: Option<&Snapshot>) -> Result<Vec<(AgentId, Arc<LoadedTool>)>> {
    let mut kept: HashMap<ToolVersionId, Arc<LoadedTool>> = HashMap::new();
    if let Some(snapshot) = before {
        let pinned = snapshot.pins.values().flat_map(HashMap::values);
        kept.extend(pinned.map(|tool| (tool.tool.version.id, Arc::clone(tool))));
    }
    let mut pins = Vec::new();
    for (agent, tool, version, number) in drafts::all_pins(tx).await? {
        if let Some(loaded) = kept.get(&version) {
            pins.push((agent, Arc::clone(loaded)));
        } else if let Some((tool, _)) = drafts::tool_at(tx, tool, number).await? {
            let loaded = Arc::new(LoadedTool::new(tool)?);
            kept.insert(version, Arc::clone(&loaded));
            pins.push((agent, loaded));
        }
    }
    Ok(pins)
}

/// Pins by agent, of tools that are served: who is pinned to a version does not keep a tool that nobody has.
fn serve_pins(
    pinned: Vec<(AgentId, Arc<LoadedTool>)>,
    tools: &[Arc<LoadedTool>],
) -> HashMap<AgentId, HashMap<ToolId, Arc<LoadedTool>>> {
    let served: HashMap<ToolId, ToolVersionId> = tools.iter().map(|tool| (tool.tool.id, tool.tool.version.id)).collect();
    let mut pins: HashMap<_, HashMap<_, _>> = HashMap::new();
    for (agent, tool) in pinned {
        // Whoever is pinned to what everybody has may share their pages.
        if served.get(&tool.tool.id).is_some_and(|current| *current != tool.tool.version.id) {
            pins.entry(agent).or_default().insert(tool.tool.id, tool);
        }
    }
    pins
}

/// Prompts, resources and templates; what has not changed is taken from the snapshot before.
async fn read_items(tx: &mut TenantTx, before: Option<&Snapshot>) -> Result<Vec<Arc<LoadedItem>>> {
    let kept: HashMap<DefinitionId, &Arc<LoadedItem>> =
        before.iter().flat_map(|snapshot| &snapshot.items).map(|item| (item.id, item)).collect();
    let served = store::served_items(tx).await?;
    let is_kept = |id: &DefinitionId, digest: &[u8]| kept.get(id).is_some_and(|item| item.digest == digest);
    let missing: Vec<_> = served.iter().filter(|(id, digest)| !is_kept(id, digest)).map(|(id, _)| *id).collect();
    let mut items: Vec<_> = served
        .iter()
        .filter(|(id, digest)| is_kept(id, digest))
        .filter_map(|(id, _)| kept.get(id).map(|item| Arc::clone(item)))
        .collect();
    items.extend(store::list_items(tx, &missing).await?.into_iter().map(Arc::new));
    items.sort_by(|a, b| (a.kind, &a.key).cmp(&(b.kind, &b.key)));
    Ok(items)
}
