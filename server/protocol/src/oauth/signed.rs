//! Signed tokens of others, as far as they can be judged without a key: assertions of clients (RFC 7523), of identity providers (ID-JAG), and
//! proofs of possession (RFC 9449). What they say is read strictly; whose signature it is, is found out in `platform::oauth`.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

use super::access_token::LEEWAY_S;

/// Longest text that is looked at.
pub const MAX_LENGTH: usize = 8 * 1024;
/// Longest life of an assertion that a client makes about itself, in seconds.
pub const ASSERTION_LIFE_S: i64 = 5 * 60;
/// Longest life of an assertion of an identity provider, in seconds: for that long it is remembered that it was used.
pub const ID_JAG_LIFE_S: i64 = 60 * 60;
/// How far a proof may be from now, in seconds.
pub const PROOF_AGE_S: i64 = 60;
/// `typ` of an ID-JAG.
pub const ID_JAG_TYPE: &str = "oauth-id-jag+jwt";
/// `typ` of a proof.
pub const PROOF_TYPE: &str = "dpop+jwt";
/// Algorithms that others may sign with, as metadata lists them. Never `none`, never one whose key is a secret of both sides.
pub const ALGORITHMS: &[&str] = &["ES256", "EdDSA", "RS256", "PS256"];
/// The same for proofs: their keys are made for the purpose, and small.
pub const PROOF_ALGORITHMS: &[&str] = &["ES256", "EdDSA"];
/// Longest `jti`.
const MAX_JTI: usize = 256;

/// The header of a token that somebody else has signed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ForeignHeader {
    /// Algorithm, one of `ALGORITHMS`.
    pub alg: String,
    /// What kind of token it is.
    #[serde(default)]
    pub typ: Option<String>,
    /// Which key.
    #[serde(default)]
    pub kid: Option<String>,
    /// The key itself. It means something in a proof only.
    #[serde(default)]
    pub jwk: Option<Value>,
    #[serde(default)]
    crit: Option<Value>,
}

impl ForeignHeader {
    /// Reads the header of a compact form. `None` if nothing signed like this is taken.
    pub fn read(text: &str) -> Option<Self> {
        if text.len() > MAX_LENGTH {
            return None;
        }
        let mut parts = text.split('.');
        let (header, Some(_), Some(_), None) = (parts.next()?, parts.next(), parts.next(), parts.next()) else { return None };
        let header: Self = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        let is_taken = ALGORITHMS.contains(&header.alg.as_str()) && header.crit.is_none();
        is_taken.then_some(header)
    }
}

/// A claim of a token before anybody has checked its signature: good for finding out whom to ask, and for nothing else.
pub fn unchecked_claim(text: &str, name: &str) -> Option<String> {
    let claims = text.split('.').nth(1).filter(|_| text.len() <= MAX_LENGTH)?;
    let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    claims.get(name)?.as_str().map(str::to_owned)
}

/// One audience, or a list of exactly one. A token that others would take too is no proof for us.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// As a text.
    One(String),
    /// As a list.
    List([String; 1]),
}

impl Audience {
    fn as_str(&self) -> &str {
        match self {
            Self::One(one) | Self::List([one]) => one,
        }
    }
}

/// Times of a token, in seconds since 1970.
fn check_times(now: i64, exp: i64, iat: Option<i64>, nbf: Option<i64>, life: i64) -> Result<(), &'static str> {
    if exp.saturating_add(LEEWAY_S) <= now {
        return Err("it has expired");
    }
    if exp > now + life + LEEWAY_S {
        return Err("its exp is too far away");
    }
    if iat.is_some_and(|iat| iat <= 0 || iat > now + LEEWAY_S) || nbf.is_some_and(|nbf| nbf > now + LEEWAY_S) {
        return Err("it is not valid yet");
    }
    Ok(())
}

fn check_jti(jti: &str) -> Result<(), &'static str> {
    if (1..=MAX_JTI).contains(&jti.len()) { Ok(()) } else { Err("its jti is missing or too long") }
}

/// What a client says to prove who it is (RFC 7523 §3).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ClientAssertion {
    /// The client.
    pub iss: String,
    /// The client again.
    pub sub: String,
    /// Us.
    pub aud: Audience,
    /// Until when.
    pub exp: i64,
    /// Since when.
    #[serde(default)]
    pub iat: Option<i64>,
    /// Not before.
    #[serde(default)]
    pub nbf: Option<i64>,
    /// Tells it from all others: it is good once.
    pub jti: String,
}

impl ClientAssertion {
    /// Does it say what it must, at that time? The error completes "the client assertion is not taken: ".
    pub fn check(&self, client_id: &str, audiences: &[&str], now: i64) -> Result<(), &'static str> {
        if self.iss != client_id || self.sub != client_id {
            return Err("iss and sub must both be the client_id");
        }
        if !audiences.contains(&self.aud.as_str()) {
            return Err("aud must be the issuer, and nothing else");
        }
        check_jti(&self.jti)?;
        check_times(now, self.exp, self.iat, self.nbf, ASSERTION_LIFE_S)
    }
}

/// An Identity Assertion JWT Authorization Grant: an organisation's identity provider lets a client act for somebody.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct IdJag {
    /// The identity provider.
    pub iss: String,
    /// For whom.
    pub sub: String,
    /// Our issuer.
    pub aud: Audience,
    /// The client.
    pub client_id: String,
    /// Until when.
    pub exp: i64,
    /// Since when.
    pub iat: i64,
    /// Not before.
    #[serde(default)]
    pub nbf: Option<i64>,
    /// Tells it from all others: it is good once.
    pub jti: String,
    /// One of our endpoints.
    #[serde(default)]
    pub resource: Option<String>,
    /// The most that may be granted.
    #[serde(default)]
    pub scope: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl IdJag {
    /// Does it say what it must, at that time? The error completes "the assertion is not taken: ".
    pub fn check(&self, issuer: &str, client_id: &str, now: i64) -> Result<(), &'static str> {
        if self.aud.as_str() != issuer {
            return Err("aud must be the issuer of this server, and nothing else");
        }
        if self.client_id != client_id {
            return Err("it was made for another client");
        }
        if self.sub.is_empty() || self.sub.len() > 255 {
            return Err("its sub is missing or too long");
        }
        check_jti(&self.jti)?;
        check_times(now, self.exp, Some(self.iat), self.nbf, ID_JAG_LIFE_S)
    }

    /// A claim that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match name {
            "sub" => Some(&self.sub),
            _ => self.more.get(name).and_then(Value::as_str),
        }
    }
}

/// A proof of possession (RFC 9449 §4.2).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Proof {
    /// The request's method.
    pub htm: String,
    /// The request's address, without query and fragment.
    pub htu: String,
    /// When it was made.
    pub iat: i64,
    /// Tells it from all others: it is good once.
    pub jti: String,
    /// Digest of the access token that comes with it.
    #[serde(default)]
    pub ath: Option<String>,
}

impl Proof {
    /// Was it made for that request, at about that time, with that access token? The error completes "the proof is not taken: ".
    pub fn check(&self, method: &str, url: &str, token: Option<&str>, now: i64) -> Result<(), &'static str> {
        if self.htm != method {
            return Err("htm is not the method of the request");
        }
        let plain = |text: &str| {
            let mut url = Url::parse(text).ok()?;
            url.set_query(None);
            url.set_fragment(None);
            Some(url)
        };
        if plain(&self.htu).zip(plain(url)).is_none_or(|(htu, url)| htu != url) {
            return Err("htu is not the address of the request");
        }
        if self.iat.abs_diff(now) > PROOF_AGE_S.unsigned_abs() {
            return Err("iat is not within 60 seconds of now");
        }
        if token.is_some_and(|token| self.ath.as_deref() != Some(digest(token).as_str())) {
            return Err("ath is not the digest of the access token");
        }
        check_jti(&self.jti)
    }
}

/// SHA-256 in base64url, as `ath`, `jkt` and `x5t#S256` are written.
fn digest(text: &str) -> String {
    use sha2::Digest as _;
    BASE64_URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn header(json: &str) -> Option<ForeignHeader> {
        ForeignHeader::read(&format!("{}.e30.AA", BASE64_URL_SAFE_NO_PAD.encode(json)))
    }

    #[test]
    fn o_15_only_signatures_that_prove_something_are_taken() {
        for alg in ALGORITHMS {
            assert!(header(&format!(r#"{{"alg":"{alg}"}}"#)).is_some(), "{alg}");
        }
        for json in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"RS1"}"#,
            r#"{"alg":"es256"}"#,
            r#"{"alg":"ES256","crit":["b64"]}"#,
            r#"{"alg":"ES256","alg":"none"}"#,
            r#"{"typ":"JWT"}"#,
            "[]",
        ] {
            assert!(header(json).is_none(), "{json}");
        }
        for text in ["", "a.b", "a.b.c.d", &format!("{}.a.b", "e".repeat(MAX_LENGTH))] {
            assert!(ForeignHeader::read(text).is_none());
        }
    }

    fn assertion(change: impl FnOnce(&mut Value)) -> Result<(), &'static str> {
        let mut claims =
            json!({ "iss": "c", "sub": "c", "aud": "https://t.example/oauth", "exp": 1_200, "iat": 1_000, "jti": "1" });
        change(&mut claims);
        let claims: ClientAssertion = serde_json::from_value(claims).map_err(|_| "form")?;
        claims.check("c", &["https://t.example/oauth", "https://t.example/oauth/token"], 1_000)
    }

    #[test]
    fn o_15_an_assertion_is_of_the_client_for_us_and_short() {
        assert_eq!(assertion(|_| ()), Ok(()));
        assert_eq!(assertion(|claims| claims["aud"] = json!(["https://t.example/oauth/token"])), Ok(()));
        for (name, value) in [
            ("iss", json!("d")),
            ("sub", json!("d")),
            ("aud", json!("https://other.example")),
            ("aud", json!("https://t.example/oauth/")),
            ("aud", json!(["https://t.example/oauth", "https://other.example"])),
            ("exp", json!(985)),
            ("exp", json!("1200")),
            ("exp", json!(1_316)),
            ("exp", json!(null)),
            ("iat", json!(1_016)),
            ("nbf", json!(1_016)),
            ("jti", json!("")),
            ("jti", json!(null)),
        ] {
            assert!(assertion(|claims| claims[name] = value.clone()).is_err(), "{name} {value}");
        }
    }

    #[test]
    fn a_proof_is_for_one_request() {
        let claims = json!({ "htm": "POST", "htu": "https://T.example:443/t/a/mcp?x=1", "iat": 1_000, "jti": "1", "ath": digest("token") });
        let proof: Proof = serde_json::from_value(claims).expect("a proof");
        let check = |method, url, token, now| proof.check(method, url, token, now);
        assert_eq!(check("POST", "https://t.example/t/a/mcp", Some("token"), 1_060), Ok(()));
        assert!(check("GET", "https://t.example/t/a/mcp", Some("token"), 1_000).is_err());
        assert!(check("POST", "https://t.example/t/b/mcp", Some("token"), 1_000).is_err());
        assert!(check("POST", "http://t.example/t/a/mcp", Some("token"), 1_000).is_err());
        assert!(check("POST", "https://t.example/t/a/mcp", Some("other"), 1_000).is_err());
        assert!(check("POST", "https://t.example/t/a/mcp", Some("token"), 1_061).is_err());
        assert!(check("POST", "https://t.example/t/a/mcp", Some("token"), 939).is_err());
    }
}
