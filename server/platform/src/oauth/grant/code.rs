//! Authorization codes: used once, within a minute, by whom they were made for. A wrong attempt does not use one up; a second use ends what
//! came of the first.

use chrono::{DateTime, TimeDelta, Utc};
use trunkline_protocol::oauth::{
    error::{Cause, ErrorCode, OAuthError},
    pkce::CodeChallenge,
    scope::ScopeSet,
};

use super::{Grant, Tokens, end, refresh, store, tokens};
use crate::{
    Platform,
    audit::{self, Event},
    db::TenantTx,
    epoch,
    error::Result,
    ids::{AgentId, ClientId, GrantId, TicketId, UserId},
    oauth::{
        Client, Endpoint, Failure, signing, standing,
        ticket::{self, Kind},
    },
    secret::Plaintext,
};

/// Life of a code.
const LIFE: TimeDelta = TimeDelta::seconds(60);
/// Attempts that fail before a code is dead.
const MOST_FAILURES: i32 = 3;

/// What a code stands for.
pub(in crate::oauth) struct NewCode<'a> {
    pub(in crate::oauth) user: UserId,
    pub(in crate::oauth) agent: AgentId,
    pub(in crate::oauth) client: ClientId,
    pub(in crate::oauth) redirect_uri: &'a str,
    pub(in crate::oauth) redirect_named: bool,
    pub(in crate::oauth) challenge: &'a CodeChallenge,
    pub(in crate::oauth) resource: &'a str,
    pub(in crate::oauth) toolset: Option<&'a str>,
    pub(in crate::oauth) scopes: &'a ScopeSet,
    pub(in crate::oauth) grant_expires_at: DateTime<Utc>,
}

/// What a client shows for a code.
#[derive(Clone, Copy)]
pub struct Redemption<'a> {
    /// The code.
    pub code: &'a str,
    /// As in the authorization request, if it was there.
    pub redirect_uri: Option<&'a str>,
    /// PKCE.
    pub verifier: &'a str,
    /// Audience, if it is said.
    pub resource: Option<&'a str>,
}

/// Makes a code.
pub(in crate::oauth) async fn issue(tx: &mut TenantTx, now: DateTime<Utc>, new: &NewCode<'_>) -> Result<Plaintext> {
    let code = ticket::generate(Kind::Code, tx.tenant());
    store::insert_code(tx, TicketId::new(now), code.digest(), new, now, now + LIFE).await?;
    Ok(code)
}

fn invalid(description: &str) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidGrant, description)
}

/// Exchanges a code for the tokens of a new grant.
pub async fn redeem(platform: &Platform, client: &Client, shown: Redemption<'_>) -> Result<Tokens, Failure> {
    const UNKNOWN: &str = "the code is not known, has expired or was used before";
    let expired = || invalid(UNKNOWN).because(Cause::CodeExpired);
    if let Some(resource) = shown.resource {
        Endpoint::parse(platform, resource)?;
    }
    let ticket = ticket::parse(Kind::Code, shown.code).ok_or_else(expired)?;
    let now = platform.clock.now();
    let ring = signing::ring(platform).await?;
    let mut tx = platform.db.tenant(ticket.tenant).await?;
    let code = store::lock_code(&mut tx, ticket.digest).await?.ok_or_else(expired)?;
    if let Some(grant) = code.grant_id {
        // Whoever came first may not have been who it was meant for.
        let ended = end(&mut tx, now, None, grant, "code_replayed").await?;
        tx.commit().await?;
        if ended {
            epoch::changed(platform, ticket.tenant).await;
        }
        return Err(invalid(UNKNOWN).because(Cause::CodeUsed).into());
    }
    if code.expires_at <= now || code.failures >= MOST_FAILURES {
        return Err(expired().into());
    }
    if let Err(error) = check(client, &code, shown) {
        store::count_failure(&mut tx, code.id).await?;
        tx.commit().await?;
        return Err(error.into());
    }
    store::check_parties(&mut tx, code.user_id, code.client_id).await?;
    let scopes = store::scopes(&code.scopes)?;
    let grant = Grant {
        id: GrantId::new(now),
        tenant: ticket.tenant,
        user: Some(code.user_id),
        agent: code.agent_id,
        client: code.client_id,
        client_id: client.client_id.clone(),
        resource: code.resource,
        toolset: code.toolset,
        scopes,
        redirect_uri: code.redirect_uri,
        created_at: now,
        expires_at: code.grant_expires_at,
        revoked_at: None,
    };
    store::insert(&mut tx, &grant).await?;
    standing::bind(&mut tx, grant.id, client).await?;
    store::use_code(&mut tx, code.id, grant.id, now).await?;
    let refresh_token = refresh::begin(&mut tx, &grant, now).await?;
    audit::append_all(&mut tx, now, None, &[Event::GrantGiven(grant.id, grant.agent)]).await?;
    let tokens = tokens(platform, &ring, client, &grant, grant.scopes.clone(), Some(refresh_token))?;
    tx.commit().await?;
    Ok(tokens)
}

fn check(client: &Client, code: &store::CodeRow, shown: Redemption<'_>) -> Result<(), OAuthError> {
    if code.client_text != client.client_id {
        return Err(invalid("the code was made for another client"));
    }
    let same_redirect = match shown.redirect_uri {
        Some(redirect_uri) => redirect_uri == code.redirect_uri,
        None => !code.redirect_named,
    };
    if !same_redirect {
        return Err(invalid("redirect_uri is not that of the authorization request").because(Cause::RedirectMismatch));
    }
    if !CodeChallenge::restore(code.code_challenge.clone()).is_met_by(shown.verifier) {
        return Err(invalid("code_verifier does not fit the code_challenge").because(Cause::VerifierMismatch));
    }
    if shown.resource.is_some_and(|resource| resource != code.resource) {
        return Err(OAuthError::new(ErrorCode::InvalidTarget, "resource is not that of the authorization request"));
    }
    Ok(())
}
