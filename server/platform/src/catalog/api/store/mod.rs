//! SQL of imported APIs. Their operations have files of their own: how they come in, are picked, and become tools.

mod document;
mod picking;
mod tools;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use url::Url;

use super::api::{Api, Counts, Failing, ListedApi};
use crate::{
    catalog::{openapi::Scheme, source::SourceName},
    db::TenantTx,
    error::{Error, Result, is_unique_violation},
    ids::{ApiId, CredentialId, UserId},
};

pub(super) use document::{OperationRow, choose, insert_operations, replace_operations, rows};
pub(super) use picking::{pick, pick_all, search, tags};
pub(super) use tools::{
    adoptable, disable_tools, find_operation, picked, set_overrides, set_published, switch_tools, taken_names, tool_count,
};

#[derive(sqlx::FromRow)]
struct ApiRow {
    id: ApiId,
    name: String,
    title: String,
    version: String,
    link: Option<String>,
    sha256: Vec<u8>,
    bytes: i32,
    servers: Vec<String>,
    server: String,
    prefix: String,
    schemes: Json<Vec<Scheme>>,
    credential_id: Option<CredentialId>,
    created_at: DateTime<Utc>,
    read_at: DateTime<Utc>,
    verified_at: Option<DateTime<Utc>>,
    failing_since: Option<DateTime<Utc>>,
    failure: String,
}

impl TryFrom<ApiRow> for Api {
    type Error = Error;

    fn try_from(row: ApiRow) -> Result<Self> {
        Ok(Self {
            id: row.id,
            name: SourceName::restore(row.name),
            title: row.title,
            version: row.version,
            link: row.link.as_deref().map(Url::parse).transpose().map_err(Error::internal)?,
            sha256: row.sha256.try_into().map_err(|_| Error::internal("a stored digest is not 32 bytes long"))?,
            bytes: usize::try_from(row.bytes).map_err(Error::internal)?,
            servers: row.servers,
            server: row.server,
            prefix: row.prefix,
            schemes: row.schemes.0,
            credential: row.credential_id,
            created_at: row.created_at,
            read_at: row.read_at,
            verified_at: row.verified_at,
            failing: row.failing_since.map(|since| Failing { since, why: row.failure }),
        })
    }
}

#[derive(sqlx::FromRow)]
struct ListedApiRow {
    #[sqlx(flatten)]
    api: ApiRow,
    is_waiting: bool,
    all_count: i64,
    picked_count: i64,
    tool_count: i64,
    changed_count: i64,
    gone_count: i64,
    refused_count: i64,
}

impl TryFrom<ListedApiRow> for ListedApi {
    type Error = Error;

    fn try_from(row: ListedApiRow) -> Result<Self> {
        let counts = Counts {
            all: row.all_count,
            picked: row.picked_count,
            tools: row.tool_count,
            changed: row.changed_count,
            gone: row.gone_count,
            refused: row.refused_count,
        };
        Ok(Self { api: row.api.try_into()?, is_waiting: row.is_waiting, counts })
    }
}

pub(super) async fn count(tx: &mut TenantTx) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM app.apis WHERE tenant_id = $1")
        .bind(tx.tenant())
        .fetch_one(tx.connection())
        .await?)
}

pub(super) async fn insert(tx: &mut TenantTx, api: &Api, by: UserId) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.apis (id, tenant_id, name, title, version, link, sha256, bytes, servers, server, prefix, schemes, created_by, created_at, read_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    )
    .bind(api.id)
    .bind(tx.tenant())
    .bind(api.name.as_str())
    .bind(&api.title)
    .bind(&api.version)
    .bind(api.link.as_ref().map(Url::as_str))
    .bind(&api.sha256[..])
    .bind(i32::try_from(api.bytes).map_err(Error::internal)?)
    .bind(&api.servers)
    .bind(&api.server)
    .bind(&api.prefix)
    .bind(Json(&api.schemes))
    .bind(by)
    .bind(api.created_at)
    .bind(api.read_at)
    .execute(tx.connection())
    .await
    .map_err(|error| {
        if is_unique_violation(&error) { Error::invalid("name", "another imported API has this name") } else { error.into() }
    })?;
    Ok(())
}

pub(super) async fn update(tx: &mut TenantTx, api: &Api) -> Result<()> {
    sqlx::query(
        "UPDATE app.apis SET title = $3, version = $4, link = $5, sha256 = $6, bytes = $7, servers = $8, server = $9, prefix = $10, schemes = $11,
                credential_id = $12, read_at = $13
         WHERE tenant_id = $1 AND id = $2",
    )
    .bind(tx.tenant())
    .bind(api.id)
    .bind(&api.title)
    .bind(&api.version)
    .bind(api.link.as_ref().map(Url::as_str))
    .bind(&api.sha256[..])
    .bind(i32::try_from(api.bytes).map_err(Error::internal)?)
    .bind(&api.servers)
    .bind(&api.server)
    .bind(&api.prefix)
    .bind(Json(&api.schemes))
    .bind(api.credential)
    .bind(api.read_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(super) async fn lock(tx: &mut TenantTx, id: ApiId) -> Result<Option<Api>> {
    let row: Option<ApiRow> = sqlx::query_as(
        "SELECT id, name, title, version, link, sha256, bytes, servers, server, prefix, schemes, credential_id, created_at, read_at, verified_at,
                failing_since, failure
         FROM app.apis WHERE tenant_id = $1 AND id = $2 FOR UPDATE",
    )
    .bind(tx.tenant())
    .bind(id)
    .fetch_optional(tx.connection())
    .await?;
    row.map(Api::try_from).transpose()
}

pub(super) async fn delete(tx: &mut TenantTx, id: ApiId) -> Result<()> {
    sqlx::query("DELETE FROM app.apis WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(super) async fn list(tx: &mut TenantTx) -> Result<Vec<ListedApi>> {
    let rows: Vec<ListedApiRow> = sqlx::query_as(
        "SELECT a.id, a.name, a.title, a.version, a.link, a.sha256, a.bytes, a.servers, a.server, a.prefix, a.schemes, a.credential_id, a.created_at, a.read_at,
                a.verified_at, a.failing_since, a.failure,
                EXISTS (SELECT FROM app.api_changes c WHERE c.tenant_id = a.tenant_id AND c.api_id = a.id AND c.state = 'pending') AS is_waiting,
                count(o.id) FILTER (WHERE NOT o.gone) AS all_count, count(o.id) FILTER (WHERE o.picked AND NOT o.gone) AS picked_count,
                count(o.tool_id) AS tool_count,
                count(o.id) FILTER (WHERE NOT o.gone AND o.published <> o.digest) AS changed_count,
                count(o.tool_id) FILTER (WHERE o.gone) AS gone_count,
                count(o.id) FILTER (WHERE NOT o.gone AND o.refused <> '') AS refused_count
         FROM app.apis a LEFT JOIN app.api_operations o ON o.tenant_id = a.tenant_id AND o.api_id = a.id
         WHERE a.tenant_id = $1 GROUP BY a.id ORDER BY a.name",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(ListedApi::try_from).collect()
}

pub(super) async fn find(tx: &mut TenantTx, id: ApiId) -> Result<Option<ListedApi>> {
    let row: Option<ListedApiRow> = sqlx::query_as(
        "SELECT a.id, a.name, a.title, a.version, a.link, a.sha256, a.bytes, a.servers, a.server, a.prefix, a.schemes, a.credential_id, a.created_at, a.read_at,
                a.verified_at, a.failing_since, a.failure,
                EXISTS (SELECT FROM app.api_changes c WHERE c.tenant_id = a.tenant_id AND c.api_id = a.id AND c.state = 'pending') AS is_waiting,
                count(o.id) FILTER (WHERE NOT o.gone) AS all_count, count(o.id) FILTER (WHERE o.picked AND NOT o.gone) AS picked_count,
                count(o.tool_id) AS tool_count,
                count(o.id) FILTER (WHERE NOT o.gone AND o.published <> o.digest) AS changed_count,
                count(o.tool_id) FILTER (WHERE o.gone) AS gone_count,
                count(o.id) FILTER (WHERE NOT o.gone AND o.refused <> '') AS refused_count
         FROM app.apis a LEFT JOIN app.api_operations o ON o.tenant_id = a.tenant_id AND o.api_id = a.id
         WHERE a.tenant_id = $1 AND a.id = $2 GROUP BY a.id",
    )
    .bind(tx.tenant())
    .bind(id)
    .fetch_optional(tx.connection())
    .await?;
    row.map(ListedApi::try_from).transpose()
}
