//! Where we are reached: the listener, its certificates, and our address.

use std::path::PathBuf;

use trunkline_platform::network::Network;
use url::{Host, Url};

use super::reader::{Given, Reader};
use crate::config::Http;

/// What lists of addresses hold.
pub(super) const NETWORKS: &str = "networks such as 10.0.0.0/8";

pub(super) fn http(reader: &mut Reader) -> Option<Http> {
    let listen = reader.parsed("http.listen", "an address and a port, such as 127.0.0.1:8080");
    let behind_proxy = reader.parsed("http.behind_proxy", "true or false");
    let trusted_proxies = reader.list("http.trusted_proxies", NETWORKS);
    let certificate = reader.optional("http.tls_cert", |path| Ok(PathBuf::from(path)));
    let key = reader.optional("http.tls_key", |path| Ok(PathBuf::from(path)));
    let workers = reader.number("http.workers", 0..=1024);
    let client_certificates = reader.parsed::<Certificates>("http.client_certificates", "off or optional");
    let header = reader.optional("http.client_certificate_header", header_name);
    let tls = match (certificate?.value(), key?.value()) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => return reader.refuse("http.tls_key", "is missing, but http.tls_cert is set; TLS needs both"),
        (None, Some(_)) => return reader.refuse("http.tls_cert", "is missing, but http.tls_key is set; TLS needs both"),
    };
    let workers = usize::try_from(workers?).ok();
    let (behind_proxy, trusted_proxies): (bool, Vec<Network>) = (behind_proxy?, trusted_proxies?);
    let client_certificates = client_certificates? == Certificates::Optional;
    if client_certificates && tls.is_none() {
        return reader
            .refuse("http.client_certificates", "is optional, but without http.tls_cert nobody can show a certificate here");
    }
    let certificate_header = header?.value();
    if certificate_header.is_some() && (!behind_proxy || trusted_proxies.is_empty()) {
        let message = "needs http.behind_proxy and http.trusted_proxies: from anybody else a certificate proves nothing";
        return reader.refuse("http.client_certificate_header", message);
    }
    Some(Http { listen: listen?, behind_proxy, trusted_proxies, tls, client_certificates, certificate_header, workers: workers? })
}

/// Whether our own listener asks for certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Certificates {
    Off,
    Optional,
}

impl std::str::FromStr for Certificates {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "optional" => Ok(Self::Optional),
            _ => Err("neither"),
        }
    }
}

pub(super) fn header_name(text: &str) -> Result<String, String> {
    let is_name = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if is_name {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("expected the name of a header, such as x-forwarded-client-cert".to_owned())
    }
}

pub(super) fn public_url(reader: &mut Reader) -> Option<Given<Url>> {
    reader.optional("public_url", |text| {
        let url: Url =
            text.parse().map_err(|error| format!("expected an address such as https://trunkline.example ({error})"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err("expected an address that begins with https://".to_owned());
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
            return Err("expected scheme, host and port only, without a path".to_owned());
        }
        if url.scheme() == "http" && !is_loopback(&url) {
            return Err("expected https://, because browsers send the session cookie over TLS only".to_owned());
        }
        Ok(url)
    })
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whoever can reach the port must come through TLS: from a proxy in front, or from a certificate of its own.
pub(super) fn listening(reader: &mut Reader, http: Option<&Http>, public_url: Option<&Given<Url>>) {
    let Some(http) = http.filter(|http| !http.listen.ip().is_loopback()) else { return };
    if !http.behind_proxy && http.tls.is_none() {
        let message = format!(
            "{} can be reached from other machines, and keys and passwords would travel in the clear; add --behind-proxy if a \
             proxy in front terminates TLS, or set http.tls_cert and http.tls_key, or listen on 127.0.0.1",
            http.listen
        );
        reader.note("http.listen", message);
    }
    if matches!(public_url, Some(Given::Nothing)) {
        reader.note("public_url", "is missing; expected the address people and agents use, such as https://trunkline.example");
    }
}
