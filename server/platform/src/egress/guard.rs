//! Which addresses may be dialled. A name is resolved once, every address is judged, and only the addresses judged good are dialled: there
//! is no moment at which a second answer could slip in.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::Semaphore;
use tower_service::Service;
use url::{Host, Url};

use super::EgressError;
use crate::network::Network;

/// Longest wait for a name.
const RESOLVE_WITHIN: Duration = Duration::from_secs(2);
/// Names that are looked up at the same time.
const MOST_LOOKUPS: usize = 64;

/// Every address of a name was refused.
#[derive(Debug, thiserror::Error)]
#[error("the address is not allowed")]
pub(super) struct AddressRefused;

/// Is the address one of the public internet?
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || a == 10
        || a == 127
        || a >= 224
        || (a == 100 && (b & 0xc0) == 64)
        || (a == 169 && b == 254)
        || (a == 172 && (b & 0xf0) == 16)
        || (a == 192 && b == 168)
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b & 0xfe) == 18)
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    let segments = address.segments();
    // Global unicast only, less protocol assignments (Teredo, ORCHID, benchmarks), documentation and 6to4.
    (segments[0] & 0xe000) == 0x2000
        && !(segments[0] == 0x2001 && segments[1] < 0x0200)
        && !(segments[0] == 0x2001 && segments[1] == 0x0db8)
        && segments[0] != 0x2002
        && segments[0] & 0xfff0 != 0x3ff0
}

fn is_allowed(address: IpAddr, allow: &[Network]) -> bool {
    is_public(address) || allow.iter().any(|network| network.contains(address))
}

/// What can be judged without asking for a name. Hosts that are addresses never reach the resolver.
pub(super) fn check_url(url: &Url, allow: &[Network]) -> Result<(), EgressError> {
    let plain = matches!(url.scheme(), "https" | "http") && url.username().is_empty() && url.password().is_none();
    let address = match url.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        Some(Host::Domain(name)) if !name.is_empty() => None,
        _ => return Err(EgressError::Refused),
    };
    if plain && address.is_none_or(|address| is_allowed(address, allow)) { Ok(()) } else { Err(EgressError::Refused) }
}

/// Resolves a name to its allowed addresses. Clones share the bound.
#[derive(Debug, Clone)]
pub(super) struct Resolver {
    pub(super) allow: Arc<[Network]>,
    /// The system's resolver blocks a thread per name; names that hang must not take those that log-ins need.
    pub(super) lookups: Arc<Semaphore>,
}

impl Resolver {
    pub(super) fn new(allow: Arc<[Network]>) -> Self {
        Self { allow, lookups: Arc::new(Semaphore::new(MOST_LOOKUPS)) }
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (allow, lookups) = (Arc::clone(&self.allow), Arc::clone(&self.lookups));
        Box::pin(async move {
            let found = tokio::time::timeout(RESOLVE_WITHIN, async {
                let permit = lookups.acquire_owned().await?;
                let lookup = move || {
                    // Held until the thread is free again, also when nobody waits for the answer any more.
                    let _permit = permit;
                    (name.as_str(), 0).to_socket_addrs().map(Iterator::collect::<Vec<_>>)
                };
                let found = tokio::task::spawn_blocking(lookup).await??;
                Ok::<_, Self::Error>(found)
            });
            let allowed: Vec<SocketAddr> = found.await??.into_iter().filter(|address| is_allowed(address.ip(), &allow)).collect();
            if allowed.is_empty() {
                return Err(AddressRefused.into());
            }
            Ok(allowed.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_are_refused() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2001:10::1",
            "2002:7f00:1::",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "5f00::1",
            "3fff::1",
        ] {
            assert!(!is_public(address.parse().expect("address")), "{address}");
        }
        for address in ["1.1.1.1", "8.8.8.8", "100.128.0.1", "172.32.0.1", "192.0.1.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(is_public(address.parse().expect("address")), "{address}");
        }
    }

    #[test]
    fn odd_spellings_of_addresses_are_seen_through() {
        for text in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:7f00:1]/",
            "http://①②⑦.0.0.1/",
            "http://%31%32%37.0.0.1/",
            "ftp://example.com/",
            "http://user@example.com/",
            "http://:pw@example.com/",
        ] {
            let url = Url::parse(text).expect(text);
            assert_eq!(check_url(&url, &[]), Err(EgressError::Refused), "{text}");
        }
        assert_eq!(check_url(&Url::parse("https://example.com/x").expect("url"), &[]), Ok(()));
    }

    #[test]
    fn allow_list_opens_its_networks_only() {
        let allow = ["127.0.0.0/8".parse::<Network>().expect("network")];
        assert!(is_allowed("127.3.2.1".parse().expect("address"), &allow));
        assert!(is_allowed("::ffff:127.0.0.1".parse().expect("address"), &allow));
        assert!(!is_allowed("10.0.0.1".parse().expect("address"), &allow));
    }
}
