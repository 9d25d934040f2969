//! SQL of single sign-on: a tenant's connection, and what it asks of its members.

use serde_json::Value;

use super::Time;
use crate::{
    accounts::TenantSlug,
    db::{SystemTx, TenantTx},
    error::Result,
    ids::TenantId,
};

#[derive(sqlx::FromRow)]
pub(in crate::accounts) struct ConnectionRow {
    pub(in crate::accounts) issuer: String,
    pub(in crate::accounts) client_id: String,
    pub(in crate::accounts) sealed: Vec<u8>,
    pub(in crate::accounts) domains: Vec<String>,
    pub(in crate::accounts) groups_claim: String,
    pub(in crate::accounts) group_roles: Value,
    pub(in crate::accounts) default_role: Option<String>,
}

pub(in crate::accounts) async fn find_connection(tx: &mut TenantTx) -> Result<Option<ConnectionRow>> {
    let connection = sqlx::query_as(
        "SELECT issuer, client_id, sealed, domains, groups_claim, group_roles, default_role FROM app.sso_connections
         WHERE tenant_id = $1",
    )
    .bind(tx.tenant())
    .fetch_optional(tx.connection())
    .await?;
    Ok(connection)
}

/// The same; until the end of the transaction nobody else changes it.
pub(in crate::accounts) async fn lock_connection(tx: &mut TenantTx) -> Result<Option<ConnectionRow>> {
    sqlx::query("SELECT 1 FROM app.sso_connections WHERE tenant_id = $1 FOR UPDATE")
        .bind(tx.tenant())
        .execute(tx.connection())
        .await?;
    find_connection(tx).await
}

pub(in crate::accounts) async fn reseal_connection(tx: &mut TenantTx, sealed: &[u8]) -> Result<()> {
    sqlx::query("UPDATE app.sso_connections SET sealed = $2 WHERE tenant_id = $1")
        .bind(tx.tenant())
        .bind(sealed)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(in crate::accounts) async fn upsert_connection(tx: &mut TenantTx, row: &ConnectionRow, now: Time) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.sso_connections
           (tenant_id, issuer, client_id, sealed, domains, groups_claim, group_roles, default_role, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (tenant_id) DO UPDATE
         SET issuer = excluded.issuer, client_id = excluded.client_id, sealed = excluded.sealed, domains = excluded.domains,
             groups_claim = excluded.groups_claim, group_roles = excluded.group_roles, default_role = excluded.default_role,
             updated_at = excluded.updated_at",
    )
    .bind(tx.tenant())
    .bind(&row.issuer)
    .bind(&row.client_id)
    .bind(&row.sealed)
    .bind(&row.domains)
    .bind(&row.groups_claim)
    .bind(&row.group_roles)
    .bind(&row.default_role)
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// False if there is none.
pub(in crate::accounts) async fn delete_connection(tx: &mut TenantTx) -> Result<bool> {
    let done =
        sqlx::query("DELETE FROM app.sso_connections WHERE tenant_id = $1").bind(tx.tenant()).execute(tx.connection()).await?;
    Ok(done.rows_affected() == 1)
}

/// What the provider of before vouched for counts no more, and nobody is forced to go there.
pub(in crate::accounts) async fn forget_sign_ons(tx: &mut TenantTx) -> Result<()> {
    sqlx::query("DELETE FROM app.user_sessions WHERE limited_to = $1").bind(tx.tenant()).execute(tx.connection()).await?;
    sqlx::query("UPDATE app.user_sessions SET signed_on = array_remove(signed_on, $1) WHERE $1 = ANY (signed_on)")
        .bind(tx.tenant())
        .execute(tx.connection())
        .await?;
    sqlx::query("UPDATE app.tenants SET require_sso = false WHERE id = $1").bind(tx.tenant()).execute(tx.connection()).await?;
    Ok(())
}

pub(in crate::accounts) async fn update_sign_in(tx: &mut TenantTx, second_factor: bool, sso: bool) -> Result<()> {
    sqlx::query("UPDATE app.tenants SET require_second_factor = $2, require_sso = $3 WHERE id = $1")
        .bind(tx.tenant())
        .bind(second_factor)
        .bind(sso)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// How many members have no second factor.
pub(in crate::accounts) async fn count_members_without_second_factor(tx: &mut TenantTx) -> Result<i64> {
    let count = sqlx::query_scalar(
        "SELECT count(*) FROM app.memberships m WHERE m.tenant_id = $1
         AND NOT EXISTS (SELECT FROM app.totp_secrets t WHERE t.user_id = m.user_id AND t.confirmed_at IS NOT NULL)
         AND NOT EXISTS (SELECT FROM app.passkeys p WHERE p.user_id = m.user_id)",
    )
    .bind(tx.tenant())
    .fetch_one(tx.connection())
    .await?;
    Ok(count)
}

pub(in crate::accounts) async fn find_tenant(tx: &mut SystemTx, slug: &TenantSlug) -> Result<Option<TenantId>> {
    let tenant = sqlx::query_scalar("SELECT id FROM app.tenants WHERE slug = $1")
        .bind(slug.as_str())
        .fetch_optional(tx.connection())
        .await?;
    Ok(tenant)
}
