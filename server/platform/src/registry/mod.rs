//! The tenant's private MCP registry: a `server.json` for its endpoint and for that of each toolset, in versions that never change. A new version
//! appears when the tools of an endpoint have changed and none of them is known to fail; until then the last good one stands.

mod entry;
mod store;

use std::collections::HashSet;

pub use entry::Entry;
use entry::Offered;

use crate::{
    Platform,
    error::Result,
    gateway::Caller,
    ids::{RegistryEntryId, ToolsetId},
};

/// Versions of one endpoint that are shown, the newest.
const MOST_VERSIONS: i64 = 100;

/// All versions of the entries that the caller may use something of, by name, the newest of each first.
pub async fn entries(platform: &Platform, caller: &Caller) -> Result<Vec<Entry>> {
    let mut tx = platform.db.tenant(caller.snapshot.tenant).await?;
    let offered = offered(platform, caller);
    publish(platform, &mut tx, &offered).await?;
    let wanted: HashSet<Option<ToolsetId>> =
        offered.iter().filter(|one| one.tools.iter().any(|tool| caller.may_use(tool))).map(|one| one.toolset).collect();
    let stored = store::all(&mut tx, MOST_VERSIONS).await?;
    tx.commit().await?;
    let mut entries: Vec<Entry> =
        stored.into_iter().filter(|(toolset, _)| wanted.contains(toolset)).map(|(_, entry)| entry).collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name).then(b.number.cmp(&a.number)));
    Ok(entries)
}

/// The tenant's endpoints that offer anything at all.
fn offered<'c>(platform: &Platform, caller: &'c Caller) -> Vec<Offered<'c>> {
    let snapshot = &caller.snapshot;
    let origin = &platform.settings.public_url;
    let whole = Offered::whole(origin, &snapshot.slug, snapshot.tools().iter().collect());
    let of_toolset = |toolset| Offered::of_toolset(origin, &snapshot.slug, toolset, snapshot.tools());
    let toolsets = snapshot.toolsets().map(|toolset| of_toolset(toolset));
    std::iter::once(whole).chain(toolsets).filter(|one| !one.tools.is_empty()).collect()
}

/// Makes versions of what has changed, where nothing of it is known to fail.
async fn publish(platform: &Platform, tx: &mut crate::db::TenantTx, offered: &[Offered<'_>]) -> Result<()> {
    let newest = store::newest(tx).await?;
    let is_newest = |one: &Offered<'_>| newest.get(&one.toolset).is_some_and(|(_, digest)| *digest == one.digest());
    let changed: Vec<&Offered<'_>> = offered.iter().filter(|one| !is_newest(one)).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let failing = store::failing(tx).await?;
    let now = platform.clock.now();
    for one in changed.into_iter().filter(|one| !one.has_any(&failing)) {
        let number = newest.get(&one.toolset).map_or(1, |(number, _)| number + 1);
        store::insert(tx, RegistryEntryId::new(now), one.toolset, number, &one.digest(), &one.server(number), now).await?;
    }
    Ok(())
}
