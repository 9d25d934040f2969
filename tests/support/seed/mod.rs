//! A tenant with something in every table, and a canary in everything a person can name.

mod catalog;
mod grants;
mod limits;
mod people;
mod record;
mod sources;

use trunkline_platform::{
    accounts,
    actor::{Member, Role},
    ids::{
        AgentId, AlertId, ApiId, CertificateNameId, ChangeId, ClientId, CredentialId, DefinitionId, EntryId, GrantId,
        InvitationId, KeyId, OperationId, PasskeyId, SessionId, SourceId, ToolId, ToolsetId, TrustedIssuerId,
    },
    random,
};

use self::{
    catalog::{exchange_secret, insert_function_log, insert_pin, insert_probes, insert_registry_entry, insert_toolset},
    grants::{insert_grant, insert_trust},
    limits::{insert_budget, insert_resilience},
    people::insert_sign_in,
    record::{insert_alert, insert_unchained},
    sources::{insert_api, insert_connection, insert_source},
};
use super::{Agent, SOON, Tenant, TestApp, Upstream, eventually, tools};

pub(crate) use limits::insert_limit;

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
