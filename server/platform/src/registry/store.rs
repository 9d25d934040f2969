//! SQL of the registry.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, value::RawValue};
use sqlx::types::Json;

use super::entry::{Entry, Failing};
use crate::{
    db::TenantTx,
    error::{Error, Result},
    ids::{RegistryEntryId, SourceId, ToolId, ToolsetId},
};

#[derive(sqlx::FromRow)]
struct EntryRow {
    toolset_id: Option<ToolsetId>,
    name: String,
    number: i32,
    is_latest: bool,
    server: Json<Box<RawValue>>,
    published_at: DateTime<Utc>,
}

/// The newest number and digest of each entry.
pub(super) async fn newest(tx: &mut TenantTx) -> Result<HashMap<Option<ToolsetId>, (i32, [u8; 32])>> {
    let rows: Vec<(Option<ToolsetId>, i32, Vec<u8>)> = sqlx::query_as(
        "SELECT DISTINCT ON (toolset_id) toolset_id, number, digest FROM app.registry_entries
         WHERE tenant_id = $1 ORDER BY toolset_id, number DESC",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?;
    let read = |(toolset, number, digest): (_, _, Vec<u8>)| {
        let digest = digest.try_into().map_err(|_| Error::internal("a stored digest is not 32 bytes long"))?;
        Ok((toolset, (number, digest)))
    };
    rows.into_iter().map(read).collect()
}

/// The last versions of each entry.
pub(super) async fn all(tx: &mut TenantTx, most: i64) -> Result<Vec<(Option<ToolsetId>, Entry)>> {
    let rows: Vec<EntryRow> = sqlx::query_as(
        "SELECT toolset_id, server ->> 'name' AS name, number, place = 1 AS is_latest, server, published_at
         FROM (SELECT e.*, row_number() OVER (PARTITION BY toolset_id ORDER BY number DESC) AS place
               FROM app.registry_entries e WHERE tenant_id = $1) e
         WHERE place <= $2",
    )
    .bind(tx.tenant())
    .bind(most)
    .fetch_all(tx.connection())
    .await?;
    let read = |row: EntryRow| {
        let EntryRow { toolset_id, name, number, is_latest, server, published_at } = row;
        (toolset_id, Entry { name, number, is_latest, server: server.0, published_at })
    };
    Ok(rows.into_iter().map(read).collect())
}

/// Tools and sources whose probe fails.
pub(super) async fn failing(tx: &mut TenantTx) -> Result<Failing> {
    let rows: Vec<(Option<ToolId>, Option<SourceId>)> =
        sqlx::query_as("SELECT tool_id, source_id FROM app.probes WHERE tenant_id = $1 AND state = 'failing'")
            .bind(tx.tenant())
            .fetch_all(tx.connection())
            .await?;
    let mut failing = Failing::default();
    for (tool, source) in rows {
        failing.tools.extend(tool);
        failing.sources.extend(source);
    }
    Ok(failing)
}

/// Nothing, if another replica was faster.
pub(super) async fn insert(
    tx: &mut TenantTx,
    id: RegistryEntryId,
    toolset: Option<ToolsetId>,
    number: i32,
    digest: &[u8; 32],
    server: &Value,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.registry_entries (id, tenant_id, toolset_id, number, digest, server, published_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
    )
    .bind(id)
    .bind(tx.tenant())
    .bind(toolset)
    .bind(number)
    .bind(&digest[..])
    .bind(Json(server))
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(())
}
