//! What was revoked: the only thing about an access token that its signature cannot say. In memory with everything else of the tenant, so that
//! a revocation holds from the next request on and costs no query.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use trunkline_protocol::oauth::access_token::{LEEWAY_S, MAX_LIFE_S};

use crate::{
    catalog::store,
    db::TenantTx,
    error::Result,
    ids::{GrantId, TokenId},
};

/// By how much the clocks of two replicas may differ, in seconds.
const CLOCKS_S: i64 = 60;

/// Revoked grants and tokens.
#[derive(Debug, Default)]
pub struct Denied {
    grants: HashSet<GrantId>,
    tokens: HashSet<TokenId>,
}

impl Denied {
    /// Those whose tokens have not all expired by themselves.
    pub(super) async fn load(tx: &mut TenantTx, now: DateTime<Utc>) -> Result<Self> {
        let since = now - TimeDelta::seconds(MAX_LIFE_S + LEEWAY_S + CLOCKS_S);
        let grants = store::revoked_grants(tx, since).await?.into_iter().collect();
        Ok(Self { grants, tokens: store::revoked_tokens(tx, since).await?.into_iter().collect() })
    }

    /// Was the grant revoked?
    pub fn has_grant(&self, grant: GrantId) -> bool {
        self.grants.contains(&grant)
    }

    /// Was the token revoked?
    pub fn has_token(&self, token: TokenId) -> bool {
        self.tokens.contains(&token)
    }

    /// Was the token revoked, or the grant it comes from?
    pub fn has(&self, grant: GrantId, token: TokenId) -> bool {
        self.grants.contains(&grant) || self.tokens.contains(&token)
    }
}
