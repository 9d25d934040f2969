//! Which endpoint: a tenant's, or that of one of its toolsets.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, dev::Payload, error::ErrorNotFound};

use crate::WebState;

/// An endpoint, as its path names it. Whether it is there is not said by this.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) tenant: String,
    pub(super) toolset: Option<String>,
}

impl FromRequest for Place {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let part = |name| request.match_info().get(name).map(str::to_owned);
        ready(match part("tenant") {
            Some(tenant) => Ok(Self { tenant, toolset: part("toolset_name") }),
            None => Err(ErrorNotFound("")),
        })
    }
}

impl Place {
    /// `resource` of the endpoint: exactly what tokens will be bound to.
    pub(super) fn identifier(&self, state: &WebState) -> String {
        format!("{}{}", state.settings.origin(), self.path())
    }

    /// Where the endpoint's metadata is.
    pub(super) fn metadata_url(&self, state: &WebState) -> String {
        format!("{}/.well-known/oauth-protected-resource{}", state.settings.origin(), self.path())
    }

    fn path(&self) -> String {
        // Whatever stands in the path, it must not become a part of a header's syntax.
        let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        match &self.toolset {
            None => format!("/t/{}/mcp", encode(&self.tenant)),
            Some(toolset) => format!("/t/{}/mcp/{}", encode(&self.tenant), encode(toolset)),
        }
    }
}
