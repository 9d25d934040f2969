//! Access tokens: made, verified, and remembered by their digest, so that the next request with the same token costs a hash.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use trunkline_protocol::oauth::{
    access_token::{Claims, LEEWAY_S, MAX_LIFE_S},
    scope::ScopeSet,
};

use serde_json::Value;

use super::{Binding, Grant, issuer, signing};
use crate::{
    Platform,
    error::Result,
    ids::{AgentId, GrantId, TenantId, TokenId, UserId},
    secret::{Digest, Plaintext},
};

/// Parts of the memory: requests on different cores seldom wait for each other.
const SHARDS: usize = 16;
/// Tokens that one part remembers; beyond, those that expired are forgotten, then all.
const MOST: usize = 4_096;
/// Longer texts are no tokens of ours.
const MAX_LENGTH: usize = 4 * 1024;

/// A token that one of our keys has signed and whose claims held when it was verified. Whether it was revoked, stands elsewhere.
#[derive(Debug)]
pub struct AccessToken {
    /// Tells it from all others.
    pub id: TokenId,
    /// Where it comes from.
    pub grant: GrantId,
    /// Who calls with it.
    pub agent: AgentId,
    /// Whose agent that is.
    pub tenant: TenantId,
    /// Who let it.
    pub user: Option<UserId>,
    /// The client, as it shows itself.
    pub client: String,
    /// The endpoint it is for.
    pub audience: String,
    /// What it may use, within its agent's ceiling.
    pub scopes: ScopeSet,
    /// What has to be shown with it.
    pub binding: Binding,
    /// Services that act for the agent, the last one outermost (RFC 8693 §4.1).
    pub acts: Option<Value>,
    /// What it was exchanged for, which must still be good.
    pub via: Vec<Via>,
    /// Until when, in seconds since 1970.
    pub expires_at: i64,
    /// Since when.
    pub issued_at: i64,
    used_here: AtomicBool,
}

/// What a token was exchanged for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// A token of that grant.
    Grant(GrantId),
    /// That token.
    Token(TokenId),
    /// The key with that lookup part.
    Key(String),
}

impl Via {
    fn read(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some(("key", lookup)) => Some(Self::Key(lookup.to_owned())),
            Some(_) => None,
            None => text.parse().map(Self::Grant).or_else(|_| text.parse().map(Self::Token)).ok(),
        }
    }
}

impl std::fmt::Display for Via {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Grant(id) => id.fmt(f),
            Self::Token(id) => id.fmt(f),
            Self::Key(lookup) => write!(f, "key:{lookup}"),
        }
    }
}

/// What a token says beside its grant.
#[derive(Debug, Clone, Default)]
pub(super) struct Terms {
    /// What has to be shown with it.
    pub(super) binding: Binding,
    /// Who acts.
    pub(super) acts: Option<Value>,
    /// What it was exchanged for.
    pub(super) via: Vec<Via>,
    /// Its latest end, in seconds since 1970.
    pub(super) not_after: Option<i64>,
    /// Who let the agent be acted as, if the grant does not say it.
    pub(super) user: Option<UserId>,
}

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unverified {
    /// It is none of ours, or not any more.
    Invalid,
    /// It cannot be found out now.
    Unavailable,
}

/// By digest: the token, and the ring it was verified by.
type Shard = RwLock<HashMap<[u8; 32], (Arc<AccessToken>, u64)>>;

/// Tokens that were verified lately.
#[derive(Debug, Default)]
pub struct VerifiedTokens {
    shards: [Shard; SHARDS],
}

impl VerifiedTokens {
    fn shard(&self, digest: &[u8; 32]) -> &Shard {
        &self.shards[usize::from(digest[0]) % SHARDS]
    }

    /// What is remembered of it, if it was verified with the keys of that ring.
    fn get(&self, digest: &[u8; 32], serial: u64) -> Option<Arc<AccessToken>> {
        let shard = self.shard(digest).read().unwrap_or_else(PoisonError::into_inner);
        shard.get(digest).filter(|(_, of)| *of == serial).map(|(token, _)| Arc::clone(token))
    }

    fn put(&self, digest: [u8; 32], token: Arc<AccessToken>, serial: u64, now: i64) {
        let mut shard = self.shard(&digest).write().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= MOST {
            shard.retain(|_, (token, of)| *of == serial && token.is_current(now));
        }
        if shard.len() >= MOST {
            shard.clear();
        }
        shard.insert(digest, (token, serial));
    }
}

impl AccessToken {
    /// Is this its first use on this replica? Says so once.
    pub fn is_first_use(&self) -> bool {
        !self.used_here.swap(true, Ordering::Relaxed)
    }

    /// Has it not expired?
    pub fn is_current(&self, now: i64) -> bool {
        now < self.expires_at + LEEWAY_S
    }

    fn of_claims(claims: Claims, scopes: ScopeSet) -> Option<Self> {
        let user = match &claims.user {
            Some(user) => Some(user.parse().ok()?),
            None => None,
        };
        Some(Self {
            id: claims.jti.parse().ok()?,
            grant: claims.grant.parse().ok()?,
            agent: claims.sub.parse().ok()?,
            tenant: claims.tenant.parse().ok()?,
            user,
            client: claims.client_id,
            audience: claims.aud,
            scopes,
            binding: Binding::of_claim(claims.cnf.as_ref())?,
            acts: claims.act,
            via: claims.via.iter().map(|via| Via::read(via)).collect::<Option<_>>()?,
            expires_at: claims.exp,
            issued_at: claims.iat,
            used_here: AtomicBool::new(false),
        })
    }
}

/// Does it look like a token, whoever made it?
pub(crate) fn looks_like_one(text: &str) -> bool {
    text.len() <= MAX_LENGTH && text.starts_with("ey") && text.bytes().filter(|b| *b == b'.').count() == 2
}

/// Does it say of itself that it comes from here? Nothing is verified.
pub(crate) fn is_one_of_ours(platform: &Platform, text: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Issued {
        iss: String,
    }
    let payload = text.split('.').nth(1).filter(|_| looks_like_one(text));
    let payload = payload.and_then(|payload| BASE64_URL_SAFE_NO_PAD.decode(payload).ok());
    payload.and_then(|json| serde_json::from_slice::<Issued>(&json).ok()).is_some_and(|issued| issued.iss == issuer(platform))
}

/// Verifies a token: signature, issuer, times, form. For whom it is, and whether it was revoked, is the caller's question.
pub async fn verify(platform: &Platform, text: &str) -> Result<Arc<AccessToken>, Unverified> {
    if !looks_like_one(text) {
        return Err(Unverified::Invalid);
    }
    let now = platform.clock.now().timestamp();
    let unavailable = |error: crate::Error| {
        tracing::warn!(error = %error, source = ?error, "the signing keys cannot be loaded");
        Unverified::Unavailable
    };
    let digest = Digest::of(text).to_bytes();
    let ring = signing::ring(platform).await.map_err(unavailable)?;
    if let Some(token) = platform.verified_tokens.get(&digest, ring.serial) {
        return if token.is_current(now) { Ok(token) } else { Err(Unverified::Invalid) };
    }
    let verified = signing::verify(platform, text).await.map_err(unavailable)?;
    let (claims, ring) = verified.ok_or(Unverified::Invalid)?;
    let scopes = claims.check(&issuer(platform), now).ok_or(Unverified::Invalid)?;
    let token = Arc::new(AccessToken::of_claims(claims, scopes).ok_or(Unverified::Invalid)?);
    platform.verified_tokens.put(digest, Arc::clone(&token), ring.serial, now);
    Ok(token)
}

/// A fresh token of that grant.
pub(super) fn issue(
    platform: &Platform,
    ring: &signing::Ring,
    grant: &Grant,
    scopes: &ScopeSet,
    terms: &Terms,
) -> Result<(Plaintext, i64)> {
    let at = platform.clock.now();
    let now = at.timestamp();
    let end = terms.not_after.unwrap_or(i64::MAX).min(grant.expires_at.timestamp());
    let life = MAX_LIFE_S.min(end - now).max(1);
    let claims = Claims {
        iss: issuer(platform),
        sub: grant.agent.to_string(),
        aud: grant.resource.clone(),
        exp: now + life,
        iat: now,
        nbf: None,
        jti: TokenId::new(at).to_string(),
        client_id: grant.client_id.clone(),
        scope: scopes.to_string(),
        tenant: grant.tenant.to_string(),
        grant: grant.id.to_string(),
        user: grant.user.or(terms.user).map(|user| user.to_string()),
        cnf: terms.binding.to_claim(),
        act: terms.acts.clone(),
        via: terms.via.iter().map(Via::to_string).collect(),
    };
    Ok((Plaintext::new(signing::sign(platform, ring, &claims)?), life))
}
