//! A certificate that a client has shown.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rustls::pki_types::CertificateDer;
use sha2::Digest as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Certificates of one chain.
const MOST: usize = 8;

/// A certificate, with those between it and an authority. Who brings it was found to have its key; nothing else about it is known to be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    chain: Vec<CertificateDer<'static>>,
    digest: [u8; 32],
}

impl ClientCertificate {
    /// From a chain in DER, the client's own first. `None` if that is none, or longer than any that is in use.
    pub fn new(chain: Vec<CertificateDer<'static>>) -> Option<Self> {
        let own = chain.first().filter(|_| chain.len() <= MOST)?;
        let (rest, _) = X509Certificate::from_der(own).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let digest = sha2::Sha256::digest(own).into();
        Some(Self { chain, digest })
    }

    /// `x5t#S256` of tokens that are bound to it (RFC 8705 §3.1).
    pub fn thumbprint(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.digest)
    }

    pub(super) fn chain(&self) -> (&CertificateDer<'static>, &[CertificateDer<'static>]) {
        // `new` takes no empty chain.
        (&self.chain[0], &self.chain[1..])
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        self.digest
    }
}
