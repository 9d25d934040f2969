//! SQL of descriptions that are read again, and of what waits for a decision.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use url::Url;

use super::{
    super::{
        api::{Api, Document},
        store::OperationRow,
    },
    Change, Item, Part, Pin, Review,
};
use crate::{
    catalog::{Carrier, openapi::Scheme},
    db::{SystemTx, TenantTx},
    error::{Error, Result},
    ids::{ApiId, TenantId, UserId},
};

/// Operations of one fate that are listed, and those whose descriptions are kept before and after.
const LISTED: usize = 100;
const DESCRIBED: usize = 20;
/// Documents of one API that are remembered, and so never told of again.
const REMEMBERED: i64 = 50;
/// Members that get a letter.
const MOST_LETTERS: i64 = 50;

#[derive(sqlx::FromRow)]
struct ChangeRow {
    sha256: Vec<u8>,
    bytes: i32,
    link: Option<String>,
    title: String,
    version: String,
    review: Json<Review>,
    is_brought: bool,
    found_at: DateTime<Utc>,
    seen_at: DateTime<Utc>,
}

impl TryFrom<ChangeRow> for Change {
    type Error = Error;

    fn try_from(row: ChangeRow) -> Result<Self> {
        Ok(Self {
            pin: pin(row.sha256)?,
            bytes: usize::try_from(row.bytes).map_err(Error::internal)?,
            link: row.link.as_deref().map(Url::parse).transpose().map_err(Error::internal)?,
            title: row.title,
            version: row.version,
            review: row.review.0,
            is_brought: row.is_brought,
            found_at: row.found_at,
            seen_at: row.seen_at,
        })
    }
}

fn pin(stored: Vec<u8>) -> Result<Pin> {
    stored.try_into().map(Pin).map_err(|_| Error::internal("a stored digest is not 32 bytes long"))
}

/// What waits for a decision.
pub(super) async fn pending(tx: &mut TenantTx, api: ApiId) -> Result<Option<Change>> {
    let row: Option<ChangeRow> = sqlx::query_as(
        "SELECT sha256, bytes, link, title, version, review, brought_by IS NOT NULL AS is_brought, found_at, seen_at
         FROM app.api_changes WHERE tenant_id = $1 AND api_id = $2 AND state = 'pending'",
    )
    .bind(tx.tenant())
    .bind(api)
    .fetch_optional(tx.connection())
    .await?;
    row.map(Change::try_from).transpose()
}

/// The document that waits, if it is that one.
pub(super) async fn document(tx: &mut TenantTx, api: ApiId, pin: Pin) -> Result<Option<Document>> {
    let row: Option<(Vec<u8>, Option<String>)> = sqlx::query_as(
        "SELECT document, link FROM app.api_changes WHERE tenant_id = $1 AND api_id = $2 AND state = 'pending' AND sha256 = $3",
    )
    .bind(tx.tenant())
    .bind(api)
    .bind(&pin.0[..])
    .fetch_optional(tx.connection())
    .await?;
    let Some((bytes, link)) = row else { return Ok(None) };
    Ok(Some(Document { bytes, link: link.as_deref().map(Url::parse).transpose().map_err(Error::internal)? }))
}

/// What is remembered of a document.
#[derive(sqlx::FromRow)]
pub(super) struct Known {
    /// Has somebody said that it is not wanted?
    pub(super) is_dismissed: bool,
    /// Were letters about it written?
    pub(super) is_told: bool,
}

pub(super) async fn known(tx: &mut TenantTx, api: ApiId, pin: Pin) -> Result<Option<Known>> {
    Ok(sqlx::query_as(
        "SELECT state = 'dismissed' AS is_dismissed, told_at IS NOT NULL AS is_told
         FROM app.api_changes WHERE tenant_id = $1 AND api_id = $2 AND sha256 = $3",
    )
    .bind(tx.tenant())
    .bind(api)
    .bind(&pin.0[..])
    .fetch_optional(tx.connection())
    .await?)
}

/// Has it wait for a decision; nothing else does at that moment.
pub(super) async fn put_pending(
    tx: &mut TenantTx,
    api: ApiId,
    change: &Change,
    document: &[u8],
    brought_by: Option<UserId>,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.api_changes (tenant_id, api_id, sha256, bytes, document, link, title, version, review, state, brought_by, found_at, seen_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'pending', $10, $11, $11)
         ON CONFLICT (tenant_id, api_id, sha256) DO UPDATE SET
             document = EXCLUDED.document, link = EXCLUDED.link, title = EXCLUDED.title, version = EXCLUDED.version, review = EXCLUDED.review,
             state = 'pending', brought_by = EXCLUDED.brought_by, found_at = EXCLUDED.found_at, seen_at = EXCLUDED.seen_at, settled_at = NULL,
             settled_by = NULL",
    )
    .bind(tx.tenant())
    .bind(api)
    .bind(&change.pin.0[..])
    .bind(i32::try_from(change.bytes).map_err(Error::internal)?)
    .bind(document)
    .bind(change.link.as_ref().map(Url::as_str))
    .bind(&change.title)
    .bind(&change.version)
    .bind(Json(&change.review))
    .bind(brought_by)
    .bind(change.found_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Ends the wait for a decision; the document is not needed any more.
pub(super) async fn settle(tx: &mut TenantTx, api: ApiId, state: &str, by: Option<UserId>, now: DateTime<Utc>) -> Result<()> {
    sqlx::query(
        "UPDATE app.api_changes SET state = $3, document = NULL, settled_at = $4, settled_by = $5
         WHERE tenant_id = $1 AND api_id = $2 AND state = 'pending'",
    )
    .bind(tx.tenant())
    .bind(api)
    .bind(state)
    .bind(now)
    .bind(by)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// It was seen again.
pub(super) async fn touch(tx: &mut TenantTx, api: ApiId, pin: Pin, now: DateTime<Utc>) -> Result<()> {
    sqlx::query("UPDATE app.api_changes SET seen_at = $4 WHERE tenant_id = $1 AND api_id = $2 AND sha256 = $3")
        .bind(tx.tenant())
        .bind(api)
        .bind(&pin.0[..])
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// When letters about documents of that API were last written.
pub(super) async fn last_told(tx: &mut TenantTx, api: ApiId) -> Result<Option<DateTime<Utc>>> {
    Ok(sqlx::query_scalar("SELECT max(told_at) FROM app.api_changes WHERE tenant_id = $1 AND api_id = $2")
        .bind(tx.tenant())
        .bind(api)
        .fetch_one(tx.connection())
        .await?)
}

pub(super) async fn set_told(tx: &mut TenantTx, api: ApiId, pin: Pin, now: DateTime<Utc>) -> Result<()> {
    sqlx::query("UPDATE app.api_changes SET told_at = $4 WHERE tenant_id = $1 AND api_id = $2 AND sha256 = $3")
        .bind(tx.tenant())
        .bind(api)
        .bind(&pin.0[..])
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Forgets what was seen longest ago, where too much is remembered.
pub(super) async fn prune(tx: &mut TenantTx, api: ApiId) -> Result<()> {
    sqlx::query(
        "DELETE FROM app.api_changes WHERE tenant_id = $1 AND api_id = $2 AND state <> 'pending' AND sha256 NOT IN (
             SELECT sha256 FROM app.api_changes WHERE tenant_id = $1 AND api_id = $2 ORDER BY seen_at DESC, sha256 LIMIT $3)",
    )
    .bind(tx.tenant())
    .bind(api)
    .bind(REMEMBERED)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// The link led to the pinned document.
pub(super) async fn set_verified(tx: &mut TenantTx, api: ApiId, now: DateTime<Utc>) -> Result<()> {
    sqlx::query("UPDATE app.apis SET verified_at = $3 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(api)
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// The link could be read. Says whether somebody was told that it could not.
pub(super) async fn set_readable(tx: &mut TenantTx, api: ApiId) -> Result<bool> {
    let was_told: Option<bool> = sqlx::query_scalar(
        "UPDATE app.apis a SET failing_since = NULL, failure = '', failure_told = false
         FROM app.apis before
         WHERE a.tenant_id = $1 AND a.id = $2 AND before.tenant_id = $1 AND before.id = $2 AND a.failing_since IS NOT NULL
         RETURNING before.failure_told",
    )
    .bind(tx.tenant())
    .bind(api)
    .fetch_optional(tx.connection())
    .await?;
    Ok(was_told.unwrap_or(false))
}

/// The link could not be read. Says since when it cannot, and whether somebody was told.
pub(super) async fn set_unreadable(
    tx: &mut TenantTx,
    api: ApiId,
    now: DateTime<Utc>,
    why: &str,
) -> Result<(DateTime<Utc>, bool)> {
    Ok(sqlx::query_as(
        "UPDATE app.apis SET failing_since = COALESCE(failing_since, $3), failure = $4
         WHERE tenant_id = $1 AND id = $2 RETURNING failing_since, failure_told",
    )
    .bind(tx.tenant())
    .bind(api)
    .bind(now)
    .bind(why)
    .fetch_one(tx.connection())
    .await?)
}

pub(super) async fn set_failure_told(tx: &mut TenantTx, api: ApiId) -> Result<()> {
    sqlx::query("UPDATE app.apis SET failure_told = true WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(api)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Has the link read at that time, and now and again from then on.
pub(super) async fn schedule(tx: &mut TenantTx, api: ApiId, due_at: DateTime<Utc>) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.api_rounds (api_id, tenant, due_at) VALUES ($1, $2, $3) ON CONFLICT (api_id) DO UPDATE SET due_at = EXCLUDED.due_at",
    )
    .bind(api)
    .bind(tx.tenant())
    .bind(due_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(super) async fn unschedule(tx: &mut TenantTx, api: ApiId) -> Result<()> {
    sqlx::query("DELETE FROM app.api_rounds WHERE tenant = $1 AND api_id = $2")
        .bind(tx.tenant())
        .bind(api)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Leases the description that is due longest, of any tenant but these. `SKIP LOCKED`: replicas do not wait for each other.
pub(super) async fn lease_due(
    tx: &mut SystemTx,
    but: &[TenantId],
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Option<(TenantId, ApiId)>> {
    Ok(sqlx::query_as(
        "UPDATE app.api_rounds SET leased_until = $2
         WHERE api_id = (SELECT api_id FROM app.api_rounds
                         WHERE due_at <= $1 AND (leased_until IS NULL OR leased_until <= $1) AND tenant <> ALL ($3)
                         ORDER BY due_at, api_id
                         LIMIT 1
                         FOR UPDATE SKIP LOCKED)
         RETURNING tenant, api_id",
    )
    .bind(now)
    .bind(until)
    .bind(but)
    .fetch_optional(tx.connection())
    .await?)
}

/// Ends a lease. What is not scheduled any more stays so.
pub(super) async fn release(tx: &mut TenantTx, api: ApiId, due_at: DateTime<Utc>) -> Result<()> {
    sqlx::query("UPDATE app.api_rounds SET leased_until = NULL, due_at = $3 WHERE tenant = $1 AND api_id = $2")
        .bind(tx.tenant())
        .bind(api)
        .bind(due_at)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Name and slug of the tenant, for letters.
pub(super) async fn organisation(tx: &mut TenantTx) -> Result<(String, String)> {
    Ok(sqlx::query_as("SELECT name, slug FROM app.tenants WHERE id = $1").bind(tx.tenant()).fetch_one(tx.connection()).await?)
}

/// Addresses of members with those roles.
pub(super) async fn addresses(tx: &mut TenantTx, roles: &[&str]) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar(
        "SELECT u.email FROM app.memberships m JOIN app.users u ON u.id = m.user_id
         WHERE m.tenant_id = $1 AND m.role = ANY ($2) ORDER BY u.email LIMIT $3",
    )
    .bind(tx.tenant())
    .bind(roles)
    .bind(MOST_LETTERS)
    .fetch_all(tx.connection())
    .await?)
}

#[derive(sqlx::FromRow)]
struct BeforeRow {
    key: String,
    digest: Vec<u8>,
    is_tool: bool,
}

#[derive(sqlx::FromRow)]
struct TextsRow {
    key: String,
    title: String,
    description: String,
    effect: String,
    input_schema: Option<String>,
    operation: Option<String>,
    server: Option<String>,
    refused: String,
}

/// What a document would change of what is known of the API.
pub(super) async fn compare(
    tx: &mut TenantTx,
    api: &Api,
    rows: &[OperationRow],
    servers: &[String],
    schemes: &[Scheme],
) -> Result<Review> {
    let before: Vec<BeforeRow> = sqlx::query_as(
        "SELECT key, digest, tool_id IS NOT NULL AS is_tool FROM app.api_operations
         WHERE tenant_id = $1 AND api_id = $2 AND NOT gone ORDER BY position, id",
    )
    .bind(tx.tenant())
    .bind(api.id)
    .fetch_all(tx.connection())
    .await?;
    let known: HashMap<&str, &BeforeRow> = before.iter().map(|row| (row.key.as_str(), row)).collect();
    let now: HashSet<&str> = rows.iter().map(|row| row.key.as_str()).collect();
    let item = |key: &str, is_tool| Item { key: key.to_owned(), is_tool, what: Vec::new(), description: None };
    let added = rows.iter().filter(|row| !known.contains_key(row.key.as_str())).map(|row| item(&row.key, false));
    let is_changed = |row: &&OperationRow| known.get(row.key.as_str()).is_some_and(|before| before.digest != row.digest);
    let is_tool = |row: &OperationRow| known.get(row.key.as_str()).is_some_and(|before| before.is_tool);
    let changed = rows.iter().filter(is_changed).map(|row| item(&row.key, is_tool(row)));
    let removed = before.iter().filter(|row| !now.contains(row.key.as_str())).map(|row| item(&row.key, row.is_tool));
    let mut review = Review {
        added: part(added.collect()),
        changed: part(changed.collect()),
        removed: part(removed.collect()),
        servers: (api.servers != servers).then(|| (api.servers.clone(), servers.to_vec())),
        schemes: otherwise(&api.schemes, schemes),
    };
    let by_key: HashMap<&str, &OperationRow> = rows.iter().map(|row| (row.key.as_str(), row)).collect();
    explain(tx, api.id, &mut review.changed.items, &by_key).await?;
    Ok(review)
}

/// Tools before others, otherwise as they come, and not all of too many.
fn part(mut items: Vec<Item>) -> Part {
    let count = items.len();
    items.sort_by_key(|item| !item.is_tool);
    items.truncate(LISTED);
    Part { count, items }
}

/// Says what of changed operations is otherwise.
async fn explain(tx: &mut TenantTx, api: ApiId, items: &mut [Item], now: &HashMap<&str, &OperationRow>) -> Result<()> {
    let keys: Vec<&str> = items.iter().map(|item| item.key.as_str()).collect();
    let texts: Vec<TextsRow> = sqlx::query_as(
        "SELECT key, title, description, effect, input_schema::text AS input_schema, operation::text AS operation, server, refused
         FROM app.api_operations WHERE tenant_id = $1 AND api_id = $2 AND key = ANY ($3)",
    )
    .bind(tx.tenant())
    .bind(api)
    .bind(&keys)
    .fetch_all(tx.connection())
    .await?;
    let texts: HashMap<&str, &TextsRow> = texts.iter().map(|row| (row.key.as_str(), row)).collect();
    let mut described = 0;
    for item in items {
        let (Some(old), Some(new)) = (texts.get(item.key.as_str()), now.get(item.key.as_str())) else { continue };
        let parts = [
            ("whether it can be a tool", old.refused != new.refused),
            ("title", old.title != new.title),
            ("description", old.description != new.description),
            ("effect", old.effect != new.effect.as_str()),
            ("arguments", old.input_schema != new.input_schema),
            ("request", old.operation != new.operation),
            ("server", old.server != new.server),
        ];
        item.what = parts.into_iter().filter(|(_, is_otherwise)| *is_otherwise).map(|(what, _)| what.to_owned()).collect();
        if old.description != new.description && described < DESCRIBED {
            described += 1;
            item.description = Some((old.description.clone(), new.description.clone()));
        }
    }
    Ok(())
}

/// Schemes that are new, gone or otherwise, in words.
fn otherwise(before: &[Scheme], now: &[Scheme]) -> Vec<String> {
    let token_url = |scheme: &Scheme| match &scheme.carrier {
        Some(Carrier::ClientCredentials { token_url, .. }) => format!(", tokens from {token_url}"),
        _ => String::new(),
    };
    let find = |all: &[Scheme], name: &str| all.iter().find(|scheme| scheme.name == name).cloned();
    let told = now.iter().filter_map(|scheme| match find(before, &scheme.name) {
        None => Some(format!("{} is new{}", scheme.name, token_url(scheme))),
        Some(old) if old != *scheme => Some(format!("{} is otherwise{}", scheme.name, token_url(scheme))),
        Some(_) => None,
    });
    let gone = before.iter().filter(|scheme| find(now, &scheme.name).is_none()).map(|scheme| format!("{} is gone", scheme.name));
    told.chain(gone).collect()
}
