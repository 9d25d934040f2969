//! SQL of agents' keys.

use chrono::{DateTime, NaiveDate, Utc};

use super::{scopes_from, scopes_to};
use crate::{
    agents::key::{BearerKey, Key, KeyCounts, KeyFilter, ListedKey},
    db::{
        TenantTx,
        page::{Found, Search},
    },
    error::{Error, Result},
    ids::{AgentId, KeyId, UserId},
    secret::Digest,
};

#[derive(sqlx::FromRow)]
struct KeyRow {
    id: KeyId,
    agent_id: AgentId,
    name: String,
    lookup: String,
    scopes: Vec<String>,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    revoked_at: Option<DateTime<Utc>>,
    last_used_on: Option<NaiveDate>,
}

/// A key as a bearer is held against it.
#[derive(Debug)]
pub(crate) struct StoredKey {
    pub(crate) key: Key,
    pub(crate) digest: Digest,
}

impl TryFrom<KeyRow> for Key {
    type Error = Error;

    fn try_from(row: KeyRow) -> Result<Self> {
        Ok(Self {
            id: row.id,
            agent_id: row.agent_id,
            name: row.name,
            lookup: row.lookup,
            scopes: scopes_from(&row.scopes)?,
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            last_used_on: row.last_used_on,
        })
    }
}

pub(in crate::agents) async fn insert_key(tx: &mut TenantTx, key: &Key, bearer: &BearerKey, by: UserId) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.keys (id, tenant_id, agent_id, name, lookup, digest, scopes, created_by, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(key.id)
    .bind(tx.tenant())
    .bind(key.agent_id)
    .bind(&key.name)
    .bind(&key.lookup)
    .bind(bearer.digest().as_bytes())
    .bind(scopes_to(&key.scopes))
    .bind(by)
    .bind(key.created_at)
    .bind(key.expires_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(in crate::agents) async fn list_keys(tx: &mut TenantTx, agent: Option<AgentId>) -> Result<Vec<Key>> {
    let rows: Vec<KeyRow> = sqlx::query_as(
        "SELECT id, agent_id, name, lookup, scopes, created_at, expires_at, revoked_at, last_used_on
         FROM app.keys WHERE tenant_id = $1 AND ($2::uuid IS NULL OR agent_id = $2)
         ORDER BY created_at DESC, id DESC LIMIT 1000",
    )
    .bind(tx.tenant())
    .bind(agent)
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(Key::try_from).collect()
}

pub(in crate::agents) async fn search_keys(
    tx: &mut TenantTx,
    filter: KeyFilter,
    search: &Search,
    now: DateTime<Utc>,
) -> Result<Found<ListedKey>> {
    #[derive(sqlx::FromRow)]
    struct Row {
        #[sqlx(flatten)]
        key: KeyRow,
        agent_name: String,
    }
    let total = sqlx::query_scalar(
        "SELECT count(*)
         FROM app.keys k JOIN app.agents a ON a.tenant_id = k.tenant_id AND a.id = k.agent_id
         WHERE k.tenant_id = $1 AND ($2::uuid IS NULL OR k.agent_id = $2)
           AND (NOT $3 OR k.revoked_at IS NULL AND k.expires_at > $4)
           AND (strpos(lower(k.name), $5) > 0 OR strpos(lower(a.name), $5) > 0)",
    )
    .bind(tx.tenant())
    .bind(filter.agent)
    .bind(filter.live)
    .bind(now)
    .bind(search.pattern())
    .fetch_one(tx.connection())
    .await?;
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT k.id, k.agent_id, k.name, k.lookup, k.scopes, k.created_at, k.expires_at, k.revoked_at, k.last_used_on, a.name AS agent_name
         FROM app.keys k JOIN app.agents a ON a.tenant_id = k.tenant_id AND a.id = k.agent_id
         WHERE k.tenant_id = $1 AND ($2::uuid IS NULL OR k.agent_id = $2)
           AND (NOT $3 OR k.revoked_at IS NULL AND k.expires_at > $4)
           AND (strpos(lower(k.name), $5) > 0 OR strpos(lower(a.name), $5) > 0)
         ORDER BY (k.revoked_at IS NULL AND k.expires_at > $4) DESC, k.created_at DESC, k.id DESC LIMIT $6 OFFSET $7",
    )
    .bind(tx.tenant())
    .bind(filter.agent)
    .bind(filter.live)
    .bind(now)
    .bind(search.pattern())
    .bind(search.limit())
    .bind(search.offset())
    .fetch_all(tx.connection())
    .await?;
    let listed = |row: Row| Ok(ListedKey { key: row.key.try_into()?, agent_name: row.agent_name });
    Ok(search.found(rows.into_iter().map(listed).collect::<Result<_>>()?, total))
}

pub(in crate::agents) async fn count_keys(tx: &mut TenantTx, now: DateTime<Utc>) -> Result<KeyCounts> {
    Ok(sqlx::query_as(
        "SELECT count(*) AS live,
                count(*) FILTER (WHERE expires_at < $2::timestamptz + interval '14 days') AS ending,
                count(*) FILTER (WHERE created_at < $2::timestamptz - interval '90 days'
                                   AND (last_used_on IS NULL OR last_used_on < ($2::timestamptz - interval '90 days')::date)) AS unused
         FROM app.keys WHERE tenant_id = $1 AND revoked_at IS NULL AND expires_at > $2",
    )
    .bind(tx.tenant())
    .bind(now)
    .fetch_one(tx.connection())
    .await?)
}

pub(in crate::agents) async fn find_key(tx: &mut TenantTx, id: KeyId) -> Result<Option<Key>> {
    let row: Option<KeyRow> = sqlx::query_as(
        "SELECT id, agent_id, name, lookup, scopes, created_at, expires_at, revoked_at, last_used_on
         FROM app.keys WHERE tenant_id = $1 AND id = $2 FOR UPDATE",
    )
    .bind(tx.tenant())
    .bind(id)
    .fetch_optional(tx.connection())
    .await?;
    row.map(Key::try_from).transpose()
}

pub(in crate::agents) async fn expire_key(tx: &mut TenantTx, id: KeyId, at: DateTime<Utc>) -> Result<()> {
    sqlx::query("UPDATE app.keys SET expires_at = $3 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .bind(at)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(in crate::agents) async fn revoke_key(tx: &mut TenantTx, id: KeyId, at: DateTime<Utc>) -> Result<()> {
    sqlx::query("UPDATE app.keys SET revoked_at = $3 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .bind(at)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(in crate::agents) async fn touch_keys(tx: &mut TenantTx, keys: &[KeyId], day: NaiveDate) -> Result<()> {
    sqlx::query(
        "UPDATE app.keys SET last_used_on = $3
         WHERE tenant_id = $1 AND id = ANY ($2) AND (last_used_on IS NULL OR last_used_on < $3)",
    )
    .bind(tx.tenant())
    .bind(keys.iter().map(|key| key.uuid()).collect::<Vec<_>>())
    .bind(day)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Keys that work or will stop working only by time; the caller compares the time.
pub(in crate::agents) async fn load_keys(tx: &mut TenantTx) -> Result<Vec<StoredKey>> {
    #[derive(sqlx::FromRow)]
    struct Row {
        #[sqlx(flatten)]
        key: KeyRow,
        digest: Vec<u8>,
    }
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, agent_id, name, lookup, scopes, created_at, expires_at, revoked_at, last_used_on, digest
         FROM app.keys WHERE tenant_id = $1 AND revoked_at IS NULL AND expires_at > now() - interval '1 day'",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter()
        .map(|row| {
            let digest =
                Digest::from_stored(&row.digest).ok_or_else(|| Error::internal("a stored digest is not 32 bytes long"))?;
            Ok(StoredKey { key: row.key.try_into()?, digest })
        })
        .collect()
}
