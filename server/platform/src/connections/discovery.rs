//! Finding out who protects a source: it says so itself (RFC 9728), the authorization server says what it can (RFC 8414), and registers a client
//! for us (RFC 7591). Everything that is found is somebody else's word: it is asked through the guarded client, and each document has to be
//! about whom it was asked of.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{
    Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use url::Url;

use super::{Authentication, callback_url, provider::check_reach};
use crate::{
    Platform,
    egress::{EgressError, OutboundRequest, StreamLimits},
    secret::Plaintext,
};

/// Longest wait for each answer.
const WITHIN: Duration = Duration::from_secs(5);
/// Authorization servers of one source that are asked.
const MOST_SERVERS: usize = 3;
/// Largest document.
const MOST_BYTES: usize = 256 * 1024;

/// Why a provider, or what it said, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Unreachable(#[from] EgressError),
    #[error("{0}")]
    Answer(&'static str),
}

/// What a source and its authorization server say.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) metadata: Metadata,
    pub(super) resource: String,
    pub(super) scopes: Vec<String>,
}

/// RFC 8414, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Metadata {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    #[serde(default)]
    pub(super) revocation_endpoint: Option<Url>,
    #[serde(default)]
    pub(super) registration_endpoint: Option<Url>,
    #[serde(default)]
    code_challenge_methods_supported: Vec<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
    #[serde(default, rename = "authorization_response_iss_parameter_supported")]
    pub(super) names_itself: bool,
}

impl Metadata {
    /// How a client with a secret proves who it is: basic is what holds where nothing is said.
    pub(super) fn authentication(&self) -> Authentication {
        let knows = |method| self.token_endpoint_auth_methods_supported.iter().any(|known| known == method);
        if knows("client_secret_post") && !knows("client_secret_basic") { Authentication::Post } else { Authentication::Basic }
    }

    fn is_usable(&self, platform: &Platform) -> Result<(), Fault> {
        if !self.code_challenge_methods_supported.iter().any(|method| method == "S256") {
            return Err(Fault::Answer("its authorization server does not say that it knows PKCE with S256"));
        }
        let endpoints = [Some(&self.authorization_endpoint), Some(&self.token_endpoint), self.revocation_endpoint.as_ref()];
        for endpoint in endpoints.into_iter().flatten().chain(&self.registration_endpoint) {
            if endpoint.as_str().len() > 500 || check_reach(platform, endpoint).is_err() {
                return Err(Fault::Answer("an endpoint of its authorization server is at an address that is not allowed"));
            }
        }
        Ok(())
    }
}

/// Asks the source, and whom it names.
pub(super) async fn discover(platform: &Platform, url: &Url) -> Result<Found, Fault> {
    #[derive(Deserialize)]
    struct Protected {
        resource: String,
        #[serde(default)]
        authorization_servers: Vec<Url>,
        #[serde(default)]
        scopes_supported: Vec<String>,
    }
    let challenge = challenge(platform, url).await;
    let named = challenge.as_deref().and_then(|header| parameter(header, "resource_metadata")).and_then(|text| text.parse().ok());
    let mut last = None;
    for place in named.into_iter().chain(well_known(url, "oauth-protected-resource")) {
        let protected: Protected = match get(platform, place).await {
            Ok(protected) => protected,
            Err(fault) => {
                last = Some(fault);
                continue;
            }
        };
        if !is_about(&protected.resource, url) {
            return Err(Fault::Answer("its metadata is about another resource"));
        }
        let asked = challenge.as_deref().and_then(|header| parameter(header, "scope"));
        let scopes = asked.map_or(protected.scopes_supported, |scopes| scopes.split(' ').map(str::to_owned).collect());
        let mut fault = Fault::Answer("its metadata names no authorization server");
        for issuer in protected.authorization_servers.iter().take(MOST_SERVERS) {
            match server(platform, issuer).await {
                Ok(metadata) => return Ok(Found { metadata, resource: protected.resource, scopes }),
                Err(why) => fault = why,
            }
        }
        return Err(fault);
    }
    // Servers of the oldest revision are their own authorization servers.
    let mut root = url.clone();
    root.set_path("");
    root.set_query(None);
    match server(platform, &root).await {
        Ok(metadata) => Ok(Found { metadata, resource: url.to_string(), scopes: Vec::new() }),
        Err(fault) => Err(last.filter(|fault| matches!(fault, Fault::Unreachable(_))).unwrap_or(fault)),
    }
}

/// What a source says to a client without a token. No answer is none.
async fn challenge(platform: &Platform, url: &Url) -> Option<String> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "trunkline", "version": env!("CARGO_PKG_VERSION") },
    } });
    let body = Some(Bytes::from(hello.to_string()));
    let request = OutboundRequest { method: Method::POST, url: url.clone(), headers, body, deadline: WITHIN };
    // The head is enough: what follows may be a stream.
    let limits = StreamLimits { first_byte: WITHIN, idle: WITHIN, bytes: 0 };
    let answer = Box::pin(platform.egress.open(request, limits)).await.ok()?;
    let challenges = answer.headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    (answer.status == StatusCode::UNAUTHORIZED).then(|| challenges.collect::<Vec<_>>().join(", "))
}

/// A parameter of a challenge.
fn parameter<'h>(header: &'h str, name: &str) -> Option<&'h str> {
    let mut at = 0;
    while let Some(found) = header[at..].find(name) {
        let (before, after) = (&header[..at + found], &header[at + found + name.len()..]);
        at += found + name.len();
        let begins = before.ends_with([' ', ',']) || before.is_empty();
        let Some(value) = after.trim_start().strip_prefix('=').map(str::trim_start).filter(|_| begins) else { continue };
        return match value.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next(),
            None => value.split([',', ' ']).next(),
        };
    }
    None
}

/// Where the metadata of a URL may stand: with its path, and at the root.
fn well_known(url: &Url, name: &str) -> Vec<Url> {
    let path = url.path().trim_end_matches('/');
    let mut places = Vec::new();
    for path in [path, ""] {
        let mut place = url.clone();
        place.set_path(&format!("/.well-known/{name}{path}"));
        place.set_query(None);
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// Is the resource that URL, or what it is a part of?
fn is_about(resource: &str, url: &Url) -> bool {
    let Ok(resource) = Url::parse(resource) else { return false };
    let (whole, part) = (resource.path().trim_end_matches('/'), url.path());
    let is_within = part == whole || part.strip_prefix(whole).is_some_and(|rest| rest.starts_with('/'));
    resource.origin() == url.origin() && is_within && resource.query().is_none_or(|query| url.query() == Some(query))
}

/// The metadata of an authorization server: in either of its two formats, at the places where they stand.
async fn server(platform: &Platform, issuer: &Url) -> Result<Metadata, Fault> {
    let path = issuer.path().trim_end_matches('/').to_owned();
    let place = |path: String| {
        let mut place = issuer.clone();
        place.set_path(&path);
        place
    };
    let mut places = vec![
        place(format!("/.well-known/oauth-authorization-server{path}")),
        place(format!("/.well-known/openid-configuration{path}")),
    ];
    if !path.is_empty() {
        places.push(place(format!("{path}/.well-known/openid-configuration")));
    }
    let mut fault = Fault::Answer("its authorization server says nothing of itself");
    for place in places {
        match get::<Metadata>(platform, place).await {
            // Whoever speaks for another would get what is meant for that one.
            Ok(metadata) if metadata.issuer.trim_end_matches('/') != issuer.as_str().trim_end_matches('/') => {
                return Err(Fault::Answer("its authorization server's metadata is that of another issuer"));
            }
            Ok(metadata) => return metadata.is_usable(platform).map(|()| metadata),
            Err(why @ Fault::Unreachable(_)) => fault = why,
            Err(_) => {}
        }
    }
    Err(fault)
}

/// A client of ours there: its id, its secret if it has one, and how it proves itself.
pub(super) async fn register(
    platform: &Platform,
    endpoint: &Url,
    metadata: &Metadata,
    scopes: &str,
) -> Result<(String, Option<Plaintext>, Authentication), Fault> {
    #[derive(Deserialize)]
    struct Registered {
        client_id: String,
        #[serde(default)]
        client_secret: Option<String>,
        #[serde(default)]
        token_endpoint_auth_method: Option<String>,
    }
    // A server that knows public clients needs to keep no secret of ours.
    let knows_public = metadata.token_endpoint_auth_methods_supported.iter().any(|method| method == "none");
    let wanted = if knows_public { Authentication::None } else { metadata.authentication() };
    let mut document = json!({
        "client_name": "Trunkline",
        "client_uri": platform.settings.public_url.as_str(),
        "redirect_uris": [callback_url(platform)],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": wanted.as_str(),
    });
    if !scopes.is_empty() {
        document["scope"] = scopes.into();
    }
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = Some(Bytes::from(document.to_string()));
    let client: Registered = ask(platform, Method::POST, endpoint.clone(), headers, body).await?;
    let is_sound = |text: &str| (1..=500).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    let secret = client.client_secret.filter(|secret| !secret.is_empty());
    if !is_sound(&client.client_id) || secret.as_deref().is_some_and(|secret| !is_sound(secret)) {
        return Err(Fault::Answer("it gave a client id that cannot be used"));
    }
    let said = client.token_endpoint_auth_method.as_deref().and_then(|method| method.parse().ok());
    let authentication = match &secret {
        None => Authentication::None,
        Some(_) => said.unwrap_or(wanted),
    };
    Ok((client.client_id, secret.map(Plaintext::new).filter(|_| authentication != Authentication::None), authentication))
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
    let answer = platform.egress.send(OutboundRequest { method, url, headers, body, deadline: WITHIN }).await?;
    if !answer.status.is_success() {
        return Err(Fault::Answer("it refused to answer"));
    }
    if answer.body.len() > MOST_BYTES {
        return Err(Fault::Answer("its answer is too long"));
    }
    serde_json::from_slice(&answer.body).map_err(|_| Fault::Answer("its answer is not what OAuth prescribes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    #[test]
    fn parameters_of_challenges_are_read() {
        let header = r#"Bearer realm="x", error="invalid_token", resource_metadata="https://a.example/m", scope="read write""#;
        assert_eq!(parameter(header, "resource_metadata"), Some("https://a.example/m"));
        assert_eq!(parameter(header, "scope"), Some("read write"));
        assert_eq!(parameter("Bearer scope=read, x=y", "scope"), Some("read"));
        assert_eq!(parameter(r#"Bearer my_scope="no""#, "scope"), None);
        assert_eq!(parameter("Bearer scope", "scope"), None);
    }

    #[test]
    fn metadata_is_about_the_url_or_what_it_is_a_part_of() {
        for (resource, holds) in [
            ("https://a.example/mcp", true),
            ("https://a.example", true),
            ("https://a.example/", true),
            ("https://a.example/mc", false),
            ("https://a.example/mcp/more", false),
            ("https://b.example/mcp", false),
            ("http://a.example/mcp", false),
            ("nothing", false),
        ] {
            assert_eq!(is_about(resource, &url("https://a.example/mcp")), holds, "{resource}");
        }
    }

    #[test]
    fn metadata_stands_with_the_path_and_at_the_root() {
        let places: Vec<_> = well_known(&url("https://a.example/v1/mcp?x=1"), "oauth-protected-resource");
        let texts: Vec<_> = places.iter().map(Url::as_str).collect();
        assert_eq!(
            texts,
            [
                "https://a.example/.well-known/oauth-protected-resource/v1/mcp",
                "https://a.example/.well-known/oauth-protected-resource"
            ]
        );
        assert_eq!(well_known(&url("https://a.example"), "x").len(), 1);
    }
}
