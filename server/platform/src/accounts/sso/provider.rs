//! An OpenID provider, asked through the guarded client: what it is, what a code is worth, and whose signature an id token has.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use reqwest::{
    Method,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use sha2::Digest as _;
use url::Url;

use crate::{
    Platform,
    egress::{EgressError, OutboundRequest},
    secret::Plaintext,
};

/// Longest wait for each of the provider's answers.
const DEADLINE: Duration = Duration::from_secs(5);
/// Their clock and ours.
const LEEWAY_S: i64 = 60;
/// What a provider signs with. Nothing symmetric: whoever knows the client secret could sign.
const ALGORITHMS: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Why a provider, or what it said, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("it cannot be asked: {0}")]
    Unreachable(EgressError),
    #[error("{0}")]
    Answer(&'static str),
}

/// What a provider says of itself.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Provider {
    pub(super) issuer: String,
    authorization_endpoint: Url,
    token_endpoint: Url,
    jwks_uri: Url,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
    #[serde(default)]
    scopes_supported: Vec<String>,
    #[serde(default, rename = "authorization_response_iss_parameter_supported")]
    pub(super) names_itself: bool,
}

/// Who we are there.
pub(super) struct Client<'a> {
    pub(super) id: &'a str,
    pub(super) secret: &'a Plaintext,
}

/// What only we know of an attempt, and what the provider is asked with it.
pub(super) struct Question<'a> {
    pub(super) state: &'a Plaintext,
    pub(super) nonce: &'a str,
    pub(super) verifier: &'a str,
    pub(super) redirect_uri: &'a str,
    pub(super) groups_claim: &'a str,
}

/// What an id token says, after all checks.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    iss: String,
    pub(super) sub: String,
    aud: OneOrMany,
    azp: Option<String>,
    exp: i64,
    iat: i64,
    nbf: Option<i64>,
    nonce: Option<String>,
    pub(super) email: Option<String>,
    email_verified: Option<Value>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn list(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

impl Claims {
    /// Only what says so in so many words.
    pub(super) fn is_email_verified(&self) -> bool {
        match &self.email_verified {
            Some(Value::Bool(verified)) => *verified,
            Some(Value::String(text)) => text == "true",
            _ => false,
        }
    }

    /// What the claim of that name lists.
    pub(super) fn groups(&self, claim: &str) -> Vec<String> {
        match self.other.get(claim) {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    }
}

impl Provider {
    /// Asks a provider what it is.
    pub(super) async fn discover(platform: &Platform, issuer: &Url) -> Result<Self, Fault> {
        let begin = issuer.as_str().trim_end_matches('/');
        let url = format!("{begin}/.well-known/openid-configuration").parse();
        let url = url.map_err(|_| Fault::Answer("the issuer's address cannot be asked"))?;
        let provider: Self = get(platform, url).await?;
        // A document at one issuer's address that speaks for another would let that one sign for it.
        if provider.issuer.trim_end_matches('/') != begin {
            return Err(Fault::Answer("its configuration is that of another issuer"));
        }
        if !matches!(provider.authorization_endpoint.scheme(), "https" | "http")
            || (issuer.scheme() == "https" && provider.authorization_endpoint.scheme() != "https")
        {
            return Err(Fault::Answer("its authorization endpoint is no https address"));
        }
        Ok(provider)
    }

    /// Where a person is sent.
    pub(super) fn authorization_url(&self, client: &Client<'_>, question: &Question<'_>) -> Url {
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(question.verifier.as_bytes()));
        let asks_for_groups = question.groups_claim == "groups" && self.scopes_supported.iter().any(|scope| scope == "groups");
        let mut url = self.authorization_endpoint.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", client.id)
            .append_pair("redirect_uri", question.redirect_uri)
            .append_pair("scope", if asks_for_groups { "openid email profile groups" } else { "openid email profile" })
            .append_pair("state", question.state.reveal())
            .append_pair("nonce", question.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        url
    }

    /// What a code is worth: the claims of its id token, checked (OpenID Connect Core §3.1.3.7).
    pub(super) async fn redeem(
        &self,
        platform: &Platform,
        client: &Client<'_>,
        question: &Question<'_>,
        code: &str,
    ) -> Result<Claims, Fault> {
        #[derive(Deserialize)]
        struct Tokens {
            id_token: String,
        }

        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", question.redirect_uri)
            .append_pair("code_verifier", question.verifier);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let methods = &self.token_endpoint_auth_methods_supported;
        // Basic is what holds where nothing is said.
        if methods.iter().any(|method| method == "client_secret_post")
            && !methods.iter().any(|method| method == "client_secret_basic")
        {
            form.append_pair("client_id", client.id).append_pair("client_secret", client.secret.reveal());
        } else {
            headers.insert(AUTHORIZATION, basic(client)?);
        }
        let body = Some(Bytes::from(form.finish()));
        let tokens: Tokens = ask(platform, Method::POST, self.token_endpoint.clone(), headers, body).await?;
        let keys: JwkSet = get(platform, self.jwks_uri.clone()).await?;
        let claims = verify(&tokens.id_token, &keys)?;
        self.check(&claims, client.id, question.nonce, platform.clock.now())?;
        Ok(claims)
    }

    fn check(&self, claims: &Claims, client_id: &str, nonce: &str, now: DateTime<Utc>) -> Result<(), Fault> {
        let now = now.timestamp();
        let audience = claims.aud.list();
        let is_ours = audience.iter().any(|one| one == client_id)
            && claims.azp.as_deref().is_none_or(|party| party == client_id)
            && (audience.len() == 1 || claims.azp.is_some());
        let is_timely = claims.exp.saturating_add(LEEWAY_S) > now
            && claims.iat.saturating_sub(LEEWAY_S) <= now
            && claims.nbf.is_none_or(|since| since.saturating_sub(LEEWAY_S) <= now);
        for (holds, otherwise) in [
            (claims.iss == self.issuer, "its id token is of another issuer"),
            (is_ours, "its id token is for somebody else"),
            (is_timely, "its id token has run out or is not valid yet"),
            (claims.nonce.as_deref() == Some(nonce), "its id token answers another question"),
            ((1..=255).contains(&claims.sub.len()), "its id token names nobody"),
        ] {
            if !holds {
                return Err(Fault::Answer(otherwise));
            }
        }
        Ok(())
    }
}

/// RFC 6749 §2.3.1: both parts are form-encoded first.
fn basic(client: &Client<'_>) -> Result<HeaderValue, Fault> {
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = BASE64_STANDARD.encode(format!("{}:{}", encode(client.id), encode(client.secret.reveal())));
    let mut value =
        HeaderValue::try_from(format!("Basic {pair}")).map_err(|_| Fault::Answer("the client secret cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The claims of a token whose signature is one of these keys'. What they say is not looked at yet: our clock is not the library's.
fn verify(token: &str, keys: &JwkSet) -> Result<Claims, Fault> {
    let broken = |_| Fault::Answer("its id token is broken");
    let header = jsonwebtoken::decode_header(token).map_err(broken)?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(Fault::Answer("its id token is signed in a way that is not accepted"));
    }
    let key = match (&header.kid, keys.keys.as_slice()) {
        (Some(id), _) => keys.find(id),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    let key = key.ok_or(Fault::Answer("its id token is signed by a key it does not publish"))?;
    let key = DecodingKey::from_jwk(key).map_err(|_| Fault::Answer("its key cannot be used"))?;
    let mut validation = Validation::new(header.alg);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let token = jsonwebtoken::decode::<Claims>(token, &key, &validation);
    Ok(token.map_err(|_| Fault::Answer("the signature of its id token is wrong, or a claim is missing"))?.claims)
}

async fn get<T: DeserializeOwned>(platform: &Platform, url: Url) -> Result<T, Fault> {
    ask(platform, Method::GET, url, HeaderMap::new(), None).await
}

async fn ask<T: DeserializeOwned>(
    platform: &Platform,
    method: Method,
    url: Url,
    mut headers: HeaderMap,
    body: Option<Bytes>,
) -> Result<T, Fault> {
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let request = OutboundRequest { method, url, headers, body, deadline: DEADLINE };
    let answer = platform.egress.send(request).await.map_err(Fault::Unreachable)?;
    if answer.status != reqwest::StatusCode::OK {
        return Err(Fault::Answer("it refused to answer"));
    }
    serde_json::from_slice(&answer.body).map_err(|_| Fault::Answer("its answer is not what OpenID Connect prescribes"))
}
