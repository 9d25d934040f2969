//! What every handler can reach.

use trunkline_platform::{Platform, network::Network};
use url::Url;

use crate::mcp::Bodies;

/// Shared by all workers; cheap to clone.
#[derive(Clone)]
pub struct WebState {
    /// The product.
    pub platform: Platform,
    /// How this installation is reached.
    pub settings: WebSettings,
    /// What bodies of requests take.
    pub(crate) bodies: Bodies,
}

impl WebState {
    /// Of a product that is reached so.
    pub fn new(platform: Platform, settings: WebSettings) -> Self {
        Self { platform, settings, bodies: Bodies::default() }
    }
}

/// How this installation is reached.
#[derive(Debug, Clone)]
pub struct WebSettings {
    /// Where people and agents reach it. The only source of host names: what a request says is checked against it, never believed.
    pub public_url: Url,
    /// Whose `X-Forwarded-For` is believed, if it stands behind a proxy. Empty: the direct peer's.
    pub trusted_proxies: Vec<Network>,
    /// Is every connection made by a proxy?
    pub behind_proxy: bool,
    /// Does our own listener ask for client certificates?
    pub client_certificates: bool,
    /// The header in which a trusted proxy forwards them, in lower case.
    pub certificate_header: Option<String>,
}

impl WebSettings {
    /// `scheme://host[:port]`, as browsers write it into `Origin`.
    pub fn origin(&self) -> String {
        self.public_url.origin().ascii_serialization()
    }

    /// Can a client show a certificate at all?
    pub fn sees_certificates(&self) -> bool {
        let is_reached_directly = !self.behind_proxy || !self.trusted_proxies.is_empty();
        (self.client_certificates && is_reached_directly) || self.certificate_header.is_some()
    }

    /// Do browsers reach it by TLS?
    pub fn is_https(&self) -> bool {
        self.public_url.scheme() == "https"
    }
}
