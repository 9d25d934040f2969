//! SQL of operations that are tools, or become some.

use serde_json::value::RawValue;
use sqlx::types::Json;

use crate::{
    catalog::{
        Operation,
        api::{overrides::Overrides, publish::Picked},
    },
    db::TenantTx,
    error::{Error, Result},
    ids::{ApiId, OperationId, ToolId},
};

#[derive(sqlx::FromRow)]
struct PickedRow {
    id: OperationId,
    name: String,
    title: String,
    description: String,
    effect: String,
    input_schema: Json<Box<RawValue>>,
    operation: Json<Operation>,
    server: Option<String>,
    tool_id: Option<ToolId>,
    overrides: Json<Overrides>,
}

impl TryFrom<PickedRow> for Picked {
    type Error = Error;

    fn try_from(row: PickedRow) -> Result<Self> {
        Ok(Self {
            id: row.id,
            name: row.name,
            title: row.title,
            description: row.description,
            effect: row.effect.parse().map_err(Error::internal)?,
            input_schema: row.input_schema.0,
            operation: row.operation.0,
            server: row.server,
            tool: row.tool_id,
            overrides: row.overrides.0,
        })
    }
}

pub(in crate::catalog::api) async fn picked(tx: &mut TenantTx, api: ApiId) -> Result<Vec<Picked>> {
    let rows: Vec<PickedRow> = sqlx::query_as(
        "SELECT id, name, title, description, effect, input_schema, operation, server, tool_id, overrides
         FROM app.api_operations WHERE tenant_id = $1 AND api_id = $2 AND picked AND refused = '' AND NOT gone ORDER BY position",
    )
    .bind(tx.tenant())
    .bind(api)
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// One that could be a tool, picked or not, with its method and path.
pub(in crate::catalog::api) async fn find_operation(
    tx: &mut TenantTx,
    api: ApiId,
    id: OperationId,
) -> Result<Option<(String, Picked)>> {
    let row: Option<PickedRow> = sqlx::query_as(
        "SELECT id, name, title, description, effect, input_schema, operation, server, tool_id, overrides
         FROM app.api_operations WHERE tenant_id = $1 AND api_id = $2 AND id = $3 AND refused = '' AND NOT gone",
    )
    .bind(tx.tenant())
    .bind(api)
    .bind(id)
    .fetch_optional(tx.connection())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let key = sqlx::query_scalar("SELECT key FROM app.api_operations WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .fetch_one(tx.connection())
        .await?;
    Ok(Some((key, row.try_into()?)))
}

/// What was published is not it any more: no digest is that of nothing.
pub(in crate::catalog::api) async fn set_overrides(tx: &mut TenantTx, id: OperationId, overrides: &Overrides) -> Result<()> {
    sqlx::query(
        "UPDATE app.api_operations SET overrides = $3, published = CASE WHEN published IS NULL THEN NULL ELSE sha256('') END
         WHERE tenant_id = $1 AND id = $2",
    )
    .bind(tx.tenant())
    .bind(id)
    .bind(Json(overrides))
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(in crate::catalog::api) async fn tool_count(tx: &mut TenantTx, api: ApiId) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(tool_id) FROM app.api_operations WHERE tenant_id = $1 AND api_id = $2")
        .bind(tx.tenant())
        .bind(api)
        .fetch_one(tx.connection())
        .await?)
}

/// Tools that were left behind when their API was removed: whoever brings their names again goes on with them.
pub(in crate::catalog::api) async fn adoptable(tx: &mut TenantTx, names: &[String]) -> Result<Vec<(String, ToolId)>> {
    Ok(sqlx::query_as(
        "SELECT t.name, t.id FROM app.tools t
         JOIN app.tool_versions v ON v.tenant_id = t.tenant_id AND v.id = t.version_id
         WHERE t.tenant_id = $1 AND t.name = ANY ($2) AND t.state = 'disabled' AND v.executor ->> 'kind' = 'operation'
           AND NOT EXISTS (SELECT FROM app.api_operations o WHERE o.tenant_id = t.tenant_id AND o.tool_id = t.id)",
    )
    .bind(tx.tenant())
    .bind(names)
    .fetch_all(tx.connection())
    .await?)
}

/// Which of the names other tools have.
pub(in crate::catalog::api) async fn taken_names(tx: &mut TenantTx, names: &[&str]) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar("SELECT name FROM app.tools WHERE tenant_id = $1 AND name = ANY ($2) ORDER BY name")
        .bind(tx.tenant())
        .bind(names)
        .fetch_all(tx.connection())
        .await?)
}

/// Notes which tools they are, and that these are as the document has them.
pub(in crate::catalog::api) async fn set_published(tx: &mut TenantTx, pairs: &[(OperationId, ToolId)]) -> Result<()> {
    sqlx::query(
        "UPDATE app.api_operations o SET tool_id = n.tool_id, published = o.digest FROM UNNEST($2::uuid[], $3::uuid[]) AS n (id, tool_id)
         WHERE o.tenant_id = $1 AND o.id = n.id",
    )
    .bind(tx.tenant())
    .bind(pairs.iter().map(|(operation, _)| *operation).collect::<Vec<_>>())
    .bind(pairs.iter().map(|(_, tool)| *tool).collect::<Vec<_>>())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Switches tools on or off as they are picked; says which changed.
pub(in crate::catalog::api) async fn switch_tools(tx: &mut TenantTx, api: ApiId) -> Result<Vec<(ToolId, bool)>> {
    Ok(sqlx::query_as(
        "UPDATE app.tools t SET state = CASE WHEN o.picked THEN 'published' ELSE 'disabled' END FROM app.api_operations o
         WHERE t.tenant_id = $1 AND o.tenant_id = $1 AND o.api_id = $2 AND o.tool_id = t.id AND (t.state = 'published') <> o.picked
         RETURNING t.id, o.picked",
    )
    .bind(tx.tenant())
    .bind(api)
    .fetch_all(tx.connection())
    .await?)
}

pub(in crate::catalog::api) async fn disable_tools(tx: &mut TenantTx, api: ApiId) -> Result<()> {
    sqlx::query(
        "UPDATE app.tools t SET state = 'disabled' FROM app.api_operations o
         WHERE t.tenant_id = $1 AND o.tenant_id = $1 AND o.api_id = $2 AND o.tool_id = t.id AND t.state = 'published'",
    )
    .bind(tx.tenant())
    .bind(api)
    .execute(tx.connection())
    .await?;
    Ok(())
}
