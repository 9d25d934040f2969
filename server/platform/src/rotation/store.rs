//! SQL of rotation: which tenants there are.

use crate::{db::SystemTx, error::Result, ids::TenantId};

pub(super) async fn tenants(tx: &mut SystemTx, after: Option<TenantId>, most: i64) -> Result<Vec<TenantId>> {
    Ok(sqlx::query_scalar("SELECT id FROM app.tenants WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2")
        .bind(after)
        .bind(most)
        .fetch_all(tx.connection())
        .await?)
}

pub(super) async fn find_tenant(tx: &mut SystemTx, slug: &str) -> Result<Option<TenantId>> {
    Ok(sqlx::query_scalar("SELECT id FROM app.tenants WHERE slug = $1").bind(slug).fetch_optional(tx.connection()).await?)
}
