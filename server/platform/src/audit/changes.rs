//! Reading the log: who changed what, newest first.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::store;
use crate::{
    Platform,
    actor::{Member, Permission},
    error::Result,
    ids::{self, EntryId, UserId},
};

/// Changes on one page.
const PAGE: usize = 50;

/// What changes are about: the first words of their names.
pub const SUBJECTS: [&str; 17] = [
    "account",
    "agent",
    "budget",
    "certificate",
    "client",
    "connection",
    "definition",
    "grant",
    "issuer",
    "key",
    "member",
    "record",
    "source",
    "sso",
    "tenant",
    "tool",
    "toolset",
];

/// Which changes are looked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct ChangeFilter<'a> {
    /// One of `SUBJECTS`.
    pub about: Option<&'a str>,
    /// Who made them.
    pub by: Option<UserId>,
    /// Id of what was changed.
    pub subject: Option<&'a str>,
    /// From that moment on.
    pub since: Option<DateTime<Utc>>,
    /// Before that moment.
    pub until: Option<DateTime<Utc>>,
    /// Older than that entry.
    pub before: Option<EntryId>,
}

/// A change, as the log has it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Change {
    /// Its entry.
    pub id: EntryId,
    /// When.
    pub at: DateTime<Utc>,
    /// `member`, `operator` or `system`.
    pub actor_kind: String,
    /// Who, if it was a person.
    pub actor_id: Option<UserId>,
    /// Their address, while they are a member.
    pub actor_email: Option<String>,
    /// What was done, such as `agent.created`.
    pub action: String,
    /// Id of what it was done to.
    pub subject: String,
    /// What that is called now, if it still is there.
    #[sqlx(skip)]
    pub subject_name: Option<String>,
    /// What else is known.
    pub details: Value,
}

/// A page of changes.
#[derive(Debug, Clone)]
pub struct ChangePage {
    /// Newest first.
    pub changes: Vec<Change>,
    /// Where the page of older ones begins.
    pub older: Option<EntryId>,
}

/// The changes that fit, newest first.
pub async fn changes(platform: &Platform, actor: &Member, filter: &ChangeFilter<'_>) -> Result<ChangePage> {
    actor.require(Permission::ViewAudit)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let mut changes = store::changes(&mut tx, filter, PAGE + 1).await?;
    let older = (changes.len() > PAGE).then(|| changes[PAGE - 1].id);
    changes.truncate(PAGE);
    let subjects: Vec<Uuid> = changes.iter().filter_map(|change| ids::uuid_of(&change.subject)).collect();
    let names = store::names(&mut tx, &subjects).await?;
    tx.commit().await?;
    for change in &mut changes {
        change.subject_name = ids::uuid_of(&change.subject).and_then(|id| names.get(&id).cloned());
    }
    Ok(ChangePage { changes, older })
}

/// The member with that address.
pub async fn find_member(platform: &Platform, actor: &Member, email: &str) -> Result<Option<UserId>> {
    actor.require(Permission::ViewAudit)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let found = store::find_member(&mut tx, email).await?;
    tx.commit().await?;
    Ok(found)
}
