//! SQL of the list in which somebody picks operations.

use crate::{
    catalog::api::api::{ListedOperation, OperationFilter, Tag},
    db::{
        TenantTx,
        page::{Found, Search},
    },
    error::{Error, Result},
    ids::{ApiId, OperationId, ToolId},
};

/// Tags that are offered.
const MAX_TAGS: i64 = 200;

#[derive(sqlx::FromRow)]
#[expect(clippy::struct_excessive_bools, reason = "as the columns are")]
struct ListedRow {
    id: OperationId,
    key: String,
    summary: String,
    tags: Vec<String>,
    deprecated: bool,
    refused: String,
    name: String,
    effect: String,
    notes: String,
    picked: bool,
    changed: bool,
    gone: bool,
    tool_id: Option<ToolId>,
    total: i64,
}

pub(in crate::catalog::api) async fn search(
    tx: &mut TenantTx,
    api: ApiId,
    filter: &OperationFilter,
    search: &Search,
) -> Result<Found<ListedOperation>> {
    let rows: Vec<ListedRow> = sqlx::query_as(
        "SELECT id, key, summary, tags, deprecated, refused, name, effect, notes, picked, COALESCE(published <> digest, false) AS changed, gone, tool_id,
                count(*) OVER () AS total
         FROM app.api_operations
         WHERE tenant_id = $1 AND api_id = $2
           AND ($3 = '' OR strpos(lower(key || ' ' || name || ' ' || summary), $3) > 0)
           AND ($4 = '' OR $4 = ANY (tags))
           AND CASE $5 WHEN 'picked' THEN picked WHEN 'read' THEN refused = '' AND effect = 'read' AND NOT gone WHEN 'refused' THEN refused <> ''
                       WHEN 'changed' THEN gone OR published <> digest ELSE true END
         ORDER BY gone DESC, position, id LIMIT $6 OFFSET $7",
    )
    .bind(tx.tenant())
    .bind(api)
    .bind(search.pattern())
    .bind(&filter.tag)
    .bind(filter.shown.as_str())
    .bind(search.limit())
    .bind(search.offset())
    .fetch_all(tx.connection())
    .await?;
    let total = rows.first().map_or(0, |row| row.total);
    let items = rows.into_iter().map(ListedOperation::try_from).collect::<Result<Vec<_>>>()?;
    Ok(search.found(items, total))
}

impl TryFrom<ListedRow> for ListedOperation {
    type Error = Error;

    fn try_from(row: ListedRow) -> Result<Self> {
        Ok(Self {
            id: row.id,
            key: row.key,
            summary: row.summary,
            tags: row.tags,
            is_deprecated: row.deprecated,
            refused: row.refused,
            name: row.name,
            effect: row.effect.parse().map_err(Error::internal)?,
            notes: row.notes,
            is_picked: row.picked,
            is_changed: row.changed,
            is_gone: row.gone,
            tool: row.tool_id,
        })
    }
}

pub(in crate::catalog::api) async fn tags(tx: &mut TenantTx, api: ApiId) -> Result<Vec<Tag>> {
    Ok(sqlx::query_as(
        "SELECT tag AS name, count(*) AS count FROM app.api_operations, UNNEST(tags) AS tag
         WHERE tenant_id = $1 AND api_id = $2 AND NOT gone GROUP BY tag ORDER BY count(*) DESC, tag LIMIT $3",
    )
    .bind(tx.tenant())
    .bind(api)
    .bind(MAX_TAGS)
    .fetch_all(tx.connection())
    .await?)
}

pub(in crate::catalog::api) async fn pick(
    tx: &mut TenantTx,
    api: ApiId,
    shown: &[OperationId],
    picked: &[OperationId],
) -> Result<()> {
    sqlx::query(
        "UPDATE app.api_operations SET picked = refused = '' AND NOT gone AND id = ANY ($4)
         WHERE tenant_id = $1 AND api_id = $2 AND id = ANY ($3)",
    )
    .bind(tx.tenant())
    .bind(api)
    .bind(shown)
    .bind(picked)
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(in crate::catalog::api) async fn pick_all(
    tx: &mut TenantTx,
    api: ApiId,
    filter: &OperationFilter,
    search: &Search,
    picked: bool,
) -> Result<()> {
    sqlx::query(
        "UPDATE app.api_operations SET picked = $6
         WHERE tenant_id = $1 AND api_id = $2 AND refused = '' AND NOT gone
           AND ($3 = '' OR strpos(lower(key || ' ' || name || ' ' || summary), $3) > 0)
           AND ($4 = '' OR $4 = ANY (tags))
           AND CASE $5 WHEN 'picked' THEN picked WHEN 'read' THEN effect = 'read' WHEN 'refused' THEN false
                       WHEN 'changed' THEN published <> digest ELSE true END",
    )
    .bind(tx.tenant())
    .bind(api)
    .bind(search.pattern())
    .bind(&filter.tag)
    .bind(filter.shown.as_str())
    .bind(picked)
    .execute(tx.connection())
    .await?;
    Ok(())
}
