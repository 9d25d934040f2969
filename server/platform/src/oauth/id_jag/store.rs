//! SQL of identity providers.

use chrono::{DateTime, Utc};

use super::{NewTrustedIssuer, TrustedIssuer};
use crate::{
    db::TenantTx,
    error::{Error, Result, is_unique_violation},
    ids::{AgentId, TrustedIssuerId, UserId},
};

pub(super) async fn list(tx: &mut TenantTx) -> Result<Vec<TrustedIssuer>> {
    #[derive(sqlx::FromRow)]
    struct Row {
        id: TrustedIssuerId,
        issuer: String,
        clients: Vec<String>,
        agent_id: Option<AgentId>,
        agent_name: Option<String>,
        agent_claim: Option<String>,
        created_at: DateTime<Utc>,
    }
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT i.id, i.issuer, i.clients, i.agent_id, a.name AS agent_name, i.agent_claim, i.created_at
         FROM app.trusted_issuers i LEFT JOIN app.agents a ON a.tenant_id = i.tenant_id AND a.id = i.agent_id
         WHERE i.tenant_id = $1 ORDER BY i.issuer",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?;
    let provider = |row: Row| TrustedIssuer {
        id: row.id,
        issuer: row.issuer,
        clients: row.clients,
        agent: row.agent_id.zip(row.agent_name),
        agent_claim: row.agent_claim,
        created_at: row.created_at,
    };
    Ok(rows.into_iter().map(provider).collect())
}

pub(super) async fn insert(
    tx: &mut TenantTx,
    id: TrustedIssuerId,
    new: &NewTrustedIssuer,
    by: UserId,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.trusted_issuers (id, tenant_id, issuer, clients, agent_id, agent_claim, created_by, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(id)
    .bind(tx.tenant())
    .bind(&new.issuer)
    .bind(&new.clients)
    .bind(new.agent)
    .bind(&new.agent_claim)
    .bind(by)
    .bind(now)
    .execute(tx.connection())
    .await
    .map_err(|error| match error.as_database_error() {
        Some(fault) if fault.is_foreign_key_violation() => Error::invalid("agent", "choose an agent"),
        _ if is_unique_violation(&error) => Error::invalid("issuer", "this issuer is trusted already; remove it first"),
        _ => error.into(),
    })?;
    Ok(())
}

/// Keeps others from issuing for what is being removed, until the end of the transaction.
pub(super) async fn lock(tx: &mut TenantTx) -> Result<()> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('issuers|' || $1::text, 7302117))")
        .bind(tx.tenant())
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Keeps all as they are while something is issued, until the end of the transaction.
pub(super) async fn lock_shared(tx: &mut TenantTx) -> Result<()> {
    sqlx::query("SELECT pg_advisory_xact_lock_shared(hashtextextended('issuers|' || $1::text, 7302117))")
        .bind(tx.tenant())
        .execute(tx.connection())
        .await?;
    Ok(())
}

pub(super) async fn is_there(tx: &mut TenantTx, id: TrustedIssuerId) -> Result<bool> {
    Ok(sqlx::query_scalar("SELECT EXISTS (SELECT FROM app.trusted_issuers WHERE tenant_id = $1 AND id = $2)")
        .bind(tx.tenant())
        .bind(id)
        .fetch_one(tx.connection())
        .await?)
}

/// Whom it was.
pub(super) async fn delete(tx: &mut TenantTx, id: TrustedIssuerId) -> Result<Option<String>> {
    Ok(sqlx::query_scalar("DELETE FROM app.trusted_issuers WHERE tenant_id = $1 AND id = $2 RETURNING issuer")
        .bind(tx.tenant())
        .bind(id)
        .fetch_optional(tx.connection())
        .await?)
}
