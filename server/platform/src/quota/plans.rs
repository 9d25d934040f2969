//! Plans: named sets of limits that an operator gives whole tenants. What a tenant sets itself can be lower, never higher.

use super::{Limit, store};
use crate::{
    Platform,
    audit::{self, Difference, Event},
    epoch,
    error::{Error, Result},
    ids::TenantId,
};

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Unique in the installation.
    pub name: String,
    /// The most that a tenant has. What it does not say is as the installation's settings have it.
    pub limit: Limit,
    /// Tenants that have it.
    pub tenants: i64,
}

/// All plans, by name.
pub async fn list(platform: &Platform) -> Result<Vec<Plan>> {
    let mut tx = platform.db.system().await?;
    store::list_plans(&mut tx).await
}

/// Makes a plan, or changes it for all who have it, from their next call on.
pub async fn set(platform: &Platform, name: &str, limit: Limit) -> Result<()> {
    limit.check()?;
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 40 || !name.chars().all(is_name) || name.starts_with('-') || name.ends_with('-') {
        return Err(Error::invalid("name", "expected 1 to 40 lower-case letters, digits and hyphens between them"));
    }
    let mut tx = platform.db.system().await?;
    let before = store::list_plans(&mut tx).await?.into_iter().find(|plan| plan.name == name).map(|plan| plan.limit);
    let had = store::upsert_plan(&mut tx, name, limit).await?;
    tx.commit().await?;
    tell(platform, &had, &before.unwrap_or_default().note(&limit, Difference::default())).await
}

/// Removes a plan that nobody has.
pub async fn remove(platform: &Platform, name: &str) -> Result<()> {
    let mut tx = platform.db.system().await?;
    if !store::tenants_of_plan(&mut tx, name).await?.is_empty() {
        return Err(Error::conflict("Tenants have this plan. Give them another one first."));
    }
    if !store::delete_plan(&mut tx, name).await? {
        return Err(Error::not_found("plan"));
    }
    tx.commit().await
}

/// Gives a tenant a plan, or takes it away; from its next call on.
pub async fn give(platform: &Platform, slug: &str, plan: Option<&str>) -> Result<()> {
    let mut tx = platform.db.system().await?;
    if let Some(plan) = plan
        && !store::list_plans(&mut tx).await?.iter().any(|known| known.name == plan)
    {
        return Err(Error::not_found("plan"));
    }
    let (tenant, before) = store::give_plan(&mut tx, slug, plan).await?.ok_or(Error::not_found("tenant"))?;
    tx.commit().await?;
    tell(platform, &[tenant], &Difference::default().of("plan", before.as_deref(), plan)).await
}

/// Writes it down for the tenants whose limits are others now, and lets every replica know.
async fn tell(platform: &Platform, tenants: &[TenantId], difference: &Difference) -> Result<()> {
    for &tenant in tenants {
        let mut tx = platform.db.tenant(tenant).await?;
        let event = Event::TenantLimitsChanged(tenant, difference.clone());
        audit::append_all(&mut tx, platform.clock.now(), None, &[event]).await?;
        tx.commit().await?;
        epoch::changed(platform, tenant).await;
    }
    Ok(())
}
