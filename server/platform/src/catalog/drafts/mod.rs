//! Drafts: versions that are saved and not published. No agent sees one; `publishing` tries it, and points its tool at it.

mod pins;
mod store;

use chrono::{DateTime, Utc};

pub use pins::{MAX_PINS, Pin, pin, pins, unpin};

use super::{
    Executor, MAX_TOOLS, check_reach, set_limits, store as tools,
    tool::{NewVersion, Tool, ToolName, ToolVersion},
    version,
};
use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Event},
    db::TenantTx,
    epoch,
    error::{Error, Result},
    ids::{AgentId, PublicationId, ToolId, ToolVersionId, UserId},
};

/// What became of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saved {
    /// The tool.
    pub tool: ToolId,
    /// The version that has what the form said.
    pub number: i32,
    /// Does it still have to be published? If not, it is what the tool points at: nothing differs.
    pub is_draft: bool,
}

/// By what a version was let through when the tool was pointed at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The gate.
    Tried,
    /// Somebody who said why it was not tried.
    Untried,
    /// It was published before.
    Returned,
}

/// A version with what is known of its life.
#[derive(Debug, Clone)]
pub struct VersionLife {
    /// The version.
    pub version: ToolVersion,
    /// Was it ever published?
    pub was_published: bool,
    /// Why it was published without a real call; empty if it was tried, or nobody was asked.
    pub untried: String,
}

impl How {
    fn as_str(self) -> &'static str {
        match self {
            Self::Tried => "tried",
            Self::Untried => "untried",
            Self::Returned => "returned",
        }
    }
}

/// Saves a tool that no agent sees yet, with its first version.
pub async fn save_new(platform: &Platform, actor: &Member, name: ToolName, new: NewVersion) -> Result<Saved> {
    actor.require(Permission::ManageTools)?;
    new.check()?;
    check_reach(platform, &new)?;
    let now = platform.clock.now();
    let id = ToolId::new(now);
    let mut tx = platform.db.tenant(actor.tenant).await?;
    if tools::count(&mut tx).await? >= MAX_TOOLS {
        return Err(Error::conflict(format!("A tenant has at most {MAX_TOOLS} tools.")));
    }
    let limits = new.limits;
    let version = version(platform, &mut tx, new, 1, None).await?;
    let tool = Tool { enabled: false, is_draft: true, ..Tool::new(id, name, version, now) };
    store::insert(&mut tx, &tool).await?;
    tools::insert_version(&mut tx, id, &tool.version, actor.user, true).await?;
    if let Some(limits) = limits {
        limits.store(&mut tx, now, id).await?;
    }
    audit::append(&mut tx, now, actor, &Event::ToolDrafted(id, 1)).await?;
    tx.commit().await?;
    Ok(Saved { tool: id, number: 1, is_draft: true })
}

/// Saves the next version of a tool. `edited` is the number of its newest version when the form was made: if somebody saved another one
/// meanwhile, nothing happens. Limits hold for all versions, and so at once.
pub async fn save(platform: &Platform, actor: &Member, id: ToolId, edited: i32, new: NewVersion) -> Result<Saved> {
    actor.require(Permission::ManageTools)?;
    new.check()?;
    check_reach(platform, &new)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let tool = tools::lock(&mut tx, id).await?.ok_or(Error::not_found("tool"))?;
    if matches!(tool.version.executor, Executor::Upstream { .. } | Executor::Operation(_)) {
        return Err(Error::invalid("kind", "the definition of this tool comes from its source"));
    }
    let newest = store::newest(&mut tx, id).await?.ok_or(Error::not_found("version"))?;
    if newest.version.number != edited {
        let (number, word) = (newest.version.number, if newest.was_published { "published" } else { "saved" });
        let message =
            format!("Version {number} was {word} while you edited version {edited}. Open the tool again and repeat your change.");
        return Err(Error::conflict(message));
    }
    let limits = new.limits;
    let basis = if newest.was_published { &tool.version } else { &newest.version };
    let version = version(platform, &mut tx, new, edited + 1, Some(basis)).await?;
    let saved = if !tool.is_draft && version.runs_like(&tool.version) {
        Saved { tool: id, number: tool.version.number, is_draft: false }
    } else if version.runs_like(basis) {
        Saved { tool: id, number: basis.number, is_draft: true }
    } else {
        tools::insert_version(&mut tx, id, &version, actor.user, true).await?;
        if tool.is_draft {
            tools::point(&mut tx, id, version.id).await?;
        }
        audit::append(&mut tx, now, actor, &Event::ToolDrafted(id, version.number)).await?;
        Saved { tool: id, number: version.number, is_draft: true }
    };
    if let Some(limits) = limits {
        set_limits(&mut tx, actor, now, id, limits).await?;
    }
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(saved)
}

/// The newest version of a tool, if that was never published: what a form goes on with. Beside it the number of the newest version.
pub async fn pending(platform: &Platform, actor: &Member, id: ToolId) -> Result<(Option<ToolVersion>, i32)> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let newest = store::newest(&mut tx, id).await?.ok_or(Error::not_found("tool"))?;
    let number = newest.version.number;
    Ok(((!newest.was_published).then_some(newest.version), number))
}

/// The versions of a tool with what is known of them, newest first; at most 200.
pub async fn lives(platform: &Platform, actor: &Member, id: ToolId) -> Result<Vec<VersionLife>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let lives = store::lives(&mut tx, id).await?;
    if lives.is_empty() { Err(Error::not_found("tool")) } else { Ok(lives) }
}

/// Two versions of one tool.
pub async fn pair(platform: &Platform, actor: &Member, id: ToolId, numbers: (i32, i32)) -> Result<(ToolVersion, ToolVersion)> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let one = store::find(&mut tx, id, numbers.0).await?.ok_or(Error::not_found("version"))?;
    let other = store::find(&mut tx, id, numbers.1).await?.ok_or(Error::not_found("version"))?;
    Ok((one.version, other.version))
}

/// The tool as it would be with that version, and whether that was ever published.
pub(crate) async fn tool_at(tx: &mut TenantTx, id: ToolId, number: i32) -> Result<Option<(Tool, VersionLife)>> {
    let Some(tool) = tools::find(tx, id).await? else { return Ok(None) };
    let Some(life) = store::find(tx, id, number).await? else { return Ok(None) };
    Ok(Some((Tool { version: life.version.clone(), ..tool }, life)))
}

/// All pins of the tenant: agent, tool, version and its number.
pub(super) async fn all_pins(tx: &mut TenantTx) -> Result<Vec<(AgentId, ToolId, ToolVersionId, i32)>> {
    store::all_pins(tx).await
}

/// Number of the newest version.
pub(crate) async fn newest_number(tx: &mut TenantTx, id: ToolId) -> Result<i32> {
    let newest = store::newest(tx, id).await?.ok_or(Error::not_found("tool"))?;
    Ok(newest.version.number)
}

/// The tool as it stands, held until the end of the transaction.
pub(crate) async fn lock(tx: &mut TenantTx, id: ToolId) -> Result<Option<Tool>> {
    tools::lock(tx, id).await
}

/// Points a tool at one of its versions, and notes by what it was let through. A tool that was never published is from now on.
pub(crate) async fn point_at(
    tx: &mut TenantTx,
    (tool, version): (ToolId, ToolVersionId),
    (how, reason): (How, &str),
    by: UserId,
    now: DateTime<Utc>,
) -> Result<()> {
    tools::point(tx, tool, version).await?;
    store::leave_draft(tx, tool).await?;
    store::insert_publication(tx, PublicationId::new(now), (tool, version), (how.as_str(), reason), by, now).await
}

/// The version that a tool points at.
pub(crate) async fn current_version(tx: &mut TenantTx, id: ToolId) -> Result<Option<ToolVersionId>> {
    Ok(tools::find(tx, id).await?.map(|tool| tool.version.id))
}
