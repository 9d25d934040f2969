//! The token endpoint of a provider, and where tokens are revoked.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use reqwest::{
    Method, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde::Deserialize;
use url::{Url, form_urlencoded::Serializer};

use super::{
    Authentication, callback_url,
    provider::{Provider, is_scopes},
};
use crate::{
    Platform,
    egress::{Egress, EgressError, OutboundAnswer, OutboundRequest},
    secret::Plaintext,
};

/// Longest wait for an answer.
pub(super) const WITHIN: Duration = Duration::from_secs(10);
/// Longest token.
const MOST_TOKEN: usize = 16 * 1024;
/// Longest life that is believed, in seconds.
const LONGEST_LIFE_S: i64 = 10 * 365 * 24 * 3600;

/// What a provider gave.
pub(super) struct Tokens {
    pub(super) access: Plaintext,
    pub(super) refresh: Option<Plaintext>,
    pub(super) expires_in: Option<i64>,
    /// What they are good for, if that is not what was asked for.
    pub(super) scopes: Option<String>,
}

/// Why it gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// The code or the refresh token is good for nothing, and will not be.
    #[error("the provider does not accept what it gave before (invalid_grant)")]
    Grant,
    /// Something else is wrong; it may be mended.
    #[error("the provider refuses: {0}")]
    Other(String),
    /// It cannot be asked.
    #[error("the provider cannot be asked: {0}")]
    Away(EgressError),
}

/// A provider with its secret, for a few requests.
pub(super) struct Open<'a> {
    pub(super) provider: &'a Provider,
    pub(super) secret: Option<Plaintext>,
}

impl Open<'_> {
    /// What a code is worth.
    pub(super) async fn redeem(&self, platform: &Platform, code: &str, verifier: &str) -> Result<Tokens, Refused> {
        let redirect = callback_url(platform);
        let fields =
            [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", &redirect), ("code_verifier", verifier)];
        self.tokens(platform, &fields).await
    }

    /// Fresh tokens.
    pub(super) async fn refresh(&self, platform: &Platform, token: &Plaintext) -> Result<Tokens, Refused> {
        self.tokens(platform, &[("grant_type", "refresh_token"), ("refresh_token", token.reveal())]).await
    }

    /// Tells the provider that a token is not needed any more, where it wants to know. Best effort: it is forgotten here in any case.
    pub(super) async fn revoke(&self, platform: &Platform, token: &Plaintext, hint: &str) {
        let Some(url) = &self.provider.revocation_url else { return };
        let answer = self.post(platform, url, &[("token", token.reveal()), ("token_type_hint", hint)]).await;
        match answer {
            Ok(answer) if answer.status.is_success() => {}
            Ok(answer) => tracing::info!(status = answer.status.as_u16(), "a provider did not revoke a token"),
            Err(error) => tracing::info!(%error, "a provider cannot be told to revoke a token"),
        }
    }

    async fn tokens(&self, platform: &Platform, fields: &[(&str, &str)]) -> Result<Tokens, Refused> {
        let resource = Some(("resource", self.provider.resource.as_str())).filter(|(_, resource)| !resource.is_empty());
        let fields: Vec<_> = fields.iter().copied().chain(resource).collect();
        let answer = self.post(platform, &self.provider.token_url, &fields).await.map_err(Refused::Away)?;
        read(&answer)
    }

    async fn post(&self, platform: &Platform, url: &Url, fields: &[(&str, &str)]) -> Result<OutboundAnswer, EgressError> {
        let (id, mut headers) = (self.provider.client_id.as_str(), HeaderMap::new());
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let mut fields = fields.to_vec();
        match (&self.secret, self.provider.authentication) {
            (Some(secret), Authentication::Basic) => drop(headers.insert(AUTHORIZATION, basic(id, secret)?)),
            (Some(secret), Authentication::Post) => fields.extend([("client_id", id), ("client_secret", secret.reveal())]),
            _ => fields.push(("client_id", id)),
        }
        let body = Some(Bytes::from(Serializer::new(String::new()).extend_pairs(fields).finish()));
        platform.egress.send(OutboundRequest { method: Method::POST, url: url.clone(), headers, body, deadline: WITHIN }).await
    }
}

/// A client of its own, as the tenant is.
#[derive(Clone, Copy)]
pub(super) struct Client<'a> {
    pub(super) id: &'a str,
    pub(super) secret: &'a Plaintext,
}

/// What a token endpoint gives that client. Most take the secret in a header; one that refuses that is asked once more with it in the body.
pub(super) async fn tokens(egress: &Egress, url: &Url, client: Client<'_>, fields: &[(&str, &str)]) -> Result<Tokens, Refused> {
    let post = async |fields: &[(&str, &str)], authorization: Option<HeaderValue>| {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
        let body = Some(Bytes::from(Serializer::new(String::new()).extend_pairs(fields).finish()));
        let request = OutboundRequest { method: Method::POST, url: url.clone(), headers, body, deadline: WITHIN };
        egress.send(request).await.map_err(Refused::Away)
    };
    let answer = post(fields, Some(basic(client.id, client.secret).map_err(Refused::Away)?)).await?;
    match read(&answer) {
        Err(Refused::Other(_)) if matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST) => {
            let fields = [fields, &[("client_id", client.id), ("client_secret", client.secret.reveal())]].concat();
            read(&post(&fields, None).await?)
        }
        read => read,
    }
}

/// RFC 6749 §2.3.1: both parts are form-encoded first.
fn basic(id: &str, secret: &Plaintext) -> Result<HeaderValue, EgressError> {
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = BASE64_STANDARD.encode(format!("{}:{}", encode(id), encode(secret.reveal())));
    let mut value = HeaderValue::try_from(format!("Basic {pair}")).map_err(|_| EgressError::Broken)?;
    value.set_sensitive(true);
    Ok(value)
}

fn read(answer: &OutboundAnswer) -> Result<Tokens, Refused> {
    #[derive(Deserialize)]
    struct Given {
        access_token: String,
        #[serde(default)]
        token_type: Option<String>,
        #[serde(default)]
        refresh_token: Option<String>,
        #[serde(default)]
        expires_in: Option<serde_json::Value>,
        #[serde(default)]
        scope: Option<String>,
    }
    #[derive(Deserialize)]
    struct Said {
        error: String,
    }
    let said = serde_json::from_slice::<Said>(&answer.body).ok().map(|said| said.error).filter(|code| is_code(code));
    // Some say what is wrong with status 200.
    match said.as_deref() {
        Some("invalid_grant") => return Err(Refused::Grant),
        Some(code) => return Err(Refused::Other(code.to_owned())),
        None if answer.status != StatusCode::OK => {
            return Err(Refused::Other(format!("status {}", answer.status.as_u16())));
        }
        None => {}
    }
    let broken = |why: &str| Refused::Other(why.to_owned());
    let given: Given = serde_json::from_slice(&answer.body).map_err(|_| broken("its answer is not what OAuth prescribes"))?;
    // Bound tokens and the like would be sent in a way that is not known here.
    if !given.token_type.as_deref().unwrap_or("Bearer").eq_ignore_ascii_case("bearer") {
        return Err(broken("its tokens are not bearer tokens"));
    }
    let refresh = given.refresh_token.filter(|token| !token.is_empty());
    if !is_token(&given.access_token) || refresh.as_deref().is_some_and(|token| !is_token(token)) {
        return Err(broken("its tokens cannot be sent"));
    }
    let expires_in = given.expires_in.and_then(|life| life.as_i64().or_else(|| life.as_str()?.parse().ok()));
    Ok(Tokens {
        access: Plaintext::new(given.access_token),
        refresh: refresh.map(Plaintext::new),
        expires_in: expires_in.filter(|life| *life > 0).map(|life| life.min(LONGEST_LIFE_S)),
        scopes: given.scope.filter(|scopes| is_scopes(scopes)),
    })
}

/// An error code of OAuth: what may be shown of a provider's words.
fn is_code(text: &str) -> bool {
    (1..=60).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

fn is_token(text: &str) -> bool {
    (1..=MOST_TOKEN).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}
