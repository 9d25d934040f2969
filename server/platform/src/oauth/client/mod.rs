//! What a client is, wherever it came from: a document at its own address, a registration of its own, or made by hand in a tenant. What it
//! says of itself is believed by nobody; what a tenant thinks of it stands beside it.

mod assertion;
mod authentication;
mod document;
mod manual;
mod policy;
mod registration;
pub(super) mod store;

use chrono::{DateTime, Utc};
use serde_json::Value;
use trunkline_protocol::oauth::{
    client_metadata::{Authentication, ClientMetadata, is_document},
    redirect_uri,
};

pub use authentication::{Presented, authenticate};
pub use document::DocumentFetches;
pub use manual::{CreatedClient, CreatedSecret, NewClient, NewProof, add, replace_secret};
pub use policy::{Admission, ClientPolicy, approve, block, list, policy, set_policy};
pub(super) use policy::{end, meet, meet_named};
pub use registration::{Registered, register};

use super::{Binding, Failure};
use crate::{
    Platform,
    error::Result,
    ids::{AgentId, ClientId, TenantId},
    secret::Digest,
};

/// Where a client came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    /// A member made it.
    Manual,
    /// A document at its `client_id`.
    Document,
    /// It registered itself.
    Dynamic,
}

impl ClientKind {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Document => "document",
            Self::Dynamic => "dynamic",
        }
    }

    pub(super) fn restore(text: &str) -> Self {
        [Self::Manual, Self::Document].into_iter().find(|kind| kind.as_str() == text).unwrap_or(Self::Dynamic)
    }
}

/// What a tenant thinks of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientState {
    /// Members may use it.
    Approved,
    /// Somebody has to decide.
    Pending,
    /// Nobody may use it.
    Blocked,
}

impl ClientState {
    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Pending => "pending",
            Self::Blocked => "blocked",
        }
    }

    pub(super) fn restore(text: &str) -> Self {
        // What is not known is not approved.
        [Self::Approved, Self::Pending].into_iter().find(|state| state.as_str() == text).unwrap_or(Self::Blocked)
    }
}

/// A client.
#[derive(Debug, Clone)]
pub struct Client {
    /// As it shows itself.
    pub client_id: String,
    /// Where it came from.
    pub kind: ClientKind,
    /// For people.
    pub name: String,
    /// Where answers may be sent.
    pub redirect_uris: Vec<String>,
    /// How it proves who it is.
    pub authentication: Authentication,
    /// Its public keys, for `PrivateKeyJwt`.
    pub jwks: Option<Value>,
    /// Where they are.
    pub jwks_uri: Option<String>,
    /// The only tenant that knows it, if it was made there, and the agent it acts as with its own credentials.
    pub home: Option<(TenantId, ClientId, Option<AgentId>)>,
    /// The name in its certificate, for `TlsClientAuth`.
    pub certificate_name: Option<String>,
    /// What its request has shown, which its tokens will be bound to.
    pub binding: Binding,
    secret: Option<Digest>,
}

/// A client as a tenant's list shows it.
#[derive(Debug, Clone)]
pub struct ListedClient {
    /// Its id in the tenant.
    pub id: ClientId,
    /// As it shows itself.
    pub client_id: String,
    /// For people.
    pub name: String,
    /// Where it came from.
    pub kind: ClientKind,
    /// What the tenant thinks of it.
    pub state: ClientState,
    /// Does it have a secret?
    pub has_secret: bool,
    /// Grants that work.
    pub live_grants: i64,
    /// Since when it is known.
    pub created_at: DateTime<Utc>,
    /// When somebody last gave it consent.
    pub last_used_at: Option<DateTime<Utc>>,
}

impl Client {
    fn of_metadata(client_id: String, kind: ClientKind, metadata: ClientMetadata, secret: Option<Digest>) -> Self {
        Self {
            client_id,
            kind,
            name: metadata.client_name,
            redirect_uris: metadata.redirect_uris,
            authentication: metadata.authentication,
            jwks: metadata.jwks,
            jwks_uri: metadata.jwks_uri,
            home: None,
            certificate_name: None,
            binding: Binding::default(),
            secret,
        }
    }

    /// The redirect URI that a request means: the one it names if it is registered, or the only one there is.
    pub fn redirect_uri<'a>(&'a self, asked: Option<&'a str>) -> Option<&'a str> {
        match (asked, self.redirect_uris.as_slice()) {
            (Some(asked), registered) => registered.iter().any(|one| redirect_uri::matches(one, asked)).then_some(asked),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    /// Whose word the client's name is, for people: the host of its document. `None` if it is nobody's.
    pub fn host(&self) -> Option<String> {
        (self.kind == ClientKind::Document).then(|| redirect_uri::shown_host(&self.client_id))
    }
}

/// The client of that id, from wherever it is known. `None`: there is none.
pub async fn find(platform: &Platform, client_id: &str) -> Result<Option<Client>, Failure> {
    if is_document(client_id) {
        return document::get(platform, client_id).await.map(Some);
    }
    if client_id.starts_with(registration::PREFIX) {
        return Ok(registration::find(platform, client_id).await?);
    }
    Ok(manual::find(platform, client_id).await?)
}
