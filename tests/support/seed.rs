//! A tenant with something in every table, and a canary in everything a person can name.

use sqlx::PgConnection;
use trunkline_platform::{
    accounts,
    actor::{Member, Role},
    clock::Clock as _,
    ids::{AgentId, EntryId, InvitationId, KeyId, LimitId, ToolId},
    random,
};

use super::{Agent, SOON, Tenant, TestApp, Upstream, eventually, tools};

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
    /// An open invitation.
    pub(crate) invitation: InvitationId,
    /// A call.
    pub(crate) call: EntryId,
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
    Seeded { tenant, canary, owner_email, developer, viewer, agent, tool, invitation, call }
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
