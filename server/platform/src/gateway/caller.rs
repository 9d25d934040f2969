//! Who calls. A bearer becomes a `Caller` or nothing; which check failed is nobody's business.

use std::sync::Arc;

use crate::{
    Platform,
    agents::{Agent, AgentState, BearerKey, Key, KeyState},
    catalog::snapshot::{Current, LoadedTool},
};

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

/// Finds out whose bearer this is, at the endpoint of that tenant.
pub async fn authenticate(platform: &Platform, slug: &str, bearer: &str) -> Result<Caller, Unauthenticated> {
    let caller = identify(platform, slug, bearer).await;
    if matches!(caller, Err(Unauthenticated::Invalid)) {
        platform.metrics.failed_authentications.inc();
    }
    caller
}

async fn identify(platform: &Platform, slug: &str, bearer: &str) -> Result<Caller, Unauthenticated> {
    // Its checksum first: guesses and typing errors cost no look-up.
    let bearer = BearerKey::parse(bearer).ok_or(Unauthenticated::Invalid)?;
    let snapshot = platform.snapshots.get(platform, slug).await.map_err(|error| {
        tracing::warn!(error = %error, source = ?error, "a tenant cannot be loaded");
        Unauthenticated::Unavailable
    })?;
    let snapshot = snapshot.ok_or(Unauthenticated::Invalid)?;
    let key = Arc::clone(snapshot.key(bearer.lookup(), &bearer.digest()).ok_or(Unauthenticated::Invalid)?);
    Caller::with_key(platform, snapshot, key, slug.into())
}

impl Caller {
    fn with_key(platform: &Platform, snapshot: Current, key: Arc<Key>, slug: Arc<str>) -> Result<Self, Unauthenticated> {
        if key.state(platform.clock.now()) != KeyState::Active {
            return Err(Unauthenticated::Invalid);
        }
        let agent = Arc::clone(snapshot.agent(key.agent_id).ok_or(Unauthenticated::Invalid)?);
        Ok(Self { snapshot, agent, credential: Credential::Key(key), slug })
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
                Self::with_key(platform, snapshot, key, Arc::clone(&self.slug))
            }
        }
    }

    /// Known, but stopped: the agent or its tenant is suspended until somebody acts.
    pub fn is_suspended(&self) -> bool {
        !self.snapshot.active || self.agent.state == AgentState::Suspended
    }

    /// May it use that tool? By its own scopes and by its agent's ceiling.
    pub fn may_use(&self, tool: &LoadedTool) -> bool {
        let (name, effect) = (tool.tool.name.as_str(), tool.tool.version.effect);
        let Credential::Key(key) = &self.credential;
        key.scopes.permits_tool(name, effect) && self.agent.scopes.permits_tool(name, effect)
    }

    /// The tool of that name, if it exists for this caller.
    pub fn tool(&self, name: &str) -> Option<&Arc<LoadedTool>> {
        self.snapshot.tool(name).filter(|tool| self.may_use(tool))
    }
}
