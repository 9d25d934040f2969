//! Refresh tokens: each is used once and leaves a successor. Who uses one twice either did not get the answer, which is forgiven once while
//! nobody has used the successor, or is not the only one who has it: then the whole family ends.

use chrono::{DateTime, TimeDelta, Utc};
use trunkline_protocol::oauth::{
    error::{Cause, ErrorCode, OAuthError},
    scope::{Scope, ScopeSet},
};

use super::{Grant, Tokens, end, store, tokens};
use crate::{
    Platform,
    db::TenantTx,
    epoch,
    error::Result,
    ids::TicketId,
    oauth::{
        Client, Endpoint, Failure, signing, standing,
        ticket::{self, Kind},
    },
    secret::Plaintext,
};

/// Longest time without use.
const IDLE: TimeDelta = TimeDelta::days(30);
/// Within this time a second use may be that of somebody who did not get the answer.
const GRACE: TimeDelta = TimeDelta::seconds(60);

/// The first token of a family.
pub(super) async fn begin(tx: &mut TenantTx, grant: &Grant, now: DateTime<Utc>) -> Result<Plaintext> {
    Ok(make(tx, grant, None, now).await?.1)
}

async fn make(tx: &mut TenantTx, grant: &Grant, parent: Option<TicketId>, now: DateTime<Utc>) -> Result<(TicketId, Plaintext)> {
    let (id, text) = (TicketId::new(now), ticket::generate(Kind::Refresh, grant.tenant));
    let expires_at = grant.expires_at.min(now + IDLE);
    store::insert_refresh(tx, id, text.digest(), grant.id, parent, now, expires_at).await?;
    Ok((id, text))
}

/// What a token that was shown means.
enum Use {
    /// It is the newest of its family.
    First,
    /// Its successor was never used: the answer was lost.
    Again,
    /// The same, once more at the same time: nothing is given, nothing ends.
    Parallel,
    /// Somebody else has it too.
    Reuse,
}

fn judge(token: &store::RefreshRow, now: DateTime<Utc>) -> Use {
    let Some(used_at) = token.used_at else { return Use::First };
    let is_lost = !token.successor_used && now - used_at <= GRACE;
    match token.forgiven_at {
        _ if !is_lost || token.successor_id.is_none() => Use::Reuse,
        None => Use::Again,
        Some(_) => Use::Parallel,
    }
}

/// Exchanges a refresh token for fresh tokens, with no more than its grant's scopes.
pub async fn refresh(
    platform: &Platform,
    client: &Client,
    text: &str,
    scopes: Option<Vec<Scope>>,
    resource: Option<&str>,
) -> Result<Tokens, Failure> {
    let invalid = || {
        OAuthError::new(ErrorCode::InvalidGrant, "the refresh token is not known, has expired or was revoked")
            .because(Cause::GrantEnded)
    };
    if let Some(resource) = resource {
        Endpoint::parse(platform, resource)?;
    }
    let ticket = ticket::parse(Kind::Refresh, text).ok_or_else(invalid)?;
    let now = platform.clock.now();
    let ring = signing::ring(platform).await?;
    let mut tx = platform.db.tenant(ticket.tenant).await?;
    // The grant's row is the family's lock: of requests at the same time one is the first.
    let grant = store::lock_of_refresh(&mut tx, ticket.digest).await?.ok_or_else(invalid)?;
    let token = store::find_refresh(&mut tx, ticket.digest).await?.ok_or_else(invalid)?;
    if grant.client_id != client.client_id || !grant.is_live(now) {
        return Err(invalid().into());
    }
    standing::check_key(&mut tx, &grant, client).await?;
    if resource.is_some_and(|resource| resource != grant.resource) {
        return Err(OAuthError::new(ErrorCode::InvalidTarget, "resource is not that of the grant").into());
    }
    let scopes = match scopes {
        None => grant.scopes.clone(),
        Some(asked) => {
            let narrowed = ScopeSet::new(asked).within(&grant.scopes);
            if narrowed.is_empty() {
                return Err(OAuthError::new(ErrorCode::InvalidScope, "nothing of this scope was granted").into());
            }
            narrowed
        }
    };
    match judge(&token, now) {
        Use::First if token.expires_at <= now => return Err(invalid().into()),
        Use::First => {}
        Use::Again => {
            if let Some(successor) = token.successor_id {
                store::withdraw_refresh(&mut tx, successor, now).await?;
            }
        }
        Use::Parallel => {
            let parallel = "the refresh token was used several times at once; use the answer to one of those requests";
            return Err(OAuthError::new(ErrorCode::InvalidGrant, parallel).into());
        }
        Use::Reuse => {
            end(&mut tx, now, None, grant.id, "refresh_reuse").await?;
            tx.commit().await?;
            epoch::changed(platform, grant.tenant).await;
            return Err(invalid().because(Cause::RefreshReused).into());
        }
    }
    if let Some(user) = grant.user {
        store::check_parties(&mut tx, user, grant.client).await?;
    }
    let (successor, text) = make(&mut tx, &grant, Some(token.id), now).await?;
    store::use_refresh(&mut tx, token.id, successor, now).await?;
    store::touch(&mut tx, grant.id, now).await?;
    let tokens = tokens(platform, &ring, client, &grant, scopes, Some(text))?;
    tx.commit().await?;
    Ok(tokens)
}
