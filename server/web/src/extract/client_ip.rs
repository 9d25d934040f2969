//! Where a request comes from: for limits on attempts, and for the record, which keeps its network.

use std::{
    future::{Ready, ready},
    net::{IpAddr, Ipv4Addr},
};

use actix_web::{FromRequest, HttpRequest, dev::Payload};

use super::state;
use crate::{error::HtmlError, state::WebSettings};

/// The client's address: the peer's, or what our own proxy says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientIp(pub IpAddr);

impl FromRequest for ClientIp {
    type Error = HtmlError;
    type Future = Ready<Result<Self, HtmlError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(state(request).map(|state| Self(client_address(&state.settings, request))))
    }
}

/// The same where no extractor is at work.
pub(crate) fn client_address(settings: &WebSettings, request: &HttpRequest) -> IpAddr {
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let forwarded: Vec<&str> = request.headers().get_all("x-forwarded-for").filter_map(|value| value.to_str().ok()).collect();
    client_ip(settings, peer, &forwarded)
}

/// The rightmost address that is not a trusted proxy's: what stands left of it, its sender may have made up.
fn client_ip(settings: &WebSettings, peer: IpAddr, forwarded: &[&str]) -> IpAddr {
    let listed = |address: IpAddr| settings.trusted_proxies.iter().any(|network| network.contains(address));
    let is_peer_trusted = settings.behind_proxy && (settings.trusted_proxies.is_empty() || listed(peer));
    let mut client = peer.to_canonical();
    if !is_peer_trusted {
        return client;
    }
    for text in forwarded.iter().rev().flat_map(|value| value.rsplit(',')) {
        // Not an address: nothing left of it can be believed.
        let Some(address) = parse(text.trim()) else { break };
        client = address;
        if !listed(address) {
            break;
        }
    }
    client
}

/// An address, with or without a port, as proxies write them.
fn parse(text: &str) -> Option<IpAddr> {
    let address = text.parse::<IpAddr>().ok();
    let address = address.or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()));
    let address = address.or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok());
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(behind_proxy: bool, trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let trusted_proxies = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let public_url = url::Url::parse("https://trunkline.example").unwrap();
        let settings =
            WebSettings { public_url, trusted_proxies, behind_proxy, client_certificates: false, certificate_header: None };
        client_ip(&settings, peer.parse().unwrap(), forwarded).to_string()
    }

    #[test]
    fn header_counts_only_from_a_trusted_peer() {
        assert_eq!(client(false, &[], "198.51.100.7", &["203.0.113.9"]), "198.51.100.7");
        assert_eq!(client(true, &["10.0.0.0/8"], "198.51.100.7", &["203.0.113.9"]), "198.51.100.7");
        assert_eq!(client(true, &["10.0.0.0/8"], "10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(client(true, &[], "10.0.0.1", &["1.2.3.4, 203.0.113.9"]), "203.0.113.9");
    }

    #[test]
    fn what_the_client_made_up_stands_left_and_is_ignored() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(client(true, &trusted, "10.0.0.1", &["1.1.1.1, 203.0.113.9, 10.0.0.2"]), "203.0.113.9");
        assert_eq!(client(true, &trusted, "10.0.0.1", &["1.1.1.1", "203.0.113.9:5000"]), "203.0.113.9");
        assert_eq!(client(true, &trusted, "10.0.0.1", &["1.1.1.1, nonsense, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(client(true, &trusted, "::ffff:10.0.0.1", &[]), "10.0.0.1");
    }
}
