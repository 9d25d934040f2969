//! PKCE (RFC 7636), S256 only.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::Digest as _;
use subtle::ConstantTimeEq as _;

use super::error::{Cause, OAuthError, invalid_request};

/// A challenge by S256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeChallenge(String);

fn is_unreserved(text: &str) -> bool {
    (43..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
}

impl CodeChallenge {
    /// Reads challenge and method. There is no other method, and no request without.
    pub fn parse(challenge: Option<&str>, method: Option<&str>) -> Result<Self, OAuthError> {
        let challenge = challenge
            .ok_or_else(|| invalid_request("code_challenge is missing: PKCE is required").because(Cause::NoChallenge))?;
        if method != Some("S256") {
            return Err(invalid_request("code_challenge_method must be S256").because(Cause::NoChallenge));
        }
        if !is_unreserved(challenge) {
            return Err(invalid_request("code_challenge must be 43 to 128 unreserved characters").because(Cause::NoChallenge));
        }
        Ok(Self(challenge.to_owned()))
    }

    /// From what was stored.
    pub fn restore(challenge: String) -> Self {
        Self(challenge)
    }

    /// As stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Was the challenge made from this verifier?
    pub fn is_met_by(&self, verifier: &str) -> bool {
        let computed = BASE64_URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(verifier.as_bytes()));
        is_unreserved(verifier) && bool::from(computed.as_bytes().ct_eq(self.0.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636 appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn o_10_only_s256_and_only_its_verifier() {
        let challenge = CodeChallenge::parse(Some(CHALLENGE), Some("S256")).expect("a challenge");
        assert!(challenge.is_met_by(VERIFIER));
        let longer = format!("{VERIFIER}x");
        for verifier in ["", CHALLENGE, &VERIFIER[..42], longer.as_str(), "ä"] {
            assert!(!challenge.is_met_by(verifier), "{verifier}");
        }
        for (challenge, method) in [
            (None, Some("S256")),
            (Some(CHALLENGE), None),
            (Some(CHALLENGE), Some("plain")),
            (Some(CHALLENGE), Some("s256")),
            (Some(&CHALLENGE[..42]), Some("S256")),
            (Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw+cM"), Some("S256")),
            (Some(&*"x".repeat(129)), Some("S256")),
        ] {
            assert!(CodeChallenge::parse(challenge, method).is_err(), "{challenge:?} {method:?}");
        }
    }
}
