//! SQL of providers, and of the sources that they are for.

use url::Url;

use super::Time;
use crate::{
    connections::provider::Provider,
    db::TenantTx,
    error::{Error, Result},
    ids::{SourceId, UserId},
};

/// A source, as far as it matters here.
#[derive(sqlx::FromRow)]
pub(in crate::connections) struct SourceRow {
    pub(in crate::connections) name: String,
    pub(in crate::connections) kind: String,
    pub(in crate::connections) url: String,
}

#[derive(sqlx::FromRow)]
struct ProviderRow {
    source_id: SourceId,
    origin: String,
    issuer: Option<String>,
    names_itself: bool,
    authorization_url: String,
    token_url: String,
    revocation_url: Option<String>,
    client_id: String,
    secret: Option<Vec<u8>>,
    authentication: String,
    scopes: String,
    resource: String,
    reader: Option<UserId>,
}

impl TryFrom<ProviderRow> for Provider {
    type Error = Error;

    fn try_from(row: ProviderRow) -> Result<Self> {
        let url = |text: &str| Url::parse(text).map_err(Error::internal);
        Ok(Self {
            source: row.source_id,
            origin: row.origin,
            issuer: row.issuer,
            names_itself: row.names_itself,
            authorization_url: url(&row.authorization_url)?,
            token_url: url(&row.token_url)?,
            revocation_url: row.revocation_url.as_deref().map(url).transpose()?,
            client_id: row.client_id,
            sealed: row.secret,
            authentication: row.authentication.parse()?,
            scopes: row.scopes,
            resource: row.resource,
            reader: row.reader,
        })
    }
}

pub(in crate::connections) async fn find_source(tx: &mut TenantTx, id: SourceId) -> Result<Option<SourceRow>> {
    Ok(sqlx::query_as("SELECT name, kind, url FROM app.sources WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .fetch_optional(tx.connection())
        .await?)
}

/// The same, held: until the end of the transaction it stays where it is.
pub(in crate::connections) async fn hold_source(tx: &mut TenantTx, id: SourceId) -> Result<Option<SourceRow>> {
    Ok(sqlx::query_as("SELECT name, kind, url FROM app.sources WHERE tenant_id = $1 AND id = $2 FOR UPDATE")
        .bind(tx.tenant())
        .bind(id)
        .fetch_optional(tx.connection())
        .await?)
}

/// Whoever asked the source before asked another one.
pub(in crate::connections) async fn new_edition(tx: &mut TenantTx, id: SourceId) -> Result<()> {
    sqlx::query("UPDATE app.sources SET edition = edition + 1 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(in crate::connections) async fn list_providers(tx: &mut TenantTx) -> Result<Vec<Provider>> {
    let rows: Vec<ProviderRow> = sqlx::query_as(
        "SELECT source_id, origin, issuer, names_itself, authorization_url, token_url, revocation_url, client_id, secret, authentication,
                scopes, resource, reader
         FROM app.connection_providers WHERE tenant_id = $1",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(Provider::try_from).collect()
}

pub(in crate::connections) async fn find_provider(tx: &mut TenantTx, source: SourceId) -> Result<Option<Provider>> {
    let row: Option<ProviderRow> = sqlx::query_as(
        "SELECT source_id, origin, issuer, names_itself, authorization_url, token_url, revocation_url, client_id, secret, authentication,
                scopes, resource, reader
         FROM app.connection_providers WHERE tenant_id = $1 AND source_id = $2",
    )
    .bind(tx.tenant())
    .bind(source)
    .fetch_optional(tx.connection())
    .await?;
    row.map(Provider::try_from).transpose()
}

pub(in crate::connections) async fn upsert_provider(tx: &mut TenantTx, provider: &Provider, at: Time) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.connection_providers
           (tenant_id, source_id, origin, issuer, names_itself, authorization_url, token_url, revocation_url, client_id, secret,
            authentication, scopes, resource, reader, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
         ON CONFLICT (tenant_id, source_id) DO UPDATE SET origin = $3, issuer = $4, names_itself = $5, authorization_url = $6,
            token_url = $7, revocation_url = $8, client_id = $9, secret = $10, authentication = $11, scopes = $12, resource = $13,
            reader = $14, updated_at = $15",
    )
    .bind(tx.tenant())
    .bind(provider.source)
    .bind(&provider.origin)
    .bind(&provider.issuer)
    .bind(provider.names_itself)
    .bind(provider.authorization_url.as_str())
    .bind(provider.token_url.as_str())
    .bind(provider.revocation_url.as_ref().map(Url::as_str))
    .bind(&provider.client_id)
    .bind(&provider.sealed)
    .bind(provider.authentication.as_str())
    .bind(&provider.scopes)
    .bind(&provider.resource)
    .bind(provider.reader)
    .bind(at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// With all its connections.
pub(in crate::connections) async fn delete_provider(tx: &mut TenantTx, source: SourceId) -> Result<bool> {
    let done = sqlx::query("DELETE FROM app.connection_providers WHERE tenant_id = $1 AND source_id = $2")
        .bind(tx.tenant())
        .bind(source)
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(in crate::connections) async fn delete_connections(tx: &mut TenantTx, source: SourceId) -> Result<()> {
    sqlx::query("DELETE FROM app.connections WHERE tenant_id = $1 AND source_id = $2")
        .bind(tx.tenant())
        .bind(source)
        .execute(tx.connection())
        .await?;
    Ok(())
}
