//! SQL of sources. Their definitions, the changes that wait and the times of reading have files of their own.

mod changes;
mod definitions;
mod listed;
mod refreshes;

use chrono::{DateTime, Utc};
use url::Url;

use super::{
    definition::DefinitionState,
    source::{Policy, Source, SourceKind, SourceName, Stale},
};
use crate::{
    catalog::definition::ItemKind,
    db::TenantTx,
    error::{Error, Result, is_unique_violation},
    ids::{CredentialId, SourceId, UserId},
};

pub(super) use changes::{Waiting, changes, insert_changes, lock_changes, rejected, settle_changes, withdraw};
pub(super) use definitions::{
    Settled, insert_definitions, known, names, rewrite_definitions, set_removed, set_state, set_tool_states, set_tools, texts,
};
pub(super) use listed::{counts, listed, search, waiting};
pub(super) use refreshes::{lease, lease_due, release, schedule, unschedule};

#[derive(sqlx::FromRow)]
struct SourceRow {
    id: SourceId,
    name: String,
    kind: String,
    url: String,
    secret_header: Option<String>,
    credential_id: Option<CredentialId>,
    timeout_ms: i32,
    enabled: bool,
    prefix: bool,
    new_definitions: String,
    changes: String,
    meanwhile: String,
    default_effect: String,
    edition: i32,
    refreshed_at: Option<DateTime<Utc>>,
    stale_since: Option<DateTime<Utc>>,
    error: String,
    notice: String,
    created_at: DateTime<Utc>,
}

impl TryFrom<SourceRow> for Source {
    type Error = Error;

    fn try_from(row: SourceRow) -> Result<Self> {
        let kind = match row.kind.as_str() {
            "mcp" => SourceKind::Mcp {
                url: Url::parse(&row.url).map_err(Error::internal)?,
                secret_header: row.secret_header,
                credential: row.credential_id,
            },
            "api" => SourceKind::Api { url: Url::parse(&row.url).map_err(Error::internal)? },
            "conformance" => SourceKind::Conformance,
            _ => return Err(Error::internal("a stored source is of an unknown kind")),
        };
        Ok(Self {
            id: row.id,
            name: SourceName::restore(row.name),
            kind,
            enabled: row.enabled,
            prefix: row.prefix,
            policy: Policy {
                new: row.new_definitions.parse()?,
                changes: row.changes.parse()?,
                meanwhile: row.meanwhile.parse()?,
            },
            default_effect: row.default_effect.parse().map_err(Error::internal)?,
            timeout_ms: u32::try_from(row.timeout_ms).map_err(Error::internal)?,
            refreshed_at: row.refreshed_at,
            stale: row.stale_since.map(|since| Stale { since, why: row.error }),
            notice: row.notice,
            created_at: row.created_at,
            edition: row.edition,
        })
    }
}

/// The source's kind as its columns: kind, URL, header, credential.
fn columns(kind: &SourceKind) -> (&'static str, String, Option<&str>, Option<CredentialId>) {
    match kind {
        SourceKind::Mcp { url, secret_header, credential } => ("mcp", url.to_string(), secret_header.as_deref(), *credential),
        SourceKind::Api { url } => ("api", url.to_string(), None, None),
        SourceKind::Conformance => ("conformance", String::new(), None, None),
    }
}

pub(super) async fn insert(tx: &mut TenantTx, source: &Source, by: Option<UserId>) -> Result<()> {
    let (kind, url, secret_header, credential) = columns(&source.kind);
    sqlx::query(
        "INSERT INTO app.sources
           (id, tenant_id, name, kind, url, secret_header, credential_id, timeout_ms, enabled, prefix, new_definitions, changes, meanwhile,
            default_effect, created_by, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
    )
    .bind(source.id)
    .bind(tx.tenant())
    .bind(source.name.as_str())
    .bind(kind)
    .bind(url)
    .bind(secret_header)
    .bind(credential)
    .bind(i64::from(source.timeout_ms))
    .bind(source.enabled)
    .bind(source.prefix)
    .bind(source.policy.new.as_str())
    .bind(source.policy.changes.as_str())
    .bind(source.policy.meanwhile.as_str())
    .bind(source.default_effect.as_str())
    .bind(by)
    .bind(source.created_at)
    .execute(tx.connection())
    .await
    .map_err(|error| if is_unique_violation(&error) { Error::invalid("name", "another source has this name") } else { error.into() })?;
    Ok(())
}

pub(super) async fn update(tx: &mut TenantTx, source: &Source) -> Result<()> {
    let (_, url, secret_header, credential) = columns(&source.kind);
    sqlx::query(
        "UPDATE app.sources SET url = $3, secret_header = $4, credential_id = $5, timeout_ms = $6, new_definitions = $7, changes = $8,
                meanwhile = $9, default_effect = $10, edition = edition + 1
         WHERE tenant_id = $1 AND id = $2",
    )
    .bind(tx.tenant())
    .bind(source.id)
    .bind(url)
    .bind(secret_header)
    .bind(credential)
    .bind(i64::from(source.timeout_ms))
    .bind(source.policy.new.as_str())
    .bind(source.policy.changes.as_str())
    .bind(source.policy.meanwhile.as_str())
    .bind(source.default_effect.as_str())
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(super) async fn count(tx: &mut TenantTx) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM app.sources WHERE tenant_id = $1")
        .bind(tx.tenant())
        .fetch_one(tx.connection())
        .await?)
}

pub(in crate::catalog) async fn list(tx: &mut TenantTx) -> Result<Vec<Source>> {
    let rows: Vec<SourceRow> = sqlx::query_as(
        "SELECT id, name, kind, url, secret_header, credential_id, timeout_ms, enabled, prefix, new_definitions, changes, meanwhile,
                default_effect, edition, refreshed_at, stale_since, error, notice, created_at
         FROM app.sources WHERE tenant_id = $1 ORDER BY name",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(Source::try_from).collect()
}

pub(super) async fn find(tx: &mut TenantTx, id: SourceId) -> Result<Option<Source>> {
    let row: Option<SourceRow> = sqlx::query_as(
        "SELECT id, name, kind, url, secret_header, credential_id, timeout_ms, enabled, prefix, new_definitions, changes, meanwhile,
                default_effect, edition, refreshed_at, stale_since, error, notice, created_at
         FROM app.sources WHERE tenant_id = $1 AND id = $2",
    )
    .bind(tx.tenant())
    .bind(id)
    .fetch_optional(tx.connection())
    .await?;
    row.map(Source::try_from).transpose()
}

/// The source, held so that its definitions are settled by one after the other.
pub(super) async fn lock(tx: &mut TenantTx, id: SourceId) -> Result<Option<Source>> {
    sqlx::query("SELECT FROM app.sources WHERE tenant_id = $1 AND id = $2 FOR UPDATE")
        .bind(tx.tenant())
        .bind(id)
        .execute(tx.connection())
        .await?;
    find(tx, id).await
}

/// Names are given out by one transaction of a tenant at a time.
pub(super) async fn lock_names(tx: &mut TenantTx) -> Result<()> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('definitions|' || $1::text, 7302116))")
        .bind(tx.tenant())
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(super) async fn set_enabled(tx: &mut TenantTx, id: SourceId, enabled: bool) -> Result<()> {
    sqlx::query("UPDATE app.sources SET enabled = $3, edition = edition + 1 WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .bind(enabled)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Disables the tools of a source, to which records point, and deletes the rest of it.
pub(super) async fn delete(tx: &mut TenantTx, id: SourceId) -> Result<()> {
    sqlx::query(
        "UPDATE app.tools t SET state = 'disabled' FROM app.definitions d
         WHERE t.tenant_id = $1 AND d.tenant_id = $1 AND d.source_id = $2 AND d.tool_id = t.id",
    )
    .bind(tx.tenant())
    .bind(id)
    .execute(tx.connection())
    .await?;
    sqlx::query("DELETE FROM app.sources WHERE tenant_id = $1 AND id = $2")
        .bind(tx.tenant())
        .bind(id)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(super) async fn set_refreshed(tx: &mut TenantTx, id: SourceId, at: DateTime<Utc>, notice: &str) -> Result<()> {
    sqlx::query(
        "UPDATE app.sources SET refreshed_at = $3, stale_since = NULL, error = '', notice = $4 WHERE tenant_id = $1 AND id = $2",
    )
    .bind(tx.tenant())
    .bind(id)
    .bind(at)
    .bind(notice)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Notes that the lists cannot be read; gives since when. Not for a source that was changed meanwhile.
pub(super) async fn set_stale(tx: &mut TenantTx, source: &Source, at: DateTime<Utc>, why: &str) -> Result<Option<DateTime<Utc>>> {
    Ok(sqlx::query_scalar(
        "UPDATE app.sources SET stale_since = COALESCE(stale_since, $4), error = $5
         WHERE tenant_id = $1 AND id = $2 AND edition = $3 RETURNING stale_since",
    )
    .bind(tx.tenant())
    .bind(source.id)
    .bind(source.edition)
    .bind(at)
    .bind(why)
    .fetch_optional(tx.connection())
    .await?)
}

fn kind(word: &str) -> Result<ItemKind> {
    ItemKind::find(word).ok_or_else(|| Error::internal("a stored definition is of an unknown kind"))
}

fn state(word: &str) -> Result<DefinitionState> {
    DefinitionState::find(word).ok_or_else(|| Error::internal("a stored definition is in an unknown state"))
}

fn digest(bytes: Vec<u8>) -> Result<[u8; 32]> {
    bytes.try_into().map_err(|_| Error::internal("a stored digest is not 32 bytes long"))
}
