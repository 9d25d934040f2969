//! SQL of whom alerts are told to.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use crate::{db::TenantTx, error::Result, ids::UserId};

/// Members that get a letter.
const MOST_LETTERS: i64 = 50;

/// Whom alerts are told, as stored.
#[derive(sqlx::FromRow)]
pub(in crate::alerts) struct TargetsRow {
    pub(in crate::alerts) mail_roles: Vec<String>,
    pub(in crate::alerts) webhook_url: Option<String>,
    pub(in crate::alerts) webhook_secret: Option<Vec<u8>>,
    pub(in crate::alerts) chat_url: Option<Vec<u8>>,
}

pub(in crate::alerts) async fn targets(tx: &mut TenantTx) -> Result<Option<TargetsRow>> {
    Ok(sqlx::query_as("SELECT mail_roles, webhook_url, webhook_secret, chat_url FROM app.alert_targets WHERE tenant_id = $1")
        .bind(tx.tenant())
        .fetch_optional(tx.connection())
        .await?)
}

pub(in crate::alerts) async fn put_targets(tx: &mut TenantTx, row: &TargetsRow, now: DateTime<Utc>) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.alert_targets (tenant_id, mail_roles, webhook_url, webhook_secret, chat_url, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (tenant_id) DO UPDATE SET mail_roles = $2, webhook_url = $3, webhook_secret = $4, chat_url = $5, updated_at = $6",
    )
    .bind(tx.tenant())
    .bind(&row.mail_roles)
    .bind(&row.webhook_url)
    .bind(&row.webhook_secret)
    .bind(&row.chat_url)
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Addresses of members with one of those roles.
pub(in crate::alerts) async fn addresses(tx: &mut TenantTx, roles: &[String]) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar(
        "SELECT u.email FROM app.memberships m JOIN app.users u ON u.id = m.user_id
         WHERE m.tenant_id = $1 AND m.role = ANY ($2) ORDER BY u.email LIMIT $3",
    )
    .bind(tx.tenant())
    .bind(roles)
    .bind(MOST_LETTERS)
    .fetch_all(tx.connection())
    .await?)
}

/// The tenant's name, and the same in URLs.
pub(in crate::alerts) async fn organisation(tx: &mut TenantTx) -> Result<(String, String)> {
    Ok(sqlx::query_as("SELECT name, slug FROM app.tenants WHERE id = $1").bind(tx.tenant()).fetch_one(tx.connection()).await?)
}

/// Addresses of members, by their ids.
pub(in crate::alerts) async fn emails(tx: &mut TenantTx, users: &[UserId]) -> Result<HashMap<UserId, String>> {
    let rows: Vec<(UserId, String)> = sqlx::query_as(
        "SELECT u.id, u.email FROM app.memberships m JOIN app.users u ON u.id = m.user_id WHERE m.tenant_id = $1 AND u.id = ANY ($2)",
    )
    .bind(tx.tenant())
    .bind(users)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().collect())
}
