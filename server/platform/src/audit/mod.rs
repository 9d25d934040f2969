//! Who did what. A change writes its event in its own transaction: both are there or neither.
//!
//! Events name people and things by id: no addresses, no arguments, no secrets. Calls come here through `record`.

mod event;

use chrono::{DateTime, Utc};

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
