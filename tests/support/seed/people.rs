//! How people come in, beside the verbs.

use sqlx::PgConnection;
use trunkline_platform::{
    actor::Member,
    clock::Clock as _,
    ids::{PasskeyId, SessionId},
};

use crate::support::{Tenant, TestApp};

/// An identity provider of the tenant, and ways in of its developer, beside the verbs.
pub(super) async fn insert_sign_in(
    sql: &mut PgConnection,
    app: &TestApp,
    tenant: &Tenant<'_>,
    canary: &str,
    developer: &Member,
) -> (SessionId, PasskeyId) {
    let now = app.clock.now();
    let (session, passkey) = (SessionId::new(now), PasskeyId::new(now));
    sqlx::query(
        "INSERT INTO app.sso_connections (tenant_id, issuer, client_id, sealed, domains, groups_claim, group_roles, updated_at)
         VALUES ($1, 'https://login.invalid/', $2, 'sealed', ARRAY['example.com'], 'groups', '[]', $3)",
    )
    .bind(tenant.id)
    .bind(format!("{canary}-client"))
    .bind(now)
    .execute(&mut *sql)
    .await
    .expect("a connection");
    sqlx::query(
        "INSERT INTO app.user_sessions (digest, id, user_id, created_at, last_seen_at, expires_at)
         VALUES (sha256($1::text::bytea), $2, $3, $4, $4, $4 + interval '1 day')",
    )
    .bind(canary)
    .bind(session)
    .bind(developer.user)
    .bind(now)
    .execute(&mut *sql)
    .await
    .expect("a session");
    sqlx::query(
        "INSERT INTO app.passkeys (id, user_id, credential_id, name, credential, created_at)
         VALUES ($1, $2, $3::text::bytea, $4, '{}', $5)",
    )
    .bind(passkey)
    .bind(developer.user)
    .bind(canary)
    .bind(format!("{canary} passkey"))
    .bind(now)
    .execute(sql)
    .await
    .expect("a passkey");
    (session, passkey)
}
