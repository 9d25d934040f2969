//! Endpoints as audiences: `resource` of a request, `aud` of a token.

use std::str::FromStr as _;

use trunkline_protocol::oauth::{
    error::{ErrorCode, OAuthError},
    token::check_resource,
};

use crate::{Platform, accounts::TenantSlug};

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
