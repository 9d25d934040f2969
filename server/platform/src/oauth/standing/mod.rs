//! Standing grants: of services, exchanges and assertions. Nobody is asked each time, so that there is one for the same parties, which a member
//! sees and can revoke; access tokens of it are short, and there is nothing to refresh.

mod store;

use chrono::TimeDelta;
use trunkline_protocol::oauth::{
    client_metadata::Authentication,
    error::{Cause, ErrorCode, OAuthError},
    scope::ScopeSet,
};

use super::{
    Client, Endpoint, Failure, Grant, Tokens, client, grant, id_jag, signing,
    token::{self, Terms},
};
use crate::{
    Platform,
    audit::{self, Event},
    db::TenantTx,
    error::Result,
    ids::{AgentId, ClientId, GrantId, TenantId, TrustedIssuerId},
};

/// It stands until somebody revokes it; the column wants a time.
const STANDS_FOR: TimeDelta = TimeDelta::days(36_500);

/// How a standing grant came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Service,
    Exchange,
    Assertion,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Exchange => "exchange",
            Self::Assertion => "assertion",
        }
    }
}

/// The parties of a standing grant.
pub(super) struct Standing<'a> {
    pub(super) kind: Kind,
    pub(super) tenant: TenantId,
    pub(super) agent: AgentId,
    pub(super) client: ClientId,
    pub(super) client_id: &'a str,
    pub(super) endpoint: &'a Endpoint,
    /// For whom, as their identity provider calls them.
    pub(super) subject: &'a str,
    /// Who says so.
    pub(super) issuer: Option<TrustedIssuerId>,
    /// What is issued now.
    pub(super) scopes: &'a ScopeSet,
}

/// A token of that grant, which is made if it is not there.
pub(super) async fn issue(platform: &Platform, new: &Standing<'_>, terms: Terms) -> Result<Tokens, Failure> {
    let now = platform.clock.now();
    let ring = signing::ring(platform).await?;
    let mut tx = platform.db.tenant(new.tenant).await?;
    let fresh = Grant {
        id: GrantId::new(now),
        tenant: new.tenant,
        user: None,
        agent: new.agent,
        client: new.client,
        client_id: new.client_id.to_owned(),
        resource: new.endpoint.url(platform),
        toolset: new.endpoint.toolset.clone(),
        scopes: new.scopes.clone(),
        redirect_uri: String::new(),
        created_at: now,
        expires_at: now + STANDS_FOR,
        revoked_at: None,
    };
    // Either may have lost its trust since it was found.
    if !client::store::touch_approved(&mut tx, new.client, now).await? {
        return Err(OAuthError::new(ErrorCode::InvalidGrant, "the client is blocked").because(Cause::ClientNotAdmitted).into());
    }
    if let Some(issuer) = new.issuer
        && !id_jag::is_still_trusted(&mut tx, issuer).await?
    {
        let why = "the assertion is not taken: its issuer is trusted no more";
        return Err(OAuthError::new(ErrorCode::InvalidGrant, why).because(Cause::AssertionRefused).into());
    }
    let id = store::keep(&mut tx, new.kind.as_str(), new.subject, &fresh).await?;
    if id == fresh.id {
        audit::append_all(&mut tx, now, None, &[Event::GrantGiven(id, new.agent)]).await?;
    }
    let grant = Grant { id, ..fresh };
    let (access_token, expires_in) = token::issue(platform, &ring, &grant, new.scopes, &terms)?;
    tx.commit().await?;
    let is_proven = terms.binding.key.is_some();
    let scopes = new.scopes.clone();
    Ok(Tokens { tenant: grant.tenant, grant: id, access_token, expires_in, scopes, refresh_token: None, is_proven })
}

/// Is it a service's own? Then its client is what ends with it: it would only ask again.
pub(super) async fn is_of_service(tx: &mut TenantTx, grant: GrantId) -> Result<bool> {
    Ok(matches!(store::kind(tx, grant).await?.as_deref(), Some("service" | "exchange")))
}

/// Ends all that an identity provider's assertions have led to.
pub(super) async fn of_issuer(tx: &mut TenantTx, issuer: &str) -> Result<Vec<GrantId>> {
    store::live_of_issuer(tx, issuer).await
}

/// The key that refresh tokens of a public client are bound to from now on (RFC 9449 §5).
pub(super) async fn bind(tx: &mut TenantTx, grant: GrantId, client: &Client) -> Result<()> {
    match &client.binding.key {
        Some(key) if client.authentication == Authentication::None => store::bind(tx, grant, key).await,
        _ => Ok(()),
    }
}

/// Does the client show the key that the grant's refresh tokens are bound to?
pub(super) async fn check_key(tx: &mut TenantTx, grant: &Grant, client: &Client) -> Result<(), Failure> {
    let bound = store::key(tx, grant.id).await?;
    if bound.is_some() && bound != client.binding.key {
        let why = "the refresh token is bound to a key that this request does not prove to have";
        return Err(OAuthError::new(ErrorCode::InvalidGrant, why).because(Cause::NotProven).into());
    }
    Ok(())
}

/// A grant that came of an assertion is ended like any other.
pub(super) async fn end_all(
    platform: &Platform,
    tx: &mut TenantTx,
    actor: &crate::actor::Member,
    grants: Vec<GrantId>,
    why: &'static str,
) -> Result<()> {
    for id in grants {
        grant::end(tx, platform.clock.now(), Some(actor), id, why).await?;
    }
    Ok(())
}
