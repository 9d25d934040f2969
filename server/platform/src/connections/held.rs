//! Tokens in memory, each for its person at its source. What is held is good under the epoch it was read under, so that a connection which ends is
//! refused from the next call on; a refresh is no change of that kind, since the older token goes on until it runs out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    Place,
    exchange::Tokens,
    open_tokens,
    provider::Provider,
    refresh,
    store::{self, Sealed, Stored},
};
use crate::{
    Platform,
    error::{Error, Result},
    ids::{SourceId, TenantId, UserId},
    secret::{DataKeys, Plaintext},
};

/// A token that runs out sooner is refreshed first: it has to arrive.
const LEEWAY: TimeDelta = TimeDelta::seconds(15);
/// People whose tokens are held; beyond, those that nobody waits for are forgotten.
const MOST: usize = 20_000;

/// A moment of a tenant: what was heard of it, and its epoch.
pub(crate) type Moment = (u64, String);

type Key = (TenantId, SourceId, UserId);

/// All tokens in this process.
#[derive(Debug, Default)]
pub(crate) struct Held(Mutex<HashMap<Key, Arc<Slot>>>);

#[derive(Debug, Default)]
struct Slot {
    known: Mutex<Option<(Moment, Known)>>,
    /// One look at the database at a time.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
enum Known {
    Token(Token),
    NotConnected,
    Broken,
}

/// An access token of a person.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    /// For one request to the provider's source.
    pub(crate) secret: Plaintext,
    expires_at: Option<DateTime<Utc>>,
    version: i32,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoToken {
    /// The person has not connected an account.
    #[error("not connected")]
    NotConnected,
    /// The provider refuses what the person has connected.
    #[error("the connection is broken")]
    Broken,
    /// It has run out and cannot be refreshed at the moment, because of that.
    #[error("{0}")]
    Away(String),
    /// Something of ours.
    #[error("{0}")]
    Failed(Error),
}

impl Token {
    fn is_good(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_none_or(|until| until - LEEWAY > now)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Held {
    fn slot(&self, key: Key) -> Arc<Slot> {
        let mut slots = locked(&self.0);
        if slots.len() >= MOST && !slots.contains_key(&key) {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(slots.entry(key).or_default())
    }
}

impl Slot {
    /// What is known at that moment; a token only while it is good.
    fn known(&self, moment: &Moment, now: DateTime<Utc>) -> Option<Known> {
        let known = locked(&self.known);
        let (_, known) = known.as_ref().filter(|(since, _)| since == moment)?;
        match known {
            Known::Token(token) if !token.is_good(now) => None,
            known => Some(known.clone()),
        }
    }

    fn keep(&self, moment: &Moment, known: Known) {
        *locked(&self.known) = Some((moment.clone(), known));
    }
}

impl Known {
    fn token(self) -> Result<Token, NoToken> {
        match self {
            Self::Token(token) => Ok(token),
            Self::NotConnected => Err(NoToken::NotConnected),
            Self::Broken => Err(NoToken::Broken),
        }
    }
}

/// That person's token at that source: from memory, else from the database, refreshed if it runs out.
pub(crate) async fn token(
    platform: &Platform,
    tenant: TenantId,
    moment: &Moment,
    provider: &Provider,
    user: UserId,
) -> Result<Token, NoToken> {
    let slot = platform.connections.slot((tenant, provider.source, user));
    if let Some(known) = slot.known(moment, platform.clock.now()) {
        return known.token();
    }
    let _looking = slot.looking.lock().await;
    if let Some(known) = slot.known(moment, platform.clock.now()) {
        return known.token();
    }
    let found = look(platform, tenant, provider, user, None).await;
    note(&slot, moment, found)
}

/// The same, after the source has refused that token: once more with a newer one.
pub(crate) async fn renew(
    platform: &Platform,
    tenant: TenantId,
    moment: &Moment,
    provider: &Provider,
    user: UserId,
    refused: &Token,
) -> Result<Token, NoToken> {
    let slot = platform.connections.slot((tenant, provider.source, user));
    let _looking = slot.looking.lock().await;
    let found = look(platform, tenant, provider, user, Some(refused.version)).await;
    note(&slot, moment, found)
}

/// The source has refused a token that was just refreshed: the person has to connect again.
pub(crate) async fn give_up(
    platform: &Platform,
    tenant: TenantId,
    provider: &Provider,
    user: UserId,
    refused: &Token,
) -> Result<(), NoToken> {
    let mut tx = platform.db.tenant(tenant).await?;
    let stored = store::lock(&mut tx, provider.source, user).await?;
    if let Some(stored) = stored.filter(|stored| stored.version == refused.version) {
        refresh::break_off(platform, tx, &stored, "the server does not accept the account's token").await?;
    }
    Ok(())
}

fn note(slot: &Slot, moment: &Moment, found: Result<Token, NoToken>) -> Result<Token, NoToken> {
    let known = match &found {
        Ok(token) => Some(Known::Token(token.clone())),
        Err(NoToken::NotConnected) => Some(Known::NotConnected),
        Err(NoToken::Broken) => Some(Known::Broken),
        Err(NoToken::Away(_) | NoToken::Failed(_)) => None,
    };
    if let Some(known) = known {
        slot.keep(moment, known);
    }
    found
}

/// As it stands in the database; refreshed if it runs out, or is still of the version that was refused.
pub(super) async fn look(
    platform: &Platform,
    tenant: TenantId,
    provider: &Provider,
    user: UserId,
    refused: Option<i32>,
) -> Result<Token, NoToken> {
    let mut tx = platform.db.tenant(tenant).await?;
    let stored = store::find(&mut tx, provider.source, user).await?.ok_or(NoToken::NotConnected)?;
    if stored.state != "working" {
        return Err(NoToken::Broken);
    }
    let token = opened(platform, &mut tx, provider, &stored).await?;
    tx.commit().await?;
    if refused != Some(stored.version) && token.is_good(platform.clock.now()) {
        return Ok(token);
    }
    let newer = refresh::refreshed(platform, tenant, provider, user, stored.version).await?;
    let mut tx = platform.db.tenant(tenant).await?;
    Ok(opened(platform, &mut tx, provider, &newer).await?)
}

async fn opened(platform: &Platform, tx: &mut crate::db::TenantTx, provider: &Provider, stored: &Stored) -> Result<Token> {
    let (secret, _) = open_tokens(platform, tx, provider, stored).await?;
    Ok(Token { secret, expires_at: stored.expires_at, version: stored.version })
}

/// Tokens as they are stored.
pub(super) fn sealed<'a>(
    place: Place<'_>,
    keys: &DataKeys,
    tokens: &'a Tokens,
    refresh: Option<&Plaintext>,
    asked: &'a str,
    now: DateTime<Utc>,
) -> Sealed<'a> {
    Sealed {
        access: place.seal(keys, "access", &tokens.access),
        refresh: refresh.map(|token| place.seal(keys, "refresh", token)),
        scopes: tokens.scopes.as_deref().unwrap_or(asked),
        expires_at: tokens.expires_in.map(|life| now + TimeDelta::seconds(life)),
    }
}
