//! Who calls. A bearer becomes a `Caller` or nothing; which check failed is nobody's business.

use std::sync::Arc;

use trunkline_protocol::{
    mcp::Revision,
    oauth::scope::{Scope, ScopeSet},
};

use crate::{
    Platform,
    agents::{Agent, AgentState, BearerKey, Key, KeyState},
    catalog::{
        snapshot::{Current, LoadedItem, LoadedTool},
        toolset::Toolset,
    },
    certificates::ClientCertificate,
    dialogue::ItemKind,
    handshake::Fault,
    ids::{AgentId, GrantId, KeyId, SourceId, UserId},
    oauth::{self, AccessToken, Endpoint, Proven, Unproven, Unverified, Via},
    session::{self, Session},
};

use super::Refusal;

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

/// What a request shows.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// A key or an access token.
    pub bearer: Option<&'a str>,
    /// The proof that came with it, where it was sent under the scheme that wants one.
    pub proof: Option<Proven<'a>>,
    /// The certificate of its connection.
    pub certificate: Option<&'a Arc<ClientCertificate>>,
}

/// An agent of a tenant, with what it showed, at one moment.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The tenant.
    pub snapshot: Current,
    /// The agent.
    pub agent: Arc<Agent>,
    /// What it showed.
    pub credential: Credential,
    /// Its session, in revisions that have them.
    pub session: Option<Arc<Session>>,
    /// The toolset whose endpoint it is at. `None`: the tenant's.
    pub toolset: Option<Arc<Toolset>>,
    certificate: Option<Arc<ClientCertificate>>,
    slug: Arc<str>,
}

/// Nobody we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unauthenticated {
    /// No such credential, or not any more.
    Invalid,
    /// The proof of possession is not taken.
    Unproven,
    /// It cannot be found out now.
    Unavailable,
}

/// Finds out whose request this is, at the endpoint of that tenant or of one of its toolsets.
pub async fn authenticate(
    platform: &Platform,
    slug: &str,
    toolset: Option<&str>,
    shown: Shown<'_>,
) -> Result<Caller, Unauthenticated> {
    let caller = identify(platform, slug, toolset, shown).await;
    if matches!(caller, Err(Unauthenticated::Invalid | Unauthenticated::Unproven)) {
        platform.metrics.failed_authentications.inc();
    }
    caller
}

async fn identify(platform: &Platform, slug: &str, toolset: Option<&str>, shown: Shown<'_>) -> Result<Caller, Unauthenticated> {
    // By their form: guesses and typing errors cost no look-up.
    let bearer = match shown.bearer {
        Some(bearer) => match BearerKey::parse(bearer) {
            // A key is bound to nothing that could be proven.
            Some(_) if shown.proof.is_some() => return Err(Unauthenticated::Invalid),
            Some(key) => Some(Bearer::Key(key)),
            None => Some(Bearer::Token(verified(platform, bearer, shown.proof).await?)),
        },
        None => None,
    };
    let snapshot = platform.snapshots.get(platform, slug).await.map_err(|error| {
        tracing::warn!(error = %error, source = ?error, "a tenant cannot be loaded");
        Unauthenticated::Unavailable
    })?;
    let snapshot = snapshot.ok_or(Unauthenticated::Invalid)?;
    let credential = match bearer {
        Some(Bearer::Key(bearer)) => {
            let key = snapshot.key(bearer.lookup(), &bearer.digest()).ok_or(Unauthenticated::Invalid)?;
            Credential::Key(Arc::clone(key))
        }
        Some(Bearer::Token(token)) => Credential::Token(token),
        None => {
            let certificate = shown.certificate.ok_or(Unauthenticated::Invalid)?;
            Credential::Certificate(Holder::find(platform, &snapshot, certificate).ok_or(Unauthenticated::Invalid)?)
        }
    };
    Caller::with(platform, snapshot, credential, shown.certificate.cloned(), slug.into(), toolset)
}

/// Why a credential was refused at that endpoint, as far as it can be told to those who operate it.
pub async fn why_refused(
    platform: &Platform,
    slug: &str,
    toolset: Option<&str>,
    shown: Shown<'_>,
    why: Unauthenticated,
) -> Fault {
    if why == Unauthenticated::Unproven {
        return Fault::NotProven;
    }
    let Some(bearer) = shown.bearer else { return Fault::NotCertified };
    if BearerKey::parse(bearer).is_none() {
        let token = match oauth::verify(platform, bearer).await {
            Ok(token) => token,
            Err(_) if oauth::is_one_of_ours(platform, bearer) => return Fault::ExpiredOrRevoked,
            Err(_) => return Fault::NotACredential,
        };
        let is_for = |toolset| token.audience == Endpoint::url_of(platform, slug, toolset);
        if !is_for(toolset) && !is_for(None) {
            return Fault::OtherResource;
        }
        let is_bound_otherwise = token.binding.key.is_some() != shown.proof.is_some();
        if is_bound_otherwise || !Credential::Token(token).is_shown_with(shown.certificate.map(Arc::as_ref)) {
            return Fault::NotProven;
        }
    }
    let snapshot = platform.snapshots.get(platform, slug).await.ok().flatten();
    let counts = |snapshot: &Current| {
        shown.certificate.is_some_and(|shown| snapshot.certificates.verify(shown, platform.clock.now()).is_some())
    };
    let is_uncertified = snapshot.is_some_and(|snapshot| snapshot.certificates.is_required() && !counts(&snapshot));
    if is_uncertified { Fault::NotCertified } else { Fault::ExpiredOrRevoked }
}

enum Bearer {
    Key(BearerKey),
    Token(Arc<AccessToken>),
}

/// The token, if it is one of ours and came under the scheme it was issued for (RFC 9449 §7.1).
async fn verified(platform: &Platform, text: &str, proof: Option<Proven<'_>>) -> Result<Arc<AccessToken>, Unauthenticated> {
    let token = oauth::verify(platform, text).await.map_err(|unverified| match unverified {
        Unverified::Invalid => Unauthenticated::Invalid,
        Unverified::Unavailable => Unauthenticated::Unavailable,
    })?;
    let (wanted, proof) = match (&token.binding.key, proof) {
        (None, None) => return Ok(token),
        (Some(wanted), Some(proof)) => (wanted, proof),
        _ => return Err(Unauthenticated::Invalid),
    };
    match oauth::prove(platform, proof, Some((text, wanted))).await {
        Ok(_) => Ok(token),
        Err(Unproven::Invalid(_)) => Err(Unauthenticated::Unproven),
        Err(Unproven::Failed(error)) => {
            tracing::warn!(%error, "it cannot be found out whether a proof was used before");
            Err(Unauthenticated::Unavailable)
        }
    }
}

impl Holder {
    /// Whoever the certificate's name stands for in that tenant.
    fn find(platform: &Platform, snapshot: &Current, certificate: &Arc<ClientCertificate>) -> Option<Arc<Self>> {
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
    fn again(&self, platform: &Platform, snapshot: &Current) -> Option<Self> {
        match self {
            Self::Key(key) => snapshot.key_by_lookup(&key.lookup).map(|key| Self::Key(Arc::clone(key))),
            Self::Token(token) => Some(Self::Token(Arc::clone(token))),
            Self::Certificate(holder) => Holder::find(platform, snapshot, &holder.certificate).map(Self::Certificate),
        }
    }

    /// Is it good at that endpoint of that tenant, at this moment? Gives whose it is.
    fn agent(&self, platform: &Platform, snapshot: &Current, slug: &str, toolset: Option<&str>) -> Option<AgentId> {
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
    fn is_shown_with(&self, certificate: Option<&ClientCertificate>) -> bool {
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
fn is_certified(platform: &Platform, snapshot: &Current, certificate: Option<&ClientCertificate>, agent: AgentId) -> bool {
    if !snapshot.certificates.is_required() {
        return true;
    }
    let identity = certificate.and_then(|certificate| snapshot.certificates.verify(certificate, platform.clock.now()));
    identity.is_some_and(|identity| identity.agent.is_none_or(|of| of == agent))
}

/// Why a session cannot be gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionRefused {
    /// There is no such session of this caller, or not any more.
    NotFound,
    /// It cannot be found out now.
    Unavailable,
}

impl Caller {
    /// The same caller in a session of its own. Somebody else's session does not exist.
    pub async fn in_session(mut self, platform: &Platform, id: &str) -> Result<Self, SessionRefused> {
        let found = session::find(platform, self.snapshot.tenant, self.agent.id, &self.client(), id).await;
        match found {
            Ok(Some(session)) => {
                self.session = Some(session);
                Ok(self)
            }
            Ok(None) => Err(SessionRefused::NotFound),
            Err(error) => {
                tracing::warn!(%error, "a session cannot be looked up");
                Err(SessionRefused::Unavailable)
            }
        }
    }

    /// Is it shown two tools, to find and to call, instead of all?
    pub fn searches(&self) -> bool {
        self.agent.search_mode || self.toolset.as_ref().is_some_and(|toolset| toolset.search_mode)
    }

    /// The person for whom it acts, and whose accounts it uses. `None`: a key, a certificate, or a service.
    pub fn user(&self) -> Option<UserId> {
        match &self.credential {
            Credential::Key(_) | Credential::Certificate(_) => None,
            Credential::Token(token) => token.user,
        }
    }

    /// What a session is bound to beside its agent: the credential, and the endpoint.
    pub fn client(&self) -> String {
        match &self.toolset {
            None => self.credential.id(),
            Some(toolset) => format!("{} {}", self.credential.id(), toolset.name),
        }
    }

    /// The tenant's slug.
    pub(super) fn slug(&self) -> &str {
        &self.slug
    }

    fn at(&self) -> Option<&str> {
        self.toolset.as_ref().map(|toolset| toolset.name.as_str())
    }

    /// Admission has found that its session is gone.
    pub(super) fn session_ended(&self, platform: &Platform) -> Refusal {
        if let Some(session) = &self.session {
            session::has_ended(platform, session);
        }
        Refusal::NoSession
    }

    fn with(
        platform: &Platform,
        snapshot: Current,
        credential: Credential,
        certificate: Option<Arc<ClientCertificate>>,
        slug: Arc<str>,
        toolset: Option<&str>,
    ) -> Result<Self, Unauthenticated> {
        let agent = credential.agent(platform, &snapshot, &slug, toolset).ok_or(Unauthenticated::Invalid)?;
        if !credential.is_shown_with(certificate.as_deref()) || !is_certified(platform, &snapshot, certificate.as_deref(), agent)
        {
            return Err(Unauthenticated::Invalid);
        }
        let agent = Arc::clone(snapshot.agent(agent).ok_or(Unauthenticated::Invalid)?);
        // The endpoint of a toolset that is not there is nobody's.
        let toolset = match toolset {
            None => None,
            Some(name) => Some(Arc::clone(snapshot.toolset(name).ok_or(Unauthenticated::Invalid)?)),
        };
        Ok(Self { snapshot, agent, credential, session: None, toolset, certificate, slug })
    }

    /// The same caller after a change of its tenant, if it still is one.
    pub(super) async fn reload(&self, platform: &Platform) -> Result<Self, Unauthenticated> {
        let fresh = platform.snapshots.reload(platform, &self.slug, &self.snapshot.epoch).await;
        let snapshot = fresh.map_err(|error| {
            tracing::warn!(error = %error, source = ?error, "a tenant cannot be loaded again");
            Unauthenticated::Unavailable
        })?;
        let snapshot = snapshot.ok_or(Unauthenticated::Invalid)?;
        let credential = self.credential.again(platform, &snapshot).ok_or(Unauthenticated::Invalid)?;
        let caller = Self::with(platform, snapshot, credential, self.certificate.clone(), Arc::clone(&self.slug), self.at())?;
        Ok(Self { session: self.session.clone(), ..caller })
    }

    /// The same caller as its tenant is now; `None` if it is not one any more, or its session has ended.
    pub async fn again(&self, platform: &Platform) -> Option<Self> {
        let snapshot = platform.snapshots.get(platform, &self.slug).await.ok()??;
        let credential = self.credential.again(platform, &snapshot)?;
        let caller = Self::with(platform, snapshot, credential, self.certificate.clone(), Arc::clone(&self.slug), self.at());
        let mut caller = caller.ok()?;
        caller.session.clone_from(&self.session);
        if let Some(session) = &caller.session {
            // While it cannot be asked, it is believed.
            if matches!(session::is_alive(platform, session).await, Ok(false)) {
                return None;
            }
        }
        (!caller.is_suspended()).then_some(caller)
    }

    /// Known, but stopped: the agent or its tenant is suspended until somebody acts.
    pub fn is_suspended(&self) -> bool {
        !self.snapshot.active || self.agent.state == AgentState::Suspended
    }

    /// May it read prompts?
    pub fn may_read_prompts(&self) -> bool {
        self.has(&Scope::PromptsRead)
    }

    /// May it read resources?
    pub fn may_read_resources(&self) -> bool {
        self.has(&Scope::ResourcesRead)
    }

    fn has(&self, scope: &Scope) -> bool {
        self.credential.scopes().iter().any(|have| have == scope) && self.agent.scopes.iter().any(|have| have == scope)
    }

    /// May it use that tool, at this endpoint? By its own scopes and by its agent's ceiling.
    pub fn may_use(&self, tool: &LoadedTool) -> bool {
        self.may_ask_for(tool) && self.opens(self.credential.scopes(), tool)
    }

    /// Is it at this endpoint and within the agent's ceiling, whatever was shown? Of such a tool a caller may know.
    fn may_ask_for(&self, tool: &LoadedTool) -> bool {
        let is_here = self.toolset.as_ref().is_none_or(|toolset| toolset.tools.contains(&tool.tool.id));
        is_here && self.opens(&self.agent.scopes, tool)
    }

    /// The scopes that would open that tool for a token that does not reach, where its agent's ceiling does. `None`: there is no such tool for
    /// this agent, or a key was shown, whose scopes nobody can be asked for.
    pub(super) fn missing_for_tool(&self, name: &str) -> Option<ScopeSet> {
        let Credential::Token(token) = &self.credential else { return None };
        let tool = self.given(name).filter(|tool| self.may_ask_for(tool) && !self.opens(&token.scopes, tool))?;
        let by_effect = ScopeSet::new([Scope::Tools(tool.tool.version.effect)]);
        if self.agent.scopes.covers(&by_effect) {
            return Some(by_effect);
        }
        // The ceiling opens it by its name or by a toolset.
        let opens = |scope: &&Scope| self.opens(&ScopeSet::new([(*scope).clone()]), tool);
        self.agent.scopes.iter().find(opens).map(|scope| ScopeSet::new([scope.clone()]))
    }

    /// The refusal that leads to a token with those scopes. Clients of the stateless revision add them to what they have; older ones ask for
    /// exactly what they are told, and would lose the rest.
    pub fn insufficient(&self, missing: ScopeSet, revision: Revision) -> Refusal {
        let scopes = if revision.has_handshake() {
            ScopeSet::new(missing.iter().chain(self.credential.scopes().iter()).cloned())
        } else {
            missing
        };
        Refusal::InsufficientScope { scopes }
    }

    /// The same for prompts and resources.
    pub fn missing_for_items(&self, scope: &Scope) -> Option<ScopeSet> {
        let may_ask = matches!(self.credential, Credential::Token(_)) && self.agent.scopes.iter().any(|have| have == scope);
        (may_ask && !self.has(scope)).then(|| ScopeSet::new([scope.clone()]))
    }

    /// A set of scopes opens a tool by its effect, by its name, or by a toolset that it is in.
    fn opens(&self, scopes: &ScopeSet, tool: &LoadedTool) -> bool {
        self.snapshot.opens(scopes, tool)
    }

    /// Prompts, resources or templates that exist for this caller, at this endpoint: at a toolset's, those of the sources of its tools.
    /// Tools are asked for by `tool`.
    pub fn items(&self, kind: ItemKind) -> impl Iterator<Item = &Arc<LoadedItem>> {
        let items: &[_] = match kind {
            _ if !self.may_read(kind) => &[],
            ItemKind::Prompts => self.snapshot.prompts(),
            ItemKind::Resources => self.snapshot.resources(),
            ItemKind::ResourceTemplates => self.snapshot.templates(),
            ItemKind::Tools => &[],
        };
        items.iter().filter(|item| self.has_source(item.source))
    }

    /// The one of that key, if it exists for this caller.
    pub(super) fn item(&self, kind: ItemKind, key: &str) -> Option<&Arc<LoadedItem>> {
        self.snapshot.item(kind, key).filter(|item| self.may_read(kind) && self.has_source(item.source))
    }

    fn may_read(&self, kind: ItemKind) -> bool {
        match kind {
            ItemKind::Prompts => self.may_read_prompts(),
            ItemKind::Resources | ItemKind::ResourceTemplates => self.may_read_resources(),
            ItemKind::Tools => false,
        }
    }

    fn has_source(&self, source: SourceId) -> bool {
        self.toolset.as_ref().is_none_or(|toolset| self.snapshot.toolset_has_source(toolset.id, source))
    }

    /// The tool of that name, if it exists for this caller.
    pub fn tool(&self, name: &str) -> Option<&Arc<LoadedTool>> {
        self.given(name).filter(|tool| self.may_use(tool))
    }

    /// Tools that exist for this caller, by name, each in the version that it is given.
    pub fn tools(&self) -> impl Iterator<Item = &Arc<LoadedTool>> {
        let given = self.snapshot.tools().iter().map(|tool| self.snapshot.version_for(self.agent.id, tool));
        given.filter(|tool| self.may_use(tool))
    }

    /// The tool of that name in the version that the agent is given.
    fn given(&self, name: &str) -> Option<&Arc<LoadedTool>> {
        self.snapshot.tool(name).map(|tool| self.snapshot.version_for(self.agent.id, tool))
    }
}
