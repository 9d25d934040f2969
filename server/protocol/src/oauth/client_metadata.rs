//! What a client says of itself: by registration (RFC 7591) or in a document at its `client_id` (Client ID Metadata Documents).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::{Host, Url};

use super::{
    error::{ErrorCode, OAuthError},
    redirect_uri,
};

/// Redirect URIs of one client.
pub const MAX_REDIRECT_URIS: usize = 32;
/// Longest name, in characters.
pub const MAX_NAME: usize = 64;

/// How a client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authentication {
    /// It cannot keep a secret; PKCE binds its codes.
    None,
    /// A secret of ours, in the header or in the form.
    ClientSecret,
    /// An assertion signed with a key of its own (RFC 7523).
    PrivateKeyJwt,
    /// A certificate (RFC 8705).
    TlsClientAuth,
}

impl Authentication {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClientSecret => "client_secret",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::TlsClientAuth => "tls_client_auth",
        }
    }

    /// From what was stored.
    pub fn restore(text: &str) -> Option<Self> {
        [Self::None, Self::ClientSecret, Self::PrivateKeyJwt, Self::TlsClientAuth].into_iter().find(|one| one.as_str() == text)
    }
}

/// What is kept of what a client says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientMetadata {
    /// For people: plain text, at most `MAX_NAME` characters. Believed by nobody.
    pub client_name: String,
    /// Where answers may be sent.
    pub redirect_uris: Vec<String>,
    /// How it proves who it is.
    pub authentication: Authentication,
    /// Its public keys, for `PrivateKeyJwt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,
    /// Where its public keys are, for `PrivateKeyJwt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
}

fn refuse(description: impl AsRef<str>) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidClientMetadata, description)
}

impl ClientMetadata {
    /// Reads a registration. Members that mean nothing here are ignored, as RFC 7591 §2 wants.
    pub fn of_registration(body: &Value) -> Result<Self, OAuthError> {
        if !body.is_object() {
            return Err(refuse("the registration must be a JSON object"));
        }
        let authentication = match text(body, "token_endpoint_auth_method")? {
            Some("none") => Authentication::None,
            // RFC 7591 §2: the default.
            None | Some("client_secret_basic" | "client_secret_post") => Authentication::ClientSecret,
            Some("private_key_jwt") => Authentication::PrivateKeyJwt,
            Some(_) => {
                return Err(refuse(
                    "token_endpoint_auth_method must be none, client_secret_basic, client_secret_post or private_key_jwt",
                ));
            }
        };
        let grants = texts(body, "grant_types")?;
        if !grants.is_empty() && !grants.contains(&"authorization_code") {
            return Err(refuse(
                "grant_types must contain authorization_code: others are not for clients that register themselves",
            ));
        }
        let responses = texts(body, "response_types")?;
        if !responses.is_empty() && !responses.contains(&"code") {
            return Err(refuse("response_types must contain code"));
        }
        Self::read(body, authentication)
    }

    /// Reads the document at that `client_id`.
    pub fn of_document(client_id: &str, body: &Value) -> Result<Self, OAuthError> {
        if body.get("client_id").and_then(Value::as_str) != Some(client_id) {
            return Err(refuse("the document's client_id is not the address it was fetched from"));
        }
        if body.get("client_secret").is_some() || body.get("client_secret_expires_at").is_some() {
            return Err(refuse("a public document cannot have a client_secret"));
        }
        if text(body, "client_name")?.is_none_or(|name| name.trim().is_empty()) {
            return Err(refuse("the document has no client_name"));
        }
        let authentication = match text(body, "token_endpoint_auth_method")? {
            None | Some("none") => Authentication::None,
            Some("private_key_jwt") => Authentication::PrivateKeyJwt,
            Some(_) => return Err(refuse("token_endpoint_auth_method must be none or private_key_jwt")),
        };
        for name in ["logo_uri", "client_uri", "policy_uri", "tos_uri", "jwks_uri"] {
            if text(body, name)?.is_some_and(|uri| !uri.starts_with("https://")) {
                return Err(refuse(format!("{name} must be an https URL")));
            }
        }
        Self::read(body, authentication)
    }

    fn read(body: &Value, authentication: Authentication) -> Result<Self, OAuthError> {
        let redirect_uris = texts(body, "redirect_uris")?;
        let bad = |why: String| OAuthError::new(ErrorCode::InvalidRedirectUri, why);
        if redirect_uris.is_empty() || redirect_uris.len() > MAX_REDIRECT_URIS {
            return Err(bad(format!("redirect_uris must have 1 to {MAX_REDIRECT_URIS} entries")));
        }
        for uri in &redirect_uris {
            redirect_uri::judge(uri).map_err(|refused| bad(format!("a redirect URI is not taken: {refused}")))?;
        }
        let jwks = body.get("jwks").filter(|jwks| !jwks.is_null()).cloned();
        let jwks_uri = text(body, "jwks_uri")?.map(str::to_owned);
        if authentication == Authentication::PrivateKeyJwt {
            if jwks.is_some() == jwks_uri.is_some() {
                return Err(refuse("private_key_jwt needs either jwks or jwks_uri"));
            }
            let has_keys =
                |jwks: &Value| jwks.get("keys").and_then(Value::as_array).is_some_and(|keys| (1..=16).contains(&keys.len()));
            if jwks.as_ref().is_some_and(|jwks| !has_keys(jwks)) {
                return Err(refuse("jwks must be a JSON Web Key Set of 1 to 16 keys"));
            }
            if jwks_uri.as_deref().is_some_and(|uri| !uri.starts_with("https://")) {
                return Err(refuse("jwks_uri must be an https URL"));
            }
        }
        let keys = authentication == Authentication::PrivateKeyJwt;
        Ok(Self {
            client_name: plain_name(text(body, "client_name")?.unwrap_or_default()),
            redirect_uris: redirect_uris.into_iter().map(str::to_owned).collect(),
            authentication,
            jwks: jwks.filter(|_| keys),
            jwks_uri: jwks_uri.filter(|_| keys),
        })
    }
}

fn text<'v>(body: &'v Value, name: &str) -> Result<Option<&'v str>, OAuthError> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(refuse(format!("{name} must be a text"))),
    }
}

fn texts<'v>(body: &'v Value, name: &str) -> Result<Vec<&'v str>, OAuthError> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => {
            let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            texts.ok_or_else(|| refuse(format!("{name} must be a list of texts")))
        }
        Some(_) => Err(refuse(format!("{name} must be a list of texts"))),
    }
}

/// A name that strangers chose, for a page: one line, without characters that change how the rest is read.
pub fn plain_name(name: &str) -> String {
    let misleading = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let name: String = name.chars().filter(|c| !misleading(*c)).take(MAX_NAME).collect();
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    if name.is_empty() { "A client without a name".to_owned() } else { name }
}

/// Does a `client_id` look like the address of a document?
pub fn is_document(client_id: &str) -> bool {
    client_id.starts_with("https://") || client_id.starts_with("http://")
}

/// C-01: the address of a document, if it is one that may be fetched.
pub fn document_url(client_id: &str) -> Result<Url, OAuthError> {
    let refuse = |why| OAuthError::new(ErrorCode::InvalidClient, format!("client_id is not the address of a document: {why}"));
    if client_id.len() > 512 {
        return Err(refuse("it is longer than 512 bytes"));
    }
    let url = Url::parse(client_id).map_err(|_| refuse("it is no URL"))?;
    if url.scheme() != "https" {
        return Err(refuse("it must begin with https://"));
    }
    if url.as_str() != client_id {
        return Err(refuse("it must be written in its normal form"));
    }
    if client_id.contains(['#', '@', '\\']) || !url.username().is_empty() {
        return Err(refuse("it must not have a fragment or a user name"));
    }
    if url.path() == "/" || client_id.split('/').skip(3).any(|part| matches!(part, "." | "..")) || client_id.contains("%2e") {
        return Err(refuse("it must have a path without dot segments"));
    }
    if url.port().is_some() {
        return Err(refuse("it must use the default port"));
    }
    match url.host() {
        Some(Host::Domain(name)) if name.contains('.') => Ok(url),
        _ => Err(refuse("its host must be a domain name")),
    }
}

/// The address of a document on the way to which plain HTTP and private addresses are allowed: on a developer's computer.
pub fn local_document_url(client_id: &str) -> Result<Url, OAuthError> {
    document_url(client_id).or_else(|error| match Url::parse(client_id) {
        Ok(url) if url.as_str() == client_id && url.path() != "/" && !client_id.contains(['#', '@']) => Ok(url),
        _ => Err(error),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn c_01_addresses_of_documents() {
        for id in [
            "https://app.example/client.json",
            "https://app.example/a/b?c=d",
            "https://claude.ai/oauth/mcp-oauth-client-metadata",
        ] {
            assert!(document_url(id).is_ok(), "{id}: {:?}", document_url(id));
        }
        let long = format!("https://app.example/{}", "x".repeat(512));
        for id in [
            "http://app.example/client.json",
            "https://app.example",
            "https://app.example/",
            "https://user@app.example/c",
            "https://app.example/c#x",
            "https://app.example/../c",
            "https://app.example/./c",
            "https://app.example/%2e%2e/c",
            "https://app.example:8443/c",
            "https://127.0.0.1/c",
            "https://[::1]/c",
            "https://2130706433/c",
            "https://localhost/c",
            "https://App.example/c",
            "https:/app.example/c",
            "ftp://app.example/c",
            &long,
        ] {
            assert!(document_url(id).is_err(), "{id}");
        }
    }

    #[test]
    fn c_03_a_document_speaks_of_itself_and_has_no_secret() {
        const ID: &str = "https://app.example/c";
        let document = json!({ "client_id": ID, "client_name": "App", "redirect_uris": ["https://app.example/cb"] });
        assert_eq!(ClientMetadata::of_document(ID, &document).map(|m| m.authentication), Ok(Authentication::None));
        for (name, value) in [
            ("client_id", json!("https://app.example/c/")),
            ("client_name", json!("")),
            ("client_name", json!(7)),
            ("client_secret", json!("x")),
            ("redirect_uris", json!([])),
            ("redirect_uris", json!("https://app.example/cb")),
            ("redirect_uris", json!(["javascript:alert(1)"])),
            ("token_endpoint_auth_method", json!("client_secret_basic")),
            ("token_endpoint_auth_method", json!("private_key_jwt")),
            ("logo_uri", json!("http://app.example/logo.png")),
        ] {
            let mut document = document.clone();
            document[name] = value.clone();
            assert!(ClientMetadata::of_document(ID, &document).is_err(), "{name} {value}");
        }
    }

    #[test]
    fn c_10_what_real_clients_register_is_taken() {
        let registration = json!({
            "client_name": "Claude Code (acme)", "redirect_uris": ["http://localhost:54212/callback"],
            "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
            "token_endpoint_auth_method": "none", "application_type": "native", "scope": "tools:read", "contacts": [],
            "client_uri": "http://x", "software_id": "x",
        });
        let taken = ClientMetadata::of_registration(&registration).expect("taken");
        assert_eq!((taken.authentication, taken.client_name.as_str()), (Authentication::None, "Claude Code (acme)"));
        let least = ClientMetadata::of_registration(&json!({ "redirect_uris": ["https://app.example/cb"] })).expect("taken");
        assert_eq!(least.authentication, Authentication::ClientSecret);
        for body in [json!([]), json!({}), json!({ "redirect_uris": ["https://a.example/cb"], "grant_types": ["password"] })] {
            assert!(ClientMetadata::of_registration(&body).is_err(), "{body}");
        }
    }

    #[test]
    fn names_cannot_mislead() {
        assert_eq!(plain_name("\u{202e}Evil\n\u{200b} App  "), "Evil App");
        assert_eq!(plain_name(" \u{7} "), "A client without a name");
        assert_eq!(plain_name(&"x".repeat(100)).len(), MAX_NAME);
    }
}
