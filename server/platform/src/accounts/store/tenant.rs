//! SQL of tenants: global, by id or slug.

use super::Time;
use crate::{
    accounts::TenantSlug,
    db::{SystemTx, TenantTx},
    error::{Error, Result},
    ids::{TenantId, UserId},
};

pub(in crate::accounts) async fn list_taken_slugs(tx: &mut SystemTx, slugs: &[&str]) -> Result<Vec<String>> {
    let taken =
        sqlx::query_scalar("SELECT slug FROM app.tenants WHERE slug = ANY ($1)").bind(slugs).fetch_all(tx.connection()).await?;
    Ok(taken)
}

/// False if the slug is taken.
pub(in crate::accounts) async fn insert_tenant(
    tx: &mut SystemTx,
    id: TenantId,
    slug: &TenantSlug,
    name: &str,
    now: Time,
) -> Result<bool> {
    let done =
        sqlx::query("INSERT INTO app.tenants (id, slug, name, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (slug) DO NOTHING")
            .bind(id)
            .bind(slug.as_str())
            .bind(name)
            .bind(now)
            .execute(tx.connection())
            .await?;
    Ok(done.rows_affected() == 1)
}

/// The tenant's name and currency, held until the transaction ends.
pub(in crate::accounts) async fn lock_tenant(tx: &mut TenantTx) -> Result<(String, String)> {
    Ok(sqlx::query_as("SELECT name, currency FROM app.tenants WHERE id = $1 FOR UPDATE")
        .bind(tx.tenant())
        .fetch_one(tx.connection())
        .await?)
}

pub(in crate::accounts) async fn update_tenant(tx: &mut TenantTx, name: &str, currency: &str) -> Result<()> {
    sqlx::query("UPDATE app.tenants SET name = $2, currency = $3 WHERE id = $1")
        .bind(tx.tenant())
        .bind(name)
        .bind(currency)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(in crate::accounts) async fn get_slug(tx: &mut TenantTx) -> Result<TenantSlug> {
    let slug: String =
        sqlx::query_scalar("SELECT slug FROM app.tenants WHERE id = $1").bind(tx.tenant()).fetch_one(tx.connection()).await?;
    slug.parse().map_err(Error::internal)
}

/// The tenant's name, and the address of that user.
pub(in crate::accounts) async fn get_names(tx: &mut TenantTx, user: UserId) -> Result<(String, String)> {
    let names = sqlx::query_as("SELECT t.name, u.email FROM app.tenants t, app.users u WHERE t.id = $1 AND u.id = $2")
        .bind(tx.tenant())
        .bind(user)
        .fetch_one(tx.connection())
        .await?;
    Ok(names)
}
