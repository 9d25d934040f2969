//! What a caller showed, and whether it is good.

use std::sync::Arc;

use trunkline_protocol::oauth::scope::ScopeSet;

use crate::{
    Platform,
    agents::{Key, KeyState},
    catalog::snapshot::Current,
    certificates::ClientCertificate,
    ids::{AgentId, GrantId, KeyId},
    oauth::{AccessToken, Endpoint, Via},
};

/// What the caller showed.
#[derive(Debug, Clone)]
pub enum Credential {
    /// An agent's key.
    Key(Arc<Key>),
    /// An access token, verified.
    Token(Arc<AccessToken>),
    /// A certificate whose name stands for an agent.
    Certificate(Arc<Holder>),
}

/// Who holds a certificate, at one moment.
#[derive(Debug)]
pub struct Holder {
    certificate: Arc<ClientCertificate>,
    agent: AgentId,
    /// All that its agent may.
    scopes: ScopeSet,
}

impl Holder {
    /// Whoever the certificate's name stands for in that tenant.
    pub(super) fn find(platform: &Platform, snapshot: &Current, certificate: &Arc<ClientCertificate>) -> Option<Arc<Self>> {
        let agent = snapshot.certificates.verify(certificate, platform.clock.now())?.agent?;
        let scopes = snapshot.agent(agent)?.scopes.clone();
        Some(Arc::new(Self { certificate: Arc::clone(certificate), agent, scopes }))
    }
}

impl Credential {
    /// Names whose it is, without telling it: the client of a session. For a token that is the person and the client they let act, which
    /// stay while tokens change: also when the client has asked for more, in the middle of its session, and so has another grant.
    pub fn id(&self) -> String {
        match self {
            Self::Key(key) => key.id.to_string(),
            Self::Token(token) => match token.user {
                Some(user) => format!("{user} {}", token.client),
                None => token.grant.to_string(),
            },
            // The agent's, whichever of its certificates: they are renewed more often than sessions end.
            Self::Certificate(holder) => format!("certificate {}", holder.agent),
        }
    }

    /// What it may use, within its agent's ceiling.
    pub fn scopes(&self) -> &ScopeSet {
        match self {
            Self::Key(key) => &key.scopes,
            Self::Token(token) => &token.scopes,
            Self::Certificate(holder) => &holder.scopes,
        }
    }

    /// The key, if it is one.
    pub fn key(&self) -> Option<KeyId> {
        match self {
            Self::Key(key) => Some(key.id),
            Self::Token(_) | Self::Certificate(_) => None,
        }
    }

    /// The grant, if it comes from one.
    pub fn grant(&self) -> Option<GrantId> {
        match self {
            Self::Key(_) | Self::Certificate(_) => None,
            Self::Token(token) => Some(token.grant),
        }
    }

    /// As it is now: a key as the snapshot has it. `None`: it is not good any more.
    pub(super) fn again(&self, platform: &Platform, snapshot: &Current) -> Option<Self> {
        match self {
            Self::Key(key) => snapshot.key_by_lookup(&key.lookup).map(|key| Self::Key(Arc::clone(key))),
            Self::Token(token) => Some(Self::Token(Arc::clone(token))),
            Self::Certificate(holder) => Holder::find(platform, snapshot, &holder.certificate).map(Self::Certificate),
        }
    }

    /// Is it good at that endpoint of that tenant, at this moment? Gives whose it is.
    pub(super) fn agent(&self, platform: &Platform, snapshot: &Current, slug: &str, toolset: Option<&str>) -> Option<AgentId> {
        let now = platform.clock.now();
        match self {
            Self::Key(key) => (key.state(now) == KeyState::Active).then_some(key.agent_id),
            Self::Token(token) => {
                // Exactly the endpoint; a toolset's endpoint is a part of its tenant's.
                let is_audience = |toolset| token.audience == Endpoint::url_of(platform, slug, toolset);
                let is_here = is_audience(toolset) || (toolset.is_some() && is_audience(None));
                let is_good = token.is_current(now.timestamp()) && !snapshot.denied.has(token.grant, token.id);
                let is_alive = |via: &Via| match via {
                    Via::Grant(grant) => !snapshot.denied.has_grant(*grant),
                    Via::Token(token) => !snapshot.denied.has_token(*token),
                    Via::Key(lookup) => snapshot.key_by_lookup(lookup).is_some_and(|key| key.state(now) == KeyState::Active),
                };
                let is_good = is_good && token.via.iter().all(is_alive);
                (is_here && is_good && token.tenant == snapshot.tenant).then_some(token.agent)
            }
            Self::Certificate(holder) => Some(holder.agent),
        }
    }

    /// May it be used over the connection that has shown that certificate?
    pub(super) fn is_shown_with(&self, certificate: Option<&ClientCertificate>) -> bool {
        match self {
            Self::Token(token) => {
                let wanted = token.binding.certificate.as_ref();
                wanted.is_none_or(|wanted| certificate.is_some_and(|shown| shown.thumbprint() == *wanted))
            }
            Self::Key(_) | Self::Certificate(_) => true,
        }
    }
}

/// A tenant that wants certificates serves nobody without one of its authorities', and nobody with that of another agent.
pub(super) fn is_certified(
    platform: &Platform,
    snapshot: &Current,
    certificate: Option<&ClientCertificate>,
    agent: AgentId,
) -> bool {
    if !snapshot.certificates.is_required() {
        return true;
    }
    let identity = certificate.and_then(|certificate| snapshot.certificates.verify(certificate, platform.clock.now()));
    identity.is_some_and(|identity| identity.agent.is_none_or(|of| of == agent))
}
