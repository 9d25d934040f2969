//! SQL of tools, versions and credentials.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::types::Json;

use super::{
    executor::Executor,
    tool::{Tool, ToolName, ToolVersion},
};
use crate::{
    db::{
        TenantTx,
        page::{Found, Search},
    },
    error::{Error, Result, is_unique_violation},
    ids::{CredentialId, TenantId, ToolId, ToolVersionId, UserId},
};

#[derive(sqlx::FromRow)]
struct VersionRow {
    version_id: ToolVersionId,
    number: i32,
    title: String,
    description: String,
    effect: String,
    input_schema: Json<Box<RawValue>>,
    executor: Json<Executor>,
    credential_id: Option<CredentialId>,
    price_micro: i64,
    digest: Vec<u8>,
    published_at: DateTime<Utc>,
}

#[derive(sqlx::FromRow)]
struct ToolRow {
    id: ToolId,
    name: String,
    state: String,
    created_at: DateTime<Utc>,
    #[sqlx(flatten)]
    version: VersionRow,
}

/// A sealed secret, as the snapshot keeps it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct SealedCredential {
    pub(super) id: CredentialId,
    pub(super) origin: String,
    pub(super) sealed: Vec<u8>,
}

impl TryFrom<VersionRow> for ToolVersion {
    type Error = Error;

    fn try_from(row: VersionRow) -> Result<Self> {
        Ok(Self {
            id: row.version_id,
            number: row.number,
            title: row.title,
            description: row.description,
            effect: row.effect.parse().map_err(Error::internal)?,
            input_schema: row.input_schema.0,
            executor: row.executor.0,
            credential: row.credential_id,
            price_micro: row.price_micro,
            digest: row.digest.try_into().map_err(|_| Error::internal("a stored digest is not 32 bytes long"))?,
            created_at: row.published_at,
        })
    }
}

impl TryFrom<ToolRow> for Tool {
    type Error = Error;

    fn try_from(row: ToolRow) -> Result<Self> {
        Ok(Self {
            id: row.id,
            name: ToolName::restore(row.name),
            enabled: row.state == "published",
            created_at: row.created_at,
            version: row.version.try_into()?,
        })
    }
}

pub(super) async fn count(tx: &mut TenantTx) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM app.tools WHERE tenant_id = $1")
        .bind(tx.tenant())
        .fetch_one(tx.connection())
        .await?)
}

pub(super) async fn insert(tx: &mut TenantTx, tool: &Tool, by: UserId) -> Result<()> {
    sqlx::query("INSERT INTO app.tools (id, tenant_id, name, version_id, created_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(tool.id)
        .bind(tx.tenant())
        .bind(tool.name.as_str())
        .bind(tool.version.id)
        .bind(tool.created_at)
        .execute(tx.connection())
        .await
        .map_err(
            |error| {
                if is_unique_violation(&error) { Error::invalid("name", "another tool has this name") } else { error.into() }
            },
        )?;
    insert_version(tx, tool.id, &tool.version, by).await
}

pub(super) async fn insert_version(tx: &mut TenantTx, tool: ToolId, version: &ToolVersion, by: UserId) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.tool_versions
           (id, tenant_id, tool_id, number, title, description, effect, input_schema, executor, credential_id, price_micro, digest, created_by, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::json, $9, $10, $11, $12, $13, $14)",
    )
    .bind(version.id)
    .bind(tx.tenant())
    .bind(tool)
    .bind(version.number)
    .bind(&version.title)
    .bind(&version.description)
    .bind(version.effect.as_str())
    // As text: a jsonb on the way would reorder the members, and the order is the author's.
    .bind(version.input_schema.get())
    .bind(Json(&version.executor))
    .bind(version.credential)
    .bind(version.price_micro)
    .bind(&version.digest[..])
    .bind(by)
    .bind(version.created_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(super) async fn point(tx: &mut TenantTx, tool: ToolId, version: ToolVersionId) -> Result<()> {
    sqlx::query("UPDATE app.tools SET version_id = $3 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(tool)
        .bind(version)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(super) async fn set_enabled(tx: &mut TenantTx, tool: ToolId, enabled: bool) -> Result<()> {
    let done = sqlx::query("UPDATE app.tools SET state = $3 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(tool)
        .bind(if enabled { "published" } else { "disabled" })
        .execute(tx.connection())
        .await?;
    if done.rows_affected() == 0 { Err(Error::not_found("tool")) } else { Ok(()) }
}

pub(super) async fn list(tx: &mut TenantTx) -> Result<Vec<Tool>> {
    let rows: Vec<ToolRow> = sqlx::query_as(
        "SELECT t.id, t.name, t.state, t.created_at, v.id AS version_id, v.number, v.title, v.description, v.effect, v.input_schema,
                v.executor, v.credential_id, v.price_micro, v.digest, v.created_at AS published_at
         FROM app.tools t
         JOIN app.tool_versions v ON v.tenant_id = t.tenant_id AND v.id = t.version_id
         WHERE t.tenant_id = $1
         ORDER BY t.name",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(Tool::try_from).collect()
}

pub(super) async fn search(tx: &mut TenantTx, search: &Search) -> Result<Found<Tool>> {
    let total = sqlx::query_scalar(
        "SELECT count(*) FROM app.tools t
         JOIN app.tool_versions v ON v.tenant_id = t.tenant_id AND v.id = t.version_id
         WHERE t.tenant_id = $1 AND (strpos(lower(t.name), $2) > 0 OR strpos(lower(v.title), $2) > 0)",
    )
    .bind(tx.tenant())
    .bind(search.pattern())
    .fetch_one(tx.connection())
    .await?;
    let rows: Vec<ToolRow> = sqlx::query_as(
        "SELECT t.id, t.name, t.state, t.created_at, v.id AS version_id, v.number, v.title, v.description, v.effect, v.input_schema,
                v.executor, v.credential_id, v.price_micro, v.digest, v.created_at AS published_at
         FROM app.tools t
         JOIN app.tool_versions v ON v.tenant_id = t.tenant_id AND v.id = t.version_id
         WHERE t.tenant_id = $1 AND (strpos(lower(t.name), $2) > 0 OR strpos(lower(v.title), $2) > 0)
         ORDER BY lower(t.name), t.id LIMIT $3 OFFSET $4",
    )
    .bind(tx.tenant())
    .bind(search.pattern())
    .bind(search.limit())
    .bind(search.offset())
    .fetch_all(tx.connection())
    .await?;
    Ok(search.found(rows.into_iter().map(Tool::try_from).collect::<Result<_>>()?, total))
}

pub(super) async fn find_by_name(tx: &mut TenantTx, name: &str) -> Result<Option<ToolId>> {
    Ok(sqlx::query_scalar("SELECT id FROM app.tools WHERE tenant_id = $1 AND name = $2")
        .bind(tx.tenant())
        .bind(name)
        .fetch_optional(tx.connection())
        .await?)
}

pub(super) async fn find(tx: &mut TenantTx, id: ToolId) -> Result<Option<Tool>> {
    let row: Option<ToolRow> = sqlx::query_as(
        "SELECT t.id, t.name, t.state, t.created_at, v.id AS version_id, v.number, v.title, v.description, v.effect, v.input_schema,
                v.executor, v.credential_id, v.price_micro, v.digest, v.created_at AS published_at
         FROM app.tools t
         JOIN app.tool_versions v ON v.tenant_id = t.tenant_id AND v.id = t.version_id
         WHERE t.tenant_id = $1 AND t.id = $2",
    )
    .bind(tx.tenant())
    .bind(id)
    .fetch_optional(tx.connection())
    .await?;
    row.map(Tool::try_from).transpose()
}

/// The tool, held so that two people cannot publish the same number.
pub(super) async fn lock(tx: &mut TenantTx, id: ToolId) -> Result<Option<Tool>> {
    sqlx::query("SELECT FROM app.tools WHERE tenant_id = $1 AND id = $2 FOR UPDATE")
        .bind(tx.tenant())
        .bind(id)
        .execute(tx.connection())
        .await?;
    find(tx, id).await
}

pub(super) async fn versions(tx: &mut TenantTx, id: ToolId) -> Result<Vec<ToolVersion>> {
    let rows: Vec<VersionRow> = sqlx::query_as(
        "SELECT id AS version_id, number, title, description, effect, input_schema, executor, credential_id, price_micro, digest,
                created_at AS published_at
         FROM app.tool_versions WHERE tenant_id = $1 AND tool_id = $2 ORDER BY number DESC LIMIT 200",
    )
    .bind(tx.tenant())
    .bind(id)
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(ToolVersion::try_from).collect()
}

pub(super) async fn insert_credential(
    tx: &mut TenantTx,
    id: CredentialId,
    origin: &str,
    sealed: &[u8],
    at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query("INSERT INTO app.credentials (id, tenant_id, origin, sealed, created_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(id)
        .bind(tx.tenant())
        .bind(origin)
        .bind(sealed)
        .bind(at)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(super) async fn credential_origin(tx: &mut TenantTx, id: CredentialId) -> Result<Option<String>> {
    Ok(sqlx::query_scalar("SELECT origin FROM app.credentials WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .fetch_optional(tx.connection())
        .await?)
}

/// One credential.
pub(super) async fn find_credential(tx: &mut TenantTx, id: CredentialId) -> Result<Option<SealedCredential>> {
    Ok(sqlx::query_as("SELECT id, origin, sealed FROM app.credentials WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .fetch_optional(tx.connection())
        .await?)
}

/// Credentials that published versions use.
pub(super) async fn load_credentials(tx: &mut TenantTx) -> Result<Vec<SealedCredential>> {
    Ok(sqlx::query_as(
        "SELECT c.id, c.origin, c.sealed FROM app.credentials c
         JOIN app.tool_versions v ON v.tenant_id = c.tenant_id AND v.credential_id = c.id
         JOIN app.tools t ON t.tenant_id = v.tenant_id AND t.version_id = v.id
         WHERE c.tenant_id = $1",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?)
}

/// The tenant of that slug, if it exists.
pub(super) async fn slug(tx: &mut TenantTx) -> Result<String> {
    Ok(sqlx::query_scalar("SELECT slug FROM app.tenants WHERE id = $1").bind(tx.tenant()).fetch_one(tx.connection()).await?)
}

pub(super) async fn find_tenant(tx: &mut crate::db::SystemTx, slug: &str) -> Result<Option<TenantId>> {
    Ok(sqlx::query_scalar("SELECT id FROM app.tenants WHERE slug = $1").bind(slug).fetch_optional(tx.connection()).await?)
}

/// May its agents call?
pub(super) async fn is_active(tx: &mut TenantTx) -> Result<bool> {
    Ok(sqlx::query_scalar("SELECT state = 'active' FROM app.tenants WHERE id = $1")
        .bind(tx.tenant())
        .fetch_one(tx.connection())
        .await?)
}

/// Does the listener's connection answer?
pub(super) async fn ping(listener: &mut sqlx::postgres::PgListener) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT 1").execute(listener).await.map(drop)
}
