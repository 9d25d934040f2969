//! Every path we link to, as functions.

use trunkline_platform::ids::{
    AgentId, AlertId, ApiId, CertificateNameId, ChangeId, ClientId, CredentialId, DefinitionId, EntryId, GrantId, InvitationId,
    KeyId, OperationId, PasskeyId, SessionId, SourceId, ToolId, ToolsetId, TrustedIssuerId, UserId,
};

/// The front page.
pub fn start() -> &'static str {
    "/"
}

/// The sign-up form.
pub fn signup() -> &'static str {
    "/signup"
}

/// The sign-up form for somebody who was invited.
pub fn signup_with_invitation(token: &str) -> String {
    format!("/signup?invitation={}", encode(token))
}

/// What to do after signing up.
pub fn signup_sent() -> &'static str {
    "/signup/sent"
}

/// The log-in form.
pub fn login() -> &'static str {
    "/login"
}

/// The log-in form, which leads to `next` afterwards.
pub fn login_then(next: &str) -> String {
    format!("/login?next={}", encode(next))
}

/// Where applications send people for consent.
pub fn authorize() -> &'static str {
    "/oauth/authorize"
}

/// The second step of logging in.
pub fn login_second(next: Option<&str>) -> String {
    next.map_or_else(|| "/login/second".to_owned(), |next| format!("/login/second?next={}", encode(next)))
}

/// Logs in with a passkey, and leads to `next` afterwards.
pub fn login_passkey(next: &str) -> String {
    if next.is_empty() { "/login/passkey".to_owned() } else { format!("/login/passkey?next={}", encode(next)) }
}

/// Logs in through an organisation's identity provider, and leads to `next` afterwards.
pub fn sso_then(slug: &str, next: &str) -> String {
    format!("/login/sso?organisation={}&next={}", encode(slug), encode(next))
}

/// A person's own account.
pub fn account() -> &'static str {
    "/account"
}

/// How it is protected.
pub fn account_security() -> &'static str {
    "/account/security"
}

/// Which accounts at other servers the person has connected.
pub fn account_connections() -> &'static str {
    "/account/connections"
}

/// Where somebody connects their own account to a source.
pub fn connection(slug: &str, source: SourceId) -> String {
    format!("/t/{slug}/connections/{source}")
}

/// Whether each person uses their own account at a source.
pub fn source_accounts(slug: &str, source: SourceId) -> String {
    format!("{}/accounts", self::source(slug, source))
}

/// What a tenant may spend.
pub fn tenant_budgets(slug: &str) -> String {
    format!("{}/budgets", settings(slug))
}

/// What an agent may spend.
pub fn agent_budgets(slug: &str, agent: AgentId) -> String {
    format!("{}/budgets", self::agent(slug, agent))
}

/// What is read of an agent or a toolset, whose page that is.
pub fn context(of: &str) -> String {
    format!("{of}/context")
}

/// The tenant's secrets for what it calls.
pub fn credentials(slug: &str) -> String {
    format!("/t/{slug}/credentials")
}

/// One of them.
pub fn credential(slug: &str, credential: CredentialId) -> String {
    format!("{}/{credential}", credentials(slug))
}

/// How calls treat upstreams.
pub fn upstreams(slug: &str) -> String {
    format!("/t/{slug}/upstreams")
}

/// How calls treat the upstream of a source or a tool, whose page that is.
pub fn resilience(of: &str) -> String {
    format!("{of}/resilience")
}

/// What may be spent on a tool.
pub fn tool_budgets(slug: &str, tool: ToolId) -> String {
    format!("{}/budgets", self::tool(slug, tool))
}

/// The form for the origin of HTTP tools.
pub fn source_new_api(slug: &str) -> String {
    format!("{}/api", source_new(slug))
}

/// The same, for somebody whom that organisation asks for a second factor.
pub fn second_factor_for(slug: &str) -> String {
    format!("/account/security?for={}", encode(slug))
}

/// Proves to be there, and leads to `next` afterwards.
pub fn prove_then(next: &str) -> String {
    format!("/account/prove?next={}", encode(next))
}

/// Confirms the new address of an account.
pub fn email_change_link(token: &str) -> String {
    format!("/email/{token}")
}

/// Signs one browser out.
pub fn session_end(session: SessionId) -> String {
    format!("/account/sessions/{session}/end")
}

/// Forgets a passkey.
pub fn passkey_remove(passkey: PasskeyId) -> String {
    format!("/account/security/passkeys/{passkey}/remove")
}

/// How members of a tenant sign in.
pub fn sign_in_settings(slug: &str) -> String {
    format!("/t/{slug}/settings/sign-in")
}

/// The form for a mail with a reset link.
pub fn reset() -> &'static str {
    "/reset"
}

/// What to do after asking for one.
pub fn reset_sent() -> &'static str {
    "/reset/sent"
}

/// The form for a new password.
pub fn reset_link(token: &str) -> String {
    format!("/reset/{token}")
}

/// Confirms an address.
pub fn confirm_link(token: &str, invitation: Option<&str>) -> String {
    match invitation {
        Some(invitation) => format!("/confirm/{token}?invitation={}", encode(invitation)),
        None => format!("/confirm/{token}"),
    }
}

/// An invitation, as its receiver sees it.
pub fn invitation(token: &str) -> String {
    format!("/invitations/{token}")
}

/// Creates an organisation.
pub fn welcome() -> &'static str {
    "/welcome"
}

/// A tenant's home.
pub fn tenant(slug: &str) -> String {
    format!("/t/{slug}")
}

/// Who changed what in a tenant.
pub fn audit(slug: &str) -> String {
    format!("/t/{slug}/audit")
}

/// A copy of that to take away.
pub fn audit_export(slug: &str) -> String {
    format!("/t/{slug}/audit/export")
}

/// A tenant's members.
pub fn members(slug: &str) -> String {
    format!("/t/{slug}/members")
}

/// Changes a member's role.
pub fn member_role(slug: &str, user: UserId) -> String {
    format!("/t/{slug}/members/{user}/role")
}

/// Removes a member.
pub fn member_remove(slug: &str, user: UserId) -> String {
    format!("/t/{slug}/members/{user}/remove")
}

/// Invites somebody.
pub fn invitations(slug: &str) -> String {
    format!("/t/{slug}/invitations")
}

/// Takes an invitation back.
pub fn invitation_withdraw(slug: &str, invitation: InvitationId) -> String {
    format!("/t/{slug}/invitations/{invitation}/withdraw")
}

/// A tenant's settings.
pub fn settings(slug: &str) -> String {
    format!("/t/{slug}/settings")
}

/// Leaves a tenant.
pub fn leave(slug: &str) -> String {
    format!("/t/{slug}/leave")
}

/// A tenant's agents.
pub fn agents(slug: &str) -> String {
    format!("/t/{slug}/agents")
}

/// The form for a new agent.
pub fn agent_new(slug: &str) -> String {
    format!("/t/{slug}/agents/new")
}

/// An agent.
pub fn agent(slug: &str, agent: AgentId) -> String {
    format!("/t/{slug}/agents/{agent}")
}

/// Lets an agent call again.
pub fn agent_resume(slug: &str, agent: AgentId) -> String {
    format!("/t/{slug}/agents/{agent}/resume")
}

/// The form that changes an agent.
pub fn agent_edit(slug: &str, agent: AgentId) -> String {
    format!("/t/{slug}/agents/{agent}/edit")
}

/// A tenant's keys.
pub fn keys(slug: &str) -> String {
    format!("/t/{slug}/keys")
}

/// Gives a key a successor.
pub fn key_roll(slug: &str, key: KeyId) -> String {
    format!("/t/{slug}/keys/{key}/roll")
}

/// Ends a key.
pub fn key_revoke(slug: &str, key: KeyId) -> String {
    format!("/t/{slug}/keys/{key}/revoke")
}

/// A tenant's tools.
pub fn tools(slug: &str) -> String {
    format!("/t/{slug}/tools")
}

/// The form for a new tool.
pub fn tool_new(slug: &str) -> String {
    format!("/t/{slug}/tools/new")
}

/// A tool.
pub fn tool(slug: &str, tool: ToolId) -> String {
    format!("/t/{slug}/tools/{tool}")
}

/// What a function logged in calls of agents.
pub fn tool_logs(slug: &str, tool: ToolId) -> String {
    format!("/t/{slug}/tools/{tool}/logs")
}

/// The form that changes a tool.
pub fn tool_edit(slug: &str, tool: ToolId) -> String {
    format!("/t/{slug}/tools/{tool}/edit")
}

/// Runs a tool by hand.
pub fn tool_try(slug: &str, tool: ToolId) -> String {
    format!("/t/{slug}/tools/{tool}/try")
}

/// Publishes a draft of a tool.
pub fn tool_publish(slug: &str, tool: ToolId) -> String {
    format!("/t/{slug}/tools/{tool}/publish")
}

/// Points a tool at an earlier version again.
pub fn tool_roll_back(slug: &str, tool: ToolId) -> String {
    format!("/t/{slug}/tools/{tool}/roll-back")
}

/// Agents that are given one version of a tool.
pub fn tool_pins(slug: &str, tool: ToolId) -> String {
    format!("/t/{slug}/tools/{tool}/pins")
}

/// Two versions of a tool side by side.
pub fn tool_compare(slug: &str, tool: ToolId) -> String {
    format!("/t/{slug}/tools/{tool}/compare")
}

/// How a tool is tried.
pub fn tool_probe(slug: &str, tool: ToolId) -> String {
    format!("/t/{slug}/tools/{tool}/probe")
}

/// How a source is tried.
pub fn source_probe(slug: &str, source: SourceId) -> String {
    format!("/t/{slug}/sources/{source}/probe")
}

/// A tenant's sources.
pub fn sources(slug: &str) -> String {
    format!("/t/{slug}/sources")
}

/// The form for a new source.
pub fn source_new(slug: &str) -> String {
    format!("/t/{slug}/sources/new")
}

/// The form for importing an API.
pub fn api_import(slug: &str) -> String {
    format!("/t/{slug}/sources/import")
}

/// An imported API.
pub fn api(slug: &str, api: ApiId) -> String {
    format!("/t/{slug}/apis/{api}")
}

/// What is wanted of an operation of it otherwise than its description has it.
pub fn api_operation(slug: &str, api: ApiId, operation: OperationId) -> String {
    format!("{}/operations/{operation}", self::api(slug, api))
}

/// A document of it that waits to be approved.
pub fn api_change(slug: &str, api: ApiId) -> String {
    format!("{}/change", self::api(slug, api))
}

/// The form for reading the description of an API again.
pub fn api_again(slug: &str, api: ApiId) -> String {
    format!("{}/again", self::api(slug, api))
}

/// A source.
pub fn source(slug: &str, source: SourceId) -> String {
    format!("/t/{slug}/sources/{source}")
}

/// A definition of a source.
pub fn definition(slug: &str, source: SourceId, definition: DefinitionId) -> String {
    format!("/t/{slug}/sources/{source}/definitions/{definition}")
}

/// A change of a definition, to be decided.
pub fn change(slug: &str, source: SourceId, change: ChangeId) -> String {
    format!("/t/{slug}/sources/{source}/changes/{change}")
}

/// A tenant's toolsets.
pub fn toolsets(slug: &str) -> String {
    format!("/t/{slug}/toolsets")
}

/// The form for a new toolset.
pub fn toolset_new(slug: &str) -> String {
    format!("/t/{slug}/toolsets/new")
}

/// A toolset.
pub fn toolset(slug: &str, toolset: ToolsetId) -> String {
    format!("/t/{slug}/toolsets/{toolset}")
}

/// The MCP endpoint of a toolset.
pub fn toolset_mcp(slug: &str, name: &str) -> String {
    format!("/t/{slug}/mcp/{name}")
}

/// Whom a tenant believes beside its members.
pub fn trust(slug: &str) -> String {
    format!("/t/{slug}/trust")
}

/// Believes an identity provider.
pub fn trust_issuers(slug: &str) -> String {
    format!("/t/{slug}/trust/issuers")
}

/// Believes it no more.
pub fn trust_issuer_remove(slug: &str, issuer: TrustedIssuerId) -> String {
    format!("/t/{slug}/trust/issuers/{issuer}/remove")
}

/// Changes what client certificates mean.
pub fn trust_certificates(slug: &str) -> String {
    format!("/t/{slug}/trust/certificates")
}

/// Lets a name in certificates stand for an agent.
pub fn trust_names(slug: &str) -> String {
    format!("/t/{slug}/trust/names")
}

/// Takes that back.
pub fn trust_name_remove(slug: &str, name: CertificateNameId) -> String {
    format!("/t/{slug}/trust/names/{name}/remove")
}

/// A tenant's OAuth clients.
pub fn clients(slug: &str) -> String {
    format!("/t/{slug}/clients")
}

/// Lets members use a client.
pub fn client_approve(slug: &str, client: ClientId) -> String {
    format!("/t/{slug}/clients/{client}/approve")
}

/// Lets nobody use a client any more.
pub fn client_block(slug: &str, client: ClientId) -> String {
    format!("/t/{slug}/clients/{client}/block")
}

/// Gives a client a new secret.
pub fn client_secret(slug: &str, client: ClientId) -> String {
    format!("/t/{slug}/clients/{client}/secret")
}

/// Changes which clients members may use.
pub fn client_policy(slug: &str) -> String {
    format!("/t/{slug}/clients/policy")
}

/// Ends a grant.
pub fn grant_revoke(slug: &str, grant: GrantId) -> String {
    format!("/t/{slug}/grants/{grant}/revoke")
}

/// How full a tenant's limits are.
pub fn limits(slug: &str) -> String {
    format!("/t/{slug}/limits")
}

/// What a tenant's agents have called.
pub fn usage(slug: &str) -> String {
    format!("/t/{slug}/usage")
}

/// What that has cost.
pub fn cost(slug: &str) -> String {
    format!("/t/{slug}/usage/cost")
}

/// What of it were calls of a tool.
pub fn tool_usage(slug: &str, tool: ToolId) -> String {
    format!("{}/usage", self::tool(slug, tool))
}

/// What of it was called by an agent.
pub fn agent_usage(slug: &str, agent: AgentId) -> String {
    format!("{}/usage", self::agent(slug, agent))
}

/// A tenant's calls.
pub fn logs(slug: &str) -> String {
    format!("/t/{slug}/logs")
}

/// A call.
pub fn call(slug: &str, call: EntryId) -> String {
    format!("/t/{slug}/logs/{call}")
}

/// How to connect a client.
pub fn connect(slug: &str) -> String {
    format!("/t/{slug}/connect")
}

/// Has a call come?
pub fn connect_status(slug: &str) -> String {
    format!("/t/{slug}/connect/status")
}

/// Alerts.
pub fn alerts(slug: &str) -> String {
    format!("/t/{slug}/alerts")
}

/// Says whom alerts are told.
pub fn alert_targets(slug: &str) -> String {
    format!("/t/{slug}/alerts/targets")
}

/// Sends a test to them.
pub fn alert_test(slug: &str) -> String {
    format!("/t/{slug}/alerts/test")
}

/// Says that somebody looks after an alert.
pub fn alert_acknowledge(slug: &str, alert: AlertId) -> String {
    format!("/t/{slug}/alerts/{alert}/acknowledge")
}

/// Has nobody told of it for a while.
pub fn alert_silence(slug: &str, alert: AlertId) -> String {
    format!("/t/{slug}/alerts/{alert}/silence")
}

/// A tenant's MCP endpoint.
pub fn mcp(slug: &str) -> String {
    format!("/t/{slug}/mcp")
}

/// A path with a query; fields without a value are left out.
pub fn with_query(path: &str, fields: &[(&str, &str)]) -> String {
    let query: Vec<String> =
        fields.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("{name}={}", encode(value))).collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

fn encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// A path of ours to go on with, from a query that anybody may have written. `None` for whatever a browser could take for another
/// site's address.
pub fn parse_next(text: &str) -> Option<&str> {
    let mut characters = text.chars();
    let ours = characters.next() == Some('/')
        && !matches!(characters.next(), Some('/' | '\\'))
        && !text.contains(|c: char| c.is_control() || c == '\\')
        && text.len() <= 8192;
    ours.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_is_a_path_of_ours() {
        for text in ["/", "/t/acme/members?x=1#y", "/invitations/ten_x"] {
            assert_eq!(parse_next(text), Some(text));
        }
        for text in
            ["", "t/acme", "//evil.example", "/\\evil.example", "https://evil.example", "/a\\b", "/\t/evil.example", "/\n", "\\/"]
        {
            assert_eq!(parse_next(text), None, "{text:?}");
        }
    }
}
