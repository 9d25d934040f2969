//! What was changed in the time of a chart: versions that were published, and limits and budgets that were set. From the log of changes.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{
    series::{Range, Subject},
    store,
};
use crate::{
    Platform,
    actor::{Member, Permission},
    error::Result,
    ids,
};

/// Most markers of a chart: beyond that they hide what they are about.
pub const MOST_MARKERS: usize = 30;

/// One change, or several of the same kind at the same moment, such as the tools of an imported API.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Marker {
    /// When.
    pub at: DateTime<Utc>,
    /// As the log of changes calls it, such as `tool.published`.
    pub action: String,
    /// Id of what was changed; of several, of one of them.
    pub subject: String,
    /// What that is called now, if it still is there.
    #[sqlx(skip)]
    pub name: Option<String>,
    /// The version, of tools.
    pub version: Option<i32>,
    /// How many were changed so.
    pub count: i64,
}

/// Markers of a range.
#[derive(Debug, Clone)]
pub struct Markers {
    /// Newest first.
    pub rows: Vec<Marker>,
    /// Were there more than are told?
    pub is_cut: bool,
}

/// What was changed in a range; of a tool or an agent what was changed of it, and of the limits that all have together.
pub async fn markers(platform: &Platform, actor: &Member, range: Range, subject: Subject) -> Result<Markers> {
    actor.require(Permission::View)?;
    let tenant = actor.tenant.to_string();
    let subjects = match subject {
        Subject::Everything => Vec::new(),
        Subject::Tool(tool) => vec![tool.to_string(), tenant],
        Subject::Agent(agent) => vec![agent.to_string(), tenant],
    };
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let (mut rows, is_all) = store::markers(&mut tx, range.start(platform.clock.now()), &subjects, MOST_MARKERS + 1).await?;
    let is_cut = rows.len() > MOST_MARKERS || !is_all;
    rows.truncate(MOST_MARKERS);
    let ids: Vec<Uuid> = rows.iter().filter_map(|marker| ids::uuid_of(&marker.subject)).collect();
    let names: HashMap<Uuid, String> = store::marked_names(&mut tx, &ids).await?.into_iter().collect();
    for marker in &mut rows {
        marker.name = ids::uuid_of(&marker.subject).and_then(|id| names.get(&id).cloned());
    }
    Ok(Markers { rows, is_cut })
}
