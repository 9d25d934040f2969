//! SQL of changes to definitions that wait for somebody.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::types::Json;

use super::digest;
use crate::{
    catalog::{
        definition::{Definition, Finding},
        source::definition::{Change, ChangeState},
    },
    db::TenantTx,
    error::{Error, Result},
    ids::{ChangeId, DefinitionId, SourceId, UserId},
};

/// Changes of a source that somebody did not take.
pub(in crate::catalog::source) async fn rejected(tx: &mut TenantTx, source: SourceId) -> Result<Vec<(DefinitionId, [u8; 32])>> {
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

/// A change that is to wait.
pub(in crate::catalog::source) struct Waiting<'a> {
    pub(in crate::catalog::source) id: ChangeId,
    pub(in crate::catalog::source) of: DefinitionId,
    pub(in crate::catalog::source) definition: &'a Definition,
    pub(in crate::catalog::source) findings: &'a [Finding],
    pub(in crate::catalog::source) reason: &'a str,
}

pub(in crate::catalog::source) async fn insert_changes(
    tx: &mut TenantTx,
    changes: &[Waiting<'_>],
    at: DateTime<Utc>,
) -> Result<()> {
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
pub(in crate::catalog::source) async fn withdraw(tx: &mut TenantTx, of: &[DefinitionId]) -> Result<()> {
    sqlx::query("UPDATE app.definition_changes SET state = 'withdrawn' WHERE tenant_id = $1 AND definition_id = ANY ($2) AND state = 'pending'")
        .bind(tx.tenant())
        .bind(of)
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(in crate::catalog::source) async fn settle_changes(
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
pub(in crate::catalog::source) async fn changes(tx: &mut TenantTx, of: DefinitionId) -> Result<Vec<Change>> {
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
pub(in crate::catalog::source) async fn lock_changes(
    tx: &mut TenantTx,
    source: SourceId,
    ids: &[ChangeId],
) -> Result<Vec<(DefinitionId, Change)>> {
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
