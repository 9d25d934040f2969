//! SQL of tools and their versions.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::types::Json;

use super::{
    definition::ItemKind,
    executor::Executor,
    price::Price,
    snapshot::LoadedItem,
    tool::{Tool, ToolName, ToolVersion},
};
use crate::{
    db::{
        TenantTx,
        page::{Found, Search},
    },
    error::{Error, Result, is_unique_violation},
    ids::{CredentialId, DefinitionId, GrantId, SourceId, TenantId, TokenId, ToolId, ToolVersionId, UserId},
};

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
    insert_version(tx, tool.id, &tool.version, by, false).await
}

/// Adds a version; a draft is one that is not published, or not yet.
pub(super) async fn insert_version(
    tx: &mut TenantTx,
    tool: ToolId,
    version: &ToolVersion,
    by: UserId,
    is_draft: bool,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.tool_versions
           (id, tenant_id, tool_id, number, title, description, effect, input_schema, executor, credential_id, price_micro, digest, created_by, created_at,
            definition, price_per_kib_micro, price_per_second_micro, price_reported_micro, draft)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::json, $9, $10, $11, $12, $13, $14, $15::text::json, $16, $17, $18, $19)",
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
    .bind(version.price.call_micro)
    .bind(&version.digest[..])
    .bind(by)
    .bind(version.created_at)
    .bind(version.definition.as_deref().map(RawValue::get))
    .bind(version.price.kib_micro)
    .bind(version.price.second_micro)
    .bind(version.price.reported_micro)
    .bind(is_draft)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// What a tool is at the moment, as far as its next version has to know.
#[derive(sqlx::FromRow)]
pub(super) struct Standing {
    pub(super) tool: ToolId,
    pub(super) newest: i32,
    pub(super) digest: Vec<u8>,
    pub(super) effect: String,
    #[sqlx(flatten)]
    pub(super) price: PriceRow,
    source: Option<String>,
    pub(super) credential: Option<CredentialId>,
}

impl Standing {
    /// The source that the version at hand comes from.
    pub(super) fn source(&self) -> Option<SourceId> {
        self.source.as_deref().and_then(|id| id.parse().ok())
    }
}

pub(super) async fn standing(tx: &mut TenantTx, ids: &[ToolId]) -> Result<Vec<Standing>> {
    Ok(sqlx::query_as(
        "SELECT t.id AS tool, (SELECT max(n.number) FROM app.tool_versions n WHERE n.tenant_id = t.tenant_id AND n.tool_id = t.id) AS newest,
                v.digest, v.effect, v.price_micro, v.price_per_kib_micro, v.price_per_second_micro, v.price_reported_micro, v.executor ->> 'source' AS source,
                v.credential_id AS credential
         FROM app.tools t
         JOIN app.tool_versions v ON v.tenant_id = t.tenant_id AND v.id = t.version_id
         WHERE t.tenant_id = $1 AND t.id = ANY ($2)",
    )
    .bind(tx.tenant())
    .bind(ids)
    .fetch_all(tx.connection())
    .await?)
}

/// Many tools at once, and further versions of others, which then point at them.
pub(super) async fn insert_many(
    tx: &mut TenantTx,
    created: &[Tool],
    versions: &[(ToolId, ToolVersion)],
    by: Option<UserId>,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.tools (id, tenant_id, name, version_id, created_at)
         SELECT n.id, $1, n.name, n.version_id, n.created_at
         FROM UNNEST($2::uuid[], $3::text[], $4::uuid[], $5::timestamptz[]) AS n (id, name, version_id, created_at)",
    )
    .bind(tx.tenant())
    .bind(created.iter().map(|tool| tool.id).collect::<Vec<_>>())
    .bind(created.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>())
    .bind(created.iter().map(|tool| tool.version.id).collect::<Vec<_>>())
    .bind(created.iter().map(|tool| tool.created_at).collect::<Vec<_>>())
    .execute(tx.connection())
    .await?;
    let all: Vec<(ToolId, &ToolVersion)> =
        created.iter().map(|tool| (tool.id, &tool.version)).chain(versions.iter().map(|(id, version)| (*id, version))).collect();
    let executors = all.iter().map(|(_, version)| serde_json::to_value(&version.executor)).collect::<Result<Vec<_>, _>>();
    sqlx::query(
        "INSERT INTO app.tool_versions
           (id, tenant_id, tool_id, number, title, description, effect, input_schema, executor, price_micro, digest, definition, created_by,
            created_at, price_per_kib_micro, price_per_second_micro, price_reported_micro, credential_id)
         SELECT n.id, $1, n.tool_id, n.number, n.title, n.description, n.effect, n.input_schema::json, n.executor, n.price_micro, n.digest,
                n.definition::json, $2, n.created_at, n.price_per_kib_micro, n.price_per_second_micro, n.price_reported_micro, n.credential_id
         FROM UNNEST($3::uuid[], $4::uuid[], $5::int[], $6::text[], $7::text[], $8::text[], $9::text[], $10::jsonb[], $11::bigint[],
                     $12::bytea[], $13::text[], $14::timestamptz[], $15::bigint[], $16::bigint[], $17::bigint[], $18::uuid[])
              AS n (id, tool_id, number, title, description, effect, input_schema, executor, price_micro, digest, definition, created_at,
                    price_per_kib_micro, price_per_second_micro, price_reported_micro, credential_id)",
    )
    .bind(tx.tenant())
    .bind(by)
    .bind(all.iter().map(|(_, version)| version.id).collect::<Vec<_>>())
    .bind(all.iter().map(|(tool, _)| *tool).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, version)| version.number).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, version)| version.title.as_str()).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, version)| version.description.as_str()).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, version)| version.effect.as_str()).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, version)| version.input_schema.get()).collect::<Vec<_>>())
    .bind(executors.map_err(Error::internal)?)
    .bind(all.iter().map(|(_, version)| version.price.call_micro).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, version)| &version.digest[..]).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, version)| version.definition.as_deref().map(RawValue::get)).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, version)| version.created_at).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, version)| version.price.kib_micro).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, version)| version.price.second_micro).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, version)| version.price.reported_micro).collect::<Vec<_>>())
    .bind(all.iter().map(|(_, version)| version.credential).collect::<Vec<_>>())
    .execute(tx.connection())
    .await?;
    sqlx::query(
        "UPDATE app.tools t SET version_id = n.version_id FROM UNNEST($2::uuid[], $3::uuid[]) AS n (id, version_id)
         WHERE t.tenant_id = $1 AND t.id = n.id",
    )
    .bind(tx.tenant())
    .bind(versions.iter().map(|(tool, _)| *tool).collect::<Vec<_>>())
    .bind(versions.iter().map(|(_, version)| version.id).collect::<Vec<_>>())
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

/// Tools that are switched on, not withheld and not hidden because they fail, with the versions they point at.
pub(super) async fn served_tools(tx: &mut TenantTx) -> Result<Vec<(ToolId, ToolVersionId)>> {
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
pub(super) async fn served_items(tx: &mut TenantTx) -> Result<Vec<(DefinitionId, Vec<u8>)>> {
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
pub(super) async fn list_items(tx: &mut TenantTx, ids: &[DefinitionId]) -> Result<Vec<LoadedItem>> {
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

/// The tenant's name in URLs.
pub(super) async fn slug(tx: &mut TenantTx) -> Result<String> {
    Ok(sqlx::query_scalar("SELECT slug FROM app.tenants WHERE id = $1").bind(tx.tenant()).fetch_one(tx.connection()).await?)
}

/// The tenant of that slug, if it exists.
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

// Revocations

pub(super) async fn revoked_grants(tx: &mut TenantTx, since: DateTime<Utc>) -> Result<Vec<GrantId>> {
    Ok(sqlx::query_scalar("SELECT id FROM app.grants WHERE tenant_id = $1 AND revoked_at > $2")
        .bind(tx.tenant())
        .bind(since)
        .fetch_all(tx.connection())
        .await?)
}

pub(super) async fn revoked_tokens(tx: &mut TenantTx, since: DateTime<Utc>) -> Result<Vec<TokenId>> {
    Ok(sqlx::query_scalar("SELECT jti FROM app.revoked_tokens WHERE tenant_id = $1 AND revoked_at > $2")
        .bind(tx.tenant())
        .bind(since)
        .fetch_all(tx.connection())
        .await?)
}
