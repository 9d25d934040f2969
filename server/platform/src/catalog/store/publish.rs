//! SQL that makes tools and versions, and says which version a tool points at.

use serde_json::value::RawValue;
use sqlx::types::Json;

use super::PriceRow;
use crate::{
    catalog::tool::{Tool, ToolVersion},
    db::TenantTx,
    error::{Error, Result, is_unique_violation},
    ids::{CredentialId, SourceId, ToolId, ToolVersionId, UserId},
};

pub(in crate::catalog) async fn insert(tx: &mut TenantTx, tool: &Tool, by: UserId) -> Result<()> {
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
pub(in crate::catalog) async fn insert_version(
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
pub(in crate::catalog) struct Standing {
    pub(in crate::catalog) tool: ToolId,
    pub(in crate::catalog) newest: i32,
    pub(in crate::catalog) digest: Vec<u8>,
    pub(in crate::catalog) effect: String,
    #[sqlx(flatten)]
    pub(in crate::catalog) price: PriceRow,
    source: Option<String>,
    pub(in crate::catalog) credential: Option<CredentialId>,
}

impl Standing {
    /// The source that the version at hand comes from.
    pub(in crate::catalog) fn source(&self) -> Option<SourceId> {
        self.source.as_deref().and_then(|id| id.parse().ok())
    }
}

pub(in crate::catalog) async fn standing(tx: &mut TenantTx, ids: &[ToolId]) -> Result<Vec<Standing>> {
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
pub(in crate::catalog) async fn insert_many(
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

pub(in crate::catalog) async fn point(tx: &mut TenantTx, tool: ToolId, version: ToolVersionId) -> Result<()> {
    sqlx::query("UPDATE app.tools SET version_id = $3 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(tool)
        .bind(version)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(in crate::catalog) async fn set_enabled(tx: &mut TenantTx, tool: ToolId, enabled: bool) -> Result<()> {
    let done = sqlx::query("UPDATE app.tools SET state = $3 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(tool)
        .bind(if enabled { "published" } else { "disabled" })
        .execute(tx.connection())
        .await?;
    if done.rows_affected() == 0 { Err(Error::not_found("tool")) } else { Ok(()) }
}
