//! The certificate that a client has shown: to us, or to the proxy that we believe.

use std::sync::Arc;

use actix_web::HttpRequest;
use percent_encoding::percent_decode_str;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use trunkline_platform::certificates::ClientCertificate;

use crate::WebState;

/// Longest forwarded certificate.
const LONGEST: usize = 32 * 1024;

/// What the listener leaves with a connection whose client has proven to have a certificate's key.
#[derive(Debug, Clone)]
pub(crate) struct PeerCertificate(pub(crate) Arc<ClientCertificate>);

/// The client's certificate, if there is one. A proxy speaks for its clients, by the header or not at all: its own certificate is none of
/// theirs. Whoever else sends the header has sent nothing.
pub(crate) fn client_certificate(state: &WebState, request: &HttpRequest) -> Option<Arc<ClientCertificate>> {
    let settings = &state.settings;
    let peer = request.peer_addr().map(|peer| peer.ip().to_canonical());
    let is_listed = peer.is_some_and(|peer| settings.trusted_proxies.iter().any(|network| network.contains(peer)));
    // Without a list anybody may be the proxy, and nobody is believed.
    let is_proxy = settings.behind_proxy && (is_listed || settings.trusted_proxies.is_empty());
    if !is_proxy {
        return request.conn_data::<PeerCertificate>().map(|certificate| Arc::clone(&certificate.0));
    }
    let header = settings.certificate_header.as_deref().filter(|_| is_listed)?;
    let mut values = request.headers().get_all(header);
    let value = values.next()?.to_str().ok()?;
    // Two are one too many: somebody has added to what the proxy wrote.
    if values.next().is_some() { None } else { read(value) }
}

/// PEM, URL-encoded, as nginx, HAProxy and load balancers write it; more than one certificate is a chain.
fn read(value: &str) -> Option<Arc<ClientCertificate>> {
    let value = Some(value).filter(|value| !value.is_empty() && value.len() <= LONGEST)?;
    let pem = percent_decode_str(value).decode_utf8().ok()?;
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().ok()?;
    ClientCertificate::new(chain).map(Arc::new)
}
