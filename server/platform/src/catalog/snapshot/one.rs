//! One tool as it stands, or would stand, with its secret: for trying it.

use super::LoadedTool;
use crate::{
    Platform,
    catalog::{credential::Held, drafts, store, tool::Tool},
    db::TenantTx,
    error::Result,
    ids::ToolId,
    secret::{Rotating, SealError},
    vault,
};

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
