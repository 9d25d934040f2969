//! Who asks at the token endpoint.

use std::sync::Arc;

use trunkline_protocol::oauth::{
    client_metadata::Authentication,
    error::{Cause, ErrorCode, OAuthError},
    parameters::Parameters,
    signed::unchecked_claim,
    token::read_basic,
};

use super::{Client, assertion, find};
use crate::{
    Platform,
    certificates::ClientCertificate,
    oauth::{Failure, Proven, Unproven, prove},
    secret::{Digest, Plaintext},
};

/// What a client shows to prove who it is.
#[derive(Debug, Clone)]
pub struct Presented {
    client_id: String,
    means: Means,
    certificate: Option<Arc<ClientCertificate>>,
}

#[derive(Debug, Clone)]
enum Means {
    /// Its name alone, or beside a certificate.
    Nothing,
    Secret(Plaintext),
    Assertion(Plaintext),
}

fn refuse(description: &str) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidClient, description)
}

impl Presented {
    /// Reads it from the header and the form. One way of them, never two (RFC 6749 §2.3).
    pub fn read(authorization: Option<&str>, form: &Parameters) -> Result<Self, OAuthError> {
        let by_assertion = read_assertion(form)?;
        let by_form = form.get("client_secret").map(|secret| ("", Means::Secret(Plaintext::new(secret.to_owned()))));
        let by_header = authorization.map(read_basic).transpose()?;
        let several = || refuse("the client proves itself in several ways: use one of header, form and assertion");
        let said = form.get("client_id");
        let (client_id, means) = match (by_header, by_form, by_assertion) {
            (Some((client_id, secret)), None, None) => {
                let means = if secret.is_empty() { Means::Nothing } else { Means::Secret(Plaintext::new(secret)) };
                (Some(client_id), means)
            }
            (None, Some((_, means)), None) => (None, means),
            (None, None, Some((client_id, means))) => (Some(client_id), means),
            (None, None, None) => (None, Means::Nothing),
            _ => return Err(several()),
        };
        if let (Some(client_id), Some(said)) = (&client_id, said)
            && client_id != said
        {
            return Err(refuse("client_id differs from the one that is proven"));
        }
        let client_id = client_id.or_else(|| said.map(str::to_owned)).ok_or_else(|| refuse("client_id is missing"))?;
        Ok(Self { client_id, means, certificate: None })
    }

    /// With the certificate of its connection.
    #[must_use]
    pub fn with_certificate(self, certificate: Option<Arc<ClientCertificate>>) -> Self {
        Self { certificate, ..self }
    }
}

/// The assertion, and the client it speaks of; whether it may is found out later.
fn read_assertion(form: &Parameters) -> Result<Option<(String, Means)>, OAuthError> {
    let (kind, assertion) = (form.get("client_assertion_type"), form.get("client_assertion"));
    if kind.is_none() && assertion.is_none() {
        return Ok(None);
    }
    if kind != Some(assertion::TYPE) {
        return Err(refuse("client_assertion_type must be urn:ietf:params:oauth:client-assertion-type:jwt-bearer"));
    }
    let assertion = assertion.ok_or_else(|| refuse("client_assertion is missing"))?;
    let client_id = unchecked_claim(assertion, "sub").ok_or_else(|| refuse("the client assertion cannot be read"))?;
    Ok(Some((client_id, Means::Assertion(Plaintext::new(assertion.to_owned())))))
}

/// The client, if it is who it says it is. Whether it is not known or has the wrong secret is not told.
pub async fn authenticate(platform: &Platform, presented: &Presented) -> Result<Client, Failure> {
    let unknown = || refuse("the client is not known, or does not prove that it is this one").because(Cause::UnknownClient);
    let unproven = || unknown().because(Cause::ClientAuthentication);
    let mut client = match find(platform, &presented.client_id).await {
        Ok(client) => client.ok_or_else(unknown)?,
        Err(Failure::Refused(error)) => return Err(OAuthError { code: ErrorCode::InvalidClient, ..error }.into()),
        Err(failure) => return Err(failure),
    };
    match (client.authentication, &presented.means) {
        (Authentication::None, Means::Nothing) => {}
        (Authentication::None, _) => return Err(refuse("this client has no secret and no key: send its client_id alone").into()),
        (Authentication::ClientSecret, Means::Secret(secret)) => {
            let is_right = client.secret.as_ref().is_some_and(|digest| Digest::of(secret.reveal()).matches(digest));
            if !is_right {
                return Err(unproven().into());
            }
        }
        (Authentication::PrivateKeyJwt, Means::Assertion(text)) => assertion::check(platform, &client, text.reveal()).await?,
        (Authentication::TlsClientAuth, Means::Nothing) => {
            let certificate =
                presented.certificate.as_ref().ok_or_else(|| refuse("this client proves itself by a certificate"))?;
            client.has_certificate(platform, certificate).await?.then_some(()).ok_or_else(unproven)?;
            client.binding.certificate = Some(certificate.thumbprint());
        }
        (Authentication::PrivateKeyJwt, _) => return Err(refuse("this client proves itself by private_key_jwt").into()),
        (Authentication::TlsClientAuth, _) => return Err(refuse("this client proves itself by a certificate alone").into()),
        (Authentication::ClientSecret, _) => return Err(unproven().into()),
    }
    Ok(client)
}

impl Client {
    /// The client with the key that its request proves to have, which its tokens will be bound to.
    pub async fn proven(mut self, platform: &Platform, request: Proven<'_>) -> Result<Self, Failure> {
        match prove(platform, request, None).await {
            Ok(key) => {
                self.binding.key = Some(key);
                Ok(self)
            }
            Err(Unproven::Failed(error)) => Err(error.into()),
            Err(unproven @ Unproven::Invalid(_)) => Err(Failure::refuse(ErrorCode::InvalidDpopProof, unproven.to_string())),
        }
    }

    /// Does one of its tenant's authorities say that the certificate is this client's?
    async fn has_certificate(&self, platform: &Platform, certificate: &ClientCertificate) -> Result<bool, Failure> {
        let Some((home, name)) = self.home.as_ref().zip(self.certificate_name.as_ref()) else { return Ok(false) };
        let mut tx = platform.db.tenant(home.0).await?;
        let trust = crate::certificates::CertificateTrust::load(&mut tx).await?;
        tx.commit().await?;
        Ok(trust.verify(certificate, platform.clock.now()).is_some_and(|identity| identity.has(name)))
    }
}
