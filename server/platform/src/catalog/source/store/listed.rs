//! SQL of the lists of definitions that people see.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::types::Json;

use super::{kind, state};
use crate::{
    catalog::{
        definition::{Finding, ItemKind},
        source::definition::{Counts, DefinitionFilter, ListedChange, ListedDefinition, ListedTool},
    },
    db::{
        TenantTx,
        page::{Found, Search},
    },
    error::{Error, Result},
    ids::{ChangeId, DefinitionId, SourceId, ToolId},
};

#[derive(sqlx::FromRow)]
struct ListedRow {
    id: DefinitionId,
    kind: String,
    upstream_key: String,
    exposed_key: String,
    definition: Json<Box<RawValue>>,
    state: String,
    reason: String,
    findings: Json<Vec<Finding>>,
    tool_id: Option<ToolId>,
    tool_enabled: Option<bool>,
    removed_at: Option<DateTime<Utc>>,
    changed_at: DateTime<Utc>,
    change_id: Option<ChangeId>,
    change_findings: Option<Json<Vec<Finding>>>,
    change_reason: Option<String>,
    change_created_at: Option<DateTime<Utc>>,
}

impl TryFrom<ListedRow> for ListedDefinition {
    type Error = Error;

    fn try_from(row: ListedRow) -> Result<Self> {
        let pending = match (row.change_id, row.change_findings, row.change_created_at) {
            (Some(id), Some(findings), Some(created_at)) => {
                Some(ListedChange { id, findings: findings.0, reason: row.change_reason.unwrap_or_default(), created_at })
            }
            _ => None,
        };
        Ok(Self {
            id: row.id,
            kind: kind(&row.kind)?,
            upstream_key: row.upstream_key,
            exposed_key: row.exposed_key,
            definition: row.definition.0,
            state: state(&row.state)?,
            reason: row.reason,
            findings: row.findings.0,
            tool: row.tool_id.zip(row.tool_enabled).map(|(id, enabled)| ListedTool { id, enabled }),
            removed_at: row.removed_at,
            changed_at: row.changed_at,
            pending,
        })
    }
}

pub(in crate::catalog::source) async fn search(
    tx: &mut TenantTx,
    source: SourceId,
    filter: DefinitionFilter,
    search: &Search,
) -> Result<Found<ListedDefinition>> {
    let kind = filter.kind.map(ItemKind::word);
    let total = sqlx::query_scalar(
        "SELECT count(*) FROM app.definitions d
         LEFT JOIN app.definition_changes c ON c.tenant_id = d.tenant_id AND c.definition_id = d.id AND c.state = 'pending'
         WHERE d.tenant_id = $1 AND d.source_id = $2 AND ($3::text IS NULL OR d.kind = $3) AND strpos(lower(d.exposed_key), $4) > 0
           AND CASE $5 WHEN 'on' THEN d.state = 'approved' AND d.removed_at IS NULL
                       WHEN 'changed' THEN c.id IS NOT NULL
                       WHEN 'removed' THEN d.removed_at IS NOT NULL
                       WHEN 'all' THEN true
                       ELSE d.state = $5 AND d.removed_at IS NULL END",
    )
    .bind(tx.tenant())
    .bind(source)
    .bind(kind)
    .bind(search.pattern())
    .bind(filter.show.as_str())
    .fetch_one(tx.connection())
    .await?;
    let rows: Vec<ListedRow> = sqlx::query_as(
        "SELECT d.id, d.kind, d.upstream_key, d.exposed_key, d.definition, d.state, d.reason, d.findings, d.tool_id,
                t.state = 'published' AS tool_enabled, d.removed_at, d.changed_at, c.id AS change_id, c.findings AS change_findings,
                c.reason AS change_reason, c.created_at AS change_created_at
         FROM app.definitions d
         LEFT JOIN app.tools t ON t.tenant_id = d.tenant_id AND t.id = d.tool_id
         LEFT JOIN app.definition_changes c ON c.tenant_id = d.tenant_id AND c.definition_id = d.id AND c.state = 'pending'
         WHERE d.tenant_id = $1 AND d.source_id = $2 AND ($3::text IS NULL OR d.kind = $3) AND strpos(lower(d.exposed_key), $4) > 0
           AND CASE $5 WHEN 'on' THEN d.state = 'approved' AND d.removed_at IS NULL
                       WHEN 'changed' THEN c.id IS NOT NULL
                       WHEN 'removed' THEN d.removed_at IS NOT NULL
                       WHEN 'all' THEN true
                       ELSE d.state = $5 AND d.removed_at IS NULL END
         ORDER BY c.id IS NULL, d.removed_at IS NOT NULL, lower(d.exposed_key), d.id LIMIT $6 OFFSET $7",
    )
    .bind(tx.tenant())
    .bind(source)
    .bind(kind)
    .bind(search.pattern())
    .bind(filter.show.as_str())
    .bind(search.limit())
    .bind(search.offset())
    .fetch_all(tx.connection())
    .await?;
    Ok(search.found(rows.into_iter().map(ListedDefinition::try_from).collect::<Result<_>>()?, total))
}

/// Definitions by id, of that source only.
pub(in crate::catalog::source) async fn listed(
    tx: &mut TenantTx,
    source: SourceId,
    ids: &[DefinitionId],
) -> Result<Vec<ListedDefinition>> {
    let rows: Vec<ListedRow> = sqlx::query_as(
        "SELECT d.id, d.kind, d.upstream_key, d.exposed_key, d.definition, d.state, d.reason, d.findings, d.tool_id,
                t.state = 'published' AS tool_enabled, d.removed_at, d.changed_at, c.id AS change_id, c.findings AS change_findings,
                c.reason AS change_reason, c.created_at AS change_created_at
         FROM app.definitions d
         LEFT JOIN app.tools t ON t.tenant_id = d.tenant_id AND t.id = d.tool_id
         LEFT JOIN app.definition_changes c ON c.tenant_id = d.tenant_id AND c.definition_id = d.id AND c.state = 'pending'
         WHERE d.tenant_id = $1 AND d.source_id = $2 AND d.id = ANY ($3) ORDER BY d.id",
    )
    .bind(tx.tenant())
    .bind(source)
    .bind(ids)
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(ListedDefinition::try_from).collect()
}

/// New definitions of a source in which nothing was found, also by the gate.
pub(in crate::catalog::source) async fn waiting(
    tx: &mut TenantTx,
    source: SourceId,
    kind: Option<ItemKind>,
) -> Result<Vec<DefinitionId>> {
    Ok(sqlx::query_scalar(
        "SELECT id FROM app.definitions
         WHERE tenant_id = $1 AND source_id = $2 AND ($3::text IS NULL OR kind = $3) AND state = 'waiting' AND removed_at IS NULL
           AND findings = '[]' AND reason = '' ORDER BY id",
    )
    .bind(tx.tenant())
    .bind(source)
    .bind(kind.map(ItemKind::word))
    .fetch_all(tx.connection())
    .await?)
}

#[derive(sqlx::FromRow)]
struct CountRow {
    source_id: SourceId,
    kind: String,
    on: i64,
    waiting: i64,
    changed: i64,
    blocked: i64,
    off: i64,
    removed: i64,
}

/// How many definitions there are, by source and kind.
pub(in crate::catalog::source) async fn counts(tx: &mut TenantTx) -> Result<Vec<(SourceId, ItemKind, Counts)>> {
    let rows: Vec<CountRow> = sqlx::query_as(
        r#"SELECT d.source_id, d.kind,
                  count(*) FILTER (WHERE d.removed_at IS NULL AND d.state = 'approved') AS "on",
                  count(*) FILTER (WHERE d.removed_at IS NULL AND d.state = 'waiting') AS waiting,
                  count(c.id) AS changed,
                  count(*) FILTER (WHERE d.removed_at IS NULL AND d.state = 'blocked') AS blocked,
                  count(*) FILTER (WHERE d.removed_at IS NULL AND d.state = 'off') AS off,
                  count(d.removed_at) AS removed
           FROM app.definitions d
           LEFT JOIN app.definition_changes c ON c.tenant_id = d.tenant_id AND c.definition_id = d.id AND c.state = 'pending'
           WHERE d.tenant_id = $1 GROUP BY d.source_id, d.kind"#,
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?;
    let read = |row: CountRow| {
        let CountRow { on, waiting, changed, blocked, off, removed, .. } = row;
        Ok((row.source_id, kind(&row.kind)?, Counts { on, waiting, changed, blocked, off, removed }))
    };
    rows.into_iter().map(read).collect()
}
