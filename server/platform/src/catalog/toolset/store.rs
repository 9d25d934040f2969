//! SQL of toolsets.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::{Toolset, ToolsetName};
use crate::{
    db::TenantTx,
    error::{Error, Result, is_unique_violation},
    ids::{ToolId, ToolsetId, UserId},
};

#[derive(sqlx::FromRow)]
struct ToolsetRow {
    id: ToolsetId,
    name: String,
    title: String,
    description: String,
    tools: Vec<ToolId>,
    search_mode: bool,
    created_at: DateTime<Utc>,
}

/// All toolsets by name, with their tools.
pub(in crate::catalog) async fn load(tx: &mut TenantTx) -> Result<Vec<Toolset>> {
    let rows: Vec<ToolsetRow> = sqlx::query_as(
        "SELECT s.id, s.name, s.title, s.description, s.search_mode, s.created_at,
                ARRAY (SELECT t.tool_id FROM app.toolset_tools t WHERE t.tenant_id = s.tenant_id AND t.toolset_id = s.id) AS tools
         FROM app.toolsets s WHERE s.tenant_id = $1 ORDER BY s.name",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?;
    let read = |row: ToolsetRow| Toolset {
        id: row.id,
        name: ToolsetName(row.name),
        title: row.title,
        description: row.description,
        tools: row.tools.into_iter().collect(),
        search_mode: row.search_mode,
        created_at: row.created_at,
    };
    Ok(rows.into_iter().map(read).collect())
}

pub(super) async fn count(tx: &mut TenantTx) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM app.toolsets WHERE tenant_id = $1")
        .bind(tx.tenant())
        .fetch_one(tx.connection())
        .await?)
}

pub(super) async fn insert(tx: &mut TenantTx, toolset: &Toolset, by: UserId) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.toolsets (id, tenant_id, name, title, description, created_by, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(toolset.id)
    .bind(tx.tenant())
    .bind(toolset.name.as_str())
    .bind(&toolset.title)
    .bind(&toolset.description)
    .bind(by)
    .bind(toolset.created_at)
    .execute(tx.connection())
    .await
    .map_err(|error| {
        if is_unique_violation(&error) { Error::invalid("name", "another toolset has this name") } else { error.into() }
    })?;
    Ok(())
}

pub(super) async fn update(tx: &mut TenantTx, id: ToolsetId, title: &str, description: &str) -> Result<()> {
    let done = sqlx::query("UPDATE app.toolsets SET title = $3, description = $4 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .bind(title)
        .bind(description)
        .execute(tx.connection())
        .await?;
    if done.rows_affected() == 0 { Err(Error::not_found("toolset")) } else { Ok(()) }
}

pub(super) async fn set_search_mode(tx: &mut TenantTx, id: ToolsetId, on: bool) -> Result<()> {
    let done = sqlx::query("UPDATE app.toolsets SET search_mode = $3 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .bind(on)
        .execute(tx.connection())
        .await?;
    if done.rows_affected() == 0 { Err(Error::not_found("toolset")) } else { Ok(()) }
}

/// Gives it exactly those of the tools that there are in the tenant.
pub(super) async fn set_tools(tx: &mut TenantTx, id: ToolsetId, tools: &HashSet<ToolId>) -> Result<()> {
    let tools: Vec<ToolId> = tools.iter().copied().collect();
    sqlx::query("DELETE FROM app.toolset_tools WHERE tenant_id = $1 AND toolset_id = $2 AND tool_id <> ALL ($3)")
        .bind(tx.tenant())
        .bind(id)
        .bind(&tools)
        .execute(tx.connection())
        .await?;
    sqlx::query(
        "INSERT INTO app.toolset_tools (tenant_id, toolset_id, tool_id)
         SELECT $1, $2, t.id FROM app.tools t WHERE t.tenant_id = $1 AND t.id = ANY ($3)
         ON CONFLICT DO NOTHING",
    )
    .bind(tx.tenant())
    .bind(id)
    .bind(&tools)
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(super) async fn delete(tx: &mut TenantTx, id: ToolsetId) -> Result<()> {
    let done = sqlx::query("DELETE FROM app.toolsets WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .execute(tx.connection())
        .await?;
    if done.rows_affected() == 0 { Err(Error::not_found("toolset")) } else { Ok(()) }
}
