//! Grants: a member let a client act as an agent. A code is exchanged for one, refresh tokens keep it going; all of a grant's tokens end
//! with it.

mod code;
mod refresh;
pub(super) mod store;

use chrono::{DateTime, Utc};
use trunkline_protocol::oauth::scope::ScopeSet;

pub(super) use code::{NewCode, issue as issue_code};
pub use code::{Redemption, redeem};
pub use refresh::refresh;

use super::{
    Client,
    signing::Ring,
    token::{self, Terms},
};
use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Event},
    db::TenantTx,
    error::Result,
    ids::{AgentId, ClientId, GrantId, TenantId, UserId},
    secret::Plaintext,
};

/// A grant.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Its id, which sessions are bound to.
    pub id: GrantId,
    /// Whose.
    pub tenant: TenantId,
    /// Who gave it. `None`: a service acts with its own credentials.
    pub user: Option<UserId>,
    /// As whom the client acts.
    pub agent: AgentId,
    /// The client, as the tenant knows it.
    pub client: ClientId,
    /// The same, as it shows itself.
    pub client_id: String,
    /// Audience of its tokens.
    pub resource: String,
    /// The toolset of that endpoint.
    pub toolset: Option<String>,
    /// What it may use.
    pub scopes: ScopeSet,
    /// Where the code was sent.
    pub redirect_uri: String,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// Until when.
    pub expires_at: DateTime<Utc>,
    /// Ended before its time.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A grant as a list shows it.
#[derive(Debug, Clone)]
pub struct ListedGrant {
    /// Its id.
    pub id: GrantId,
    /// The client's name.
    pub client_name: String,
    /// The client, as it shows itself.
    pub client_id: String,
    /// Address of who gave it, or whom an identity provider named; empty for a service.
    pub user_email: String,
    /// What it may use.
    pub scopes: ScopeSet,
    /// The toolset, if it is for one.
    pub toolset: Option<String>,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// When a token was last issued.
    pub last_used_at: DateTime<Utc>,
    /// Until when.
    pub expires_at: DateTime<Utc>,
}

/// What a token request gets.
#[derive(Debug)]
pub struct Tokens {
    /// Whose.
    pub tenant: TenantId,
    /// Where they come from.
    pub grant: GrantId,
    /// The access token.
    pub access_token: Plaintext,
    /// Its life in seconds.
    pub expires_in: i64,
    /// What it may use.
    pub scopes: ScopeSet,
    /// The refresh token.
    pub refresh_token: Option<Plaintext>,
    /// Is the access token good only with a proof of possession?
    pub is_proven: bool,
}

impl Grant {
    /// May it still be used at that time?
    pub fn is_live(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && now < self.expires_at
    }
}

/// The working grants of an agent, the latest first; at most 200.
pub async fn list(platform: &Platform, actor: &Member, agent: AgentId) -> Result<Vec<ListedGrant>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::list(&mut tx, agent, platform.clock.now()).await
}

/// Ends a grant in the transaction at hand; whoever commits it says so afterwards. False if it had ended before.
pub(super) async fn end(
    tx: &mut TenantTx,
    now: DateTime<Utc>,
    actor: Option<&Member>,
    id: GrantId,
    why: &'static str,
) -> Result<bool> {
    if !store::revoke(tx, id, now, why).await? {
        return Ok(false);
    }
    // What was consented to before is asked for again.
    store::delete_consent_of(tx, id).await?;
    audit::append_all(tx, now, actor, &[Event::GrantRevoked(id, why)]).await?;
    Ok(true)
}

/// Tokens of a grant. Signed before the transaction ends: without a signature nothing has happened.
fn tokens(
    platform: &Platform,
    ring: &Ring,
    client: &Client,
    grant: &Grant,
    scopes: ScopeSet,
    refresh_token: Option<Plaintext>,
) -> Result<Tokens> {
    let terms = Terms { binding: client.binding.clone(), ..Terms::default() };
    let (access_token, expires_in) = token::issue(platform, ring, grant, &scopes, &terms)?;
    let is_proven = terms.binding.key.is_some();
    Ok(Tokens { tenant: grant.tenant, grant: grant.id, access_token, expires_in, scopes, refresh_token, is_proven })
}
