//! What a token is worth at the moment (RFC 7662), for the client it was given to.

use serde_json::Value;
use trunkline_protocol::oauth::scope::ScopeSet;

use super::{
    Client, exchange, grant, issuer, place,
    ticket::{self, Kind},
    token,
};
use crate::{
    Platform,
    error::{Error, Result},
    ids::AgentId,
};

/// A token that works.
#[derive(Debug, Clone)]
pub struct Introspection {
    /// What it may use.
    pub scopes: ScopeSet,
    /// The agent.
    pub agent: AgentId,
    /// Its endpoint.
    pub audience: String,
    /// Until when, in seconds since 1970.
    pub expires_at: i64,
    /// Since when.
    pub issued_at: Option<i64>,
    /// Who issued it.
    pub issuer: String,
    /// What has to be shown with it, as the token says it (RFC 7800).
    pub binding: Option<Value>,
    /// Services that act for the agent (RFC 8693 §4.1).
    pub acts: Option<Value>,
    /// Is it an access token?
    pub is_access: bool,
}

/// `None`: it does not work, or is none of this client's.
pub async fn introspect(platform: &Platform, client: &Client, text: &str) -> Result<Option<Introspection>> {
    let now = platform.clock.now();
    if let Some(ticket) = ticket::parse(Kind::Refresh, text) {
        let mut tx = platform.db.tenant(ticket.tenant).await?;
        let Some(grant) = grant::store::lock_of_refresh(&mut tx, ticket.digest).await? else { return Ok(None) };
        let token = grant::store::find_refresh(&mut tx, ticket.digest).await?;
        let works = |token: &grant::store::RefreshRow| token.used_at.is_none() && now < token.expires_at;
        let Some(token) = token.filter(works).filter(|_| grant.client_id == client.client_id && grant.is_live(now)) else {
            return Ok(None);
        };
        return Ok(Some(Introspection {
            scopes: grant.scopes,
            agent: grant.agent,
            audience: grant.resource,
            expires_at: token.expires_at.timestamp(),
            issued_at: None,
            issuer: issuer(platform),
            binding: None,
            acts: None,
            is_access: false,
        }));
    }
    let token = match token::verify(platform, text).await {
        Ok(token) if token.client == client.client_id => token,
        Ok(_) | Err(token::Unverified::Invalid) => return Ok(None),
        Err(token::Unverified::Unavailable) => {
            return Err(Error::unavailable("database", "the signing keys cannot be loaded"));
        }
    };
    let mut tx = platform.db.tenant(token.tenant).await?;
    let is_live = grant::store::find(&mut tx, token.grant).await?.is_some_and(|grant| grant.is_live(now));
    if !is_live || grant::store::is_revoked(&mut tx, token.id).await? {
        return Ok(None);
    }
    tx.commit().await?;
    if !token.via.is_empty() {
        let slug = place::slug_of(platform, token.tenant).await?;
        let Some(snapshot) = platform.snapshots.get(platform, slug.as_str()).await? else { return Ok(None) };
        if !exchange::is_alive(platform, &snapshot, token.tenant, &token.via).await? {
            return Ok(None);
        }
    }
    Ok(Some(Introspection {
        scopes: token.scopes.clone(),
        agent: token.agent,
        audience: token.audience.clone(),
        expires_at: token.expires_at,
        issued_at: Some(token.issued_at),
        issuer: issuer(platform),
        binding: token.binding.to_claim(),
        acts: token.acts.clone(),
        is_access: true,
    }))
}
