//! Who calls. A bearer becomes a `Caller` or nothing; which check failed is nobody's business.

mod authenticate;
mod credential;
mod reach;

use std::sync::Arc;

use self::credential::is_certified;
use super::Refusal;
use crate::{
    Platform,
    agents::{Agent, AgentState},
    catalog::{snapshot::Current, toolset::Toolset},
    certificates::ClientCertificate,
    ids::UserId,
    oauth::Proven,
    session::{self, Session},
};

pub use authenticate::{Unauthenticated, authenticate, why_refused};
pub use credential::{Credential, Holder};

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
}
