//! A tenant with something in every table, and a canary in everything a person can name.

use sqlx::PgConnection;
use trunkline_platform::{
    accounts,
    actor::{Member, Role},
    catalog::api::supply::Review,
    clock::Clock as _,
    ids::{
        AgentId, AlertId, ApiId, BudgetId, CertificateNameId, ChangeId, ClientId, CredentialId, DefinitionId, EntryId, GrantId,
        InvitationId, KeyId, LimitId, OperationId, PasskeyId, SessionId, SourceId, TenantId, TicketId, ToolId, ToolsetId,
        TrustedIssuerId, UserId,
    },
    random,
};

use super::{Agent, SOON, Tenant, TestApp, Upstream, eventually, tools};

/// The toolset's name, as its URL has it: the same in every tenant.
pub(crate) const TOOLSET: &str = "seeded";

/// What there is of a tenant.
pub(crate) struct Seeded<'a> {
    /// The tenant.
    pub(crate) tenant: Tenant<'a>,
    /// In its tenant's, agent's, key's, tool's and members' names, and nowhere else in the world.
    pub(crate) canary: String,
    /// Its owner's address.
    pub(crate) owner_email: String,
    /// A developer.
    pub(crate) developer: Member,
    /// A viewer, and their address.
    pub(crate) viewer: (Member, String),
    /// An agent with a key.
    pub(crate) agent: Agent,
    /// A tool with a secret.
    pub(crate) tool: ToolId,
    /// That secret, which was exchanged and whose overlap runs.
    pub(crate) credential: CredentialId,
    /// An open invitation.
    pub(crate) invitation: InvitationId,
    /// A call.
    pub(crate) call: EntryId,
    /// Something that is out of the ordinary.
    pub(crate) alert: AlertId,
    /// A source.
    pub(crate) source: SourceId,
    /// An imported API.
    pub(crate) api: ApiId,
    pub(crate) operation: OperationId,
    /// A prompt of it.
    pub(crate) definition: DefinitionId,
    /// A change of that, which waits.
    pub(crate) change: ChangeId,
    /// A toolset with the tool.
    pub(crate) toolset: ToolsetId,
    /// A client.
    pub(crate) client: ClientId,
    /// What the developer let it do.
    pub(crate) grant: GrantId,
    /// An identity provider that is believed.
    pub(crate) issuer: TrustedIssuerId,
    /// A name in certificates.
    pub(crate) certificate_name: CertificateNameId,
    /// A session of the developer.
    pub(crate) session: SessionId,
    /// A passkey of the developer.
    pub(crate) passkey: PasskeyId,
}

impl Seeded<'_> {
    /// The agent's id.
    pub(crate) fn agent_id(&self) -> AgentId {
        self.agent.id
    }

    /// The key's id.
    pub(crate) fn key_id(&self) -> KeyId {
        self.agent.key_id
    }
}

/// Makes it.
pub(crate) async fn everything<'a>(app: &'a TestApp, slug: &str, upstream: &Upstream) -> Seeded<'a> {
    let canary = format!("canary{}", random::base62(12).to_lowercase());
    let tenant = app.tenant(slug).await;
    let mut sql = app.sql().await;
    sqlx::query("UPDATE app.tenants SET name = $2 WHERE id = $1")
        .bind(tenant.id)
        .bind(format!("{canary} tenant"))
        .execute(&mut sql)
        .await
        .expect("a name");
    let owner_email = format!("owner@{canary}.example");
    sqlx::query("UPDATE app.users SET email = $2 WHERE id = $1")
        .bind(tenant.owner.user)
        .bind(&owner_email)
        .execute(&mut sql)
        .await
        .expect("an address");
    let viewer_email = format!("viewer@{canary}.example");
    let viewer = tenant.member(&viewer_email, Role::Viewer).await;
    let developer = tenant.member(&format!("developer@{canary}.example"), Role::Developer).await;
    let definition = tools::with_secret("x-api-key", &format!("{canary}-secret"), tools::get(&upstream.url("/json")));
    let tool = tenant.tool(&format!("{canary}-tool"), definition).await.id;
    let agent = tenant.agent(&format!("{canary} agent"), "tools:read").await;
    let limits = [("agent", Some(agent.id), None), ("tool", None, Some(tool)), ("tenant", None, None)];
    for (scope, on_agent, on_tool) in limits {
        insert_limit(&mut sql, app, &tenant, scope, on_agent, on_tool, (6_000, 6_000)).await;
    }
    insert_budget(&mut sql, app, &tenant).await;
    insert_resilience(&mut sql, tenant.id).await;
    insert_registry_entry(&mut sql, app, tenant.id).await;
    let (owner, invited) = (tenant.owner.clone(), format!("invited@{canary}.example"));
    let invitation =
        app.act(|platform| async move {
            accounts::invite(&platform, &owner, &invited, Role::Developer).await.expect("an invitation")
        })
        .await;
    let called = agent.call(super::Era::Stateless, &format!("{canary}-tool"), serde_json::json!({})).await;
    assert!(called.is_ok(), "{}", called.text);
    let call = eventually("the call is recorded", SOON, async || {
        let found = sqlx::query_scalar("SELECT id FROM app.calls WHERE tenant_id = $1").bind(tenant.id);
        found.fetch_optional(&mut sql).await.expect("calls")
    })
    .await;
    let viewer = (viewer, viewer_email);
    let (source, definition, change) = insert_source(&mut sql, app, &tenant, &canary, upstream).await;
    insert_connection(&mut sql, app, &tenant, &canary, source, developer.user).await;
    insert_probes(&mut sql, app, &tenant, &canary, (tool, source)).await;
    insert_pin(&mut sql, app, &tenant, agent.id, tool).await;
    insert_function_log(&mut sql, app, &tenant, tool).await;
    let (api, operation) = insert_api(&mut sql, app, &tenant, &canary, tool).await;
    let credential = exchange_secret(&mut sql, app, &tenant, &canary, tool).await;
    let toolset = insert_toolset(&mut sql, app, &tenant, &canary, tool).await;
    let (issuer, certificate_name) = insert_trust(&mut sql, app, &tenant, &canary, agent.id).await;
    let (client, grant) = insert_grant(&mut sql, app, &tenant, &canary, agent.id, developer.user).await;
    let (session, passkey) = insert_sign_in(&mut sql, app, &tenant, &canary, &developer).await;
    let alert = insert_alert(&mut sql, app, tenant.id, &canary, tool).await;
    insert_unchained(&mut sql, tenant.id).await;
    Seeded {
        tenant,
        canary,
        owner_email,
        developer,
        viewer,
        agent,
        tool,
        credential,
        invitation,
        call,
        alert,
        source,
        api,
        operation,
        definition,
        change,
        toolset,
        client,
        grant,
        issuer,
        certificate_name,
        session,
        passkey,
    }
}

/// An imported API with an operation, beside the verbs.
async fn insert_api(
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

/// The secret of that tool was exchanged, beside the verbs; both values are the same.
async fn exchange_secret(sql: &mut PgConnection, app: &TestApp, tenant: &Tenant<'_>, canary: &str, tool: ToolId) -> CredentialId {
    let id = sqlx::query_scalar(
        "UPDATE app.credentials c
         SET label = $3, rotated_at = $4, rotated_by = $5, previous = sealed, overlap_until = $4 + interval '7 days', refused = 2, refused_at = $4
         FROM app.tools t JOIN app.tool_versions v ON v.id = t.version_id
         WHERE t.tenant_id = $1 AND t.id = $2 AND c.id = v.credential_id RETURNING c.id",
    )
    .bind(tenant.id)
    .bind(tool)
    .bind(format!("{canary} label"))
    .bind(app.clock.now())
    .bind(tenant.owner.user)
    .fetch_one(&mut *sql)
    .await
    .expect("its secret");
    sqlx::query("INSERT INTO app.credential_overlaps (credential_id, tenant, due_at) VALUES ($1, $2, $3::timestamptz + interval '7 days')")
        .bind(id)
        .bind(tenant.id)
        .bind(app.clock.now())
        .execute(sql)
        .await
        .expect("its end");
    id
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

/// The agent is given the version that there is, beside the verbs.
async fn insert_pin(sql: &mut PgConnection, app: &TestApp, tenant: &Tenant<'_>, agent: AgentId, tool: ToolId) {
    sqlx::query(
        "INSERT INTO app.agent_pins (tenant_id, agent_id, tool_id, version_id, pinned_by, pinned_at)
         SELECT $1, $2, id, version_id, $4, $5 FROM app.tools WHERE tenant_id = $1 AND id = $3",
    )
    .bind(tenant.id)
    .bind(agent)
    .bind(tool)
    .bind(tenant.owner.user)
    .bind(app.clock.now())
    .execute(sql)
    .await
    .expect("a pin");
}

/// What a function of the tenant logged, beside the verbs: long enough ago not to be shown, since nothing can open it.
async fn insert_function_log(sql: &mut PgConnection, app: &TestApp, tenant: &Tenant<'_>, tool: ToolId) {
    sqlx::query(
        "WITH noted AS (INSERT INTO app.function_tenants (tenant) VALUES ($1) ON CONFLICT DO NOTHING)
         INSERT INTO app.function_logs (id, tenant_id, tool_id, sealed, at) VALUES (gen_random_uuid(), $1, $2, 'sealed', $3)",
    )
    .bind(tenant.id)
    .bind(tool)
    .bind(app.clock.now() - chrono::TimeDelta::days(8))
    .execute(sql)
    .await
    .expect("what a function logged");
}

/// How the tool and the source are tried, what came of it, and that the tool was published by hand, beside the verbs.
async fn insert_probes(
    sql: &mut PgConnection,
    app: &TestApp,
    tenant: &Tenant<'_>,
    canary: &str,
    (tool, source): (ToolId, SourceId),
) {
    for (tool, source) in [(Some(tool), None), (None, Some(source))] {
        sqlx::query(
            "WITH probe AS (
               INSERT INTO app.probes (id, tenant_id, tool_id, source_id, expected, set_by, state, failed, problem)
               VALUES (gen_random_uuid(), $1, $2, $3, $4, $5, 'failing', 'call', $4) RETURNING id)
             INSERT INTO app.probe_runs (id, tenant_id, probe_id, kind, passed, took_ms, report, at)
             SELECT gen_random_uuid(), $1, id, 'probe', false, 1, json_build_object('checks', '[]'::json), $6 FROM probe",
        )
        .bind(tenant.id)
        .bind(tool)
        .bind(source)
        .bind(format!("{canary} expected"))
        .bind(tenant.owner.user)
        .bind(app.clock.now())
        .execute(&mut *sql)
        .await
        .expect("a probe and what it found");
    }
    sqlx::query(
        "INSERT INTO app.tool_publications (id, tenant_id, tool_id, version_id, how, reason, published_by, at)
         SELECT gen_random_uuid(), $1, id, version_id, 'untried', $3, $4, $5 FROM app.tools WHERE tenant_id = $1 AND id = $2",
    )
    .bind(tenant.id)
    .bind(tool)
    .bind(format!("{canary} reason"))
    .bind(tenant.owner.user)
    .bind(app.clock.now())
    .execute(sql)
    .await
    .expect("a publication");
}

/// A provider of people's accounts, and one of them, beside the verbs.
async fn insert_connection(
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

/// An identity provider, and what certificates mean, beside the verbs.
async fn insert_trust(
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
async fn insert_grant(
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

/// A source that is not due, with a prompt and a change of it, beside the verbs.
async fn insert_source(
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

/// A toolset, beside the verbs.
async fn insert_toolset(sql: &mut PgConnection, app: &TestApp, tenant: &Tenant<'_>, canary: &str, tool: ToolId) -> ToolsetId {
    let now = app.clock.now();
    let toolset = ToolsetId::new(now);
    sqlx::query("INSERT INTO app.toolsets (id, tenant_id, name, title, description, created_at) VALUES ($1, $2, $3, $4, '', $5)")
        .bind(toolset)
        .bind(tenant.id)
        .bind(TOOLSET)
        .bind(format!("{canary} toolset"))
        .bind(now)
        .execute(&mut *sql)
        .await
        .expect("a toolset");
    sqlx::query("INSERT INTO app.toolset_tools (tenant_id, toolset_id, tool_id) VALUES ($1, $2, $3)")
        .bind(tenant.id)
        .bind(toolset)
        .bind(tool)
        .execute(sql)
        .await
        .expect("its tool");
    toolset
}

/// An identity provider of the tenant, and ways in of its developer, beside the verbs.
async fn insert_sign_in(
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

/// A budget whose owners were told, beside the verbs.
async fn insert_budget(sql: &mut PgConnection, app: &TestApp, tenant: &Tenant<'_>) {
    let (now, budget) = (app.clock.now(), BudgetId::new(app.clock.now()));
    sqlx::query(
        "INSERT INTO app.budgets (id, tenant_id, scope, period, amount_micro, warn_percent, blocks, created_at)
         VALUES ($1, $2, 'tenant', 'month', 1000000000, 80, true, $3)",
    )
    .bind(budget)
    .bind(tenant.id)
    .bind(now)
    .execute(&mut *sql)
    .await
    .expect("a budget");
    sqlx::query("INSERT INTO app.budget_notices (tenant_id, budget_id, period, stage, at) VALUES ($1, $2, $3, 'warned', $4)")
        .bind(tenant.id)
        .bind(budget)
        .bind(now.date_naive())
        .bind(now)
        .execute(sql)
        .await
        .expect("a notice");
}

/// A limit, beside the verbs.
pub(crate) async fn insert_limit(
    sql: &mut PgConnection,
    app: &TestApp,
    tenant: &Tenant<'_>,
    scope: &str,
    agent: Option<AgentId>,
    tool: Option<ToolId>,
    (per_minute, burst): (i32, i32),
) {
    sqlx::query(
        "INSERT INTO app.limits (id, tenant_id, scope, agent_id, tool_id, per_minute, burst) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(LimitId::new(app.clock.now()))
    .bind(tenant.id)
    .bind(scope)
    .bind(agent)
    .bind(tool)
    .bind(per_minute)
    .bind(burst)
    .execute(sql)
    .await
    .expect("a limit");
}

/// An upstream that is treated otherwise than usual, beside the verbs.
async fn insert_resilience(sql: &mut PgConnection, tenant: TenantId) {
    sqlx::query("INSERT INTO app.resilience (tenant_id, upstream, breaker_s, retries) VALUES ($1, 'https://api.example', 5, 1)")
        .bind(tenant)
        .execute(sql)
        .await
        .expect("resilience");
}

/// A version of an entry of the registry, beside the verbs.
async fn insert_registry_entry(sql: &mut PgConnection, app: &TestApp, tenant: TenantId) {
    sqlx::query(
        "INSERT INTO app.registry_entries (id, tenant_id, number, digest, server, published_at)
         VALUES (gen_random_uuid(), $1, 1, sha256('x'), '{}', $2)",
    )
    .bind(tenant)
    .bind(app.clock.now())
    .execute(sql)
    .await
    .expect("an entry");
}

/// An alert that stays as it is, and whom alerts are told, beside the verbs.
async fn insert_alert(sql: &mut PgConnection, app: &TestApp, tenant: TenantId, canary: &str, tool: ToolId) -> AlertId {
    let (now, alert) = (app.clock.now(), AlertId::new(app.clock.now()));
    sqlx::query("UPDATE app.alert_rounds SET due_at = 'infinity', leased_until = NULL WHERE tenant = $1")
        .bind(tenant)
        .execute(&mut *sql)
        .await
        .expect("no more looks");
    sqlx::query(
        "INSERT INTO app.alerts (id, tenant_id, kind, subject, name, state, usual, message, since, last_bad_at, told)
         VALUES ($1, $2, 'limits', $3, $4, 'firing', 0, 'Limits or budgets refused 40 % of 90 calls in the last 10 minutes.', $5, $5, true)",
    )
    .bind(alert)
    .bind(tenant)
    .bind(tool.to_string())
    .bind(format!("{canary}-tool"))
    .bind(now)
    .execute(&mut *sql)
    .await
    .expect("an alert");
    sqlx::query("INSERT INTO app.alert_targets (tenant_id, mail_roles, updated_at) VALUES ($1, '{owner}', $2)")
        .bind(tenant)
        .bind(now)
        .execute(&mut *sql)
        .await
        .expect("targets");
    sqlx::query(
        "INSERT INTO app.alert_baselines (tenant_id, tool_id, hour, ran, failed) VALUES ($1, $2, $3, 1, 0) ON CONFLICT DO NOTHING",
    )
    .bind(tenant)
    .bind(tool)
    .bind(now)
    .execute(sql)
    .await
    .expect("what is usual");
    alert
}

/// Waits until everything of the tenant has its place in the chain and a signed head, and puts in what never gets one.
async fn insert_unchained(sql: &mut PgConnection, tenant: TenantId) {
    let rest = "SELECT (SELECT count(*) FROM app.audit_unchained WHERE tenant_id = $1) = 0
                  AND EXISTS (SELECT FROM app.audit_checkpoints WHERE tenant_id = $1)";
    eventually("the record is chained and signed", SOON, async || {
        let rests: bool = sqlx::query_scalar(rest).bind(tenant).fetch_one(&mut *sql).await.expect("an answer");
        rests.then_some(())
    })
    .await;
    sqlx::query("INSERT INTO app.audit_unchained (tenant_id, id, at) VALUES ($1, gen_random_uuid(), now())")
        .bind(tenant)
        .execute(&mut *sql)
        .await
        .expect("a row");
    sqlx::query("INSERT INTO app.audit_receipts (tenant_id, month, at, note) VALUES ($1, '202001', now(), 'nothing was there')")
        .bind(tenant)
        .execute(sql)
        .await
        .expect("a receipt");
}
