//! Reads a tenant from Postgres, and keeps what has not changed.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{Denied, LoadedItem, LoadedSource, LoadedTool, Pages, Snapshot};
use crate::{
    Platform, agents,
    catalog::{
        Executor,
        credential::Held,
        drafts, source, store,
        toolset::{self, Toolset},
    },
    certificates::CertificateTrust,
    connections,
    db::TenantTx,
    epoch,
    error::Result,
    ids::{AgentId, DefinitionId, SourceId, ToolId, ToolVersionId, ToolsetId, uuid_v7},
    quota::{BudgetTable, LimitTable, resilience::ResilienceTable},
    vault,
};

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

pub(super) async fn read(platform: &Platform, slug: &str, before: Option<&Snapshot>) -> Result<Option<(u64, Snapshot)>> {
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
