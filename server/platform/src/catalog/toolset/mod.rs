//! Toolsets: named choices of tools, each with an endpoint of its own. What a toolset has is not more than its tools; who may use them is
//! decided by scopes as everywhere.

mod store;

use std::collections::HashSet;

use chrono::{DateTime, Utc};

pub(super) use store::load;

use super::tool::has_hidden_characters;
use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Event},
    epoch,
    error::{Error, Result},
    ids::{ToolId, ToolsetId},
};

/// Toolsets of one tenant.
pub const MAX_TOOLSETS: i64 = 200;

/// A named choice of tools.
#[derive(Debug, Clone, PartialEq)]
pub struct Toolset {
    /// Its id.
    pub id: ToolsetId,
    /// Unique in the tenant; never changes, since its URL and scopes name it.
    pub name: ToolsetName,
    /// For people; may be empty.
    pub title: String,
    /// For people; may be empty.
    pub description: String,
    /// Its tools.
    pub tools: HashSet<ToolId>,
    /// Are callers at its endpoint shown two tools, to find and to call, instead of all?
    pub search_mode: bool,
    /// Since when it exists.
    pub created_at: DateTime<Utc>,
}

/// What a person says of a toolset.
#[derive(Debug, Clone)]
pub struct NewToolset {
    /// For people; at most 80 characters.
    pub title: String,
    /// For people; at most 400 characters.
    pub description: String,
    /// Its tools.
    pub tools: HashSet<ToolId>,
}

/// `a-z 0-9 _ -`, at most 64, beginning with a letter or digit: it stands in a URL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ToolsetName(String);

impl ToolsetName {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let fits = text.len() <= 64
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
            && text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid("name", "expected 1 to 64 of a-z 0-9 _ -, beginning with a letter or digit"))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ToolsetName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl NewToolset {
    fn check(&self) -> Result<()> {
        if self.title.chars().count() > 80 || has_hidden_characters(&self.title) {
            return Err(Error::invalid("title", "expected at most 80 visible characters"));
        }
        if self.description.chars().count() > 400 || has_hidden_characters(&self.description) {
            return Err(Error::invalid("description", "expected at most 400 visible characters"));
        }
        Ok(())
    }
}

/// Creates a toolset.
pub async fn create(platform: &Platform, actor: &Member, name: ToolsetName, new: NewToolset) -> Result<Toolset> {
    actor.require(Permission::ManageTools)?;
    new.check()?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    if store::count(&mut tx).await? >= MAX_TOOLSETS {
        return Err(Error::conflict(format!("A tenant has at most {MAX_TOOLSETS} toolsets.")));
    }
    let NewToolset { title, description, tools } = new;
    let toolset = Toolset { id: ToolsetId::new(now), name, title, description, tools, search_mode: false, created_at: now };
    store::insert(&mut tx, &toolset, actor.user).await?;
    store::set_tools(&mut tx, toolset.id, &toolset.tools).await?;
    audit::append(&mut tx, now, actor, &Event::ToolsetCreated(toolset.id)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(toolset)
}

/// Changes its words and its tools.
pub async fn update(platform: &Platform, actor: &Member, id: ToolsetId, new: NewToolset) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    new.check()?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::update(&mut tx, id, &new.title, &new.description).await?;
    store::set_tools(&mut tx, id, &new.tools).await?;
    audit::append(&mut tx, platform.clock.now(), actor, &Event::ToolsetChanged(id)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}

/// Shows callers at its endpoint two tools, to find and to call, instead of all; or all again. From the next list on.
pub async fn set_search_mode(platform: &Platform, actor: &Member, id: ToolsetId, on: bool) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::set_search_mode(&mut tx, id, on).await?;
    audit::append(&mut tx, platform.clock.now(), actor, &Event::ToolsetChanged(id)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}

/// Deletes a toolset; its tools stay. Its endpoint is gone from the next request on.
pub async fn delete(platform: &Platform, actor: &Member, id: ToolsetId) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::delete(&mut tx, id).await?;
    audit::append(&mut tx, platform.clock.now(), actor, &Event::ToolsetDeleted(id)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}

/// All toolsets by name.
pub async fn list(platform: &Platform, actor: &Member) -> Result<Vec<Toolset>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::load(&mut tx).await
}

/// One toolset.
pub async fn get(platform: &Platform, actor: &Member, id: ToolsetId) -> Result<Toolset> {
    let all = list(platform, actor).await?;
    all.into_iter().find(|toolset| toolset.id == id).ok_or(Error::not_found("toolset"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_urls() {
        for name in ["billing", "a", "0_-", "x".repeat(64).as_str()] {
            assert!(ToolsetName::parse(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "a/b", "A", "-a", "a b", "x".repeat(65).as_str()] {
            assert!(ToolsetName::parse(name).is_err(), "{name}");
        }
    }
}
