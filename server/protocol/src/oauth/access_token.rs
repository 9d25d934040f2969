//! Our access tokens: JWT as RFC 9068 profiles them, read strictly. What is checked here needs no key and no clock but the one given.

use serde::{Deserialize, Serialize};

use super::scope::ScopeSet;

/// Longest life of a token, in seconds.
pub const MAX_LIFE_S: i64 = 15 * 60;
/// How far clocks may differ, in seconds.
pub const LEEWAY_S: i64 = 15;
/// `typ` of the header.
pub const TYPE: &str = "at+jwt";

/// The header, as far as we write one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Header {
    /// Algorithm.
    pub alg: String,
    /// `at+jwt`.
    #[serde(default)]
    pub typ: String,
    /// The key.
    #[serde(default)]
    pub kid: String,
    // Never in ours: whoever writes them wants a key to be taken from elsewhere, or something to be understood that is not.
    #[serde(default)]
    jku: Option<serde_json::Value>,
    #[serde(default)]
    jwk: Option<serde_json::Value>,
    #[serde(default)]
    x5u: Option<serde_json::Value>,
    #[serde(default)]
    x5c: Option<serde_json::Value>,
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

impl Header {
    /// Reads the header of a token in its compact form. `None` if it is none of ours, whatever is signed.
    pub fn read(token: &str) -> Option<Self> {
        use base64::Engine as _;
        let mut parts = token.split('.');
        let (header, Some(_), Some(_), None) = (parts.next()?, parts.next(), parts.next(), parts.next()) else { return None };
        let header = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(header).ok()?;
        let header: Self = serde_json::from_slice(&header).ok()?;
        let is_kid =
            (1..=64).contains(&header.kid.len()) && header.kid.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        let foreign = [&header.jku, &header.jwk, &header.x5u, &header.x5c, &header.crit];
        let ours = matches!(header.alg.as_str(), "EdDSA" | "ES256") && header.typ == TYPE && is_kid;
        (ours && foreign.into_iter().all(Option::is_none)).then_some(header)
    }
}

/// The claims. Numbers are whole and texts are texts: a token of ours never has anything else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer.
    pub iss: String,
    /// The agent.
    pub sub: String,
    /// The endpoint. One, never a list.
    pub aud: String,
    /// Until when, in seconds since 1970.
    pub exp: i64,
    /// Since when.
    pub iat: i64,
    /// Not before; ours have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// Tells it from all others.
    pub jti: String,
    /// The client, as it shows itself.
    pub client_id: String,
    /// What it may use.
    pub scope: String,
    /// The tenant.
    pub tenant: String,
    /// The grant it comes from.
    pub grant: String,
    /// The person who granted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The key or certificate it is bound to (RFC 7800).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cnf: Option<serde_json::Value>,
    /// Who acts for the subject (RFC 8693 §4.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<serde_json::Value>,
    /// What it was exchanged for: it is good as long as all of that is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub via: Vec<String>,
}

impl Claims {
    /// The scopes, if these are claims of that issuer that hold at that time (in seconds since 1970).
    pub fn check(&self, issuer: &str, now: i64) -> Option<ScopeSet> {
        let is_whole = self.iss == issuer
            && [&self.sub, &self.aud, &self.jti, &self.client_id, &self.tenant, &self.grant].iter().all(|text| !text.is_empty());
        let lives = self.iat > 0
            && self.exp > self.iat
            && self.exp - self.iat <= MAX_LIFE_S
            && self.is_current(now)
            && self.iat <= now + LEEWAY_S
            && self.nbf.is_none_or(|nbf| nbf <= now + LEEWAY_S);
        if is_whole && lives { ScopeSet::parse(&self.scope).ok() } else { None }
    }

    /// Has it not expired?
    pub fn is_current(&self, now: i64) -> bool {
        now < self.exp.saturating_add(LEEWAY_S)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(json: &str) -> Option<Header> {
        use base64::Engine as _;
        Header::read(&format!("{}.e30.AA", base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(json)))
    }

    #[test]
    fn a_04_headers_that_are_not_ours() {
        assert!(header(r#"{"alg":"EdDSA","typ":"at+jwt","kid":"abc"}"#).is_some());
        for json in [
            r#"{"alg":"none","typ":"at+jwt","kid":"abc"}"#,
            r#"{"alg":"HS256","typ":"at+jwt","kid":"abc"}"#,
            r#"{"alg":"RS256","typ":"at+jwt","kid":"abc"}"#,
            r#"{"alg":"EdDSA","typ":"JWT","kid":"abc"}"#,
            r#"{"alg":"EdDSA","kid":"abc"}"#,
            r#"{"alg":"EdDSA","typ":"at+jwt"}"#,
            r#"{"alg":"EdDSA","typ":"at+jwt","kid":"../../key"}"#,
            r#"{"alg":"EdDSA","typ":"at+jwt","kid":"https://evil.example/jwks"}"#,
            r#"{"alg":"EdDSA","typ":"at+jwt","kid":"' OR 1=1 --"}"#,
            r#"{"alg":"EdDSA","typ":"at+jwt","kid":"abc","jku":"https://evil.example"}"#,
            r#"{"alg":"EdDSA","typ":"at+jwt","kid":"abc","jwk":{}}"#,
            r#"{"alg":"EdDSA","typ":"at+jwt","kid":"abc","x5u":"https://evil.example"}"#,
            r#"{"alg":"EdDSA","typ":"at+jwt","kid":"abc","crit":["x"]}"#,
            r#"{"alg":"EdDSA","alg":"none","typ":"at+jwt","kid":"abc"}"#,
            "[]",
            "",
        ] {
            assert!(header(json).is_none(), "{json}");
        }
        for token in ["", "a", "a.b", "..", "a.b.c.d", "e30.e30"] {
            assert!(Header::read(token).is_none(), "{token}");
        }
    }

    fn claims() -> serde_json::Value {
        serde_json::json!({
            "iss": "https://t.example/oauth", "sub": "agt_x", "aud": "https://t.example/t/a/mcp", "exp": 1_900, "iat": 1_000,
            "jti": "tok_x", "client_id": "c", "scope": "tools:read", "tenant": "ten_x", "grant": "gra_x",
        })
    }

    fn check(change: impl FnOnce(&mut serde_json::Value)) -> bool {
        let mut claims = claims();
        change(&mut claims);
        serde_json::from_value::<Claims>(claims).is_ok_and(|claims| claims.check("https://t.example/oauth", 1_500).is_some())
    }

    #[test]
    fn a_04_every_claim_is_needed_and_of_its_type() {
        assert!(check(|_| ()));
        for name in ["iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope", "tenant", "grant"] {
            assert!(!check(|claims| drop(claims.as_object_mut().and_then(|claims| claims.remove(name)))), "{name} missing");
            assert!(!check(|claims| claims[name] = serde_json::Value::Null), "{name} null");
            assert!(!check(|claims| claims[name] = serde_json::json!([claims[name].clone()])), "{name} in a list");
        }
        for (name, value) in [
            ("iss", serde_json::json!("https://t.example/oauth/")),
            ("iss", serde_json::json!("https://T.example/oauth")),
            ("aud", serde_json::json!(["https://t.example/t/a/mcp", "https://t.example/t/b/mcp"])),
            ("scope", serde_json::json!("admin")),
        ] {
            assert!(!check(|claims| claims[name] = value.clone()), "{name} {value}");
        }
    }

    #[test]
    fn a_05_times_are_whole_numbers_and_hold_now() {
        for (name, value) in [
            ("exp", serde_json::json!("1900")),
            ("exp", serde_json::json!(-1)),
            ("exp", serde_json::json!(1e300)),
            ("exp", serde_json::json!(1_900.5)),
            ("exp", serde_json::json!(i64::MAX)),
            ("exp", serde_json::json!(1_000 + MAX_LIFE_S + 1)),
            ("exp", serde_json::json!(1_500 - LEEWAY_S)),
            ("nbf", serde_json::json!("1000")),
            ("nbf", serde_json::json!(1_600)),
            ("iat", serde_json::json!(1_561)),
            ("iat", serde_json::json!(-5)),
            ("iat", serde_json::json!("1000")),
        ] {
            assert!(!check(|claims| claims[name] = value.clone()), "{name} {value}");
        }
        assert!(check(|claims| claims["exp"] = serde_json::json!(1_501 - LEEWAY_S)));
    }
}
