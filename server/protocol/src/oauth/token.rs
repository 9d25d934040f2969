//! The token request (RFC 6749 §4.1.3, §6) and its answer (§5.1).

use serde_json::{Value, json};

use super::{
    authorize::read_scopes,
    error::{ErrorCode, OAuthError, invalid_request},
    parameters::Parameters,
    scope::{Scope, ScopeSet},
};

/// What is exchanged for an access token.
#[derive(Clone, PartialEq, Eq)]
pub enum Exchange {
    /// A code.
    AuthorizationCode {
        /// The code.
        code: String,
        /// As in the authorization request, if it was there.
        redirect_uri: Option<String>,
        /// PKCE.
        verifier: String,
    },
    /// A refresh token.
    RefreshToken {
        /// The token.
        token: String,
        /// Less than was granted, if it is to be less.
        scopes: Option<Vec<Scope>>,
    },
    /// Nothing but what the client is (RFC 6749 §4.4).
    ClientCredentials {
        /// Less than its agent may, if it is to be less.
        scopes: Option<Vec<Scope>>,
    },
    /// Another token (RFC 8693).
    Token {
        /// The token.
        subject: String,
        /// Less than it has, if it is to be less.
        scopes: Option<Vec<Scope>>,
    },
    /// What an identity provider says (RFC 7523 §2.1, as the enterprise-managed authorization of MCP profiles it).
    Assertion {
        /// The assertion.
        assertion: String,
        /// Less than it allows, if it is to be less.
        scopes: Option<Vec<Scope>>,
    },
}

/// Grant types beside `authorization_code` and `refresh_token`.
pub const SERVICE_GRANTS: &[&str] = &["client_credentials", EXCHANGE, ASSERTION];
/// RFC 8693.
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// RFC 7523.
const ASSERTION: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// RFC 8693 §3: the type of our tokens.
pub const ACCESS_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A token request without its client.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// What is exchanged.
    pub exchange: Exchange,
    /// Audience, if it is said.
    pub resource: Option<String>,
}

impl TokenRequest {
    /// Reads it.
    pub fn parse(parameters: &Parameters) -> Result<Self, OAuthError> {
        let exchange = match parameters.require("grant_type")? {
            "authorization_code" => Exchange::AuthorizationCode {
                code: parameters.require("code")?.to_owned(),
                redirect_uri: parameters.get("redirect_uri").map(str::to_owned),
                verifier: parameters.require("code_verifier")?.to_owned(),
            },
            "refresh_token" => Exchange::RefreshToken {
                token: parameters.require("refresh_token")?.to_owned(),
                scopes: parameters.get("scope").map(read_scopes).transpose()?,
            },
            "client_credentials" => Exchange::ClientCredentials { scopes: scopes(parameters)? },
            EXCHANGE => read_exchange(parameters)?,
            ASSERTION => {
                Exchange::Assertion { assertion: parameters.require("assertion")?.to_owned(), scopes: scopes(parameters)? }
            }
            _ => {
                let known = "grant_type must be authorization_code, refresh_token, client_credentials, or that of token exchange or jwt-bearer";
                return Err(OAuthError::new(ErrorCode::UnsupportedGrantType, known));
            }
        };
        Ok(Self { resource: target(parameters, &exchange)?, exchange })
    }
}

fn scopes(parameters: &Parameters) -> Result<Option<Vec<Scope>>, OAuthError> {
    parameters.get("scope").map(read_scopes).transpose()
}

fn read_exchange(parameters: &Parameters) -> Result<Exchange, OAuthError> {
    let subject = parameters.require("subject_token")?.to_owned();
    if parameters.require("subject_token_type")? != ACCESS_TOKEN_TYPE {
        return Err(invalid_request(format!("subject_token_type must be {ACCESS_TOKEN_TYPE}")));
    }
    if parameters.get("actor_token").is_some() || parameters.get("actor_token_type").is_some() {
        return Err(invalid_request("actor_token is not taken: the client itself is the actor"));
    }
    if parameters.get("requested_token_type").is_some_and(|kind| kind != ACCESS_TOKEN_TYPE) {
        return Err(invalid_request(format!("requested_token_type must be {ACCESS_TOKEN_TYPE}")));
    }
    Ok(Exchange::Token { subject, scopes: scopes(parameters)? })
}

/// `resource`; an exchange may also say it as `audience`, which then has to be the same.
fn target(parameters: &Parameters, exchange: &Exchange) -> Result<Option<String>, OAuthError> {
    let (resource, audience) = (parameters.get("resource"), parameters.get("audience"));
    match (exchange, resource, audience) {
        (Exchange::Token { .. }, Some(resource), Some(audience)) if resource != audience => {
            Err(OAuthError::new(ErrorCode::InvalidTarget, "resource and audience name different endpoints"))
        }
        (Exchange::Token { .. }, None, audience) => Ok(audience.map(str::to_owned)),
        _ => Ok(resource.map(str::to_owned)),
    }
}

/// The answer to a token request.
pub fn answer(access_token: &str, token_type: &str, expires_in: i64, scopes: &ScopeSet, refresh_token: Option<&str>) -> Value {
    let mut answer = json!({
        "access_token": access_token,
        "token_type": token_type,
        "expires_in": expires_in,
        "scope": scopes.to_string(),
    });
    if let Some(refresh_token) = refresh_token {
        answer["refresh_token"] = json!(refresh_token);
    }
    answer
}

/// Client and secret of an `Authorization: Basic` header (RFC 6749 §2.3.1: both are form-encoded before they are joined).
pub fn read_basic(header: &str) -> Result<(String, String), OAuthError> {
    use base64::Engine as _;
    let bad = || OAuthError::new(ErrorCode::InvalidClient, "the Authorization header is not valid Basic authentication");
    let (scheme, encoded) = header.split_once(' ').ok_or_else(bad)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(bad());
    }
    let decoded = base64::prelude::BASE64_STANDARD.decode(encoded).map_err(|_| bad())?;
    let text = String::from_utf8(decoded).map_err(|_| bad())?;
    let (client, secret) = text.split_once(':').ok_or_else(bad)?;
    let decode = |text: &str| {
        let pair = format!("x={}", text.replace('&', "%26"));
        url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).ok_or_else(bad)
    };
    Ok((decode(client)?, decode(secret)?))
}

/// The resource, if it could be one at all: an absolute URI without a fragment (RFC 8707 §2).
pub fn check_resource(resource: &str) -> Result<(), OAuthError> {
    let refuse =
        || OAuthError::new(ErrorCode::InvalidTarget, "resource must be the URL of an endpoint, as its metadata names it");
    let url = url::Url::parse(resource).map_err(|_| refuse())?;
    if resource.contains('#') || !matches!(url.scheme(), "http" | "https") || resource.len() > 512 {
        return Err(refuse());
    }
    Ok(())
}

/// Something is missing that only another kind of request may leave out.
pub fn missing(name: &str) -> OAuthError {
    invalid_request(format!("the parameter {name} is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_authentication_is_form_encoded_inside() {
        use base64::Engine as _;
        let header = |text: &str| format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(text));
        let url = "https%3A%2F%2Fapp.example%2Fclient";
        assert_eq!(read_basic(&header(&format!("{url}:a%2Bb"))), Ok(("https://app.example/client".to_owned(), "a+b".to_owned())));
        for text in ["Basic", "Bearer abc", "Basic !", "Basic YWJj"] {
            assert!(read_basic(text).is_err(), "{text}");
        }
    }

    #[test]
    fn requests_of_other_kinds_are_told_which_there_are() {
        let parse = |text| TokenRequest::parse(&Parameters::parse(text).expect("parameters"));
        assert_eq!(parse("grant_type=password").err().map(|error| error.code), Some(ErrorCode::UnsupportedGrantType));
        assert_eq!(parse("code=x").err().map(|error| error.code), Some(ErrorCode::InvalidRequest));
        let no_verifier = parse("grant_type=authorization_code&code=x");
        assert_eq!(no_verifier.err().map(|error| error.code), Some(ErrorCode::InvalidRequest));
        assert!(parse("grant_type=refresh_token&refresh_token=x&scope=tools:read").is_ok());
    }
}
