//! The authorization server: clients ask, people consent, grants give tokens, and what is revoked is refused from the next request on.
//!
//! A person lets a client act as an agent at one endpoint: that is a grant. A code and refresh tokens lead to it; access tokens are JWTs that
//! every replica verifies in memory. What a token cannot say itself, that it was revoked, stands in the tenant's snapshot
//! (`catalog::snapshot::Denied`), whose epoch every request compares anyway. What a caller may do with a token is decided in `gateway`.

mod binding;
mod client;
mod client_credentials;
mod consent;
mod dpop;
mod exchange;
mod failure;
mod grant;
mod id_jag;
mod introspection;
mod once;
mod place;
mod published;
mod revocation;
mod signed;
mod signing;
mod standing;
mod ticket;
mod token;

pub use binding::Binding;

pub use client::{
    Admission, Client, ClientKind, ClientPolicy, ClientState, CreatedClient, CreatedSecret, DocumentFetches, ListedClient,
    NewClient, NewProof, Presented, Registered, add as add_client, approve as approve_client, authenticate,
    block as block_client, find as find_client, list as list_clients, policy as client_policy, register,
    replace_secret as replace_client_secret, set_policy as set_client_policy,
};
pub use client_credentials::client_credentials;
pub use consent::{AgentChoice, Answer, Asked, Decision, HOURS, OpenedScope, Question, Trusted, ask, decide, trust};
pub use dpop::{Proven, Unproven, prove};
pub use exchange::exchange;
pub use failure::Failure;
pub use grant::{Grant, ListedGrant, Redemption, Tokens, list as list_grants, redeem, refresh};
pub use id_jag::{
    NewTrustedIssuer, TrustedIssuer, add as trust_issuer, list as list_trusted_issuers, redeem as redeem_assertion,
    remove as remove_trusted_issuer,
};
pub use introspection::{Introspection, introspect};
pub use place::{Endpoint, issuer};
pub use published::PublishedDocuments;
pub use revocation::{Revoked, revoke_grant, revoke_token};
pub use signing::{Rotation, SigningKeys, jwks, refresh as refresh_signing_keys, rotate as rotate_signing_keys};
pub(crate) use signing::{count_under_others as signing_keys_under_others, reseal as reseal_signing_keys};
pub(crate) use token::is_one_of_ours;
pub use token::{AccessToken, Unverified, VerifiedTokens, Via, verify};

use chrono::TimeDelta;

use crate::{Platform, error::Result};

/// Deletes codes, tokens, registrations and documents that mean nothing any more; tells how many. They are refused without it.
pub async fn forget_expired(platform: &Platform) -> Result<u64> {
    let now = platform.clock.now();
    let mut tx = platform.db.system().await?;
    let mut forgotten = client::store::delete_unused(&mut tx, now).await?;
    let tenants = client::store::tenants(&mut tx).await?;
    tx.commit().await?;
    for tenant in tenants {
        let mut tx = platform.db.tenant(tenant).await?;
        forgotten += grant::store::delete_expired(&mut tx, now - TimeDelta::days(1)).await?;
        tx.commit().await?;
    }
    Ok(forgotten)
}
