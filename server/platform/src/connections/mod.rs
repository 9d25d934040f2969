//! Accounts of people at upstream servers. A source may ask for each person's own account: whom people have it with stands in a `Provider`, and
//! what a person has let us do there is a `Connection`, whose tokens are sealed, refreshed before they run out, and used for that person's
//! calls only. A call gets its token from memory (`Held`); Postgres is asked after a change and when a token runs out.

mod client_credentials;
mod connect;
mod discovery;
mod exchange;
mod held;
mod provider;
mod refresh;
mod store;

use chrono::{DateTime, Utc};

pub use client_credentials::{Asked, ClientTokens};
pub use connect::{Finished, Refusal, begin, finish};
pub(crate) use exchange::Refused;
pub(crate) use held::{Held, Moment, NoToken, Token, give_up, renew, token};
pub use provider::{Authentication, NewProvider, Provider, count, find_provider, remove_provider, set_provider};
pub(crate) use provider::{load, origin_of, reader_of};
pub use refresh::refresh_due;

use crate::{
    Platform,
    accounts::{self, Membership, Session},
    actor::{Member, Permission},
    audit::{self, Event},
    db::TenantTx,
    epoch,
    error::{Error, Result},
    ids::{SourceId, TenantId, UserId},
    secret::{DataKeys, Plaintext},
    vault,
};
use exchange::Open;

/// Where providers send people back to.
pub const CALLBACK: &str = "/oauth/connections/callback";

/// A person's account at the provider of a source, without its tokens.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Which source.
    pub source: SourceId,
    /// Its name.
    pub source_name: String,
    /// Where the tokens go.
    pub origin: String,
    /// What they are good for.
    pub scopes: String,
    /// Does it work?
    pub state: ConnectionState,
    /// Why the last refresh failed; empty if it did not.
    pub error: String,
    /// When the tokens run out, unless they are refreshed before.
    pub expires_at: Option<DateTime<Utc>>,
    /// When the person said yes.
    pub connected_at: DateTime<Utc>,
}

/// Does a connection work?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionState {
    /// As far as is known.
    Working,
    /// The provider refuses what we have: the person has to connect again.
    Broken,
}

/// What somebody is asked before they are sent to a provider.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The source's name.
    pub source_name: String,
    /// Whom they have their account with. `None`: the source needs none.
    pub provider: Option<Provider>,
    /// Their connection, if they have one.
    pub connection: Option<Connection>,
    /// Does their account read the source's lists too?
    pub reads_lists: bool,
}

/// Whose tokens.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    tenant: TenantId,
    source: SourceId,
    user: UserId,
    origin: &'a str,
}

impl Place<'_> {
    /// Where a token is sealed for: it opens for that person at that origin and nowhere else.
    fn of(&self, what: &str) -> String {
        let Self { tenant, source, user, origin } = self;
        format!("{tenant}|connections|{source}|{user}|{origin}|{what}")
    }

    fn seal(&self, keys: &DataKeys, what: &str, token: &Plaintext) -> Vec<u8> {
        keys.seal(&self.of(what), token.reveal().as_bytes())
    }

    fn open(&self, keys: &DataKeys, what: &str, sealed: &[u8]) -> Result<Plaintext> {
        let bytes = keys.open(&self.of(what), sealed).map_err(Error::internal)?;
        Ok(Plaintext::new(std::str::from_utf8(&bytes).map_err(Error::internal)?.to_owned()))
    }
}

fn callback_url(platform: &Platform) -> String {
    format!("{}{CALLBACK}", platform.settings.public_url.origin().ascii_serialization())
}

/// Where a person connects their account to a source.
pub(crate) fn connect_url(platform: &Platform, slug: &str, source: SourceId) -> String {
    format!("{}/t/{slug}/connections/{source}", platform.settings.public_url.origin().ascii_serialization())
}

/// What the member is asked before they connect an account to that source.
pub async fn offer(platform: &Platform, actor: &Member, source: SourceId) -> Result<Offer> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let row = store::find_source(&mut tx, source).await?.ok_or(Error::not_found("source"))?;
    let provider = store::find_provider(&mut tx, source).await?;
    let connection = store::list_own(&mut tx, actor.user).await?.into_iter().find(|own| own.source == source);
    let is_reader = provider.as_ref().is_some_and(|provider| provider.reader == Some(actor.user));
    let reads_lists = is_reader && row.kind == "mcp";
    Ok(Offer { source_name: row.name, provider, connection, reads_lists })
}

/// All connections of a person, by tenant.
pub async fn list_own(platform: &Platform, session: &Session) -> Result<Vec<(Membership, Vec<Connection>)>> {
    let mut all = Vec::new();
    for membership in accounts::memberships(platform, session).await? {
        let mut tx = platform.db.tenant(membership.tenant).await?;
        let connections = store::list_own(&mut tx, session.user).await?;
        tx.commit().await?;
        if !connections.is_empty() {
            all.push((membership, connections));
        }
    }
    Ok(all)
}

/// Ends the member's connection to that source: its tokens are forgotten, calls need a new one from now on, and the provider is told where
/// it wants to know. False: there was none.
pub async fn disconnect(platform: &Platform, actor: &Member, source: SourceId) -> Result<bool> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::find_source(&mut tx, source).await?.ok_or(Error::not_found("source"))?;
    let Some(stored) = store::lock(&mut tx, source, actor.user).await? else { return Ok(false) };
    let provider = store::find_provider(&mut tx, source).await?.ok_or(Error::not_found("connection"))?;
    // What cannot be opened any more is forgotten all the same.
    let tokens = open_tokens(platform, &mut tx, &provider, &stored).await.ok();
    let secret = provider.open(platform, &mut tx).await.ok().flatten();
    store::delete(&mut tx, stored.id).await?;
    audit::append(&mut tx, platform.clock.now(), actor, &Event::ConnectionEnded(source, actor.user)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    if let Some((access, refresh)) = tokens {
        let open = Open { provider: &provider, secret };
        // The refresh token first: with it, providers revoke all that came from it.
        if let Some(refresh) = refresh {
            open.revoke(platform, &refresh, "refresh_token").await;
        }
        open.revoke(platform, &access, "access_token").await;
    }
    Ok(true)
}

/// The token that reads the lists of a source: that of whoever set the accounts up. `None`: they have not connected theirs, or it does not work.
pub(crate) async fn reader_token(platform: &Platform, tenant: TenantId, provider: &Provider) -> Result<Option<Plaintext>> {
    let Some(reader) = provider.reader else { return Ok(None) };
    match held::look(platform, tenant, provider, reader, None).await {
        Ok(token) => Ok(Some(token.secret)),
        Err(NoToken::Failed(error)) => Err(error),
        Err(_) => Ok(None),
    }
}

/// A connection's tokens, opened.
async fn open_tokens(
    platform: &Platform,
    tx: &mut TenantTx,
    provider: &Provider,
    stored: &store::Stored,
) -> Result<(Plaintext, Option<Plaintext>)> {
    let keys = vault::find(tx, &platform.master_key).await?;
    let keys = keys.ok_or_else(|| Error::internal("the key of a connection's tokens is gone"))?;
    let place = Place { tenant: tx.tenant(), source: stored.source_id, user: stored.user_id, origin: &provider.origin };
    let access = place.open(&keys, "access", &stored.access)?;
    let refresh = stored.refresh.as_deref().map(|sealed| place.open(&keys, "refresh", sealed)).transpose()?;
    Ok((access, refresh))
}

/// Seals some of the tenant's tokens and client secrets anew that are sealed under an older key; how many. 0: none is left.
pub(crate) async fn reseal(tx: &mut TenantTx, keys: &DataKeys, most: i64) -> Result<u64> {
    let tenant = tx.tenant();
    let mut resealed = 0;
    for row in store::secrets_under_others(tx, &keys.newest(), most).await? {
        let place = provider::place(tenant, row.source_id, &row.token_url);
        if let Some(sealed) = keys.reseal(&place, &row.secret).map_err(Error::internal)? {
            store::reseal_secret(tx, row.source_id, &sealed).await?;
            resealed += 1;
        }
    }
    for row in store::tokens_under_others(tx, &keys.newest(), most).await? {
        let place = Place { tenant, source: row.source_id, user: row.user_id, origin: &row.origin };
        let anew = |what, sealed: &[u8]| {
            let anew = keys.reseal(&place.of(what), sealed).map_err(Error::internal)?;
            Ok::<_, Error>(anew.unwrap_or_else(|| sealed.to_owned()))
        };
        let access = anew("access", &row.access)?;
        let refresh = row.refresh.as_deref().map(|sealed| anew("refresh", sealed)).transpose()?;
        store::reseal_tokens(tx, row.id, &access, refresh.as_deref()).await?;
        resealed += 1;
    }
    Ok(resealed)
}
