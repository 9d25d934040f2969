//! SQL of connections. Their providers and the renewal of data keys have files of their own.

mod keys;
mod providers;

use chrono::{DateTime, Utc};

use super::{Connection, ConnectionState, Place};
use crate::{
    db::{SystemTx, TenantTx},
    error::Result,
    ids::{ConnectionId, SourceId, TenantId, UserId},
};

pub(super) use keys::{reseal_secret, reseal_tokens, secrets_under_others, tokens_under_others};
pub(super) use providers::{
    delete_connections, delete_provider, find_provider, find_source, hold_source, list_providers, new_edition, upsert_provider,
};

type Time = DateTime<Utc>;

/// Tokens as they are stored.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Stored {
    pub(super) id: ConnectionId,
    pub(super) source_id: SourceId,
    pub(super) user_id: UserId,
    pub(super) access: Vec<u8>,
    pub(super) refresh: Option<Vec<u8>>,
    pub(super) scopes: String,
    pub(super) expires_at: Option<Time>,
    pub(super) state: String,
    pub(super) version: i32,
    pub(super) refreshed_at: Time,
    pub(super) leased_until: Option<Time>,
}

/// Tokens to be stored.
pub(super) struct Sealed<'a> {
    pub(super) access: Vec<u8>,
    pub(super) refresh: Option<Vec<u8>>,
    pub(super) scopes: &'a str,
    pub(super) expires_at: Option<Time>,
}

#[derive(sqlx::FromRow)]
struct ConnectionRow {
    source_id: SourceId,
    source: String,
    origin: String,
    scopes: String,
    state: String,
    error: String,
    expires_at: Option<Time>,
    connected_at: Time,
}

impl From<ConnectionRow> for Connection {
    fn from(row: ConnectionRow) -> Self {
        Self {
            source: row.source_id,
            source_name: row.source,
            origin: row.origin,
            scopes: row.scopes,
            state: if row.state == "working" { ConnectionState::Working } else { ConnectionState::Broken },
            error: row.error,
            expires_at: row.expires_at,
            connected_at: row.connected_at,
        }
    }
}

pub(super) async fn find(tx: &mut TenantTx, source: SourceId, user: UserId) -> Result<Option<Stored>> {
    Ok(sqlx::query_as(
        "SELECT id, source_id, user_id, access, refresh, scopes, expires_at, state, version, refreshed_at, leased_until
         FROM app.connections WHERE tenant_id = $1 AND source_id = $2 AND user_id = $3",
    )
    .bind(tx.tenant())
    .bind(source)
    .bind(user)
    .fetch_optional(tx.connection())
    .await?)
}

pub(super) async fn lock(tx: &mut TenantTx, source: SourceId, user: UserId) -> Result<Option<Stored>> {
    Ok(sqlx::query_as(
        "SELECT id, source_id, user_id, access, refresh, scopes, expires_at, state, version, refreshed_at, leased_until
         FROM app.connections WHERE tenant_id = $1 AND source_id = $2 AND user_id = $3 FOR UPDATE",
    )
    .bind(tx.tenant())
    .bind(source)
    .bind(user)
    .fetch_optional(tx.connection())
    .await?)
}

/// Whose connection that is, and at which source.
pub(super) async fn whose(tx: &mut TenantTx, id: ConnectionId) -> Result<Option<(SourceId, UserId)>> {
    Ok(sqlx::query_as("SELECT source_id, user_id FROM app.connections WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .fetch_optional(tx.connection())
        .await?)
}

/// Fresh consent: a new connection, or new tokens for one that is there. Gives its id.
pub(super) async fn connect(tx: &mut TenantTx, place: Place<'_>, sealed: &Sealed<'_>, at: Time) -> Result<ConnectionId> {
    Ok(sqlx::query_scalar(
        "INSERT INTO app.connections
           (id, tenant_id, source_id, user_id, access, refresh, scopes, expires_at, state, connected_at, refreshed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'working', $9, $9)
         ON CONFLICT (tenant_id, source_id, user_id) DO UPDATE SET access = $5, refresh = $6, scopes = $7, expires_at = $8,
            state = 'working', error = '', version = app.connections.version + 1, leased_until = NULL, connected_at = $9,
            refreshed_at = $9
         RETURNING id",
    )
    .bind(ConnectionId::new(at))
    .bind(tx.tenant())
    .bind(place.source)
    .bind(place.user)
    .bind(&sealed.access)
    .bind(&sealed.refresh)
    .bind(sealed.scopes)
    .bind(sealed.expires_at)
    .bind(at)
    .fetch_one(tx.connection())
    .await?)
}

pub(super) async fn lease(tx: &mut TenantTx, id: ConnectionId, until: Time) -> Result<()> {
    sqlx::query("UPDATE app.connections SET leased_until = $3 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .bind(until)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// What a refresh brought, if nobody was faster.
pub(super) async fn renew(tx: &mut TenantTx, id: ConnectionId, seen: i32, sealed: &Sealed<'_>, at: Time) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE app.connections SET access = $4, refresh = $5, scopes = $6, expires_at = $7, error = '', version = version + 1,
                leased_until = NULL, refreshed_at = $8
         WHERE tenant_id = $1 AND id = $2 AND version = $3",
    )
    .bind(tx.tenant())
    .bind(id)
    .bind(seen)
    .bind(&sealed.access)
    .bind(&sealed.refresh)
    .bind(sealed.scopes)
    .bind(sealed.expires_at)
    .bind(at)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Why a refresh failed that may work later. The lease ends.
pub(super) async fn set_error(tx: &mut TenantTx, id: ConnectionId, seen: i32, why: &str) -> Result<()> {
    sqlx::query("UPDATE app.connections SET error = $4, leased_until = NULL WHERE tenant_id = $1 AND id = $2 AND version = $3")
        .bind(tx.tenant())
        .bind(id)
        .bind(seen)
        .bind(why)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Says that those tokens are good for nothing; false if there are others meanwhile, or it was known.
pub(super) async fn break_off(tx: &mut TenantTx, id: ConnectionId, seen: i32, why: &str) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE app.connections SET state = 'broken', error = $4, leased_until = NULL
         WHERE tenant_id = $1 AND id = $2 AND version = $3 AND state = 'working'",
    )
    .bind(tx.tenant())
    .bind(id)
    .bind(seen)
    .bind(why)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn delete(tx: &mut TenantTx, id: ConnectionId) -> Result<()> {
    sqlx::query("DELETE FROM app.connections WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// A person's connections in the tenant, by source.
pub(super) async fn list_own(tx: &mut TenantTx, user: UserId) -> Result<Vec<Connection>> {
    let rows: Vec<ConnectionRow> = sqlx::query_as(
        "SELECT c.source_id, s.name AS source, p.origin, c.scopes, c.state, c.error, c.expires_at, c.connected_at
         FROM app.connections c
         JOIN app.sources s ON s.tenant_id = c.tenant_id AND s.id = c.source_id
         JOIN app.connection_providers p ON p.tenant_id = c.tenant_id AND p.source_id = c.source_id
         WHERE c.tenant_id = $1 AND c.user_id = $2 ORDER BY s.name",
    )
    .bind(tx.tenant())
    .bind(user)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().map(Connection::from).collect())
}

/// How many people are connected, and of how many that is broken.
pub(super) async fn count(tx: &mut TenantTx, source: SourceId) -> Result<(i64, i64)> {
    Ok(sqlx::query_as(
        "SELECT count(*) FILTER (WHERE state = 'working'), count(*) FILTER (WHERE state = 'broken')
         FROM app.connections WHERE tenant_id = $1 AND source_id = $2",
    )
    .bind(tx.tenant())
    .bind(source)
    .fetch_one(tx.connection())
    .await?)
}

/// Has it refreshed at that time; never, if there is none.
pub(super) async fn schedule(tx: &mut TenantTx, id: ConnectionId, due_at: Option<Time>) -> Result<()> {
    let Some(due_at) = due_at else {
        sqlx::query("DELETE FROM app.connection_refreshes WHERE tenant = $1 AND connection_id = $2")
            .bind(tx.tenant())
            .bind(id)
            .execute(tx.connection())
            .await?;
        return Ok(());
    };
    sqlx::query(
        "INSERT INTO app.connection_refreshes (connection_id, tenant, due_at) VALUES ($1, $2, $3)
         ON CONFLICT (connection_id) DO UPDATE SET due_at = EXCLUDED.due_at",
    )
    .bind(id)
    .bind(tx.tenant())
    .bind(due_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// The one that is due longest, put off until `again` for all others. `SKIP LOCKED`: replicas do not wait for each other.
pub(super) async fn take_due(tx: &mut SystemTx, now: Time, again: Time) -> Result<Option<(TenantId, ConnectionId)>> {
    Ok(sqlx::query_as(
        "UPDATE app.connection_refreshes SET due_at = $2
         WHERE connection_id = (SELECT connection_id FROM app.connection_refreshes WHERE due_at <= $1
                                ORDER BY due_at, connection_id
                                LIMIT 1
                                FOR UPDATE SKIP LOCKED)
         RETURNING tenant, connection_id",
    )
    .bind(now)
    .bind(again)
    .fetch_optional(tx.connection())
    .await?)
}
