//! Enterprise-managed authorization: an organisation's identity provider says, with a signature, that a client may act for somebody (ID-JAG).
//! Each tenant says which providers it believes, about which clients, and as which agent whoever they speak for acts.

mod provider;
mod store;

use trunkline_protocol::oauth::{
    error::{Cause, ErrorCode, OAuthError},
    scope::{Scope, ScopeSet},
    signed::{ForeignHeader, ID_JAG_TYPE, IdJag, unchecked_claim},
};

pub use provider::{NewTrustedIssuer, TrustedIssuer};

use super::{
    Client, Endpoint, Failure, Tokens, client,
    client_credentials::narrowed,
    issuer, once, place, published, signed,
    standing::{self, Kind, Standing},
    token::Terms,
};
use crate::{
    Platform,
    actor::{Member, Permission},
    agents::Agent,
    audit::{self, Event},
    catalog::snapshot::Current,
    db::TenantTx,
    epoch,
    error::{Error, Result},
    ids::{TenantId, TrustedIssuerId},
};

/// Providers of one tenant.
const MOST: usize = 20;

/// The providers that the tenant believes.
pub async fn list(platform: &Platform, actor: &Member) -> Result<Vec<TrustedIssuer>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::list(&mut tx).await
}

/// Believes one more. Its metadata is read first, so that a typing error is noticed now.
pub async fn add(platform: &Platform, actor: &Member, new: NewTrustedIssuer) -> Result<TrustedIssuerId> {
    actor.require(Permission::ManageTenant)?;
    published::check(platform, &new.issuer).map_err(|why| Error::invalid("issuer", why))?;
    provider::key_set_of(platform, &new.issuer, true).await.map_err(|why| Error::invalid("issuer", why))?;
    let now = platform.clock.now();
    let id = TrustedIssuerId::new(now);
    let mut tx = platform.db.tenant(actor.tenant).await?;
    if store::list(&mut tx).await?.len() >= MOST {
        return Err(Error::invalid("issuer", format!("there are {MOST} already; remove one first")));
    }
    store::insert(&mut tx, id, &new, actor.user, now).await?;
    audit::append(&mut tx, now, actor, &Event::IssuerTrusted(id)).await?;
    tx.commit().await?;
    Ok(id)
}

/// Believes it no more, and ends what came of its assertions.
pub async fn remove(platform: &Platform, actor: &Member, id: TrustedIssuerId) -> Result<()> {
    actor.require(Permission::ManageTenant)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::lock(&mut tx).await?;
    let issuer = store::delete(&mut tx, id).await?.ok_or(Error::not_found("trusted issuer"))?;
    let grants = standing::of_issuer(&mut tx, &issuer).await?;
    standing::end_all(platform, &mut tx, actor, grants, "issuer_removed").await?;
    audit::append(&mut tx, platform.clock.now(), actor, &Event::IssuerRemoved(id)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}

/// Is the provider believed, until the end of this transaction?
pub(super) async fn is_still_trusted(tx: &mut TenantTx, id: TrustedIssuerId) -> Result<bool> {
    store::lock_shared(tx).await?;
    store::is_there(tx, id).await
}

fn refuse(why: &str) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidGrant, format!("the assertion is not taken: {why}")).because(Cause::AssertionRefused)
}

/// A token for what the assertion says.
pub async fn redeem(
    platform: &Platform,
    client: &Client,
    text: &str,
    scopes: Option<Vec<Scope>>,
    resource: Option<&str>,
) -> Result<Tokens, Failure> {
    let header = ForeignHeader::read(text).ok_or_else(|| refuse("it must be signed with ES256, EdDSA, RS256 or PS256"))?;
    if header.typ.as_deref() != Some(ID_JAG_TYPE) {
        return Err(refuse("typ must be oauth-id-jag+jwt").into());
    }
    let endpoint = target(platform, client, text, resource).await?;
    let snapshot = place::snapshot(platform, &endpoint).await?;
    let provider = believed(platform, snapshot.tenant, client, text).await?;
    let claims = verify(platform, &provider, text, &header).await?;
    let now = platform.clock.now().timestamp();
    claims.check(&issuer(platform), &client.client_id, now).map_err(refuse)?;
    let scopes = scopes_of(&claims, scopes)?;
    let agent = agent_of(&snapshot, &provider, &claims)?;
    let scopes = narrowed(scopes, &agent.scopes)?;
    // Last of all: what is refused for another reason was not used.
    if !once::claim(platform, "id-jag", &claims.iss, &claims.jti, claims.exp - now + 60).await? {
        return Err(refuse("it was used before").into());
    }
    let id = meet(platform, snapshot.tenant, client).await?;
    let new = Standing {
        kind: Kind::Assertion,
        tenant: snapshot.tenant,
        agent: agent.id,
        client: id,
        client_id: &client.client_id,
        endpoint: &endpoint,
        subject: &format!("{} {}", claims.iss, claims.sub),
        issuer: Some(provider.id),
        scopes: &scopes,
    };
    let terms = Terms { binding: client.binding.clone(), ..Terms::default() };
    standing::issue(platform, &new, terms).await
}

/// The endpoint that the assertion names, or the request, or the only one that the client can mean.
async fn target(platform: &Platform, client: &Client, text: &str, asked: Option<&str>) -> Result<Endpoint, Failure> {
    let named = unchecked_claim(text, "resource");
    match (named.as_deref(), asked) {
        (Some(named), Some(asked)) if named != asked => {
            Err(OAuthError::new(ErrorCode::InvalidTarget, "resource is not the one of the assertion").into())
        }
        // What the assertion names is a claim of it: if it is not ours, the assertion is not for us.
        (Some(named), _) => {
            Ok(Endpoint::parse(platform, named).map_err(|_| refuse("its resource is not an endpoint of this server"))?)
        }
        (None, Some(asked)) => Ok(Endpoint::parse(platform, asked)?),
        (None, None) => match client.home {
            Some((tenant, ..)) => Ok(Endpoint { slug: place::slug_of(platform, tenant).await?, toolset: None }),
            None => Err(OAuthError::new(ErrorCode::InvalidTarget, "resource is missing, here and in the assertion").into()),
        },
    }
}

/// The provider of that assertion, if the tenant believes it about that client.
async fn believed(platform: &Platform, tenant: TenantId, client: &Client, text: &str) -> Result<TrustedIssuer, Failure> {
    let unknown = || refuse("its issuer is not trusted here, or not with this client");
    if client.home.is_some_and(|(home, ..)| home != tenant) {
        return Err(unknown().into());
    }
    let said = unchecked_claim(text, "iss").ok_or_else(unknown)?;
    let mut tx = platform.db.tenant(tenant).await?;
    let found = store::list(&mut tx).await?.into_iter().find(|provider| provider.issuer == said);
    tx.commit().await?;
    Ok(found.filter(|provider| provider.clients.contains(&client.client_id)).ok_or_else(unknown)?)
}

async fn verify(platform: &Platform, provider: &TrustedIssuer, text: &str, header: &ForeignHeader) -> Result<IdJag, Failure> {
    for again in [false, true] {
        let keys = provider::keys_of(platform, &provider.issuer, again).await;
        let keys = keys.map_err(|why| refuse(&format!("the keys of its issuer cannot be read: {why}")))?;
        if let Some(claims) = signed::verify::<IdJag>(text, header, &keys) {
            // What was looked at before the signature was checked has to be what is signed; it is, since nothing else was parsed.
            return if claims.iss == provider.issuer { Ok(claims) } else { Err(refuse("its issuer is another one").into()) };
        }
        // The provider may have a new key since.
    }
    Err(refuse("it lacks a claim, or no key of its issuer has signed it").into())
}

/// What the assertion allows, as far as it is asked for. `None`: everything that the agent may.
fn scopes_of(claims: &IdJag, asked: Option<Vec<Scope>>) -> Result<Option<Vec<Scope>>, OAuthError> {
    let Some(most) = claims.scope.as_deref().filter(|scope| !scope.trim().is_empty()) else { return Ok(asked) };
    let most = ScopeSet::new(trunkline_protocol::oauth::authorize::read_scopes(most)?);
    narrowed(asked, &most).map(|scopes| Some(scopes.iter().cloned().collect()))
}

fn agent_of<'s>(snapshot: &'s Current, provider: &TrustedIssuer, claims: &IdJag) -> Result<&'s Agent, Failure> {
    let id = match (&provider.agent, &provider.agent_claim) {
        (Some((id, _)), _) => *id,
        (None, Some(claim)) => {
            let name = claims.text(claim).ok_or_else(|| refuse(&format!("it has no claim {claim}, which names the agent")))?;
            let found = snapshot.agents().find(|agent| agent.name.as_str() == name || agent.id.to_string() == name);
            found.ok_or_else(|| refuse(&format!("its claim {claim} names no agent")))?.id
        }
        (None, None) => return Err(refuse("no agent is set for its issuer").into()),
    };
    Ok(place::acting(snapshot, id)?)
}

/// The client as the tenant knows it. A member has named it beside the provider: that is approval enough, but a blocked one stays blocked.
async fn meet(platform: &Platform, tenant: TenantId, client: &Client) -> Result<crate::ids::ClientId, Failure> {
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(tenant).await?;
    let id = client::meet_named(&mut tx, now, client).await?;
    tx.commit().await?;
    id.ok_or_else(|| refuse("its client may not be used here").because(Cause::ClientNotAdmitted).into())
}
