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
    dialogue::ItemKind,
    handshake::Fault,
    ids::{AgentId, GrantId, KeyId, SourceId},
    oauth::{self, AccessToken, Endpoint, Unverified},
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
    slug: Arc<str>,
}

/// Nobody we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unauthenticated {
    /// No such credential, or not any more.
    Invalid,
    /// It cannot be found out now.
    Unavailable,
}

/// Finds out whose bearer this is, at the endpoint of that tenant or of one of its toolsets.
pub async fn authenticate(
    platform: &Platform,
    slug: &str,
    toolset: Option<&str>,
    bearer: &str,
) -> Result<Caller, Unauthenticated> {
    let caller = identify(platform, slug, toolset, bearer).await;
    if matches!(caller, Err(Unauthenticated::Invalid)) {
        platform.metrics.failed_authentications.inc();
    }
    caller
}

async fn identify(platform: &Platform, slug: &str, toolset: Option<&str>, bearer: &str) -> Result<Caller, Unauthenticated> {
    // By their form: guesses and typing errors cost no look-up.
    let token = match BearerKey::parse(bearer) {
        Some(key) => Shown::Key(key),
        None => Shown::Token(oauth::verify(platform, bearer).await.map_err(|unverified| match unverified {
            Unverified::Invalid => Unauthenticated::Invalid,
            Unverified::Unavailable => Unauthenticated::Unavailable,
        })?),
    };
    let snapshot = platform.snapshots.get(platform, slug).await.map_err(|error| {
        tracing::warn!(error = %error, source = ?error, "a tenant cannot be loaded");
        Unauthenticated::Unavailable
    })?;
    let snapshot = snapshot.ok_or(Unauthenticated::Invalid)?;
    let credential = match token {
        Shown::Key(bearer) => {
            let key = snapshot.key(bearer.lookup(), &bearer.digest()).ok_or(Unauthenticated::Invalid)?;
            Credential::Key(Arc::clone(key))
        }
        Shown::Token(token) => Credential::Token(token),
    };
    Caller::with(platform, snapshot, credential, slug.into(), toolset)
}

/// Why a bearer was refused at that endpoint, as far as it can be told to those who operate it.
pub async fn why_refused(platform: &Platform, slug: &str, toolset: Option<&str>, bearer: &str) -> Fault {
    if BearerKey::parse(bearer).is_some() {
        return Fault::ExpiredOrRevoked;
    }
    match oauth::verify(platform, bearer).await {
        Ok(token) => {
            let is_for = |toolset| token.audience == Endpoint::url_of(platform, slug, toolset);
            if is_for(toolset) || is_for(None) { Fault::ExpiredOrRevoked } else { Fault::OtherResource }
        }
        Err(_) if oauth::is_one_of_ours(platform, bearer) => Fault::ExpiredOrRevoked,
        Err(_) => Fault::NotACredential,
    }
}

enum Shown {
    Key(BearerKey),
    Token(Arc<AccessToken>),
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
        }
    }

    /// What it may use, within its agent's ceiling.
    pub fn scopes(&self) -> &ScopeSet {
        match self {
            Self::Key(key) => &key.scopes,
            Self::Token(token) => &token.scopes,
        }
    }

    /// The key, if it is one.
    pub fn key(&self) -> Option<KeyId> {
        match self {
            Self::Key(key) => Some(key.id),
            Self::Token(_) => None,
        }
    }

    /// The grant, if it comes from one.
    pub fn grant(&self) -> Option<GrantId> {
        match self {
            Self::Key(_) => None,
            Self::Token(token) => Some(token.grant),
        }
    }

    /// As it is now: a key as the snapshot has it. `None`: it is not good any more.
    fn again(&self, snapshot: &Current) -> Option<Self> {
        match self {
            Self::Key(key) => snapshot.key_by_lookup(&key.lookup).map(|key| Self::Key(Arc::clone(key))),
            Self::Token(token) => Some(Self::Token(Arc::clone(token))),
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
                (is_here && is_good && token.tenant == snapshot.tenant).then_some(token.agent)
            }
        }
    }
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
        slug: Arc<str>,
        toolset: Option<&str>,
    ) -> Result<Self, Unauthenticated> {
        let agent = credential.agent(platform, &snapshot, &slug, toolset).ok_or(Unauthenticated::Invalid)?;
        let agent = Arc::clone(snapshot.agent(agent).ok_or(Unauthenticated::Invalid)?);
        // The endpoint of a toolset that is not there is nobody's.
        let toolset = match toolset {
            None => None,
            Some(name) => Some(Arc::clone(snapshot.toolset(name).ok_or(Unauthenticated::Invalid)?)),
        };
        Ok(Self { snapshot, agent, credential, session: None, toolset, slug })
    }

    /// The same caller after a change of its tenant, if it still is one.
    pub(super) async fn reload(&self, platform: &Platform) -> Result<Self, Unauthenticated> {
        let fresh = platform.snapshots.reload(platform, &self.slug, &self.snapshot.epoch).await;
        let snapshot = fresh.map_err(|error| {
            tracing::warn!(error = %error, source = ?error, "a tenant cannot be loaded again");
            Unauthenticated::Unavailable
        })?;
        let snapshot = snapshot.ok_or(Unauthenticated::Invalid)?;
        let credential = self.credential.again(&snapshot).ok_or(Unauthenticated::Invalid)?;
        let caller = Self::with(platform, snapshot, credential, Arc::clone(&self.slug), self.at())?;
        Ok(Self { session: self.session.clone(), ..caller })
    }

    /// The same caller as its tenant is now; `None` if it is not one any more, or its session has ended.
    pub async fn again(&self, platform: &Platform) -> Option<Self> {
        let snapshot = platform.snapshots.get(platform, &self.slug).await.ok()??;
        let credential = self.credential.again(&snapshot)?;
        let mut caller = Self::with(platform, snapshot, credential, Arc::clone(&self.slug), self.at()).ok()?;
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
        let tool = self.snapshot.tool(name).filter(|tool| self.may_ask_for(tool) && !self.opens(&token.scopes, tool))?;
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
        let in_toolset = |scope: &Scope| match scope {
            Scope::Toolset(name) => self.snapshot.toolset(name).is_some_and(|toolset| toolset.tools.contains(&tool.tool.id)),
            _ => false,
        };
        scopes.permits_tool(tool.tool.name.as_str(), tool.tool.version.effect) || scopes.iter().any(in_toolset)
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
        self.snapshot.tool(name).filter(|tool| self.may_use(tool))
    }
}
