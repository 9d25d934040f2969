//! Signatures of others, under keys that they have published.

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use trunkline_protocol::oauth::signed::ForeignHeader;

/// Keys of one set that are looked at.
const MOST_KEYS: usize = 32;
/// Fewer bits can be factored.
const LEAST_RSA_BYTES: usize = 256;

/// The algorithm of a header. `ForeignHeader` has read no other.
fn algorithm(header: &ForeignHeader) -> Option<Algorithm> {
    match header.alg.as_str() {
        "ES256" => Some(Algorithm::ES256),
        "EdDSA" => Some(Algorithm::EdDSA),
        "RS256" => Some(Algorithm::RS256),
        "PS256" => Some(Algorithm::PS256),
        _ => None,
    }
}

/// Is the key made for that algorithm? The key says so, never the token alone.
fn fits(key: &Jwk, algorithm: Algorithm) -> bool {
    let kind = match (&key.algorithm, algorithm) {
        (AlgorithmParameters::EllipticCurve(curve), Algorithm::ES256) => curve.curve == EllipticCurve::P256,
        (AlgorithmParameters::OctetKeyPair(pair), Algorithm::EdDSA) => pair.curve == EllipticCurve::Ed25519,
        (AlgorithmParameters::RSA(rsa), Algorithm::RS256 | Algorithm::PS256) => rsa.n.len() * 3 / 4 >= LEAST_RSA_BYTES,
        _ => false,
    };
    let says = key.common.key_algorithm.as_ref().is_none_or(|one| one.to_string() == format!("{algorithm:?}"));
    let signs = key.common.public_key_use.as_ref().is_none_or(|one| *one == PublicKeyUse::Signature);
    kind && says && signs
}

/// A key as somebody published it. `None`: it cannot be read, or is a private one, which nobody should have sent.
pub(super) fn read_key(key: &Value) -> Option<Jwk> {
    let is_private = ["d", "p", "q", "k"].iter().any(|name| key.get(name).is_some());
    if is_private { None } else { serde_json::from_value(key.clone()).ok() }
}

/// The claims, if one of those keys has signed them. What they say is not looked at.
pub(super) fn verify<T: DeserializeOwned + Clone>(text: &str, header: &ForeignHeader, keys: &Value) -> Option<T> {
    let keys = keys.get("keys")?.as_array()?;
    let named = |key: &Jwk| match (&header.kid, &key.common.key_id) {
        (Some(wanted), Some(kid)) => wanted == kid,
        _ => true,
    };
    keys.iter().take(MOST_KEYS).filter_map(read_key).filter(named).find_map(|key| verify_with(text, header, &key))
}

/// The same with one key.
pub(super) fn verify_with<T: DeserializeOwned + Clone>(text: &str, header: &ForeignHeader, key: &Jwk) -> Option<T> {
    let algorithm = algorithm(header).filter(|algorithm| fits(key, *algorithm))?;
    let key = DecodingKey::from_jwk(key).ok()?;
    // The signature only: what the claims must say is ours to judge, strictly.
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    jsonwebtoken::decode::<T>(text, &key, &validation).ok().map(|verified| verified.claims)
}
