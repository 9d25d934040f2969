//! SQL of what a snapshot is read from, beside the tools themselves: what is served, what is revoked, and whether the tenant is active.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::types::Json;

use crate::{
    catalog::{definition::ItemKind, snapshot::LoadedItem},
    db::TenantTx,
    error::{Error, Result},
    ids::{DefinitionId, GrantId, SourceId, TokenId, ToolId, ToolVersionId},
};

/// Tools that are switched on, not withheld and not hidden because they fail, with the versions they point at.
pub(in crate::catalog) async fn served_tools(tx: &mut TenantTx) -> Result<Vec<(ToolId, ToolVersionId)>> {
    Ok(sqlx::query_as(
        "SELECT t.id, t.version_id FROM app.tools t
         JOIN app.tool_versions v ON v.tenant_id = t.tenant_id AND v.id = t.version_id
         LEFT JOIN app.definitions d ON d.tenant_id = t.tenant_id AND d.tool_id = t.id
         LEFT JOIN app.sources s ON s.tenant_id = d.tenant_id AND s.id = d.source_id
         WHERE t.tenant_id = $1 AND t.state = 'published'
           AND (v.definition IS NULL
                OR d.state = 'approved' AND d.removed_at IS NULL AND s.enabled
                   AND NOT (s.meanwhile = 'block' AND EXISTS (
                       SELECT FROM app.definition_changes c
                       WHERE c.tenant_id = d.tenant_id AND c.definition_id = d.id AND c.state = 'pending')))
           AND NOT EXISTS (
               SELECT FROM app.probes p
               WHERE p.tenant_id = t.tenant_id AND (p.tool_id = t.id OR p.source_id = d.source_id) AND p.state = 'failing' AND p.hides)",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?)
}

/// Prompts, resources and templates that are served, with their digests.
pub(in crate::catalog) async fn served_items(tx: &mut TenantTx) -> Result<Vec<(DefinitionId, Vec<u8>)>> {
    Ok(sqlx::query_as(
        "SELECT d.id, d.digest FROM app.definitions d
         JOIN app.sources s ON s.tenant_id = d.tenant_id AND s.id = d.source_id
         WHERE d.tenant_id = $1 AND d.kind <> 'tool' AND d.state = 'approved' AND d.removed_at IS NULL AND s.enabled
           AND NOT (s.meanwhile = 'block' AND EXISTS (
               SELECT FROM app.definition_changes c
               WHERE c.tenant_id = d.tenant_id AND c.definition_id = d.id AND c.state = 'pending'))",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?)
}

#[derive(sqlx::FromRow)]
struct ItemRow {
    id: DefinitionId,
    kind: String,
    source_id: SourceId,
    exposed_key: String,
    upstream_key: String,
    definition: Json<Box<RawValue>>,
    digest: Vec<u8>,
}

/// Some definitions that are no tools.
pub(in crate::catalog) async fn list_items(tx: &mut TenantTx, ids: &[DefinitionId]) -> Result<Vec<LoadedItem>> {
    let rows: Vec<ItemRow> = sqlx::query_as(
        "SELECT id, kind, source_id, exposed_key, upstream_key, definition, digest FROM app.definitions
         WHERE tenant_id = $1 AND id = ANY ($2)",
    )
    .bind(tx.tenant())
    .bind(ids)
    .fetch_all(tx.connection())
    .await?;
    let read = |row: ItemRow| {
        let kind = ItemKind::find(&row.kind).ok_or_else(|| Error::internal("a stored definition is of an unknown kind"))?;
        let digest = row.digest.try_into().map_err(|_| Error::internal("a stored digest is not 32 bytes long"))?;
        LoadedItem::new(row.id, kind, row.source_id, (row.exposed_key, row.upstream_key), row.definition.0, digest)
    };
    rows.into_iter().map(read).collect()
}

/// The tenant's name in URLs.
pub(in crate::catalog) async fn slug(tx: &mut TenantTx) -> Result<String> {
    Ok(sqlx::query_scalar("SELECT slug FROM app.tenants WHERE id = $1").bind(tx.tenant()).fetch_one(tx.connection()).await?)
}

/// May its agents call?
pub(in crate::catalog) async fn is_active(tx: &mut TenantTx) -> Result<bool> {
    Ok(sqlx::query_scalar("SELECT state = 'active' FROM app.tenants WHERE id = $1")
        .bind(tx.tenant())
        .fetch_one(tx.connection())
        .await?)
}

/// Does the listener's connection answer?
pub(in crate::catalog) async fn ping(listener: &mut sqlx::postgres::PgListener) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT 1").execute(listener).await.map(drop)
}

pub(in crate::catalog) async fn revoked_grants(tx: &mut TenantTx, since: DateTime<Utc>) -> Result<Vec<GrantId>> {
    Ok(sqlx::query_scalar("SELECT id FROM app.grants WHERE tenant_id = $1 AND revoked_at > $2")
        .bind(tx.tenant())
        .bind(since)
        .fetch_all(tx.connection())
        .await?)
}

pub(in crate::catalog) async fn revoked_tokens(tx: &mut TenantTx, since: DateTime<Utc>) -> Result<Vec<TokenId>> {
    Ok(sqlx::query_scalar("SELECT jti FROM app.revoked_tokens WHERE tenant_id = $1 AND revoked_at > $2")
        .bind(tx.tenant())
        .bind(since)
        .fetch_all(tx.connection())
        .await?)
}
