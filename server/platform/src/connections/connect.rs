//! Connecting an account: our page first, then the provider's, and back in the same session. What an answer is held against is kept on our
//! side, for ten minutes, good once.

use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    Place, callback_url,
    exchange::{Open, Tokens},
    held,
    provider::Provider,
    refresh, store,
};
use crate::{
    Platform,
    accounts::{self, Answer, Session, TenantSlug, attempt},
    actor::{Member, Permission},
    audit::{self, Event},
    epoch,
    error::{Error, ErrorKind, Result},
    ids::{SourceId, UserId, uuid_v7},
    random,
    secret::Plaintext,
    vault,
};

/// What is kept of an attempt.
#[derive(Serialize, Deserialize)]
struct Kept {
    slug: String,
    source: uuid::Uuid,
    user: uuid::Uuid,
    verifier: String,
    /// Whom the person was sent to: a code goes to the same and to nobody else.
    token_url: String,
    client_id: String,
}

/// What became of it.
#[derive(Debug)]
pub enum Finished {
    /// The account is connected.
    Done {
        /// Who connected it.
        actor: Member,
        /// The tenant's name in URLs.
        slug: TenantSlug,
        /// To which source.
        source: SourceId,
        /// Does it read the source's lists too?
        reads_lists: bool,
    },
    /// It is not.
    Refused(Refusal),
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Never begun in this session, by this person; answered already, or too late.
    NotBegunHere,
    /// It comes from another authorization server than the one that was asked.
    OtherIssuer,
    /// The source asks for another account than when it was begun, or for none.
    Changed,
    /// The person said no there, or the provider did.
    Declined,
    /// The provider does not give tokens; the text says why.
    Provider(String),
}

/// Begins, after the person has said yes on our page: where to send them. `None`: the source needs no account.
pub async fn begin(
    platform: &Platform,
    actor: &Member,
    slug: &TenantSlug,
    source: SourceId,
    session: &Plaintext,
) -> Result<Option<Url>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::find_source(&mut tx, source).await?.ok_or(Error::not_found("source"))?;
    let Some(provider) = store::find_provider(&mut tx, source).await? else { return Ok(None) };
    tx.commit().await?;
    let kept = Kept {
        slug: slug.to_string(),
        source: source.uuid(),
        user: actor.user.uuid(),
        verifier: random::base62(64),
        token_url: provider.token_url.to_string(),
        client_id: provider.client_id.clone(),
    };
    let mut tx = platform.db.system().await?;
    let state = attempt::keep(platform, &mut tx, "connection", session, &kept).await?;
    tx.commit().await?;
    Ok(Some(authorization_url(platform, &provider, &state, &kept.verifier)))
}

fn authorization_url(platform: &Platform, provider: &Provider, state: &Plaintext, verifier: &str) -> Url {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    use sha2::Digest as _;

    let challenge = BASE64_URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(verifier.as_bytes()));
    let mut url = provider.authorization_url.clone();
    let mut query = url.query_pairs_mut();
    query
        .append_pair("response_type", "code")
        .append_pair("client_id", &provider.client_id)
        .append_pair("redirect_uri", &callback_url(platform))
        .append_pair("state", state.reveal())
        .append_pair("code_challenge", &challenge)
        .append_pair("code_challenge_method", "S256");
    for (name, value) in [("scope", &provider.scopes), ("resource", &provider.resource)] {
        if !value.is_empty() {
            query.append_pair(name, value);
        }
    }
    drop(query);
    url
}

/// Ends: a connection, or why there is none.
pub async fn finish(platform: &Platform, session: Option<(&Plaintext, &Session)>, answer: Answer) -> Result<Finished> {
    let refused = |refusal| Ok(Finished::Refused(refusal));
    let (Some((secret, session)), Some(state)) = (session, answer.state) else { return refused(Refusal::NotBegunHere) };
    let mut tx = platform.db.system().await?;
    let kept = attempt::take::<Kept>(platform, &mut tx, "connection", secret, &Plaintext::new(state)).await?;
    tx.commit().await?;
    let Some(kept) = kept.filter(|kept| UserId::from_uuid(kept.user) == session.user) else {
        return refused(Refusal::NotBegunHere);
    };
    let slug: TenantSlug = kept.slug.parse().map_err(Error::internal)?;
    // They may have left the tenant meanwhile, or it may ask for more by now.
    let (membership, _) = accounts::member(platform, session, &slug).await?;
    let (actor, source) = (membership.actor(session.user), SourceId::from_uuid(kept.source));
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let provider = store::find_provider(&mut tx, source).await?;
    let Some(provider) = provider.filter(|provider| is_asked(provider, &kept)) else { return refused(Refusal::Changed) };
    let client_secret = provider.open(platform, &mut tx).await?;
    tx.commit().await?;
    // RFC 9207: before anything that came with it is believed.
    let is_its = match (&answer.iss, &provider.issuer) {
        (Some(named), Some(issuer)) => named == issuer,
        (None, Some(_)) => !provider.names_itself,
        (_, None) => true,
    };
    if !is_its {
        return refused(Refusal::OtherIssuer);
    }
    let (None, Some(code)) = (answer.error, answer.code) else { return refused(Refusal::Declined) };
    let open = Open { provider: &provider, secret: client_secret };
    let tokens = match open.redeem(platform, &code, &kept.verifier).await {
        Ok(tokens) => tokens,
        Err(refusal) => return refused(Refusal::Provider(refusal.to_string())),
    };
    match keep(platform, &actor, &provider, &kept, &tokens).await {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), ErrorKind::NotFound("connection")) => return refused(Refusal::Changed),
        Err(error) => return Err(error),
    }
    let reads_lists = provider.reader == Some(actor.user);
    Ok(Finished::Done { actor, slug, source, reads_lists })
}

fn is_asked(provider: &Provider, kept: &Kept) -> bool {
    (provider.token_url.as_str(), provider.client_id.as_str()) == (kept.token_url.as_str(), kept.client_id.as_str())
}

async fn keep(platform: &Platform, actor: &Member, provider: &Provider, kept: &Kept, tokens: &Tokens) -> Result<()> {
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    // While the code was redeemed, the provider may have been exchanged.
    store::hold_source(&mut tx, provider.source).await?.ok_or(Error::not_found("connection"))?;
    let current = store::find_provider(&mut tx, provider.source).await?;
    current
        .filter(|current| is_asked(current, kept) && current.origin == provider.origin)
        .ok_or(Error::not_found("connection"))?;
    let keys = vault::get_or_create(&mut tx, &platform.master_key, uuid_v7(now)).await?;
    let place = Place { tenant: actor.tenant, source: provider.source, user: actor.user, origin: &provider.origin };
    let sealed = held::sealed(place, &keys, tokens, tokens.refresh.as_ref(), &provider.scopes, now);
    let id = store::connect(&mut tx, place, &sealed, now).await?;
    store::schedule(&mut tx, id, refresh::due_at(&sealed, now)).await?;
    audit::append(&mut tx, now, actor, &Event::ConnectionMade(provider.source, actor.user)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}
