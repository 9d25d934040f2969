//! SQL of drafts and publications.

use chrono::{DateTime, Utc};

use super::{Pin, VersionLife};
use crate::{
    catalog::{store::VersionRow, tool::Tool},
    db::TenantTx,
    error::{Error, Result, is_unique_violation},
    ids::{AgentId, PublicationId, ToolId, ToolVersionId, UserId},
};

#[derive(sqlx::FromRow)]
struct LifeRow {
    #[sqlx(flatten)]
    version: VersionRow,
    was_published: bool,
    untried: String,
}

impl TryFrom<LifeRow> for VersionLife {
    type Error = Error;

    fn try_from(row: LifeRow) -> Result<Self> {
        Ok(Self { version: row.version.try_into()?, was_published: row.was_published, untried: row.untried })
    }
}

/// A tool that is a draft; its version comes next.
pub(super) async fn insert(tx: &mut TenantTx, tool: &Tool) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.tools (id, tenant_id, name, state, version_id, created_at) VALUES ($1, $2, $3, 'draft', $4, $5)",
    )
    .bind(tool.id)
    .bind(tx.tenant())
    .bind(tool.name.as_str())
    .bind(tool.version.id)
    .bind(tool.created_at)
    .execute(tx.connection())
    .await
    .map_err(|error| {
        if is_unique_violation(&error) { Error::invalid("name", "another tool has this name") } else { error.into() }
    })?;
    Ok(())
}

pub(super) async fn leave_draft(tx: &mut TenantTx, tool: ToolId) -> Result<()> {
    sqlx::query("UPDATE app.tools SET state = 'published' WHERE tenant_id = $1 AND id = $2 AND state = 'draft'")
        .bind(tx.tenant())
        .bind(tool)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(super) async fn insert_publication(
    tx: &mut TenantTx,
    id: PublicationId,
    (tool, version): (ToolId, ToolVersionId),
    (how, reason): (&str, &str),
    by: UserId,
    at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.tool_publications (id, tenant_id, tool_id, version_id, how, reason, published_by, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(id)
    .bind(tx.tenant())
    .bind(tool)
    .bind(version)
    .bind(how)
    .bind(reason)
    .bind(by)
    .bind(at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Versions of a tool, newest first.
pub(super) async fn lives(tx: &mut TenantTx, tool: ToolId) -> Result<Vec<VersionLife>> {
    let rows: Vec<LifeRow> = sqlx::query_as(
        "SELECT v.id AS version_id, v.number, v.title, v.description, v.effect, v.input_schema, v.executor, v.credential_id, v.price_micro,
                v.price_per_kib_micro, v.price_per_second_micro, v.price_reported_micro, v.digest,
                v.definition AS raw_definition, v.created_at AS published_at,
                NOT v.draft OR EXISTS (SELECT FROM app.tool_publications p WHERE p.tenant_id = v.tenant_id AND p.version_id = v.id) AS was_published,
                COALESCE((SELECT p.reason FROM app.tool_publications p
                          WHERE p.tenant_id = v.tenant_id AND p.version_id = v.id AND p.how <> 'returned'
                          ORDER BY p.at DESC, p.id DESC LIMIT 1), '') AS untried
         FROM app.tool_versions v WHERE v.tenant_id = $1 AND v.tool_id = $2
         ORDER BY v.number DESC LIMIT 200",
    )
    .bind(tx.tenant())
    .bind(tool)
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(VersionLife::try_from).collect()
}

pub(super) async fn newest(tx: &mut TenantTx, tool: ToolId) -> Result<Option<VersionLife>> {
    let number: Option<i32> =
        sqlx::query_scalar("SELECT max(number) FROM app.tool_versions WHERE tenant_id = $1 AND tool_id = $2")
            .bind(tx.tenant())
            .bind(tool)
            .fetch_one(tx.connection())
            .await?;
    match number {
        Some(number) => find(tx, tool, number).await,
        None => Ok(None),
    }
}

pub(super) async fn find(tx: &mut TenantTx, tool: ToolId, number: i32) -> Result<Option<VersionLife>> {
    let row: Option<LifeRow> = sqlx::query_as(
        "SELECT v.id AS version_id, v.number, v.title, v.description, v.effect, v.input_schema, v.executor, v.credential_id, v.price_micro,
                v.price_per_kib_micro, v.price_per_second_micro, v.price_reported_micro, v.digest,
                v.definition AS raw_definition, v.created_at AS published_at,
                NOT v.draft OR EXISTS (SELECT FROM app.tool_publications p WHERE p.tenant_id = v.tenant_id AND p.version_id = v.id) AS was_published,
                COALESCE((SELECT p.reason FROM app.tool_publications p
                          WHERE p.tenant_id = v.tenant_id AND p.version_id = v.id AND p.how <> 'returned'
                          ORDER BY p.at DESC, p.id DESC LIMIT 1), '') AS untried
         FROM app.tool_versions v WHERE v.tenant_id = $1 AND v.tool_id = $2 AND v.number = $3",
    )
    .bind(tx.tenant())
    .bind(tool)
    .bind(number)
    .fetch_optional(tx.connection())
    .await?;
    row.map(VersionLife::try_from).transpose()
}

// Pins

pub(super) async fn agent_of_name(tx: &mut TenantTx, name: &str) -> Result<Option<AgentId>> {
    Ok(sqlx::query_scalar("SELECT id FROM app.agents WHERE tenant_id = $1 AND name = $2 ORDER BY id LIMIT 1")
        .bind(tx.tenant())
        .bind(name)
        .fetch_optional(tx.connection())
        .await?)
}

pub(super) async fn count_pins(tx: &mut TenantTx, tool: ToolId) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM app.agent_pins WHERE tenant_id = $1 AND tool_id = $2")
        .bind(tx.tenant())
        .bind(tool)
        .fetch_one(tx.connection())
        .await?)
}

pub(super) async fn set_pin(
    tx: &mut TenantTx,
    agent: AgentId,
    (tool, version): (ToolId, ToolVersionId),
    by: UserId,
    at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.agent_pins (tenant_id, agent_id, tool_id, version_id, pinned_by, pinned_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (tenant_id, agent_id, tool_id)
         DO UPDATE SET version_id = EXCLUDED.version_id, pinned_by = EXCLUDED.pinned_by, pinned_at = EXCLUDED.pinned_at",
    )
    .bind(tx.tenant())
    .bind(agent)
    .bind(tool)
    .bind(version)
    .bind(by)
    .bind(at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// False if there was none.
pub(super) async fn remove_pin(tx: &mut TenantTx, agent: AgentId, tool: ToolId) -> Result<bool> {
    let done = sqlx::query("DELETE FROM app.agent_pins WHERE tenant_id = $1 AND agent_id = $2 AND tool_id = $3")
        .bind(tx.tenant())
        .bind(agent)
        .bind(tool)
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn pins(tx: &mut TenantTx, tool: ToolId) -> Result<Vec<Pin>> {
    let rows: Vec<(AgentId, String, i32, DateTime<Utc>)> = sqlx::query_as(
        "SELECT a.id, a.name, v.number, p.pinned_at FROM app.agent_pins p
         JOIN app.agents a ON a.tenant_id = p.tenant_id AND a.id = p.agent_id
         JOIN app.tool_versions v ON v.tenant_id = p.tenant_id AND v.id = p.version_id
         WHERE p.tenant_id = $1 AND p.tool_id = $2 ORDER BY a.name, a.id LIMIT 200",
    )
    .bind(tx.tenant())
    .bind(tool)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().map(|(agent, name, number, at)| Pin { agent, name, number, at }).collect())
}

/// All pins of the tenant: agent, tool, version and its number.
pub(super) async fn all_pins(tx: &mut TenantTx) -> Result<Vec<(AgentId, ToolId, ToolVersionId, i32)>> {
    Ok(sqlx::query_as(
        "SELECT p.agent_id, p.tool_id, p.version_id, v.number FROM app.agent_pins p
         JOIN app.tool_versions v ON v.tenant_id = p.tenant_id AND v.id = p.version_id
         WHERE p.tenant_id = $1",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?)
}
