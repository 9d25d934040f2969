//! Services that act on behalf of nobody (RFC 6749 §4.4): as the agent that a member chose for them.

use trunkline_protocol::oauth::{
    client_metadata::Authentication,
    error::{ErrorCode, OAuthError},
    scope::{Scope, ScopeSet},
};

use super::{
    Client, Endpoint, Failure, Tokens, place,
    standing::{self, Kind, Standing},
    token::Terms,
};
use crate::Platform;

/// A token for a service. It gets another one when it needs one; there is nothing to refresh.
pub async fn client_credentials(
    platform: &Platform,
    client: &Client,
    scopes: Option<Vec<Scope>>,
    resource: Option<&str>,
) -> Result<Tokens, Failure> {
    let unauthorized = |why| OAuthError::new(ErrorCode::UnauthorizedClient, why);
    let (tenant, id, agent) =
        client.home.ok_or_else(|| unauthorized("only clients that a member made may ask on their own behalf"))?;
    let agent = agent.ok_or_else(|| unauthorized("a member has to choose the agent that this client acts as"))?;
    if client.authentication == Authentication::None {
        return Err(unauthorized("only clients that prove who they are may ask on their own behalf").into());
    }
    let endpoint = match resource {
        Some(resource) => Endpoint::parse(platform, resource)?,
        None => Endpoint { slug: place::slug_of(platform, tenant).await?, toolset: None },
    };
    let snapshot = place::served(platform, &endpoint, tenant).await?;
    let agent = place::acting(&snapshot, agent)?;
    let scopes = narrowed(scopes, &agent.scopes)?;
    let new = Standing {
        kind: Kind::Service,
        tenant,
        agent: agent.id,
        client: id,
        client_id: &client.client_id,
        endpoint: &endpoint,
        subject: "",
        issuer: None,
        scopes: &scopes,
    };
    let terms = Terms { binding: client.binding.clone(), ..Terms::default() };
    standing::issue(platform, &new, terms).await
}

/// What is asked for, within what may be; all of that, if nothing is said.
pub(super) fn narrowed(asked: Option<Vec<Scope>>, most: &ScopeSet) -> Result<ScopeSet, OAuthError> {
    let scopes = match asked {
        None => most.clone(),
        Some(asked) => ScopeSet::new(asked).within(most),
    };
    if scopes.is_empty() {
        return Err(OAuthError::new(ErrorCode::InvalidScope, "nothing of this scope can be granted"));
    }
    Ok(scopes)
}
