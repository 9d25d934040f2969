//! What the hot path needs of a tenant, in memory: its agents, keys, tools and limits. Loaded when first needed, replaced when the tenant's
//! epoch changes, dropped when idle. A call never asks Postgres.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use jsonschema::Validator;
use serde_json::value::RawValue;
use tokio::sync::Mutex;
use trunkline_protocol::mcp::{
    Revision,
    mirrored::{Mirrored, mirrored},
    tools::ToolDescription,
};

use super::{
    store,
    tool::{Tool, credential_place},
};
use crate::{
    Platform,
    accounts::TenantSlug,
    agents::{self, Agent, Key},
    db::TenantTx,
    dialogue::ItemKind,
    epoch,
    error::{Error, Result},
    ids::{AgentId, SourceId, TenantId, ToolId},
    quota::LimitTable,
    secret::{DataKey, Digest, Plaintext, SealError},
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
    /// May its agents call?
    pub active: bool,
    /// The epoch it was loaded under. Admission compares it with the one in Redis.
    pub epoch: String,
    agents: HashMap<AgentId, Arc<Agent>>,
    keys: HashMap<String, (Arc<Key>, Digest)>,
    /// By name.
    tools: Vec<Arc<LoadedTool>>,
    prompts: Vec<Arc<LoadedItem>>,
    resources: Vec<Arc<LoadedItem>>,
    templates: Vec<Arc<LoadedItem>>,
    /// Limits that depart from the defaults.
    pub limits: LimitTable,
    data_key: Option<DataKey>,
}

/// A tool, ready to be listed and run.
#[derive(Debug)]
pub struct LoadedTool {
    /// The tool and its version.
    pub tool: Tool,
    description: String,
    /// What its secret is sealed as.
    sealed: Option<(String, Vec<u8>)>,
    validator: OnceLock<Result<Validator, String>>,
    mirrored: OnceLock<Vec<Mirrored>>,
    /// Calls of it that run on this replica.
    pub(crate) running: Arc<AtomicU32>,
}

impl LoadedTool {
    fn new(tool: Tool) -> Result<Self> {
        let version = &tool.version;
        let description = serde_json::to_string(&ToolDescription {
            name: tool.name.as_str(),
            title: &version.title,
            description: &version.description,
            input_schema: &version.input_schema,
            annotations: version.effect.into(),
        })
        .map_err(Error::internal)?;
        Ok(Self {
            description,
            tool,
            sealed: None,
            validator: OnceLock::new(),
            mirrored: OnceLock::new(),
            running: Arc::default(),
        })
    }

    fn open(&self, key: Option<&DataKey>) -> Option<Result<Plaintext, SealError>> {
        let (place, sealed) = self.sealed.as_ref()?;
        let Some(key) = key else { return Some(Err(SealError::Integrity)) };
        let opened = key.open(place, sealed).and_then(|bytes| {
            std::str::from_utf8(&bytes).map(|text| Plaintext::new(text.to_owned())).map_err(|_| SealError::Format)
        });
        Some(opened)
    }

    /// It as it stands in a list of that revision: JSON.
    pub fn description(&self, _revision: Revision) -> &str {
        &self.description
    }

    /// Arguments that clients mirror into headers. Annotations that cannot be used do not come this far.
    pub fn mirrored(&self) -> &[Mirrored] {
        self.mirrored.get_or_init(|| {
            let schema = self.tool.version.input_schema.get();
            // Few schemas have one; the others are not read again.
            let schema = schema.contains("x-mcp-header").then(|| serde_json::from_str(schema).ok()).flatten();
            schema.and_then(|schema| mirrored(&schema).ok()).unwrap_or_default()
        })
    }

    /// The compiled schema of its arguments; compiled when first needed.
    pub fn validator(&self) -> Result<&Validator, &str> {
        self.validator
            .get_or_init(|| {
                let schema = serde_json::from_str(self.tool.version.input_schema.get()).map_err(|error| error.to_string())?;
                jsonschema::options()
                    .with_draft(jsonschema::Draft::Draft202012)
                    .with_pattern_options(jsonschema::PatternOptions::regex())
                    .build(&schema)
                    .map_err(|error| error.to_string())
            })
            .as_ref()
            .map_err(String::as_str)
    }
}

/// A prompt, a resource or a template of a source, ready to be listed and asked for.
#[derive(Debug)]
pub struct LoadedItem {
    /// What it is.
    pub kind: ItemKind,
    /// Whose.
    pub source: SourceId,
    /// Name or URI (template) by which callers know it.
    pub key: String,
    /// Name or URI (template) by which its source knows it.
    pub upstream_key: String,
    /// It as it stands in a list: JSON.
    pub definition: Box<RawValue>,
}

impl Snapshot {
    /// Prompts, by name.
    pub fn prompts(&self) -> &[Arc<LoadedItem>] {
        &self.prompts
    }

    /// Resources, by URI.
    pub fn resources(&self) -> &[Arc<LoadedItem>] {
        &self.resources
    }

    /// Templates of resources, by template.
    pub fn templates(&self) -> &[Arc<LoadedItem>] {
        &self.templates
    }

    /// The agent.
    pub fn agent(&self, id: AgentId) -> Option<&Arc<Agent>> {
        self.agents.get(&id)
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

    /// The tool's secret, opened for one request.
    pub fn secret(&self, tool: &LoadedTool) -> Option<Result<Plaintext, SealError>> {
        tool.open(self.data_key.as_ref())
    }
}

/// A tool as it stands in the database, switched on or not, with its secret: for trying it out.
pub(crate) async fn load_one(
    platform: &Platform,
    tx: &mut TenantTx,
    id: ToolId,
) -> Result<Option<(LoadedTool, Option<Result<Plaintext, SealError>>)>> {
    let Some(tool) = store::find(tx, id).await? else { return Ok(None) };
    let credential = match tool.version.credential {
        Some(id) => store::find_credential(tx, id).await?,
        None => None,
    };
    let sealed = credential.map(|c| (credential_place(tx.tenant(), c.id, &c.origin), c.sealed));
    let loaded = LoadedTool { sealed, ..LoadedTool::new(tool)? };
    let key = vault::find(tx, &platform.master_key).await?;
    let secret = loaded.open(key.as_ref());
    Ok(Some((loaded, secret)))
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
    Ok(Some(Current(loaded)))
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
    let tools = store::list(&mut tx).await?;
    let credentials: HashMap<_, _> =
        store::load_credentials(&mut tx).await?.into_iter().map(|credential| (credential.id, credential)).collect();
    let limits = LimitTable::load(&mut tx).await?;
    let data_key = vault::find(&mut tx, &platform.master_key).await?;
    tx.commit().await?;

    let mut loaded = Vec::with_capacity(tools.len());
    for tool in tools.into_iter().filter(|tool| tool.enabled) {
        let kept = before.and_then(|snapshot| snapshot.tool(tool.name.as_str()));
        if let Some(kept) = kept.filter(|kept| kept.tool.version.id == tool.version.id) {
            // A version never changes, so its compiled schema is still right.
            loaded.push(Arc::clone(kept));
            continue;
        }
        let sealed = tool
            .version
            .credential
            .and_then(|id| credentials.get(&id))
            .map(|credential| (credential_place(tenant, credential.id, &credential.origin), credential.sealed.clone()));
        let one = LoadedTool::new(tool)?;
        loaded.push(Arc::new(LoadedTool { sealed, ..one }));
    }
    // The database sorts by its collation, the binary search by bytes.
    loaded.sort_by(|a, b| a.tool.name.cmp(&b.tool.name));
    let snapshot = Snapshot {
        tenant,
        active,
        epoch,
        agents: agents.into_iter().map(|agent| (agent.id, Arc::new(agent))).collect(),
        keys: keys.into_iter().map(|stored| (stored.key.lookup.clone(), (Arc::new(stored.key), stored.digest))).collect(),
        tools: loaded,
        prompts: Vec::new(),
        resources: Vec::new(),
        templates: Vec::new(),
        limits,
        data_key,
    };
    Ok(Some((generation, snapshot)))
}
