//! Who asks at the token endpoint.

use trunkline_protocol::oauth::{
    client_metadata::Authentication,
    error::{Cause, ErrorCode, OAuthError},
    parameters::Parameters,
    token::read_basic,
};

use super::{Client, find};
use crate::{
    Platform,
    oauth::Failure,
    secret::{Digest, Plaintext},
};

/// What a client shows to prove who it is.
#[derive(Debug, Clone)]
pub struct Presented {
    client_id: String,
    secret: Option<Plaintext>,
}

fn refuse(description: &str) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidClient, description)
}

impl Presented {
    /// Reads it from the header and the form. One way of the two, not both (RFC 6749 §2.3).
    pub fn read(authorization: Option<&str>, form: &Parameters) -> Result<Self, OAuthError> {
        let in_form = form.get("client_secret").map(|secret| Plaintext::new(secret.to_owned()));
        let Some(header) = authorization else {
            let client_id = form.get("client_id").ok_or_else(|| refuse("client_id is missing"))?.to_owned();
            return Ok(Self { client_id, secret: in_form });
        };
        let (client_id, secret) = read_basic(header)?;
        if in_form.is_some() {
            return Err(refuse("the client proves itself in two ways: use the header or the form"));
        }
        if form.get("client_id").is_some_and(|other| other != client_id) {
            return Err(refuse("client_id differs between the header and the form"));
        }
        Ok(Self { client_id, secret: (!secret.is_empty()).then(|| Plaintext::new(secret)) })
    }
}

/// The client, if it is who it says it is. Whether it is not known or has the wrong secret is not told.
pub async fn authenticate(platform: &Platform, presented: &Presented) -> Result<Client, Failure> {
    let unknown = || refuse("the client is not known, or its secret is wrong").because(Cause::UnknownClient);
    let client = match find(platform, &presented.client_id).await {
        Ok(client) => client.ok_or_else(unknown)?,
        Err(Failure::Refused(error)) => return Err(OAuthError { code: ErrorCode::InvalidClient, ..error }.into()),
        Err(failure) => return Err(failure),
    };
    match (client.authentication, &presented.secret, &client.secret) {
        (Authentication::None, None, _) => Ok(client),
        (Authentication::None, Some(_), _) => Err(refuse("this client has no secret: send its client_id alone").into()),
        (Authentication::ClientSecret, Some(secret), Some(digest)) if Digest::of(secret.reveal()).matches(digest) => Ok(client),
        (Authentication::ClientSecret, ..) => Err(unknown().because(Cause::ClientAuthentication).into()),
        (Authentication::PrivateKeyJwt | Authentication::TlsClientAuth, ..) => {
            Err(refuse("this client cannot prove itself here: register it with none, client_secret_basic or client_secret_post")
                .into())
        }
    }
}
