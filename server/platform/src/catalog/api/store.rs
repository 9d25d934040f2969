//! SQL of imported APIs and their operations.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest as _, Sha256};
use sqlx::types::Json;
use trunkline_protocol::oauth::scope::Effect;
use url::Url;

use super::{
    api::{Api, Counts, Failing, ListedApi, ListedOperation, OperationFilter, Tag, Tally},
    overrides::Overrides,
    publish::Picked,
};
use crate::{
    catalog::{
        Operation,
        openapi::{Described, Scheme},
        source::SourceName,
    },
    db::{
        TenantTx,
        page::{Found, Search},
    },
    error::{Error, Result, is_unique_violation},
    ids::{ApiId, CredentialId, OperationId, ToolId, UserId},
};

/// Tags that are offered.
const MAX_TAGS: i64 = 200;

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

/// An operation on its way into the database.
pub(super) struct OperationRow {
    id: OperationId,
    pub(super) key: String,
    summary: String,
    tags: String,
    is_deprecated: bool,
    pub(super) refused: String,
    name: String,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) effect: Effect,
    pub(super) input_schema: Option<String>,
    pub(super) operation: Option<String>,
    pub(super) server: Option<String>,
    notes: String,
    pub(super) digest: Vec<u8>,
    is_picked: bool,
}

/// Rows of what a document describes. A key that comes twice is the first one's.
pub(super) fn rows(described: Vec<Described>, now: DateTime<Utc>) -> Result<Vec<OperationRow>> {
    let mut seen = std::collections::HashSet::new();
    described.into_iter().filter(|one| seen.insert(one.key.clone())).map(|one| row(one, now)).collect()
}

fn row(one: Described, now: DateTime<Utc>) -> Result<OperationRow> {
    let mut row = OperationRow {
        id: OperationId::new(now),
        key: one.key,
        summary: one.summary,
        tags: one.tags.join("\n"),
        is_deprecated: one.is_deprecated,
        refused: String::new(),
        name: String::new(),
        title: String::new(),
        description: String::new(),
        effect: Effect::Destructive,
        input_schema: None,
        operation: None,
        server: None,
        notes: String::new(),
        digest: Vec::new(),
        is_picked: false,
    };
    match one.draft {
        Ok(draft) => {
            let draft = *draft;
            row.operation = Some(to_raw_value(&draft.operation).map_err(Error::internal)?.get().to_owned());
            row.input_schema = Some(draft.input_schema.get().to_owned());
            (row.name, row.title, row.description, row.effect) = (draft.name, draft.title, draft.description, draft.effect);
            (row.server, row.notes) = (draft.server, draft.notes.join("\n"));
        }
        Err(why) => row.refused = why.replace('\0', "").chars().take(500).collect(),
    }
    let mut digest = Sha256::new();
    let texts = [Some(row.refused.as_str()), Some(row.title.as_str()), Some(row.description.as_str()), Some(row.effect.as_str())];
    for part in texts.into_iter().chain([row.input_schema.as_deref(), row.operation.as_deref(), row.server.as_deref()]) {
        let part = part.unwrap_or_default();
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    row.digest = digest.finalize().to_vec();
    Ok(row)
}

/// Picks what is sensible to begin with.
pub(super) fn choose(rows: &mut [OperationRow], all: usize, read: usize) {
    let usable = |row: &OperationRow| row.refused.is_empty() && !row.is_deprecated;
    let is_small = rows.iter().filter(|row| usable(row)).count() <= all;
    let mut left = read;
    for row in rows.iter_mut().filter(|row| usable(row)) {
        row.is_picked = is_small || (row.effect == Effect::Read && left > 0);
        left = left.saturating_sub(usize::from(row.is_picked));
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

pub(super) async fn insert_operations(tx: &mut TenantTx, api: ApiId, rows: &[OperationRow]) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.api_operations
           (id, tenant_id, api_id, key, position, summary, tags, deprecated, refused, name, title, description, effect, input_schema, operation, server,
            notes, digest, picked)
         SELECT n.id, $1, $2, n.key, n.position, n.summary, string_to_array(n.tags, E'\\n'), n.deprecated, n.refused, n.name, n.title, n.description,
                n.effect, n.input_schema::json, n.operation::json, n.server, n.notes, n.digest, n.picked
         FROM UNNEST($3::uuid[], $4::text[], $5::int[], $6::text[], $7::text[], $8::boolean[], $9::text[], $10::text[], $11::text[], $12::text[],
                     $13::text[], $14::text[], $15::text[], $16::text[], $17::text[], $18::bytea[], $19::boolean[])
              AS n (id, key, position, summary, tags, deprecated, refused, name, title, description, effect, input_schema, operation, server, notes,
                    digest, picked)
         ON CONFLICT (tenant_id, api_id, key) DO UPDATE SET
             position = EXCLUDED.position, summary = EXCLUDED.summary, tags = EXCLUDED.tags, deprecated = EXCLUDED.deprecated,
             refused = EXCLUDED.refused, name = EXCLUDED.name, title = EXCLUDED.title, description = EXCLUDED.description, effect = EXCLUDED.effect,
             input_schema = EXCLUDED.input_schema, operation = EXCLUDED.operation, server = EXCLUDED.server, notes = EXCLUDED.notes,
             digest = EXCLUDED.digest, gone = false, picked = app.api_operations.picked AND EXCLUDED.refused = ''",
    )
    .bind(tx.tenant())
    .bind(api)
    .bind(rows.iter().map(|row| row.id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.key.as_str()).collect::<Vec<_>>())
    .bind((0i32..).take(rows.len()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.summary.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.tags.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.is_deprecated).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.refused.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.title.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.description.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.effect.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.input_schema.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.operation.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.server.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.notes.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.digest.as_slice()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.is_picked).collect::<Vec<_>>())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// A newer document: what it has is as it has it; what it has not is gone, or forgotten if it was never published.
pub(super) async fn replace_operations(tx: &mut TenantTx, api: ApiId, rows: &[OperationRow]) -> Result<Tally> {
    let before: Vec<(String, Vec<u8>)> =
        sqlx::query_as("SELECT key, digest FROM app.api_operations WHERE tenant_id = $1 AND api_id = $2 AND NOT gone")
            .bind(tx.tenant())
            .bind(api)
            .fetch_all(tx.connection())
            .await?;
    let before: HashMap<String, Vec<u8>> = before.into_iter().collect();
    let mut tally = Tally::default();
    for row in rows {
        match before.get(&row.key) {
            None => tally.added += 1,
            Some(digest) if *digest != row.digest => tally.changed += 1,
            Some(_) => {}
        }
    }
    tally.removed = before.len() + tally.added - rows.len();
    let keys: Vec<&str> = rows.iter().map(|row| row.key.as_str()).collect();
    sqlx::query("DELETE FROM app.api_operations WHERE tenant_id = $1 AND api_id = $2 AND tool_id IS NULL AND key <> ALL ($3)")
        .bind(tx.tenant())
        .bind(api)
        .bind(&keys)
        .execute(tx.connection())
        .await?;
    sqlx::query(
        "UPDATE app.api_operations SET gone = true, picked = false WHERE tenant_id = $1 AND api_id = $2 AND key <> ALL ($3)",
    )
    .bind(tx.tenant())
    .bind(api)
    .bind(&keys)
    .execute(tx.connection())
    .await?;
    insert_operations(tx, api, rows).await?;
    Ok(tally)
}

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

pub(super) async fn search(
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

pub(super) async fn tags(tx: &mut TenantTx, api: ApiId) -> Result<Vec<Tag>> {
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

pub(super) async fn pick(tx: &mut TenantTx, api: ApiId, shown: &[OperationId], picked: &[OperationId]) -> Result<()> {
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

pub(super) async fn pick_all(
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

pub(super) async fn picked(tx: &mut TenantTx, api: ApiId) -> Result<Vec<Picked>> {
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
pub(super) async fn find_operation(tx: &mut TenantTx, api: ApiId, id: OperationId) -> Result<Option<(String, Picked)>> {
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
pub(super) async fn set_overrides(tx: &mut TenantTx, id: OperationId, overrides: &Overrides) -> Result<()> {
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

pub(super) async fn tool_count(tx: &mut TenantTx, api: ApiId) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(tool_id) FROM app.api_operations WHERE tenant_id = $1 AND api_id = $2")
        .bind(tx.tenant())
        .bind(api)
        .fetch_one(tx.connection())
        .await?)
}

/// Tools that were left behind when their API was removed: whoever brings their names again goes on with them.
pub(super) async fn adoptable(tx: &mut TenantTx, names: &[String]) -> Result<Vec<(String, ToolId)>> {
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
pub(super) async fn taken_names(tx: &mut TenantTx, names: &[&str]) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar("SELECT name FROM app.tools WHERE tenant_id = $1 AND name = ANY ($2) ORDER BY name")
        .bind(tx.tenant())
        .bind(names)
        .fetch_all(tx.connection())
        .await?)
}

/// Notes which tools they are, and that these are as the document has them.
pub(super) async fn set_published(tx: &mut TenantTx, pairs: &[(OperationId, ToolId)]) -> Result<()> {
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
pub(super) async fn switch_tools(tx: &mut TenantTx, api: ApiId) -> Result<Vec<(ToolId, bool)>> {
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

pub(super) async fn disable_tools(tx: &mut TenantTx, api: ApiId) -> Result<()> {
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
