//! Agents that go on with one version of a tool, whatever the tool points at: whoever depends on how it was moves on when they are ready.

use chrono::{DateTime, Utc};

use super::store;
use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Event},
    catalog::{Executor, store as tools},
    epoch,
    error::{Error, Result},
    ids::{AgentId, ToolId},
};

/// Pins of one tool.
pub const MAX_PINS: i64 = 200;

/// An agent that is given one version.
#[derive(Debug, Clone)]
pub struct Pin {
    /// The agent.
    pub agent: AgentId,
    /// What it is called.
    pub name: String,
    /// Number of the version.
    pub number: i32,
    /// Since when.
    pub at: DateTime<Utc>,
}

/// Gives an agent that version of a tool from now on; it was published once. The agent is named as people name it.
pub async fn pin(platform: &Platform, actor: &Member, id: ToolId, agent: &str, number: i32) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    actor.require(Permission::ManageAgents)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let tool = tools::lock(&mut tx, id).await?.ok_or(Error::not_found("tool"))?;
    if matches!(tool.version.executor, Executor::Upstream { .. }) {
        return Err(Error::conflict("Its server has one version of this tool only: no agent can be given another."));
    }
    let life = store::find(&mut tx, id, number).await?.ok_or(Error::not_found("version"))?;
    if !life.was_published {
        return Err(Error::conflict(format!("Version {number} was never published: no agent can be given it.")));
    }
    let agent = store::agent_of_name(&mut tx, agent.trim()).await?;
    let agent = agent.ok_or_else(|| Error::invalid("agent", "there is no agent of that name"))?;
    if store::count_pins(&mut tx, id).await? >= MAX_PINS {
        return Err(Error::conflict(format!("At most {MAX_PINS} agents are pinned to versions of one tool.")));
    }
    store::set_pin(&mut tx, agent, (id, life.version.id), actor.user, now).await?;
    audit::append(&mut tx, now, actor, &Event::ToolPinned(id, agent, number)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}

/// The agent gets what everybody gets again.
pub async fn unpin(platform: &Platform, actor: &Member, id: ToolId, agent: AgentId) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    actor.require(Permission::ManageAgents)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    if !store::remove_pin(&mut tx, agent, id).await? {
        return Err(Error::not_found("pin"));
    }
    audit::append(&mut tx, platform.clock.now(), actor, &Event::ToolUnpinned(id, agent)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}

/// Agents that are given a version of that tool, by name.
pub async fn pins(platform: &Platform, actor: &Member, id: ToolId) -> Result<Vec<Pin>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::pins(&mut tx, id).await
}
