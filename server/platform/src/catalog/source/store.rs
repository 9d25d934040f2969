//! SQL of sources, their definitions and the changes that wait.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::types::Json;
use url::Url;

use super::{
    definition::{Change, ChangeState, Counts, DefinitionFilter, DefinitionState, ListedChange, ListedDefinition, ListedTool},
    names::{Names, Owner},
    reconcile::Known,
    source::{Policy, Source, SourceKind, SourceName, Stale},
};
use crate::{
    catalog::definition::{Definition, Finding, ItemKind},
    db::{
        SystemTx, TenantTx,
        page::{Found, Search},
    },
    error::{Error, Result, is_unique_violation},
    ids::{ChangeId, CredentialId, DefinitionId, SourceId, TenantId, ToolId, UserId},
};

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

/// Has the source read at that time, and every few minutes from then on.
pub(super) async fn schedule(tx: &mut TenantTx, id: SourceId, due_at: DateTime<Utc>) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.refreshes (source_id, tenant, due_at) VALUES ($1, $2, $3)
         ON CONFLICT (source_id) DO UPDATE SET due_at = EXCLUDED.due_at",
    )
    .bind(id)
    .bind(tx.tenant())
    .bind(due_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(super) async fn unschedule(tx: &mut TenantTx, id: SourceId) -> Result<()> {
    sqlx::query("DELETE FROM app.refreshes WHERE tenant = $1 AND source_id = $2")
        .bind(tx.tenant())
        .bind(id)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Leases the refresh of one source; false if somebody else reads it, or nobody should.
pub(super) async fn lease(tx: &mut TenantTx, id: SourceId, now: DateTime<Utc>, until: DateTime<Utc>) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE app.refreshes SET leased_until = $4
         WHERE tenant = $1 AND source_id = $2 AND (leased_until IS NULL OR leased_until <= $3)",
    )
    .bind(tx.tenant())
    .bind(id)
    .bind(now)
    .bind(until)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Leases the refresh that is due longest, of any tenant but these. `SKIP LOCKED`: replicas do not wait for each other.
pub(super) async fn lease_due(
    tx: &mut SystemTx,
    but: &[TenantId],
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Option<(TenantId, SourceId)>> {
    Ok(sqlx::query_as(
        "UPDATE app.refreshes SET leased_until = $2
         WHERE source_id = (SELECT source_id FROM app.refreshes
                            WHERE due_at <= $1 AND (leased_until IS NULL OR leased_until <= $1) AND tenant <> ALL($3)
                            ORDER BY due_at, source_id
                            LIMIT 1
                            FOR UPDATE SKIP LOCKED)
         RETURNING tenant, source_id",
    )
    .bind(now)
    .bind(until)
    .bind(but)
    .fetch_optional(tx.connection())
    .await?)
}

/// Ends a lease.
pub(super) async fn release(tx: &mut TenantTx, id: SourceId, due_at: DateTime<Utc>) -> Result<()> {
    sqlx::query("UPDATE app.refreshes SET leased_until = NULL, due_at = $3 WHERE tenant = $1 AND source_id = $2")
        .bind(tx.tenant())
        .bind(id)
        .bind(due_at)
        .execute(tx.connection())
        .await?;
    Ok(())
}

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

fn kind(word: &str) -> Result<ItemKind> {
    ItemKind::find(word).ok_or_else(|| Error::internal("a stored definition is of an unknown kind"))
}

fn state(word: &str) -> Result<DefinitionState> {
    DefinitionState::find(word).ok_or_else(|| Error::internal("a stored definition is in an unknown state"))
}

fn digest(bytes: Vec<u8>) -> Result<[u8; 32]> {
    bytes.try_into().map_err(|_| Error::internal("a stored digest is not 32 bytes long"))
}

/// All definitions of a source, without their texts.
pub(super) async fn known(tx: &mut TenantTx, source: SourceId) -> Result<Vec<Known>> {
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

/// Changes of a source that somebody did not take.
pub(super) async fn rejected(tx: &mut TenantTx, source: SourceId) -> Result<Vec<(DefinitionId, [u8; 32])>> {
    let rows: Vec<(DefinitionId, Vec<u8>)> = sqlx::query_as(
        "SELECT DISTINCT c.definition_id, c.digest FROM app.definition_changes c
         JOIN app.definitions d ON d.tenant_id = c.tenant_id AND d.id = c.definition_id
         WHERE c.tenant_id = $1 AND d.source_id = $2 AND c.state = 'rejected'",
    )
    .bind(tx.tenant())
    .bind(source)
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(|(id, bytes)| Ok((id, digest(bytes)?))).collect()
}

/// The texts of some definitions.
pub(super) async fn texts(tx: &mut TenantTx, ids: &[DefinitionId]) -> Result<Vec<(DefinitionId, Box<RawValue>)>> {
    let rows: Vec<(DefinitionId, Json<Box<RawValue>>)> =
        sqlx::query_as("SELECT id, definition FROM app.definitions WHERE tenant_id = $1 AND id = ANY ($2)")
            .bind(tx.tenant())
            .bind(ids)
            .fetch_all(tx.connection())
            .await?;
    Ok(rows.into_iter().map(|(id, text)| (id, text.0)).collect())
}

/// Who has which name in the tenant.
pub(super) async fn names(tx: &mut TenantTx, source: &Source) -> Result<Names> {
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
pub(super) struct Settled<'a> {
    pub(super) id: DefinitionId,
    pub(super) definition: &'a Definition,
    pub(super) exposed_key: String,
    pub(super) state: DefinitionState,
    pub(super) reason: String,
    pub(super) findings: &'a [Finding],
}

pub(super) async fn insert_definitions(
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

pub(super) async fn rewrite_definitions(tx: &mut TenantTx, settled: &[Settled<'_>], at: DateTime<Utc>) -> Result<()> {
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
pub(super) async fn set_tools(tx: &mut TenantTx, pairs: &[(DefinitionId, ToolId)]) -> Result<()> {
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

pub(super) async fn set_state(
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
pub(super) async fn set_tool_states(tx: &mut TenantTx, ids: &[DefinitionId], enabled: bool) -> Result<()> {
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
pub(super) async fn set_removed(tx: &mut TenantTx, ids: &[DefinitionId], at: Option<DateTime<Utc>>) -> Result<()> {
    sqlx::query("UPDATE app.definitions SET removed_at = $3 WHERE tenant_id = $1 AND id = ANY ($2)")
        .bind(tx.tenant())
        .bind(ids)
        .bind(at)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// A change that is to wait.
pub(super) struct Waiting<'a> {
    pub(super) id: ChangeId,
    pub(super) of: DefinitionId,
    pub(super) definition: &'a Definition,
    pub(super) findings: &'a [Finding],
    pub(super) reason: &'a str,
}

pub(super) async fn insert_changes(tx: &mut TenantTx, changes: &[Waiting<'_>], at: DateTime<Utc>) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.definition_changes (id, tenant_id, definition_id, definition, digest, findings, reason, state, created_at)
         SELECT n.id, $1, n.definition_id, n.definition::json, n.digest, n.findings, n.reason, 'pending', $2
         FROM UNNEST($3::uuid[], $4::uuid[], $5::text[], $6::bytea[], $7::jsonb[], $8::text[])
              AS n (id, definition_id, definition, digest, findings, reason)",
    )
    .bind(tx.tenant())
    .bind(at)
    .bind(changes.iter().map(|one| one.id).collect::<Vec<_>>())
    .bind(changes.iter().map(|one| one.of).collect::<Vec<_>>())
    .bind(changes.iter().map(|one| one.definition.raw.get()).collect::<Vec<_>>())
    .bind(changes.iter().map(|one| &one.definition.digest[..]).collect::<Vec<_>>())
    .bind(changes.iter().map(|one| Json(one.findings)).collect::<Vec<_>>())
    .bind(changes.iter().map(|one| one.reason).collect::<Vec<_>>())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Ends the changes that wait of those definitions: the source has gone on.
pub(super) async fn withdraw(tx: &mut TenantTx, of: &[DefinitionId]) -> Result<()> {
    sqlx::query("UPDATE app.definition_changes SET state = 'withdrawn' WHERE tenant_id = $1 AND definition_id = ANY ($2) AND state = 'pending'")
        .bind(tx.tenant())
        .bind(of)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(super) async fn settle_changes(
    tx: &mut TenantTx,
    ids: &[ChangeId],
    state: ChangeState,
    by: UserId,
    at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query(
        "UPDATE app.definition_changes SET state = $3, decided_by = $4, decided_at = $5 WHERE tenant_id = $1 AND id = ANY ($2)",
    )
    .bind(tx.tenant())
    .bind(ids)
    .bind(state.as_str())
    .bind(by)
    .bind(at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

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

pub(super) async fn search(
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
pub(super) async fn listed(tx: &mut TenantTx, source: SourceId, ids: &[DefinitionId]) -> Result<Vec<ListedDefinition>> {
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
pub(super) async fn waiting(tx: &mut TenantTx, source: SourceId, kind: Option<ItemKind>) -> Result<Vec<DefinitionId>> {
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
pub(super) async fn counts(tx: &mut TenantTx) -> Result<Vec<(SourceId, ItemKind, Counts)>> {
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

#[derive(sqlx::FromRow)]
struct ChangeRow {
    id: ChangeId,
    definition_id: DefinitionId,
    definition: Json<Box<RawValue>>,
    findings: Json<Vec<Finding>>,
    reason: String,
    state: String,
    created_at: DateTime<Utc>,
    decided_at: Option<DateTime<Utc>>,
}

impl ChangeRow {
    fn read(self) -> Result<(DefinitionId, Change)> {
        let state = ChangeState::find(&self.state).ok_or_else(|| Error::internal("a stored change is in an unknown state"))?;
        let change = Change {
            id: self.id,
            definition: self.definition.0,
            findings: self.findings.0,
            reason: self.reason,
            state,
            created_at: self.created_at,
            decided_at: self.decided_at,
        };
        Ok((self.definition_id, change))
    }
}

/// Changes of one definition, newest first.
pub(super) async fn changes(tx: &mut TenantTx, of: DefinitionId) -> Result<Vec<Change>> {
    let rows: Vec<ChangeRow> = sqlx::query_as(
        "SELECT id, definition_id, definition, findings, reason, state, created_at, decided_at FROM app.definition_changes
         WHERE tenant_id = $1 AND definition_id = $2 ORDER BY created_at DESC, id DESC LIMIT 20",
    )
    .bind(tx.tenant())
    .bind(of)
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(|row| row.read().map(|(_, change)| change)).collect()
}

/// Changes by id, of that source only, held so that one person decides.
pub(super) async fn lock_changes(tx: &mut TenantTx, source: SourceId, ids: &[ChangeId]) -> Result<Vec<(DefinitionId, Change)>> {
    let rows: Vec<ChangeRow> = sqlx::query_as(
        "SELECT c.id, c.definition_id, c.definition, c.findings, c.reason, c.state, c.created_at, c.decided_at
         FROM app.definition_changes c
         JOIN app.definitions d ON d.tenant_id = c.tenant_id AND d.id = c.definition_id
         WHERE c.tenant_id = $1 AND d.source_id = $2 AND c.id = ANY ($3) ORDER BY c.id FOR UPDATE OF c",
    )
    .bind(tx.tenant())
    .bind(source)
    .bind(ids)
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(ChangeRow::read).collect()
}
