//! Clients that register themselves (RFC 7591). Anybody may, a few times an hour; who is never used is forgotten after a day.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use trunkline_protocol::oauth::client_metadata::{Authentication, ClientMetadata};

use super::{Client, ClientKind, store};
use crate::{
    Platform,
    error::Result,
    oauth::Failure,
    quota::attempts::{self, Attempt},
    random,
    secret::Plaintext,
};

/// Beginning of their ids.
pub(super) const PREFIX: &str = "tl_dcr_";
const LENGTH: usize = 22;

/// A client just registered, with the only copy of its secret.
#[derive(Debug)]
pub struct Registered {
    /// Its id.
    pub client_id: String,
    /// Its secret, if it has one.
    pub secret: Option<Plaintext>,
    /// What was taken of what it said.
    pub metadata: ClientMetadata,
    /// When.
    pub at: DateTime<Utc>,
}

/// Registers a client.
pub async fn register(platform: &Platform, from: IpAddr, body: &Value) -> Result<Registered, Failure> {
    attempts::check(platform, Attempt::RegistrationFromIp, &from.to_string()).await?;
    let metadata = ClientMetadata::of_registration(body)?;
    let client_id = format!("{PREFIX}{}", random::base62(LENGTH));
    let secret = (metadata.authentication == Authentication::ClientSecret).then(|| Plaintext::generate("tl_secret_"));
    let at = platform.clock.now();
    let mut tx = platform.db.system().await?;
    store::insert_registration(&mut tx, &client_id, &metadata, secret.as_ref().map(Plaintext::digest), at).await?;
    tx.commit().await?;
    Ok(Registered { client_id, secret, metadata, at })
}

impl Registered {
    /// The answer (RFC 7591 §3.2.1). Says what was registered, also what was left out and so has its default.
    pub fn to_json(&self, asked: &Value) -> Value {
        let method = match self.metadata.authentication {
            Authentication::None => "none",
            Authentication::PrivateKeyJwt => "private_key_jwt",
            _ => match asked.get("token_endpoint_auth_method").and_then(Value::as_str) {
                Some("client_secret_post") => "client_secret_post",
                _ => "client_secret_basic",
            },
        };
        let mut answer = json!({
            "client_id": self.client_id,
            "client_id_issued_at": self.at.timestamp(),
            "client_name": self.metadata.client_name,
            "redirect_uris": self.metadata.redirect_uris,
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": method,
        });
        if let Some(secret) = &self.secret {
            answer["client_secret"] = json!(secret.reveal());
            answer["client_secret_expires_at"] = json!(0);
        }
        for name in ["application_type", "client_uri", "scope"] {
            if let Some(text) = asked.get(name).and_then(Value::as_str).filter(|text| text.len() <= 1_000) {
                answer[name] = json!(text);
            }
        }
        answer
    }
}

pub(super) async fn find(platform: &Platform, client_id: &str) -> Result<Option<Client>> {
    let rest = client_id.strip_prefix(PREFIX).unwrap_or_default();
    if rest.len() != LENGTH || !rest.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Ok(None);
    }
    let mut tx = platform.db.system().await?;
    let found = store::find_registration(&mut tx, client_id).await?;
    tx.commit().await?;
    Ok(found.map(|(metadata, secret)| Client::of_metadata(client_id.to_owned(), ClientKind::Dynamic, metadata, secret)))
}
