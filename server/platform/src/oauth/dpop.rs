//! Proofs of possession (RFC 9449): a client shows with each request that it has the key that its tokens are bound to.

use jsonwebtoken::jwk::ThumbprintHash;
use trunkline_protocol::oauth::signed::{ForeignHeader, PROOF_AGE_S, PROOF_ALGORITHMS, PROOF_TYPE, Proof};

use super::{once, signed};
use crate::{Platform, error::Error};

/// A request with a proof.
#[derive(Debug, Clone, Copy)]
pub struct Proven<'a> {
    /// The proof.
    pub proof: &'a str,
    /// The request's method.
    pub method: &'a str,
    /// The request's address, as the client knows it.
    pub url: &'a str,
}

/// Why a proof is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Unproven {
    /// It proves nothing about this request.
    #[error("the proof is not taken: {0}")]
    Invalid(&'static str),
    /// It cannot be found out now whether it was used before.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// The thumbprint of the key, if the proof is good for that request: with that access token and the key it is bound to, where there is one.
pub async fn prove(platform: &Platform, request: Proven<'_>, token: Option<(&str, &str)>) -> Result<String, Unproven> {
    let refuse = Unproven::Invalid;
    let header = ForeignHeader::read(request.proof).ok_or(refuse("it is not a signed token as RFC 9449 wants it"))?;
    if header.typ.as_deref() != Some(PROOF_TYPE) || !PROOF_ALGORITHMS.contains(&header.alg.as_str()) {
        return Err(refuse("typ must be dpop+jwt and alg ES256 or EdDSA"));
    }
    let key = header.jwk.as_ref().and_then(signed::read_key).ok_or(refuse("jwk must be a public key"))?;
    let proof: Proof = signed::verify_with(request.proof, &header, &key)
        .ok_or(refuse("it does not have what it needs, or its signature is wrong"))?;
    let now = platform.clock.now().timestamp();
    proof.check(request.method, request.url, token.map(|(text, _)| text), now).map_err(refuse)?;
    let thumbprint = key.thumbprint(ThumbprintHash::SHA256).map_err(|_| refuse("jwk must be a public key"))?;
    // Before anything is remembered: a stranger's key takes no room.
    if token.is_some_and(|(_, wanted)| wanted != thumbprint) {
        return Err(refuse("the access token is bound to another key"));
    }
    // Remembered for as long as it could come again.
    if once::claim(platform, "proof", &thumbprint, &proof.jti, 2 * PROOF_AGE_S + 1).await? {
        Ok(thumbprint)
    } else {
        Err(refuse("it was used before"))
    }
}
