//! SQL of clients.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sqlx::types::Json;
use trunkline_protocol::oauth::client_metadata::{Authentication, ClientMetadata};

use super::{Admission, ClientKind, ClientPolicy, ClientState, ListedClient};
use crate::{
    db::{SystemTx, TenantTx},
    error::{Error, Result},
    ids::{AgentId, ClientId, TenantId, UserId},
    secret::Digest,
};

type Time = DateTime<Utc>;

// Of the installation: registrations and documents

pub(super) async fn insert_registration(
    tx: &mut SystemTx,
    client_id: &str,
    metadata: &ClientMetadata,
    secret: Option<Digest>,
    now: Time,
) -> Result<()> {
    sqlx::query("INSERT INTO app.client_registrations (client_id, metadata, secret_digest, created_at) VALUES ($1, $2, $3, $4)")
        .bind(client_id)
        .bind(Json(metadata))
        .bind(secret.as_ref().map(Digest::as_bytes))
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(super) async fn find_registration(tx: &mut SystemTx, client_id: &str) -> Result<Option<(ClientMetadata, Option<Digest>)>> {
    let row: Option<(Json<ClientMetadata>, Option<Vec<u8>>)> =
        sqlx::query_as("SELECT metadata, secret_digest FROM app.client_registrations WHERE client_id = $1")
            .bind(client_id)
            .fetch_optional(tx.connection())
            .await?;
    Ok(row.map(|(metadata, digest)| (metadata.0, digest.as_deref().and_then(Digest::from_stored))))
}

/// Somebody gave it consent: it stays.
pub(in crate::oauth) async fn use_registration(tx: &mut TenantTx, client_id: &str, now: Time) -> Result<()> {
    sqlx::query("UPDATE app.client_registrations SET used_at = $2 WHERE client_id = $1")
        .bind(client_id)
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(super) async fn find_document(tx: &mut SystemTx, client_id: &str, since: Time) -> Result<Option<(ClientMetadata, Time)>> {
    let row: Option<(Json<ClientMetadata>, Time)> =
        sqlx::query_as("SELECT metadata, fresh_until FROM app.client_documents WHERE client_id = $1 AND fetched_at > $2")
            .bind(client_id)
            .bind(since)
            .fetch_optional(tx.connection())
            .await?;
    Ok(row.map(|(metadata, fresh_until)| (metadata.0, fresh_until)))
}

pub(super) async fn keep_document(
    tx: &mut SystemTx,
    client_id: &str,
    metadata: &ClientMetadata,
    now: Time,
    fresh_until: Time,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.client_documents (client_id, metadata, fetched_at, fresh_until) VALUES ($1, $2, $3, $4)
         ON CONFLICT (client_id)
         DO UPDATE SET metadata = EXCLUDED.metadata, fetched_at = EXCLUDED.fetched_at, fresh_until = EXCLUDED.fresh_until",
    )
    .bind(client_id)
    .bind(Json(metadata))
    .bind(now)
    .bind(fresh_until)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Registrations that nobody used within a day, or for 90 days; documents that no longer count.
pub(in crate::oauth) async fn delete_unused(tx: &mut SystemTx, now: Time) -> Result<u64> {
    let registrations = sqlx::query(
        "DELETE FROM app.client_registrations WHERE COALESCE(used_at, created_at) < $1 AND (used_at IS NULL OR used_at < $2)",
    )
    .bind(now - TimeDelta::days(1))
    .bind(now - TimeDelta::days(90))
    .execute(tx.connection())
    .await?;
    let documents = sqlx::query("DELETE FROM app.client_documents WHERE fetched_at < $1")
        .bind(now - TimeDelta::days(30))
        .execute(tx.connection())
        .await?;
    Ok(registrations.rows_affected() + documents.rows_affected())
}

/// All tenants, whose rows of oauth are swept one by one.
pub(in crate::oauth) async fn tenants(tx: &mut SystemTx) -> Result<Vec<TenantId>> {
    Ok(sqlx::query_scalar("SELECT id FROM app.tenants").fetch_all(tx.connection()).await?)
}

// Of a tenant

#[derive(sqlx::FromRow)]
pub(in crate::oauth) struct Row {
    pub(in crate::oauth) id: ClientId,
    kind: String,
    pub(super) name: String,
    state: String,
    authentication: String,
    pub(super) redirect_uris: Vec<String>,
    secret_digest: Option<Vec<u8>>,
    pub(super) jwks: Option<Json<Value>>,
    pub(super) jwks_uri: Option<String>,
    pub(super) certificate_name: Option<String>,
    pub(super) agent_id: Option<AgentId>,
}

impl Row {
    pub(super) fn kind(&self) -> ClientKind {
        ClientKind::restore(&self.kind)
    }

    pub(super) fn state(&self) -> ClientState {
        ClientState::restore(&self.state)
    }

    pub(super) fn authentication(&self) -> Result<Authentication> {
        Authentication::restore(&self.authentication)
            .ok_or_else(|| Error::internal("a client with an unknown way to prove itself"))
    }

    pub(super) fn secret(&self) -> Option<Digest> {
        self.secret_digest.as_deref().and_then(Digest::from_stored)
    }
}

/// How a client proves who it is, as it is stored.
pub(super) struct StoredProof<'a> {
    pub(super) authentication: Authentication,
    pub(super) secret: Option<Digest>,
    pub(super) jwks: Option<&'a Value>,
    pub(super) jwks_uri: Option<&'a str>,
    pub(super) certificate_name: Option<&'a str>,
}

impl Default for StoredProof<'_> {
    fn default() -> Self {
        Self { authentication: Authentication::None, secret: None, jwks: None, jwks_uri: None, certificate_name: None }
    }
}

pub(super) struct NewRow<'a> {
    pub(super) id: ClientId,
    pub(super) client_id: &'a str,
    pub(super) kind: ClientKind,
    pub(super) name: &'a str,
    pub(super) state: ClientState,
    pub(super) redirect_uris: &'a [String],
    pub(super) proof: StoredProof<'a>,
    pub(super) agent: Option<AgentId>,
    pub(super) by: Option<UserId>,
}

pub(super) async fn find(tx: &mut TenantTx, client_id: &str) -> Result<Option<Row>> {
    Ok(sqlx::query_as(
        "SELECT id, kind, name, state, authentication, redirect_uris, secret_digest, jwks, jwks_uri, certificate_name, agent_id
         FROM app.clients WHERE tenant_id = $1 AND client_id = $2",
    )
    .bind(tx.tenant())
    .bind(client_id)
    .fetch_optional(tx.connection())
    .await?)
}

pub(super) async fn insert(tx: &mut TenantTx, row: &NewRow<'_>, now: Time) -> Result<()> {
    insert_new(tx, row, now).await.map(drop)
}

/// The id of the row, new or not.
pub(super) async fn insert_new(tx: &mut TenantTx, row: &NewRow<'_>, now: Time) -> Result<ClientId> {
    Ok(sqlx::query_scalar(
        "INSERT INTO app.clients
           (id, tenant_id, client_id, kind, name, state, authentication, redirect_uris, secret_digest, agent_id, created_by, created_at,
            jwks, jwks_uri, certificate_name)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
         ON CONFLICT (tenant_id, client_id) DO UPDATE SET name = app.clients.name
         RETURNING id",
    )
    .bind(row.id)
    .bind(tx.tenant())
    .bind(row.client_id)
    .bind(row.kind.as_str())
    .bind(row.name)
    .bind(row.state.as_str())
    .bind(row.proof.authentication.as_str())
    .bind(row.redirect_uris)
    .bind(row.proof.secret.as_ref().map(Digest::as_bytes))
    .bind(row.agent)
    .bind(row.by)
    .bind(now)
    .bind(row.proof.jwks.map(Json))
    .bind(row.proof.jwks_uri)
    .bind(row.proof.certificate_name)
    .fetch_one(tx.connection())
    .await?)
}

/// As whom a client shows itself, after its secret was replaced. `None`: no such client, or it has none.
pub(super) async fn replace_secret(tx: &mut TenantTx, id: ClientId, secret: Digest) -> Result<Option<String>> {
    Ok(sqlx::query_scalar(
        "UPDATE app.clients SET secret_digest = $3 WHERE tenant_id = $1 AND id = $2 AND secret_digest IS NOT NULL RETURNING client_id",
    )
    .bind(tx.tenant())
    .bind(id)
    .bind(secret.as_bytes())
    .fetch_optional(tx.connection())
    .await?)
}

pub(super) async fn set_state(tx: &mut TenantTx, id: ClientId, state: ClientState) -> Result<()> {
    let done = sqlx::query("UPDATE app.clients SET state = $3 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .bind(state.as_str())
        .execute(tx.connection())
        .await?;
    if done.rows_affected() == 0 { Err(Error::not_found("client")) } else { Ok(()) }
}

pub(in crate::oauth) async fn touch(tx: &mut TenantTx, id: ClientId, name: &str, now: Time) -> Result<()> {
    sqlx::query("UPDATE app.clients SET last_used_at = $4, name = $3 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .bind(name)
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Somebody is given something by it, in this transaction. False if it is not approved. Whoever blocks it at the same time waits for this
/// transaction or goes before it, and so sees what was given or prevents it.
pub(in crate::oauth) async fn touch_approved(tx: &mut TenantTx, id: ClientId, now: Time) -> Result<bool> {
    let done = sqlx::query("UPDATE app.clients SET last_used_at = $3 WHERE tenant_id = $1 AND id = $2 AND state = 'approved'")
        .bind(tx.tenant())
        .bind(id)
        .bind(now)
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected() == 1)
}

/// The tenant's slug.
pub(in crate::oauth) async fn slug(tx: &mut TenantTx) -> Result<String> {
    Ok(sqlx::query_scalar("SELECT slug FROM app.tenants WHERE id = $1").bind(tx.tenant()).fetch_one(tx.connection()).await?)
}

pub(super) async fn list(tx: &mut TenantTx, now: Time) -> Result<Vec<ListedClient>> {
    #[derive(sqlx::FromRow)]
    struct Listed {
        id: ClientId,
        client_id: String,
        name: String,
        kind: String,
        state: String,
        has_secret: bool,
        live_grants: i64,
        created_at: Time,
        last_used_at: Option<Time>,
    }
    let rows: Vec<Listed> = sqlx::query_as(
        "SELECT c.id, c.client_id, c.name, c.kind, c.state, c.secret_digest IS NOT NULL AS has_secret, c.created_at, c.last_used_at,
                (SELECT count(*) FROM app.grants g
                 WHERE g.tenant_id = c.tenant_id AND g.client_id = c.id AND g.revoked_at IS NULL AND g.expires_at > $2) AS live_grants
         FROM app.clients c WHERE c.tenant_id = $1
         ORDER BY c.state = 'pending' DESC, c.created_at DESC, c.id LIMIT 500",
    )
    .bind(tx.tenant())
    .bind(now)
    .fetch_all(tx.connection())
    .await?;
    let listed = rows.into_iter().map(|row| ListedClient {
        id: row.id,
        client_id: row.client_id,
        name: row.name,
        kind: ClientKind::restore(&row.kind),
        state: ClientState::restore(&row.state),
        has_secret: row.has_secret,
        live_grants: row.live_grants,
        created_at: row.created_at,
        last_used_at: row.last_used_at,
    });
    Ok(listed.collect())
}

pub(super) async fn policy(tx: &mut TenantTx) -> Result<ClientPolicy> {
    let row: Option<(String, Vec<String>)> =
        sqlx::query_as("SELECT admission, hosts FROM app.client_policies WHERE tenant_id = $1")
            .bind(tx.tenant())
            .fetch_optional(tx.connection())
            .await?;
    let Some((admission, hosts)) = row else { return Ok(ClientPolicy::default()) };
    Ok(ClientPolicy { admission: Admission::parse(&admission).map_err(Error::internal)?, hosts })
}

pub(super) async fn set_policy(tx: &mut TenantTx, policy: &ClientPolicy) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.client_policies (tenant_id, admission, hosts) VALUES ($1, $2, $3)
         ON CONFLICT (tenant_id) DO UPDATE SET admission = EXCLUDED.admission, hosts = EXCLUDED.hosts",
    )
    .bind(tx.tenant())
    .bind(policy.admission.as_str())
    .bind(&policy.hosts)
    .execute(tx.connection())
    .await?;
    Ok(())
}
