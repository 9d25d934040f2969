//! Whoever signs: a client, an identity provider, the holder of a key.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use jsonwebtoken::{
    Algorithm, EncodingKey, Header, encode,
    jwk::{Jwk, ThumbprintHash},
};
use serde_json::{Value, json};
use trunkline_platform::random;

use super::oauth::challenge;

/// A key pair.
pub(crate) struct Signer {
    key: EncodingKey,
    algorithm: Algorithm,
    /// Its public key.
    pub(crate) jwk: Value,
    /// RFC 7638.
    pub(crate) thumbprint: String,
}

impl Signer {
    /// With a fresh key.
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let rng = SystemRandom::new();
        let key = match algorithm {
            Algorithm::EdDSA => EncodingKey::from_ed_der(Ed25519KeyPair::generate_pkcs8v1(&rng).expect("a key").as_ref()),
            Algorithm::ES256 => {
                let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng);
                EncodingKey::from_ec_der(key.expect("a key").as_ref())
            }
            _ => {
                let key = KeyPair::generate(KeySize::Rsa2048).expect("a key");
                let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).expect("a key");
                // Of 2048 bits, PKCS#8 is 26 bytes around the PKCS#1 key that is wanted.
                EncodingKey::from_rsa_der(&der.as_ref()[26..])
            }
        };
        let mut jwk = Jwk::from_encoding_key(&key, algorithm).expect("a public key");
        let thumbprint = jwk.thumbprint(ThumbprintHash::SHA256).expect("a thumbprint");
        jwk.common.key_id = Some(thumbprint.clone());
        Self { key, algorithm, jwk: serde_json::to_value(&jwk).expect("JSON"), thumbprint }
    }

    /// Its key set.
    pub(crate) fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk] })
    }

    /// Signs claims.
    pub(crate) fn sign(&self, typ: &str, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.typ = Some(typ.to_owned());
        header.kid = Some(self.thumbprint.clone());
        encode(&header, claims, &self.key).expect("a signature")
    }

    /// Signs claims under a header that carries the public key.
    pub(crate) fn sign_with_key(&self, typ: &str, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.typ = Some(typ.to_owned());
        header.jwk = serde_json::from_value(self.jwk.clone()).ok();
        encode(&header, claims, &self.key).expect("a signature")
    }

    /// A client's assertion about itself, with a fresh id.
    pub(crate) fn assertion(&self, client: &str, audience: &str, now: i64) -> String {
        self.sign("JWT", &assertion_claims(client, audience, now))
    }

    /// A proof of possession, with a fresh id.
    pub(crate) fn proof(&self, method: &str, url: &str, token: Option<&str>, now: i64) -> String {
        self.sign_with_key("dpop+jwt", &proof_claims(method, url, token, now))
    }
}

/// What an assertion says.
pub(crate) fn assertion_claims(client: &str, audience: &str, now: i64) -> Value {
    json!({ "iss": client, "sub": client, "aud": audience, "iat": now, "exp": now + 120, "jti": random::base62(16) })
}

/// What a proof says.
pub(crate) fn proof_claims(method: &str, url: &str, token: Option<&str>, now: i64) -> Value {
    let mut claims = json!({ "htm": method, "htu": url, "iat": now, "jti": random::base62(16) });
    if let Some(token) = token {
        // `ath` is made like a challenge.
        claims["ath"] = json!(challenge(token));
    }
    claims
}
