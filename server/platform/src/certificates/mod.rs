//! Client certificates. A connection proves that its peer has a certificate's key; what the certificate is worth is each tenant's own business:
//! whom it lets sign, as which agent a name acts, and whether anybody is served without one.

mod certificate;
mod name;
mod store;
mod trust;

pub use certificate::ClientCertificate;
pub use name::CertificateName;
pub use trust::{CertificateTrust, Identity};

use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Event},
    epoch,
    error::{Error, Result},
    ids::{AgentId, CertificateNameId},
};

/// Names of one tenant.
const MOST_NAMES: i64 = 1_000;
/// Largest bundle, in bytes.
const MAX_BUNDLE: usize = 64 * 1024;

/// What certificates mean in a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificatePolicy {
    bundle: String,
    required: bool,
}

/// As whom the holder of a certificate with that name acts.
#[derive(Debug, Clone)]
pub struct ListedName {
    /// Its id.
    pub id: CertificateNameId,
    /// The name, with its kind.
    pub name: String,
    /// The agent.
    pub agent: AgentId,
    /// Its name.
    pub agent_name: String,
}

impl CertificatePolicy {
    /// Reads a form: certification authorities as PEM, and whether nobody is served without a certificate of theirs.
    pub fn parse(bundle: &str, required: bool) -> Result<Self> {
        let bundle = bundle.trim();
        if bundle.len() > MAX_BUNDLE {
            return Err(Error::invalid("bundle", "expected at most 64 KiB of PEM"));
        }
        if bundle.is_empty() && required {
            return Err(Error::invalid(
                "bundle",
                "enter the certificates that sign those of your clients, or nobody could be served",
            ));
        }
        if !bundle.is_empty() {
            trust::authorities(bundle).map_err(|why| Error::invalid("bundle", why))?;
        }
        Ok(Self { bundle: bundle.to_owned(), required })
    }

    /// The authorities, as PEM.
    pub fn bundle(&self) -> &str {
        &self.bundle
    }

    /// Is nobody served without one?
    pub fn is_required(&self) -> bool {
        self.required
    }
}

/// The tenant's policy.
pub async fn policy(platform: &Platform, actor: &Member) -> Result<CertificatePolicy> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::policy(&mut tx).await
}

/// Changes it, for every request from now on.
pub async fn set_policy(platform: &Platform, actor: &Member, policy: &CertificatePolicy) -> Result<()> {
    actor.require(Permission::ManageTenant)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::set_policy(&mut tx, policy).await?;
    audit::append(&mut tx, platform.clock.now(), actor, &Event::CertificatePolicyChanged(actor.tenant)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}

/// The names that act as agents.
pub async fn names(platform: &Platform, actor: &Member) -> Result<Vec<ListedName>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::names(&mut tx).await
}

/// Lets the holder of a certificate with that name act as an agent.
pub async fn add_name(platform: &Platform, actor: &Member, name: &CertificateName, agent: AgentId) -> Result<CertificateNameId> {
    actor.require(Permission::ManageTenant)?;
    let now = platform.clock.now();
    let id = CertificateNameId::new(now);
    let mut tx = platform.db.tenant(actor.tenant).await?;
    if store::count(&mut tx).await? >= MOST_NAMES {
        return Err(Error::invalid("name", format!("there are {MOST_NAMES} names; remove one first")));
    }
    store::insert_name(&mut tx, id, name, agent, now).await?;
    audit::append(&mut tx, now, actor, &Event::CertificateNameAdded(id, agent)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(id)
}

/// Takes it back, from the next request on.
pub async fn remove_name(platform: &Platform, actor: &Member, id: CertificateNameId) -> Result<()> {
    actor.require(Permission::ManageTenant)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let agent = store::delete_name(&mut tx, id).await?.ok_or(Error::not_found("certificate name"))?;
    audit::append(&mut tx, platform.clock.now(), actor, &Event::CertificateNameRemoved(id, agent)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}
