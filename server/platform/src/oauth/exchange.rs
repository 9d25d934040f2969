//! Token exchange (RFC 8693): a service that was called passes the call on, in the name of the same agent, and says that it does.

use serde_json::{Value, json};
use trunkline_protocol::oauth::{
    client_metadata::Authentication,
    error::{Cause, ErrorCode, OAuthError, invalid_request},
    scope::{Scope, ScopeSet},
};

use super::{
    Client, Endpoint, Failure, Tokens,
    client_credentials::narrowed,
    grant, place,
    standing::{self, Kind, Standing},
    token::{self, Terms, Unverified, Via},
};
use crate::{
    Platform,
    agents::{BearerKey, KeyState},
    catalog::snapshot::Current,
    error::Error,
    ids::{AgentId, TenantId},
};

/// Services that may stand between an agent and a tool.
const DEEPEST: usize = 3;

/// Who is acted for, as far as the token that was brought says.
struct Subject {
    agent: AgentId,
    scopes: ScopeSet,
    /// The toolset that the token is for. What was allowed there was not allowed elsewhere.
    toolset: Option<String>,
    terms: Terms,
}

/// A token for another endpoint of the same tenant: the same agent, no more scopes, no longer life.
pub async fn exchange(
    platform: &Platform,
    client: &Client,
    subject: &str,
    scopes: Option<Vec<Scope>>,
    resource: Option<&str>,
) -> Result<Tokens, Failure> {
    let unauthorized = |why| OAuthError::new(ErrorCode::UnauthorizedClient, why);
    let (tenant, id, _) = client.home.ok_or_else(|| unauthorized("only clients that a member made may exchange tokens"))?;
    if client.authentication == Authentication::None {
        return Err(unauthorized("only clients that prove who they are may exchange tokens").into());
    }
    let named = resource.map(|resource| Endpoint::parse(platform, resource)).transpose()?;
    let home = Endpoint { slug: place::slug_of(platform, tenant).await?, toolset: None };
    let snapshot = place::served(platform, named.as_ref().unwrap_or(&home), tenant).await?;
    let subject = read(platform, client, &snapshot, tenant, subject).await?;
    let endpoint = match named {
        Some(endpoint) => endpoint,
        None => Endpoint { toolset: subject.toolset.clone(), ..home },
    };
    if subject.toolset.is_some() && subject.toolset != endpoint.toolset {
        let why = "the subject_token is for one toolset, and cannot be exchanged for another endpoint";
        return Err(OAuthError::new(ErrorCode::InvalidTarget, why).into());
    }
    let agent = place::acting(&snapshot, subject.agent)?;
    let scopes = narrowed(scopes, &subject.scopes.within(&agent.scopes))?;
    let new = Standing {
        kind: Kind::Exchange,
        tenant,
        agent: agent.id,
        client: id,
        client_id: &client.client_id,
        endpoint: &endpoint,
        subject: "",
        issuer: None,
        scopes: &scopes,
    };
    let terms = Terms { binding: client.binding.clone(), ..subject.terms };
    standing::issue(platform, &new, terms).await
}

fn refuse(why: &str) -> OAuthError {
    // RFC 8693 §2.2.2 has this code for every subject_token that is not taken.
    invalid_request(format!("the subject_token is not taken: {why}")).because(Cause::AssertionRefused)
}

/// Also a token that is good but of another tenant is none.
async fn read(
    platform: &Platform,
    client: &Client,
    snapshot: &Current,
    tenant: TenantId,
    text: &str,
) -> Result<Subject, Failure> {
    const UNKNOWN: &str = "it is not known, has expired or was revoked";
    let act = |before: Option<&Value>| match before {
        None => json!({ "sub": client.client_id }),
        Some(before) => json!({ "sub": client.client_id, "act": before }),
    };
    if let Some(bearer) = BearerKey::parse(text) {
        let now = platform.clock.now();
        let key = snapshot.key(bearer.lookup(), &bearer.digest()).filter(|key| key.state(now) == KeyState::Active);
        let key = key.ok_or_else(|| refuse(UNKNOWN))?;
        let terms = Terms {
            acts: Some(act(None)),
            via: vec![Via::Key(key.lookup.clone())],
            not_after: Some(key.expires_at.timestamp()),
            ..Terms::default()
        };
        return Ok(Subject { agent: key.agent_id, scopes: key.scopes.clone(), toolset: None, terms });
    }
    let now = platform.clock.now().timestamp();
    let token = match token::verify(platform, text).await {
        // Without the leeway that calls are given: what is issued ends when this does, and so cannot begin afterwards.
        Ok(token) if token.tenant == tenant && now < token.expires_at => token,
        Ok(_) | Err(Unverified::Invalid) => return Err(refuse(UNKNOWN).into()),
        Err(Unverified::Unavailable) => return Err(Error::unavailable("database", "the signing keys cannot be loaded").into()),
    };
    if !token.binding.is_met_by(&client.binding) {
        return Err(refuse("it is bound to a key that this request does not show").into());
    }
    if depth(token.acts.as_ref()) >= DEEPEST {
        return Err(refuse(&format!("{DEEPEST} services act for its agent already")).into());
    }
    let mut via = token.via.clone();
    via.extend([Via::Grant(token.grant), Via::Token(token.id)]);
    if !is_alive(platform, snapshot, tenant, &via).await? {
        return Err(refuse(UNKNOWN).into());
    }
    let endpoint = Endpoint::parse(platform, &token.audience).map_err(|_| refuse(UNKNOWN))?;
    let terms = Terms {
        acts: Some(act(token.acts.as_ref())),
        via,
        not_after: Some(token.expires_at),
        user: token.user,
        ..Terms::default()
    };
    Ok(Subject { agent: token.agent, scopes: token.scopes.clone(), toolset: endpoint.toolset, terms })
}

fn depth(acts: Option<&Value>) -> usize {
    std::iter::successors(acts, |act| act.get("act")).count()
}

/// Asked of the database, not of memory: what is about to be made lasts longer than this request.
pub(super) async fn is_alive(platform: &Platform, snapshot: &Current, tenant: TenantId, via: &[Via]) -> Result<bool, Error> {
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(tenant).await?;
    for one in via {
        let is_alive = match one {
            Via::Grant(id) => grant::store::find(&mut tx, *id).await?.is_some_and(|grant| grant.is_live(now)),
            Via::Token(id) => !grant::store::is_revoked(&mut tx, *id).await?,
            Via::Key(lookup) => snapshot.key_by_lookup(lookup).is_some_and(|key| key.state(now) == KeyState::Active),
        };
        if !is_alive {
            return Ok(false);
        }
    }
    tx.commit().await?;
    Ok(true)
}
