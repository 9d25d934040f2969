//! Identity providers that a tenant believes, and where their keys are.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::{
    Platform,
    error::{Error, Result},
    ids::{AgentId, TrustedIssuerId},
    oauth::published,
};

/// Clients of one provider.
const MOST_CLIENTS: usize = 50;

/// A provider that is believed.
#[derive(Debug, Clone)]
pub struct TrustedIssuer {
    /// Its id.
    pub id: TrustedIssuerId,
    /// As its tokens write it.
    pub issuer: String,
    /// Clients that may bring its assertions, as they show themselves.
    pub clients: Vec<String>,
    /// The agent that everybody it speaks for acts as, with its name.
    pub agent: Option<(AgentId, String)>,
    /// Else the claim that names the agent.
    pub agent_claim: Option<String>,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

/// What a member says of a provider.
#[derive(Debug, Clone)]
pub struct NewTrustedIssuer {
    pub(super) issuer: String,
    pub(super) clients: Vec<String>,
    pub(super) agent: Option<AgentId>,
    pub(super) agent_claim: Option<String>,
}

impl NewTrustedIssuer {
    /// Reads a form. Clients stand on lines of their own; either an agent is chosen, or a claim names it.
    pub fn parse(issuer: &str, clients: &str, agent: Option<AgentId>, claim: &str) -> Result<Self> {
        let issuer = issuer.trim();
        if issuer.is_empty() || issuer.len() > 512 {
            return Err(Error::invalid(
                "issuer",
                "enter the issuer exactly as its tokens have it, such as https://login.acme.example",
            ));
        }
        let clients: Vec<String> = clients.split_whitespace().map(str::to_owned).collect();
        if clients.is_empty() || clients.len() > MOST_CLIENTS || clients.iter().any(|client| client.len() > 512) {
            return Err(Error::invalid("clients", format!("enter 1 to {MOST_CLIENTS} client ids, one per line")));
        }
        let claim = claim.trim();
        let is_claim = claim.len() <= 64 && claim.bytes().all(|b| b.is_ascii_graphic());
        let (agent, agent_claim) = match (agent, claim) {
            (Some(agent), "") => (Some(agent), None),
            (None, "") => return Err(Error::invalid("agent", "choose an agent, or enter the claim that names one")),
            (None, claim) if is_claim => (None, Some(claim.to_owned())),
            (None, _) => return Err(Error::invalid("agent_claim", "expected the name of a claim of at most 64 characters")),
            (Some(_), _) => return Err(Error::invalid("agent_claim", "choose an agent or enter a claim, not both")),
        };
        Ok(Self { issuer: issuer.to_owned(), clients, agent, agent_claim })
    }
}

/// Where a provider's keys are, by its own metadata: as OpenID Connect has it, or RFC 8414. The error says what is wrong with it.
pub(super) async fn key_set_of(platform: &Platform, issuer: &str, again: bool) -> std::result::Result<String, String> {
    let mut failure = String::new();
    for place in metadata_places(issuer) {
        match published::get(platform, &place, again).await {
            Ok(metadata) => return read(platform, issuer, &metadata),
            Err(why) if failure.is_empty() => failure = format!("its metadata at {place} cannot be read: {why}"),
            Err(_) => {}
        }
    }
    Err(failure)
}

fn metadata_places(issuer: &str) -> Vec<String> {
    let base = issuer.trim_end_matches('/');
    let mut places = vec![format!("{base}/.well-known/openid-configuration")];
    if let Ok(url) = url::Url::parse(issuer) {
        let path = url.path().trim_end_matches('/');
        places.push(format!("{}/.well-known/oauth-authorization-server{path}", url.origin().ascii_serialization()));
    }
    places
}

fn read(platform: &Platform, issuer: &str, metadata: &Value) -> std::result::Result<String, String> {
    if metadata.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err("its metadata names another issuer: enter it exactly as it stands there".to_owned());
    }
    let keys = metadata.get("jwks_uri").and_then(Value::as_str).ok_or("its metadata has no jwks_uri")?;
    published::check(platform, keys).map_err(|why| format!("its jwks_uri is not taken: {why}"))?;
    Ok(keys.to_owned())
}

/// A provider's keys.
pub(super) async fn keys_of(platform: &Platform, issuer: &str, again: bool) -> std::result::Result<Arc<Value>, String> {
    let url = key_set_of(platform, issuer, again).await?;
    published::get(platform, &url, again).await
}
