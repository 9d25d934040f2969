//! Sources beside the verbs: an imported API, a server, and somebody's account there.

use sqlx::PgConnection;
use trunkline_platform::{
    catalog::api::supply::Review,
    clock::Clock as _,
    ids::{ApiId, ChangeId, DefinitionId, OperationId, SourceId, ToolId, UserId},
};

use crate::support::{Tenant, TestApp, Upstream};

/// An imported API with an operation, beside the verbs.
pub(super) async fn insert_api(
    sql: &mut PgConnection,
    app: &TestApp,
    tenant: &Tenant<'_>,
    canary: &str,
    tool: ToolId,
) -> (ApiId, OperationId) {
    let (id, operation) = (ApiId::new(app.clock.now()), OperationId::new(app.clock.now()));
    sqlx::query(
        "INSERT INTO app.apis (id, tenant_id, name, title, version, sha256, bytes, servers, server, prefix, schemes, created_at, read_at)
         VALUES ($1, $2, $3, $3, '1', sha256('x'), 1, '{}', '', '', '[]', $4, $4)",
    )
    .bind(id)
    .bind(tenant.id)
    .bind(canary)
    .bind(app.clock.now())
    .execute(&mut *sql)
    .await
    .expect("an API");
    insert_api_change(sql, app, tenant, canary, id).await;
    sqlx::query(
        "INSERT INTO app.api_operations
           (id, tenant_id, api_id, key, position, summary, tags, deprecated, refused, name, title, description, effect, input_schema, operation, notes,
            digest, picked, tool_id)
         VALUES ($5, $1, $2, $3, 0, $3, ARRAY[$3], false, '', 'x', '', $3, 'read', '{}', $6, '', sha256('x'), false, $4)",
    )
    .bind(tenant.id)
    .bind(id)
    .bind(format!("GET /{canary}"))
    .bind(tool)
    .bind(operation)
    .bind(serde_json::json!({ "layout": 1, "method": "GET", "origin": "", "path": [], "accept": "*/*", "timeout_ms": 1_000 }))
    .execute(sql)
    .await
    .expect("an operation");
    (id, operation)
}

/// Another document of the API, which waits for somebody to decide, beside the verbs.
async fn insert_api_change(sql: &mut PgConnection, app: &TestApp, tenant: &Tenant<'_>, canary: &str, api: ApiId) {
    sqlx::query(
        "INSERT INTO app.api_changes (tenant_id, api_id, sha256, bytes, document, title, version, review, state, found_at, seen_at)
         VALUES ($1, $2, sha256('y'), 1, 'y', $3, '2', $4, 'pending', $5, $5)",
    )
    .bind(tenant.id)
    .bind(api)
    .bind(format!("{canary} description"))
    .bind(serde_json::to_value(Review::default()).expect("JSON"))
    .bind(app.clock.now())
    .execute(sql)
    .await
    .expect("a change");
}

/// A provider of people's accounts, and one of them, beside the verbs.
pub(super) async fn insert_connection(
    sql: &mut PgConnection,
    app: &TestApp,
    tenant: &Tenant<'_>,
    canary: &str,
    source: SourceId,
    user: UserId,
) {
    sqlx::query(
        "INSERT INTO app.connection_providers
           (tenant_id, source_id, origin, issuer, names_itself, authorization_url, token_url, client_id, authentication, scopes, resource,
            updated_at)
         VALUES ($1, $2, 'https://127.0.0.1:9', $3, true, $3 || '/authorize', $3 || '/token', $4, 'none', 'read', '', $5)",
    )
    .bind(tenant.id)
    .bind(source)
    .bind(format!("https://{canary}.example"))
    .bind(format!("{canary}-client"))
    .bind(app.clock.now())
    .execute(&mut *sql)
    .await
    .expect("a provider");
    sqlx::query(
        "INSERT INTO app.connections
           (id, tenant_id, source_id, user_id, access, scopes, state, error, connected_at, refreshed_at)
         VALUES (gen_random_uuid(), $1, $2, $3, sha256('access'), 'read', 'broken', $4, $5, $5)",
    )
    .bind(tenant.id)
    .bind(source)
    .bind(user)
    .bind(format!("{canary} broke it"))
    .bind(app.clock.now())
    .execute(&mut *sql)
    .await
    .expect("a connection");
}

/// A source that is not due, with a prompt and a change of it, beside the verbs.
pub(super) async fn insert_source(
    sql: &mut PgConnection,
    app: &TestApp,
    tenant: &Tenant<'_>,
    canary: &str,
    upstream: &Upstream,
) -> (SourceId, DefinitionId, ChangeId) {
    let now = app.clock.now();
    let (source, definition, change) = (SourceId::new(now), DefinitionId::new(now), ChangeId::new(now));
    sqlx::query(
        "INSERT INTO app.sources
           (id, tenant_id, name, kind, url, timeout_ms, prefix, new_definitions, changes, meanwhile, default_effect, created_at)
         VALUES ($1, $2, $3, 'mcp', $4, 1000, true, 'wait', 'harmless_pass', 'serve_approved', 'destructive', $5)",
    )
    .bind(source)
    .bind(tenant.id)
    .bind(format!("{canary}-src"))
    .bind(upstream.url("/mcp"))
    .bind(now)
    .execute(&mut *sql)
    .await
    .expect("a source");
    let text = format!(r#"{{"name":"prompt","description":"{canary} prompt"}}"#);
    sqlx::query(
        "INSERT INTO app.definitions
           (id, tenant_id, source_id, kind, upstream_key, exposed_key, definition, digest, state, created_at, changed_at)
         VALUES ($1, $2, $3, 'prompt', 'prompt', $4, $5::text::json, sha256('a'), 'approved', $6, $6)",
    )
    .bind(definition)
    .bind(tenant.id)
    .bind(source)
    .bind(format!("{canary}-src.prompt"))
    .bind(&text)
    .bind(now)
    .execute(&mut *sql)
    .await
    .expect("a definition");
    sqlx::query(
        "INSERT INTO app.definition_changes (id, tenant_id, definition_id, definition, digest, findings, state, created_at)
         VALUES ($1, $2, $3, $4::text::json, sha256('b'), '[]', 'pending', $5)",
    )
    .bind(change)
    .bind(tenant.id)
    .bind(definition)
    .bind(text.replace(" prompt", " changed prompt"))
    .bind(now)
    .execute(sql)
    .await
    .expect("a change");
    (source, definition, change)
}
