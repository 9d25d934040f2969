//! SQL that reads what a source's definitions are held against, and writes what became of them.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::types::Json;

use super::{digest, kind, state};
use crate::{
    catalog::{
        definition::{Definition, Finding},
        source::{
            definition::DefinitionState,
            names::{Names, Owner},
            reconcile::Known,
            source::Source,
        },
    },
    db::TenantTx,
    error::{Error, Result},
    ids::{DefinitionId, SourceId, ToolId},
};

#[derive(sqlx::FromRow)]
struct KnownRow {
    id: DefinitionId,
    kind: String,
    upstream_key: String,
    exposed_key: String,
    state: String,
    reason: String,
    digest: Vec<u8>,
    is_removed: bool,
    tool_id: Option<ToolId>,
    effect: Option<String>,
    pending: Option<Vec<u8>>,
}

impl TryFrom<KnownRow> for Known {
    type Error = Error;

    fn try_from(row: KnownRow) -> Result<Self> {
        Ok(Self {
            id: row.id,
            kind: kind(&row.kind)?,
            upstream_key: row.upstream_key,
            exposed_key: row.exposed_key,
            state: state(&row.state)?,
            reason: row.reason,
            digest: digest(row.digest)?,
            is_removed: row.is_removed,
            tool: row.tool_id,
            effect: row.effect.map(|effect| effect.parse().map_err(Error::internal)).transpose()?,
            pending: row.pending.map(digest).transpose()?,
        })
    }
}

/// All definitions of a source, without their texts.
pub(in crate::catalog::source) async fn known(tx: &mut TenantTx, source: SourceId) -> Result<Vec<Known>> {
    let rows: Vec<KnownRow> = sqlx::query_as(
        "SELECT d.id, d.kind, d.upstream_key, d.exposed_key, d.state, d.reason, d.digest, d.removed_at IS NOT NULL AS is_removed, d.tool_id,
                v.effect, c.digest AS pending
         FROM app.definitions d
         LEFT JOIN app.tools t ON t.tenant_id = d.tenant_id AND t.id = d.tool_id
         LEFT JOIN app.tool_versions v ON v.tenant_id = t.tenant_id AND v.id = t.version_id
         LEFT JOIN app.definition_changes c ON c.tenant_id = d.tenant_id AND c.definition_id = d.id AND c.state = 'pending'
         WHERE d.tenant_id = $1 AND d.source_id = $2
         ORDER BY d.id",
    )
    .bind(tx.tenant())
    .bind(source)
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(Known::try_from).collect()
}

/// The texts of some definitions.
pub(in crate::catalog::source) async fn texts(
    tx: &mut TenantTx,
    ids: &[DefinitionId],
) -> Result<Vec<(DefinitionId, Box<RawValue>)>> {
    let rows: Vec<(DefinitionId, Json<Box<RawValue>>)> =
        sqlx::query_as("SELECT id, definition FROM app.definitions WHERE tenant_id = $1 AND id = ANY ($2)")
            .bind(tx.tenant())
            .bind(ids)
            .fetch_all(tx.connection())
            .await?;
    Ok(rows.into_iter().map(|(id, text)| (id, text.0)).collect())
}

/// Who has which name in the tenant.
pub(in crate::catalog::source) async fn names(tx: &mut TenantTx, source: &Source) -> Result<Names> {
    let tools: Vec<(String, ToolId, Option<DefinitionId>, bool)> = sqlx::query_as(
        "SELECT t.name, t.id, d.id, v.executor ->> 'kind' = 'upstream' FROM app.tools t
         JOIN app.tool_versions v ON v.tenant_id = t.tenant_id AND v.id = t.version_id
         LEFT JOIN app.definitions d ON d.tenant_id = t.tenant_id AND d.tool_id = t.id
         WHERE t.tenant_id = $1",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?;
    let keys: Vec<(String, String)> = sqlx::query_as(
        "SELECT kind, exposed_key FROM app.definitions WHERE tenant_id = $1 AND state <> 'blocked' AND removed_at IS NULL",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?;
    let prefixes: Vec<String> = sqlx::query_scalar("SELECT name FROM app.sources WHERE tenant_id = $1 AND prefix AND id <> $2")
        .bind(tx.tenant())
        .bind(source.id)
        .fetch_all(tx.connection())
        .await?;
    let owner = |(name, tool, definition, is_upstream)| {
        let owner = match (definition, is_upstream) {
            (Some(definition), _) => Owner::Definition(definition),
            // Its source is gone; whoever brings the name again goes on with the tool.
            (None, true) => Owner::Nobody(tool),
            (None, false) => Owner::Person,
        };
        (name, owner)
    };
    let keys = keys.into_iter().map(|(word, key)| Ok((kind(&word)?, key))).collect::<Result<_>>()?;
    Ok(Names { tools: tools.into_iter().map(owner).collect(), keys, prefixes: prefixes.into_iter().collect() })
}

/// A definition with what became of it.
pub(in crate::catalog::source) struct Settled<'a> {
    pub(in crate::catalog::source) id: DefinitionId,
    pub(in crate::catalog::source) definition: &'a Definition,
    pub(in crate::catalog::source) exposed_key: String,
    pub(in crate::catalog::source) state: DefinitionState,
    pub(in crate::catalog::source) reason: String,
    pub(in crate::catalog::source) findings: &'a [Finding],
}

pub(in crate::catalog::source) async fn insert_definitions(
    tx: &mut TenantTx,
    source: SourceId,
    settled: &[Settled<'_>],
    at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.definitions
           (id, tenant_id, source_id, kind, upstream_key, exposed_key, definition, digest, state, reason, findings, created_at, changed_at)
         SELECT n.id, $1, $2, n.kind, n.upstream_key, n.exposed_key, n.definition::json, n.digest, n.state, n.reason, n.findings, $3, $3
         FROM UNNEST($4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bytea[], $10::text[], $11::text[], $12::jsonb[])
              AS n (id, kind, upstream_key, exposed_key, definition, digest, state, reason, findings)",
    )
    .bind(tx.tenant())
    .bind(source)
    .bind(at)
    .bind(settled.iter().map(|one| one.id).collect::<Vec<_>>())
    .bind(settled.iter().map(|one| one.definition.kind.word()).collect::<Vec<_>>())
    .bind(settled.iter().map(|one| one.definition.key.as_str()).collect::<Vec<_>>())
    .bind(settled.iter().map(|one| one.exposed_key.as_str()).collect::<Vec<_>>())
    .bind(settled.iter().map(|one| one.definition.raw.get()).collect::<Vec<_>>())
    .bind(settled.iter().map(|one| &one.definition.digest[..]).collect::<Vec<_>>())
    .bind(settled.iter().map(|one| one.state.as_str()).collect::<Vec<_>>())
    .bind(settled.iter().map(|one| one.reason.as_str()).collect::<Vec<_>>())
    .bind(settled.iter().map(|one| Json(one.findings)).collect::<Vec<_>>())
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(in crate::catalog::source) async fn rewrite_definitions(
    tx: &mut TenantTx,
    settled: &[Settled<'_>],
    at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query(
        "UPDATE app.definitions d
         SET definition = n.definition::json, digest = n.digest, state = n.state, reason = n.reason, findings = n.findings, changed_at = $2,
             removed_at = NULL
         FROM UNNEST($3::uuid[], $4::text[], $5::bytea[], $6::text[], $7::text[], $8::jsonb[])
              AS n (id, definition, digest, state, reason, findings)
         WHERE d.tenant_id = $1 AND d.id = n.id",
    )
    .bind(tx.tenant())
    .bind(at)
    .bind(settled.iter().map(|one| one.id).collect::<Vec<_>>())
    .bind(settled.iter().map(|one| one.definition.raw.get()).collect::<Vec<_>>())
    .bind(settled.iter().map(|one| &one.definition.digest[..]).collect::<Vec<_>>())
    .bind(settled.iter().map(|one| one.state.as_str()).collect::<Vec<_>>())
    .bind(settled.iter().map(|one| one.reason.as_str()).collect::<Vec<_>>())
    .bind(settled.iter().map(|one| Json(one.findings)).collect::<Vec<_>>())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Gives definitions their tools.
pub(in crate::catalog::source) async fn set_tools(tx: &mut TenantTx, pairs: &[(DefinitionId, ToolId)]) -> Result<()> {
    sqlx::query(
        "UPDATE app.definitions d SET tool_id = n.tool_id FROM UNNEST($2::uuid[], $3::uuid[]) AS n (id, tool_id)
         WHERE d.tenant_id = $1 AND d.id = n.id",
    )
    .bind(tx.tenant())
    .bind(pairs.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(pairs.iter().map(|(_, tool)| *tool).collect::<Vec<_>>())
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(in crate::catalog::source) async fn set_state(
    tx: &mut TenantTx,
    ids: &[DefinitionId],
    state: DefinitionState,
    reason: &str,
    at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query("UPDATE app.definitions SET state = $3, reason = $4, changed_at = $5 WHERE tenant_id = $1 AND id = ANY ($2)")
        .bind(tx.tenant())
        .bind(ids)
        .bind(state.as_str())
        .bind(reason)
        .bind(at)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Switches the tools of definitions on or off with them.
pub(in crate::catalog::source) async fn set_tool_states(tx: &mut TenantTx, ids: &[DefinitionId], enabled: bool) -> Result<()> {
    sqlx::query(
        "UPDATE app.tools t SET state = $3 FROM app.definitions d
         WHERE t.tenant_id = $1 AND d.tenant_id = $1 AND d.id = ANY ($2) AND d.tool_id = t.id AND t.state <> $3",
    )
    .bind(tx.tenant())
    .bind(ids)
    .bind(if enabled { "published" } else { "disabled" })
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Notes that the source no longer has them, or has them again.
pub(in crate::catalog::source) async fn set_removed(
    tx: &mut TenantTx,
    ids: &[DefinitionId],
    at: Option<DateTime<Utc>>,
) -> Result<()> {
    sqlx::query("UPDATE app.definitions SET removed_at = $3 WHERE tenant_id = $1 AND id = ANY ($2)")
        .bind(tx.tenant())
        .bind(ids)
        .bind(at)
        .execute(tx.connection())
        .await?;
    Ok(())
}
