//! SQL of whom probes are about, and who is told.

use crate::{
    db::TenantTx,
    error::Result,
    ids::{ProbeId, SourceId},
};

/// Names of the tools and sources that are probed.
pub(in crate::publishing) async fn names(tx: &mut TenantTx) -> Result<Vec<(ProbeId, String, bool)>> {
    Ok(sqlx::query_as(
        "SELECT p.id, COALESCE(t.name, s.name, ''), COALESCE(t.state = 'published', s.enabled, false)
         FROM app.probes p
         LEFT JOIN app.tools t ON t.tenant_id = p.tenant_id AND t.id = p.tool_id
         LEFT JOIN app.sources s ON s.tenant_id = p.tenant_id AND s.id = p.source_id
         WHERE p.tenant_id = $1",
    )
    .bind(tx.tenant())
    .fetch_all(tx.connection())
    .await?)
}

/// What a letter says of the subject: the organisation, its name in URLs, the subject's name.
pub(in crate::publishing) async fn about(tx: &mut TenantTx, probe: ProbeId) -> Result<(String, String, String)> {
    Ok(sqlx::query_as(
        "SELECT o.name, o.slug, COALESCE(t.name, s.name, '')
         FROM app.probes p
         JOIN app.tenants o ON o.id = p.tenant_id
         LEFT JOIN app.tools t ON t.tenant_id = p.tenant_id AND t.id = p.tool_id
         LEFT JOIN app.sources s ON s.tenant_id = p.tenant_id AND s.id = p.source_id
         WHERE p.tenant_id = $1 AND p.id = $2",
    )
    .bind(tx.tenant())
    .bind(probe)
    .fetch_one(tx.connection())
    .await?)
}

/// Addresses of members with those roles, at most fifty.
pub(in crate::publishing) async fn addresses(tx: &mut TenantTx, roles: &[&str]) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar(
        "SELECT u.email FROM app.memberships m JOIN app.users u ON u.id = m.user_id
         WHERE m.tenant_id = $1 AND m.role = ANY ($2) ORDER BY u.email LIMIT 50",
    )
    .bind(tx.tenant())
    .bind(roles)
    .fetch_all(tx.connection())
    .await?)
}

/// Has the source tools, none of which was ever let in?
pub(in crate::publishing) async fn waits_for_gate(tx: &mut TenantTx, source: SourceId) -> Result<bool> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM app.definitions WHERE tenant_id = $1 AND source_id = $2 AND kind = 'tool')
                AND NOT EXISTS (SELECT FROM app.definitions WHERE tenant_id = $1 AND source_id = $2 AND tool_id IS NOT NULL)",
    )
    .bind(tx.tenant())
    .bind(source)
    .fetch_one(tx.connection())
    .await?)
}

pub(in crate::publishing) async fn has_source(tx: &mut TenantTx, source: SourceId) -> Result<bool> {
    Ok(sqlx::query_scalar("SELECT EXISTS (SELECT FROM app.sources WHERE tenant_id = $1 AND id = $2)")
        .bind(tx.tenant())
        .bind(source)
        .fetch_one(tx.connection())
        .await?)
}
