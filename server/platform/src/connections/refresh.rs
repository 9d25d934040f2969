//! Refreshing tokens: before they run out, in the background, or when a call needs it. Providers exchange the refresh token with each use and take
//! a second use for a theft, so one replica does it at a time: whoever holds the lease in the connection's row. The others wait for what
//! comes of it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::{Instant, sleep};

use super::{
    NoToken, Place,
    exchange::{self, Open, Refused, Tokens},
    held::sealed,
    open_tokens,
    provider::Provider,
    store::{self, Sealed, Stored},
};
use crate::{
    Platform,
    audit::{self, Event},
    epoch,
    error::{Error, Result},
    ids::{ConnectionId, TenantId, UserId, uuid_v7},
    secret::Plaintext,
    vault,
};

/// Tokens are refreshed so long before they run out, or when three quarters of their life are over.
const BEFORE: TimeDelta = TimeDelta::minutes(5);
/// When a refresh that failed is tried again.
const AGAIN: TimeDelta = TimeDelta::minutes(1);
/// How long nobody else refreshes: longer than the provider may take.
const LEASE: TimeDelta = TimeDelta::seconds(20);
/// Between two looks at what somebody else's refresh has come to.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longest wait for it.
const WAIT: Duration = exchange::WITHIN;
/// Refreshes of one background round.
const MOST: usize = 200;

/// When these tokens are refreshed; `None`: they cannot be, or nobody said that they run out.
pub(super) fn due_at(sealed: &Sealed<'_>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let expires_at = sealed.expires_at.filter(|_| sealed.refresh.is_some())?;
    Some(expires_at - ahead(expires_at - now))
}

/// How long before they run out tokens of that life are refreshed.
fn ahead(life: TimeDelta) -> TimeDelta {
    BEFORE.min(life / 4)
}

/// Refreshes what is due. Called by a background tick.
pub async fn refresh_due(platform: &Platform) -> Result<()> {
    for _ in 0..MOST {
        let now = platform.clock.now();
        let mut tx = platform.db.system().await?;
        let due = store::take_due(&mut tx, now, now + AGAIN).await?;
        tx.commit().await?;
        let Some((tenant, id)) = due else { return Ok(()) };
        if let Err(error) = refresh_one(platform, tenant, id).await {
            tracing::warn!(tenant.id = %tenant, error = &error as &dyn std::error::Error, "a connection was not refreshed");
        }
    }
    Ok(())
}

async fn refresh_one(platform: &Platform, tenant: TenantId, id: ConnectionId) -> Result<()> {
    let mut tx = platform.db.tenant(tenant).await?;
    let Some((source, user)) = store::whose(&mut tx, id).await? else { return Ok(()) };
    let provider = store::find_provider(&mut tx, source).await?;
    let stored = store::find(&mut tx, source, user).await?;
    tx.commit().await?;
    let (Some(provider), Some(stored)) = (provider, stored) else { return Ok(()) };
    // A call may have been faster.
    let life = stored.expires_at.filter(|_| stored.refresh.is_some()).map(|until| until - stored.refreshed_at);
    if stored.expires_at.zip(life).is_none_or(|(until, life)| until - ahead(life) > platform.clock.now()) {
        return Ok(());
    }
    match refreshed(platform, tenant, &provider, user, stored.version).await {
        Ok(_) => Ok(()),
        Err(NoToken::Failed(error)) => Err(error),
        Err(why) => {
            tracing::info!(tenant.id = %tenant, source.id = %source, %why, "a connection was not refreshed");
            Ok(())
        }
    }
}

/// What a look at the row says.
enum Turn {
    /// Somebody else was faster: these are newer.
    Done(Box<Stored>),
    /// Somebody else is at it.
    Wait,
    /// Ours.
    Ours(Box<(Stored, Plaintext, Option<Plaintext>)>),
}

/// Newer tokens than those of version `seen`: refreshed by this replica, or by whoever is at it.
pub(super) async fn refreshed(
    platform: &Platform,
    tenant: TenantId,
    provider: &Provider,
    user: UserId,
    seen: i32,
) -> Result<Stored, NoToken> {
    let began = Instant::now();
    loop {
        match turn(platform, tenant, provider, user, seen).await? {
            Turn::Done(stored) => return Ok(*stored),
            Turn::Wait if began.elapsed() >= WAIT => return Err(NoToken::Away("it is refreshed at the moment".to_owned())),
            Turn::Wait => sleep(LOOK_EVERY).await,
            Turn::Ours(ours) => {
                let (platform, provider) = (platform.clone(), provider.clone());
                // Not cut when the caller goes away: the old refresh token may be used up already.
                let (tell, told) = tokio::sync::oneshot::channel();
                let conversations = platform.clone();
                conversations.conversations.spawn(async move {
                    // Whoever asked may be gone.
                    let _ = tell.send(ask(&platform, tenant, &provider, *ours).await);
                });
                return told.await.unwrap_or_else(|_| Err(NoToken::Away("this replica is stopping".to_owned())));
            }
        }
    }
}

async fn turn(platform: &Platform, tenant: TenantId, provider: &Provider, user: UserId, seen: i32) -> Result<Turn, NoToken> {
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(tenant).await?;
    let Some(stored) = store::lock(&mut tx, provider.source, user).await? else { return Err(NoToken::NotConnected) };
    if stored.state != "working" {
        return Err(NoToken::Broken);
    }
    if stored.version != seen {
        return Ok(Turn::Done(Box::new(stored)));
    }
    if stored.leased_until.is_some_and(|until| until > now) {
        return Ok(Turn::Wait);
    }
    let (_, refresh) = open_tokens(platform, &mut tx, provider, &stored).await?;
    let Some(refresh) = refresh else {
        let why = "the provider gave nothing to refresh it with";
        break_off(platform, tx, &stored, why).await?;
        return Err(NoToken::Broken);
    };
    let secret = provider.open(platform, &mut tx).await?;
    store::lease(&mut tx, stored.id, now + LEASE).await?;
    tx.commit().await?;
    Ok(Turn::Ours(Box::new((stored, refresh, secret))))
}

/// Asks the provider, and keeps what it gives.
async fn ask(
    platform: &Platform,
    tenant: TenantId,
    provider: &Provider,
    (stored, refresh, secret): (Stored, Plaintext, Option<Plaintext>),
) -> Result<Stored, NoToken> {
    let answer = Open { provider, secret }.refresh(platform, &refresh).await;
    let mut tx = platform.db.tenant(tenant).await?;
    match answer {
        Ok(tokens) => {
            keep(platform, &mut tx, provider, &stored, &tokens, &refresh).await?;
            let newer = store::find(&mut tx, stored.source_id, stored.user_id).await?;
            tx.commit().await?;
            newer.ok_or(NoToken::NotConnected)
        }
        Err(why @ Refused::Grant) => {
            break_off(platform, tx, &stored, &why.to_string()).await?;
            Err(NoToken::Broken)
        }
        Err(why) => {
            store::set_error(&mut tx, stored.id, stored.version, &why.to_string()).await?;
            tx.commit().await?;
            Err(NoToken::Away(why.to_string()))
        }
    }
}

async fn keep(
    platform: &Platform,
    tx: &mut crate::db::TenantTx,
    provider: &Provider,
    stored: &Stored,
    tokens: &Tokens,
    used: &Plaintext,
) -> Result<()> {
    let now = platform.clock.now();
    let keys = vault::get_or_create(tx, &platform.master_key, uuid_v7(now)).await?;
    let place = Place { tenant: tx.tenant(), source: stored.source_id, user: stored.user_id, origin: &provider.origin };
    // Who gives no new refresh token lets the old one go on.
    let sealed = sealed(place, &keys, tokens, tokens.refresh.as_ref().or(Some(used)), &stored.scopes, now);
    if store::renew(tx, stored.id, stored.version, &sealed, now).await? {
        store::schedule(tx, stored.id, due_at(&sealed, now)).await?;
    }
    Ok(())
}

/// The person has to connect again. Known everywhere from the next request on.
pub(super) async fn break_off(platform: &Platform, mut tx: crate::db::TenantTx, stored: &Stored, why: &str) -> Result<()> {
    let tenant = tx.tenant();
    if store::break_off(&mut tx, stored.id, stored.version, why).await? {
        store::schedule(&mut tx, stored.id, None).await?;
        let event = Event::ConnectionBroken(stored.source_id, stored.user_id);
        audit::append_all(&mut tx, platform.clock.now(), None, &[event]).await?;
        tx.commit().await?;
        epoch::changed(platform, tenant).await;
    }
    Ok(())
}

impl From<Error> for NoToken {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
