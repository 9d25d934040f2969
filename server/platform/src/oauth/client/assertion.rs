//! `private_key_jwt` (RFC 7523 §2.2): a client proves itself by what it signs with a key of its own.

use serde_json::Value;
use trunkline_protocol::oauth::{
    error::{ErrorCode, OAuthError},
    signed::{ASSERTION_LIFE_S, ClientAssertion, ForeignHeader},
};

use super::Client;
use crate::{
    Platform,
    oauth::{Failure, issuer, once, published, signed},
};

/// `client_assertion_type`.
pub(super) const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn refuse(why: &str) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidClient, format!("the client assertion is not taken: {why}"))
}

/// Is it the client's, for us, and used for the first time?
pub(super) async fn check(platform: &Platform, client: &Client, text: &str) -> Result<(), Failure> {
    let header = ForeignHeader::read(text).ok_or_else(|| refuse("it must be signed with ES256, EdDSA, RS256 or PS256"))?;
    let claims = verify(platform, client, text, &header).await?;
    let issuer = issuer(platform);
    let endpoint = format!("{issuer}/token");
    let now = platform.clock.now().timestamp();
    claims.check(&client.client_id, &[&issuer, &endpoint], now).map_err(refuse)?;
    let life = claims.exp - now + ASSERTION_LIFE_S;
    if once::claim(platform, "assertion", &client.client_id, &claims.jti, life).await? {
        Ok(())
    } else {
        Err(refuse("it was used before").into())
    }
}

async fn verify(platform: &Platform, client: &Client, text: &str, header: &ForeignHeader) -> Result<ClientAssertion, Failure> {
    let wrong = || refuse("it lacks a claim, or no key of the client has signed it");
    if let Some(keys) = &client.jwks {
        return Ok(signed::verify(text, header, keys).ok_or_else(wrong)?);
    }
    let url = client.jwks_uri.as_deref().ok_or_else(|| refuse("the client has no keys"))?;
    for again in [false, true] {
        let keys: std::sync::Arc<Value> =
            published::get(platform, url, again).await.map_err(|why| refuse(&format!("its key set cannot be used: {why}")))?;
        if let Some(claims) = signed::verify(text, header, &keys) {
            return Ok(claims);
        }
        // The client may have a new key since.
    }
    Err(wrong().into())
}
