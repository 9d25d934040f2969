//! Clients, grants and whom the tenant trusts, beside the verbs.

use sqlx::PgConnection;
use trunkline_platform::{
    clock::Clock as _,
    ids::{AgentId, CertificateNameId, ClientId, GrantId, TicketId, TrustedIssuerId, UserId},
};

use crate::support::{Tenant, TestApp};

/// An identity provider, and what certificates mean, beside the verbs.
pub(super) async fn insert_trust(
    sql: &mut PgConnection,
    app: &TestApp,
    tenant: &Tenant<'_>,
    canary: &str,
    agent: AgentId,
) -> (TrustedIssuerId, CertificateNameId) {
    let now = app.clock.now();
    let (issuer, name) = (TrustedIssuerId::new(now), CertificateNameId::new(now));
    sqlx::query(
        "INSERT INTO app.trusted_issuers (id, tenant_id, issuer, clients, agent_id, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(issuer)
    .bind(tenant.id)
    .bind(format!("https://{canary}.example/idp"))
    .bind(vec![format!("{canary} client")])
    .bind(agent)
    .bind(now)
    .execute(&mut *sql)
    .await
    .expect("an identity provider");
    sqlx::query("INSERT INTO app.certificate_policies (tenant_id, bundle, required) VALUES ($1, '', false)")
        .bind(tenant.id)
        .execute(&mut *sql)
        .await
        .expect("a policy");
    sqlx::query("INSERT INTO app.certificate_names (id, tenant_id, name, agent_id, created_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(name)
        .bind(tenant.id)
        .bind(format!("dns:{canary}.example"))
        .bind(agent)
        .bind(now)
        .execute(sql)
        .await
        .expect("a name");
    (issuer, name)
}

/// A client with a secret, and a grant, beside the verbs.
pub(super) async fn insert_grant(
    sql: &mut PgConnection,
    app: &TestApp,
    tenant: &Tenant<'_>,
    canary: &str,
    agent: AgentId,
    user: UserId,
) -> (ClientId, GrantId) {
    let now = app.clock.now();
    let (client, grant) = (ClientId::new(now), GrantId::new(now));
    sqlx::query(
        "INSERT INTO app.clients (id, tenant_id, client_id, kind, name, state, authentication, secret_digest, created_at)
         VALUES ($1, $2, $3, 'manual', $3, 'approved', 'client_secret', sha256('secret'), $4)",
    )
    .bind(client)
    .bind(tenant.id)
    .bind(format!("{canary} client"))
    .bind(now)
    .execute(&mut *sql)
    .await
    .expect("a client");
    sqlx::query(
        "INSERT INTO app.grants (id, tenant_id, user_id, agent_id, client_id, resource, scopes, created_at, expires_at, last_used_at)
         VALUES ($1, $2, $3, $4, $5, $6, '{tools:read}', $7, $7 + interval '30 days', $7)",
    )
    .bind(grant)
    .bind(tenant.id)
    .bind(user)
    .bind(agent)
    .bind(client)
    .bind(tenant.mcp_url())
    .bind(now)
    .execute(&mut *sql)
    .await
    .expect("a grant");
    insert_tickets(sql, app, tenant, agent, user, (client, grant)).await;
    (client, grant)
}

/// What hangs on them.
async fn insert_tickets(
    sql: &mut PgConnection,
    app: &TestApp,
    tenant: &Tenant<'_>,
    agent: AgentId,
    user: UserId,
    (client, grant): (ClientId, GrantId),
) {
    let now = app.clock.now();
    sqlx::query("INSERT INTO app.client_policies (tenant_id, admission) VALUES ($1, 'any')")
        .bind(tenant.id)
        .execute(&mut *sql)
        .await
        .expect("a policy");
    sqlx::query(
        "INSERT INTO app.authorization_codes
           (id, tenant_id, digest, user_id, agent_id, client_id, redirect_uri, redirect_named, code_challenge, resource, scopes,
            grant_expires_at, created_at, expires_at)
         VALUES ($1, $2, sha256('code'), $3, $4, $5, 'https://app.example/cb', true, 'x', $6, '{tools:read}', $7, $7, $7)",
    )
    .bind(TicketId::new(now))
    .bind(tenant.id)
    .bind(user)
    .bind(agent)
    .bind(client)
    .bind(tenant.mcp_url())
    .bind(now)
    .execute(&mut *sql)
    .await
    .expect("a code");
    sqlx::query(
        "INSERT INTO app.refresh_tokens (id, tenant_id, digest, grant_id, created_at, expires_at)
         VALUES ($1, $2, sha256('refresh'), $3, $4, $4)",
    )
    .bind(TicketId::new(now))
    .bind(tenant.id)
    .bind(grant)
    .bind(now)
    .execute(&mut *sql)
    .await
    .expect("a refresh token");
    sqlx::query("INSERT INTO app.revoked_tokens (tenant_id, jti, revoked_at) VALUES ($1, $2, $3)")
        .bind(tenant.id)
        .bind(TicketId::new(now))
        .bind(now)
        .execute(&mut *sql)
        .await
        .expect("a revoked token");
    sqlx::query(
        "INSERT INTO app.consents (id, tenant_id, user_id, client_id, redirect_uri, resource, agent_id, scopes, hours, given_at)
         VALUES ($1, $2, $3, $4, 'https://app.example/cb', $5, $6, '{tools:read}', 8, $7)",
    )
    .bind(TicketId::new(now))
    .bind(tenant.id)
    .bind(user)
    .bind(client)
    .bind(tenant.mcp_url())
    .bind(agent)
    .bind(now)
    .execute(sql)
    .await
    .expect("a consent");
}
