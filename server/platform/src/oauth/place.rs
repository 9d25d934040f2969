//! Endpoints as audiences: `resource` of a request, `aud` of a token.

use std::str::FromStr as _;

use trunkline_protocol::oauth::{
    error::{Cause, ErrorCode, OAuthError},
    token::check_resource,
};

use crate::{
    Platform,
    accounts::TenantSlug,
    agents::{Agent, AgentState},
    catalog::snapshot::Current,
    error::Result,
    ids::{AgentId, TenantId},
    oauth::Failure,
};

/// The endpoint of a tenant, or of one of its toolsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Whose.
    pub slug: TenantSlug,
    /// The toolset's name.
    pub toolset: Option<String>,
}

/// The issuer of this installation's tokens.
pub fn issuer(platform: &Platform) -> String {
    format!("{}/oauth", origin(platform))
}

fn origin(platform: &Platform) -> String {
    platform.settings.public_url.origin().ascii_serialization()
}

impl Endpoint {
    /// Reads a `resource`: exactly the URL of an endpoint here. Whether there is such an endpoint is not said by this.
    pub fn parse(platform: &Platform, resource: &str) -> Result<Self, OAuthError> {
        check_resource(resource)?;
        let refuse = || OAuthError::new(ErrorCode::InvalidTarget, "resource is not an endpoint of this server");
        let path = resource.strip_prefix(&origin(platform)).and_then(|path| path.strip_prefix("/t/")).ok_or_else(refuse)?;
        let (slug, rest) = path.split_once('/').ok_or_else(refuse)?;
        let slug = TenantSlug::from_str(slug).map_err(|_| refuse())?;
        let is_name = |name: &str| {
            (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        };
        match rest.strip_prefix("mcp") {
            Some("") => Ok(Self { slug, toolset: None }),
            Some(rest) => match rest.strip_prefix('/') {
                Some(name) if is_name(name) => Ok(Self { slug, toolset: Some(name.to_owned()) }),
                _ => Err(refuse()),
            },
            None => Err(refuse()),
        }
    }

    /// Its URL.
    pub fn url(&self, platform: &Platform) -> String {
        Self::url_of(platform, self.slug.as_str(), self.toolset.as_deref())
    }

    /// The URL of the endpoint of that tenant and toolset.
    pub fn url_of(platform: &Platform, slug: &str, toolset: Option<&str>) -> String {
        let origin = origin(platform);
        match toolset {
            None => format!("{origin}/t/{slug}/mcp"),
            Some(toolset) => format!("{origin}/t/{slug}/mcp/{toolset}"),
        }
    }
}

/// The slug of a tenant.
pub(super) async fn slug_of(platform: &Platform, tenant: TenantId) -> Result<TenantSlug> {
    let mut tx = platform.db.tenant(tenant).await?;
    let slug = super::client::store::slug(&mut tx).await?;
    tx.commit().await?;
    TenantSlug::from_str(&slug).map_err(crate::Error::internal)
}

/// The tenant of that endpoint, if there is such an endpoint.
pub(super) async fn snapshot(platform: &Platform, endpoint: &Endpoint) -> Result<Current, Failure> {
    let found = platform.snapshots.get(platform, endpoint.slug.as_str()).await?;
    let is_there = |current: &Current| endpoint.toolset.as_ref().is_none_or(|name| current.toolset(name).is_some());
    let found = found.filter(is_there);
    Ok(found.ok_or_else(|| OAuthError::new(ErrorCode::InvalidTarget, "resource is not an endpoint of this server"))?)
}

/// The same for an endpoint that has to be that tenant's. Another tenant's is as unknown as one that is not there.
pub(super) async fn served(platform: &Platform, endpoint: &Endpoint, tenant: TenantId) -> Result<Current, Failure> {
    let found = snapshot(platform, endpoint).await?;
    if found.tenant == tenant {
        return Ok(found);
    }
    Err(OAuthError::new(ErrorCode::InvalidTarget, "resource is not an endpoint of this server").into())
}

/// The agent, if it may act at all.
pub(super) fn acting(snapshot: &Current, agent: AgentId) -> Result<&Agent, OAuthError> {
    let refuse = |why| OAuthError::new(ErrorCode::InvalidGrant, why).because(Cause::AgentStopped);
    let agent = snapshot.agent(agent).ok_or_else(|| refuse("the agent is not there any more"))?;
    if !snapshot.active || agent.state == AgentState::Suspended {
        return Err(refuse("the agent is suspended until a member of its tenant resumes it"));
    }
    Ok(agent)
}
