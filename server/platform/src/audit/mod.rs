//! Who did what. A change writes its event in its own transaction: both are there or neither.
//!
//! Events name people and things by id: no addresses, no arguments, no secrets. Calls come here through `record`.

mod changes;
mod difference;
mod event;
mod store;

use chrono::{DateTime, Utc};

pub use changes::{Change, ChangeFilter, ChangePage, SUBJECTS, changes, find_member};
pub use difference::Difference;
pub use event::Event;

use crate::{actor::Member, db::TenantTx, error::Result, ids::EntryId};

/// Adds the event of a change made by a member to the transaction of that change.
pub async fn append(tx: &mut TenantTx, at: DateTime<Utc>, actor: &Member, event: &Event) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.audit_entries (id, tenant_id, at, actor_kind, actor_id, action, subject, decision, details)
         VALUES ($1, $2, $3, 'member', $4, $5, $6, 'allowed', $7)",
    )
    .bind(EntryId::new(at))
    .bind(tx.tenant())
    .bind(at)
    .bind(actor.user)
    .bind(event.action())
    .bind(event.subject())
    .bind(event.details())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Adds the events of a change to the transaction of that change: of a member, or of the system itself.
pub async fn append_all(tx: &mut TenantTx, at: DateTime<Utc>, actor: Option<&Member>, events: &[Event]) -> Result<()> {
    let ids: Vec<EntryId> = events.iter().map(|_| EntryId::new(at)).collect();
    let actions: Vec<&str> = events.iter().map(Event::action).collect();
    let subjects: Vec<String> = events.iter().map(Event::subject).collect();
    let details: Vec<serde_json::Value> = events.iter().map(Event::details).collect();
    sqlx::query(
        "INSERT INTO app.audit_entries (id, tenant_id, at, actor_kind, actor_id, action, subject, decision, details)
         SELECT e.id, $1, $2, $3, $4, e.action, e.subject, 'allowed', e.details
         FROM UNNEST($5::uuid[], $6::text[], $7::text[], $8::jsonb[]) AS e (id, action, subject, details)",
    )
    .bind(tx.tenant())
    .bind(at)
    .bind(if actor.is_some() { "member" } else { "system" })
    .bind(actor.map(|actor| actor.user))
    .bind(ids)
    .bind(actions)
    .bind(subjects)
    .bind(details)
    .execute(tx.connection())
    .await?;
    Ok(())
}
