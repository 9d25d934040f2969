//! SQL of reading the log.

use std::collections::HashMap;

use uuid::Uuid;

use super::changes::{Change, ChangeFilter};
use crate::{
    db::TenantTx,
    error::{Error, Result},
    ids::UserId,
};

pub(super) async fn changes(tx: &mut TenantTx, filter: &ChangeFilter<'_>, most: usize) -> Result<Vec<Change>> {
    Ok(sqlx::query_as(
        "SELECT e.id, e.at, e.actor_kind, e.actor_id, u.email AS actor_email, e.action, e.subject, e.details
         FROM app.audit_entries e
         LEFT JOIN app.memberships m ON m.tenant_id = $1 AND m.user_id = e.actor_id AND e.actor_kind = 'member'
         LEFT JOIN app.users u ON u.id = m.user_id
         WHERE e.tenant_id = $1 AND e.action <> 'tools/call'
         AND ($2::text IS NULL OR split_part(e.action, '.', 1) = $2)
         AND ($3::uuid IS NULL OR (e.actor_id = $3 AND e.actor_kind = 'member'))
         AND ($4::text IS NULL OR e.subject = $4)
         AND ($5::timestamptz IS NULL OR e.at >= $5) AND ($6::timestamptz IS NULL OR e.at < $6)
         AND ($7::uuid IS NULL OR e.id < $7)
         ORDER BY e.id DESC LIMIT $8",
    )
    .bind(tx.tenant())
    .bind(filter.about)
    .bind(filter.by)
    .bind(filter.subject)
    .bind(filter.since)
    .bind(filter.until)
    .bind(filter.before)
    .bind(i64::try_from(most).map_err(Error::internal)?)
    .fetch_all(tx.connection())
    .await?)
}

/// What things are called now.
pub(super) async fn names(tx: &mut TenantTx, ids: &[Uuid]) -> Result<HashMap<Uuid, String>> {
    let rows: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT id, name FROM app.agents WHERE tenant_id = $1 AND id = ANY ($2)
         UNION ALL SELECT id, name FROM app.keys WHERE tenant_id = $1 AND id = ANY ($2)
         UNION ALL SELECT id, name FROM app.tools WHERE tenant_id = $1 AND id = ANY ($2)
         UNION ALL SELECT id, name FROM app.sources WHERE tenant_id = $1 AND id = ANY ($2)
         UNION ALL SELECT id, name FROM app.apis WHERE tenant_id = $1 AND id = ANY ($2)
         UNION ALL SELECT id, name FROM app.toolsets WHERE tenant_id = $1 AND id = ANY ($2)
         UNION ALL SELECT id, exposed_key FROM app.definitions WHERE tenant_id = $1 AND id = ANY ($2)
         UNION ALL SELECT m.user_id, u.email FROM app.memberships m JOIN app.users u ON u.id = m.user_id
                   WHERE m.tenant_id = $1 AND m.user_id = ANY ($2)",
    )
    .bind(tx.tenant())
    .bind(ids)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().collect())
}

pub(super) async fn find_member(tx: &mut TenantTx, email: &str) -> Result<Option<UserId>> {
    Ok(sqlx::query_scalar(
        "SELECT m.user_id FROM app.memberships m JOIN app.users u ON u.id = m.user_id
         WHERE m.tenant_id = $1 AND lower(u.email) = lower($2)",
    )
    .bind(tx.tenant())
    .bind(email)
    .fetch_optional(tx.connection())
    .await?)
}
