//! SQL of what somebody said when last asked.

use trunkline_protocol::oauth::scope::ScopeSet;

use super::{Time, scopes_to};
use crate::{
    db::TenantTx,
    error::Result,
    ids::{AgentId, ClientId, GrantId, TicketId, UserId},
};

/// What somebody said when last asked.
#[derive(sqlx::FromRow)]
pub(in crate::oauth) struct ConsentRow {
    pub(in crate::oauth) agent_id: AgentId,
    pub(in crate::oauth) scopes: Vec<String>,
    pub(in crate::oauth) hours: i32,
}

/// What a consent is about.
pub(in crate::oauth) struct Subject<'a> {
    pub(in crate::oauth) user: UserId,
    pub(in crate::oauth) client: ClientId,
    pub(in crate::oauth) redirect_uri: &'a str,
    pub(in crate::oauth) resource: &'a str,
}

pub(in crate::oauth) async fn find_consent(tx: &mut TenantTx, about: &Subject<'_>) -> Result<Option<ConsentRow>> {
    Ok(sqlx::query_as(
        "SELECT agent_id, scopes, hours FROM app.consents
         WHERE tenant_id = $1 AND user_id = $2 AND client_id = $3 AND redirect_uri = $4 AND resource = $5",
    )
    .bind(tx.tenant())
    .bind(about.user)
    .bind(about.client)
    .bind(about.redirect_uri)
    .bind(about.resource)
    .fetch_optional(tx.connection())
    .await?)
}

pub(in crate::oauth) async fn keep_consent(
    tx: &mut TenantTx,
    about: &Subject<'_>,
    agent: AgentId,
    scopes: &ScopeSet,
    hours: i32,
    now: Time,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO app.consents (id, tenant_id, user_id, client_id, redirect_uri, resource, agent_id, scopes, hours, given_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (tenant_id, user_id, client_id, redirect_uri, resource)
         DO UPDATE SET agent_id = EXCLUDED.agent_id, scopes = EXCLUDED.scopes, hours = EXCLUDED.hours, given_at = EXCLUDED.given_at",
    )
    .bind(TicketId::new(now))
    .bind(tx.tenant())
    .bind(about.user)
    .bind(about.client)
    .bind(about.redirect_uri)
    .bind(about.resource)
    .bind(agent)
    .bind(scopes_to(scopes))
    .bind(hours)
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(in crate::oauth::grant) async fn delete_consent_of(tx: &mut TenantTx, grant: GrantId) -> Result<()> {
    sqlx::query(
        "DELETE FROM app.consents c USING app.grants g
         WHERE c.tenant_id = $1 AND g.tenant_id = $1 AND g.id = $2
           AND c.user_id = g.user_id AND c.client_id = g.client_id AND c.resource = g.resource",
    )
    .bind(tx.tenant())
    .bind(grant)
    .execute(tx.connection())
    .await?;
    Ok(())
}
