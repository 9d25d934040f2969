//! Who calls. A bearer becomes a `Caller` or nothing; which check failed is nobody's business.

use std::sync::Arc;

use trunkline_protocol::oauth::scope::{Scope, ScopeSet};

use crate::{
    Platform,
    agents::{Agent, AgentState, BearerKey, Key, KeyState},
    catalog::{
        snapshot::{Current, LoadedItem, LoadedTool},
        toolset::Toolset,
    },
    dialogue::ItemKind,
    ids::SourceId,
    session::{self, Session},
};

use super::Refusal;

/// What the caller showed. Access tokens come beside keys.
#[derive(Debug, Clone)]
pub enum Credential {
    /// An agent's key.
    Key(Arc<Key>),
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
    // Its checksum first: guesses and typing errors cost no look-up.
    let bearer = BearerKey::parse(bearer).ok_or(Unauthenticated::Invalid)?;
    let snapshot = platform.snapshots.get(platform, slug).await.map_err(|error| {
        tracing::warn!(error = %error, source = ?error, "a tenant cannot be loaded");
        Unauthenticated::Unavailable
    })?;
    let snapshot = snapshot.ok_or(Unauthenticated::Invalid)?;
    let key = Arc::clone(snapshot.key(bearer.lookup(), &bearer.digest()).ok_or(Unauthenticated::Invalid)?);
    Caller::with_key(platform, snapshot, key, slug.into(), toolset)
}

impl Credential {
    /// Names what was shown, without telling it: the client of a session.
    pub fn id(&self) -> String {
        match self {
            Self::Key(key) => key.id.to_string(),
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

    fn with_key(
        platform: &Platform,
        snapshot: Current,
        key: Arc<Key>,
        slug: Arc<str>,
        toolset: Option<&str>,
    ) -> Result<Self, Unauthenticated> {
        // The endpoint of a toolset that is not there is nobody's.
        let toolset = match toolset {
            None => None,
            Some(name) => Some(Arc::clone(snapshot.toolset(name).ok_or(Unauthenticated::Invalid)?)),
        };
        if key.state(platform.clock.now()) != KeyState::Active {
            return Err(Unauthenticated::Invalid);
        }
        let agent = Arc::clone(snapshot.agent(key.agent_id).ok_or(Unauthenticated::Invalid)?);
        Ok(Self { snapshot, agent, credential: Credential::Key(key), session: None, toolset, slug })
    }

    /// The same caller after a change of its tenant, if it still is one.
    pub(super) async fn reload(&self, platform: &Platform) -> Result<Self, Unauthenticated> {
        let fresh = platform.snapshots.reload(platform, &self.slug, &self.snapshot.epoch).await;
        let snapshot = fresh.map_err(|error| {
            tracing::warn!(error = %error, source = ?error, "a tenant cannot be loaded again");
            Unauthenticated::Unavailable
        })?;
        let snapshot = snapshot.ok_or(Unauthenticated::Invalid)?;
        match &self.credential {
            Credential::Key(key) => {
                let key = Arc::clone(snapshot.key_by_lookup(&key.lookup).ok_or(Unauthenticated::Invalid)?);
                let caller = Self::with_key(platform, snapshot, key, Arc::clone(&self.slug), self.at())?;
                Ok(Self { session: self.session.clone(), ..caller })
            }
        }
    }

    /// The same caller as its tenant is now; `None` if it is not one any more, or its session has ended.
    pub async fn again(&self, platform: &Platform) -> Option<Self> {
        let snapshot = platform.snapshots.get(platform, &self.slug).await.ok()??;
        let Credential::Key(key) = &self.credential;
        let key = Arc::clone(snapshot.key_by_lookup(&key.lookup)?);
        let mut caller = Self::with_key(platform, snapshot, key, Arc::clone(&self.slug), self.at()).ok()?;
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
        let Credential::Key(key) = &self.credential;
        key.scopes.iter().any(|have| have == scope) && self.agent.scopes.iter().any(|have| have == scope)
    }

    /// May it use that tool, at this endpoint? By its own scopes and by its agent's ceiling.
    pub fn may_use(&self, tool: &LoadedTool) -> bool {
        let Credential::Key(key) = &self.credential;
        let is_here = self.toolset.as_ref().is_none_or(|toolset| toolset.tools.contains(&tool.tool.id));
        is_here && self.opens(&key.scopes, tool) && self.opens(&self.agent.scopes, tool)
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
