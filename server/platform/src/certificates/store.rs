//! SQL of what certificates mean.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::{CertificateName, CertificatePolicy, ListedName};
use crate::{
    db::TenantTx,
    error::{Error, Result, is_unique_violation},
    ids::{AgentId, CertificateNameId},
};

pub(super) async fn policy(tx: &mut TenantTx) -> Result<CertificatePolicy> {
    let row: Option<(String, bool)> =
        sqlx::query_as("SELECT bundle, required FROM app.certificate_policies WHERE tenant_id = $1")
            .bind(tx.tenant())
            .fetch_optional(tx.connection())
            .await?;
    Ok(row.map(|(bundle, required)| CertificatePolicy { bundle, required }).unwrap_or_default())
}

pub(super) async fn set_policy(tx: &mut TenantTx, policy: &CertificatePolicy) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.certificate_policies (tenant_id, bundle, required) VALUES ($1, $2, $3)
         ON CONFLICT (tenant_id) DO UPDATE SET bundle = EXCLUDED.bundle, required = EXCLUDED.required",
    )
    .bind(tx.tenant())
    .bind(&policy.bundle)
    .bind(policy.required)
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(super) async fn agents_by_name(tx: &mut TenantTx) -> Result<HashMap<String, AgentId>> {
    let rows: Vec<(String, AgentId)> = sqlx::query_as("SELECT name, agent_id FROM app.certificate_names WHERE tenant_id = $1")
        .bind(tx.tenant())
        .fetch_all(tx.connection())
        .await?;
    Ok(rows.into_iter().collect())
}

pub(super) async fn names(tx: &mut TenantTx) -> Result<Vec<ListedName>> {
    let rows: Vec<(CertificateNameId, String, AgentId, String)> = sqlx::query_as(
        "SELECT n.id, n.name, n.agent_id, a.name
         FROM app.certificate_names n JOIN app.agents a ON a.tenant_id = n.tenant_id AND a.id = n.agent_id
         WHERE n.tenant_id = $1 ORDER BY n.name",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().map(|(id, name, agent, agent_name)| ListedName { id, name, agent, agent_name }).collect())
}

pub(super) async fn count(tx: &mut TenantTx) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM app.certificate_names WHERE tenant_id = $1")
        .bind(tx.tenant())
        .fetch_one(tx.connection())
        .await?)
}

pub(super) async fn insert_name(
    tx: &mut TenantTx,
    id: CertificateNameId,
    name: &CertificateName,
    agent: AgentId,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query("INSERT INTO app.certificate_names (id, tenant_id, name, agent_id, created_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(id)
        .bind(tx.tenant())
        .bind(name.as_str())
        .bind(agent)
        .bind(now)
        .execute(tx.connection())
        .await
        .map_err(|error| match error.as_database_error() {
            Some(fault) if fault.is_foreign_key_violation() => Error::invalid("agent", "choose an agent"),
            _ if is_unique_violation(&error) => Error::invalid("certificate_name", "this name stands for an agent already"),
            _ => error.into(),
        })?;
    Ok(())
}

/// As whom it acted.
pub(super) async fn delete_name(tx: &mut TenantTx, id: CertificateNameId) -> Result<Option<AgentId>> {
    Ok(sqlx::query_scalar("DELETE FROM app.certificate_names WHERE tenant_id = $1 AND id = $2 RETURNING agent_id")
        .bind(tx.tenant())
        .bind(id)
        .fetch_optional(tx.connection())
        .await?)
}
