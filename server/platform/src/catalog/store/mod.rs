//! SQL of tools and their versions. How they are made and what of them is served have files of their own.

mod publish;
mod served;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::types::Json;

use super::{
    executor::Executor,
    price::Price,
    tool::{Tool, ToolName, ToolVersion},
};
use crate::{
    db::{
        TenantTx,
        page::{Found, Search},
    },
    error::{Error, Result},
    ids::{CredentialId, TenantId, ToolId, ToolVersionId},
};

pub(super) use publish::{Standing, insert, insert_many, insert_version, point, set_enabled, standing};
pub(super) use served::{is_active, list_items, ping, revoked_grants, revoked_tokens, served_items, served_tools, slug};

#[derive(sqlx::FromRow)]
pub(super) struct VersionRow {
    version_id: ToolVersionId,
    number: i32,
    title: String,
    description: String,
    effect: String,
    input_schema: Json<Box<RawValue>>,
    executor: Json<Executor>,
    credential_id: Option<CredentialId>,
    #[sqlx(flatten)]
    price: PriceRow,
    digest: Vec<u8>,
    raw_definition: Option<Json<Box<RawValue>>>,
    published_at: DateTime<Utc>,
}

#[derive(Clone, Copy, sqlx::FromRow)]
#[expect(clippy::struct_field_names, reason = "the names of the columns")]
pub(super) struct PriceRow {
    price_micro: i64,
    price_per_kib_micro: i64,
    price_per_second_micro: i64,
    price_reported_micro: i64,
}

impl From<PriceRow> for Price {
    fn from(row: PriceRow) -> Self {
        Self {
            call_micro: row.price_micro,
            kib_micro: row.price_per_kib_micro,
            second_micro: row.price_per_second_micro,
            reported_micro: row.price_reported_micro,
        }
    }
}

#[derive(sqlx::FromRow)]
struct ToolRow {
    id: ToolId,
    name: String,
    state: String,
    withheld: bool,
    created_at: DateTime<Utc>,
    #[sqlx(flatten)]
    version: VersionRow,
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
            price: row.price.into(),
            digest: row.digest.try_into().map_err(|_| Error::internal("a stored digest is not 32 bytes long"))?,
            definition: row.raw_definition.map(|raw| raw.0),
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
            is_draft: row.state == "draft",
            withheld: row.withheld,
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

pub(super) async fn list(tx: &mut TenantTx) -> Result<Vec<Tool>> {
    let rows: Vec<ToolRow> = sqlx::query_as(
        "SELECT t.id, t.name, t.state, t.created_at, v.id AS version_id, v.number, v.title, v.description, v.effect, v.input_schema,
                v.executor, v.credential_id, v.price_micro, v.price_per_kib_micro, v.price_per_second_micro, v.price_reported_micro, v.digest, v.definition AS raw_definition, v.created_at AS published_at,
                v.definition IS NOT NULL AND NOT EXISTS (
                    SELECT FROM app.definitions d
                    JOIN app.sources s ON s.tenant_id = d.tenant_id AND s.id = d.source_id
                    WHERE d.tenant_id = t.tenant_id AND d.tool_id = t.id AND d.state = 'approved' AND d.removed_at IS NULL AND s.enabled
                      AND NOT (s.meanwhile = 'block' AND EXISTS (
                          SELECT FROM app.definition_changes c
                          WHERE c.tenant_id = d.tenant_id AND c.definition_id = d.id AND c.state = 'pending'))) AS withheld
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

/// Some of the tools.
pub(super) async fn list_some(tx: &mut TenantTx, ids: &[ToolId]) -> Result<Vec<Tool>> {
    let rows: Vec<ToolRow> = sqlx::query_as(
        "SELECT t.id, t.name, t.state, t.created_at, v.id AS version_id, v.number, v.title, v.description, v.effect, v.input_schema,
                v.executor, v.credential_id, v.price_micro, v.price_per_kib_micro, v.price_per_second_micro, v.price_reported_micro, v.digest, v.definition AS raw_definition, v.created_at AS published_at,
                v.definition IS NOT NULL AND NOT EXISTS (
                    SELECT FROM app.definitions d
                    JOIN app.sources s ON s.tenant_id = d.tenant_id AND s.id = d.source_id
                    WHERE d.tenant_id = t.tenant_id AND d.tool_id = t.id AND d.state = 'approved' AND d.removed_at IS NULL AND s.enabled
                      AND NOT (s.meanwhile = 'block' AND EXISTS (
                          SELECT FROM app.definition_changes c
                          WHERE c.tenant_id = d.tenant_id AND c.definition_id = d.id AND c.state = 'pending'))) AS withheld
         FROM app.tools t
         JOIN app.tool_versions v ON v.tenant_id = t.tenant_id AND v.id = t.version_id
         WHERE t.tenant_id = $1 AND t.id = ANY ($2)",
    )
    .bind(tx.tenant())
    .bind(ids)
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
                v.executor, v.credential_id, v.price_micro, v.price_per_kib_micro, v.price_per_second_micro, v.price_reported_micro, v.digest, v.definition AS raw_definition, v.created_at AS published_at,
                v.definition IS NOT NULL AND NOT EXISTS (
                    SELECT FROM app.definitions d
                    JOIN app.sources s ON s.tenant_id = d.tenant_id AND s.id = d.source_id
                    WHERE d.tenant_id = t.tenant_id AND d.tool_id = t.id AND d.state = 'approved' AND d.removed_at IS NULL AND s.enabled
                      AND NOT (s.meanwhile = 'block' AND EXISTS (
                          SELECT FROM app.definition_changes c
                          WHERE c.tenant_id = d.tenant_id AND c.definition_id = d.id AND c.state = 'pending'))) AS withheld
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
                v.executor, v.credential_id, v.price_micro, v.price_per_kib_micro, v.price_per_second_micro, v.price_reported_micro, v.digest, v.definition AS raw_definition, v.created_at AS published_at,
                v.definition IS NOT NULL AND NOT EXISTS (
                    SELECT FROM app.definitions d
                    JOIN app.sources s ON s.tenant_id = d.tenant_id AND s.id = d.source_id
                    WHERE d.tenant_id = t.tenant_id AND d.tool_id = t.id AND d.state = 'approved' AND d.removed_at IS NULL AND s.enabled
                      AND NOT (s.meanwhile = 'block' AND EXISTS (
                          SELECT FROM app.definition_changes c
                          WHERE c.tenant_id = d.tenant_id AND c.definition_id = d.id AND c.state = 'pending'))) AS withheld
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
        "SELECT id AS version_id, number, title, description, effect, input_schema, executor, credential_id, price_micro, price_per_kib_micro,
                price_per_second_micro, price_reported_micro, digest,
                definition AS raw_definition, created_at AS published_at
         FROM app.tool_versions WHERE tenant_id = $1 AND tool_id = $2 ORDER BY number DESC LIMIT 200",
    )
    .bind(tx.tenant())
    .bind(id)
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(ToolVersion::try_from).collect()
}

/// The tenant of that slug, if it exists.
pub(super) async fn find_tenant(tx: &mut crate::db::SystemTx, slug: &str) -> Result<Option<TenantId>> {
    Ok(sqlx::query_scalar("SELECT id FROM app.tenants WHERE slug = $1").bind(slug).fetch_optional(tx.connection()).await?)
}
