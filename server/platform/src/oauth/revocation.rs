//! Ending what was granted: by a member, or by the client itself (RFC 7009). From the next request on, on every replica.

use std::time::{Duration, Instant};

use super::{
    Client, client, grant, standing,
    ticket::{self, Kind},
    token,
};
use crate::{
    Platform,
    actor::{Member, Permission},
    db::TenantTx,
    epoch,
    error::{Error, Result},
    ids::{AgentId, GrantId},
};

/// How a revocation was made known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoked {
    /// From the verb's beginning until every replica finds out with its next request.
    pub within: Duration,
    /// False while Redis is away: the others hear of it through Postgres, in seconds at most.
    pub everywhere: bool,
}

/// Commits, and makes it known.
pub(super) async fn finish(platform: &Platform, tx: TenantTx) -> Result<Revoked> {
    let began = Instant::now();
    let tenant = tx.tenant();
    tx.commit().await?;
    let everywhere = epoch::announce(platform, tenant).await;
    Ok(Revoked { within: began.elapsed(), everywhere })
}

/// Ends a grant. Who may give one may end each. Tells whose it was.
pub async fn revoke_grant(platform: &Platform, actor: &Member, id: GrantId) -> Result<(AgentId, Revoked)> {
    actor.require(Permission::ManageKeys)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let found = grant::store::find(&mut tx, id).await?.ok_or(Error::not_found("grant"))?;
    grant::end(&mut tx, platform.clock.now(), Some(actor), id, "revoked").await?;
    if standing::is_of_service(&mut tx, id).await? {
        // It has what it needs to ask again at once: only without its client is it really over.
        client::end(&mut tx, platform.clock.now(), actor, found.client).await?;
    }
    Ok((found.agent, finish(platform, tx).await?))
}

/// What a client gives back. A refresh token ends its whole grant, an access token itself. A token that is not known, or not this client's,
/// changes nothing and is not told from one that was.
pub async fn revoke_token(platform: &Platform, client: &Client, text: &str) -> Result<()> {
    if let Some(ticket) = ticket::parse(Kind::Refresh, text) {
        let mut tx = platform.db.tenant(ticket.tenant).await?;
        let grant = grant::store::lock_of_refresh(&mut tx, ticket.digest).await?;
        if let Some(grant) = grant.filter(|grant| grant.client_id == client.client_id)
            && grant::end(&mut tx, platform.clock.now(), None, grant.id, "client_revoked").await?
        {
            finish(platform, tx).await?;
        }
        return Ok(());
    }
    match token::verify(platform, text).await {
        Ok(token) if token.client == client.client_id => {
            let mut tx = platform.db.tenant(token.tenant).await?;
            if grant::store::revoke_token(&mut tx, token.id, platform.clock.now()).await? {
                finish(platform, tx).await?;
            }
            Ok(())
        }
        Ok(_) | Err(token::Unverified::Invalid) => Ok(()),
        Err(token::Unverified::Unavailable) => Err(Error::unavailable("database", "the signing keys cannot be loaded")),
    }
}
