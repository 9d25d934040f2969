//! The limits that a tenant sets for itself: under its plan, never above it.

use super::{Limit, LimitScope, LimitTable, Settings, limits, store};
use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Difference, Event},
    epoch,
    error::{Error, ErrorKind, FieldError, Result},
    ids::LimitId,
};

/// What bounds a whole tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantLimits {
    /// What it has set itself.
    pub own: Limit,
    /// Name of its plan, if it has one.
    pub plan: Option<String>,
    /// The most that it may set: its plan's, and where that says nothing, the installation's.
    pub ceiling: Limit,
    /// What holds.
    pub holds: Limit,
}

impl TenantLimits {
    /// Is that within the ceiling? Each field that is above is named, with the most that is allowed.
    pub fn check(&self, own: &Limit) -> Result<()> {
        own.check()?;
        let rate = |limit: &Limit| (limit.rate.map(|rate| rate.per_minute), limit.rate.map(|rate| rate.burst));
        let ((per_minute, burst), (most_per_minute, most_burst)) = (rate(own), rate(&self.ceiling));
        let above = [
            ("per_minute", per_minute, most_per_minute),
            ("burst", burst, most_burst),
            ("per_day", own.per_day, self.ceiling.per_day),
            ("at_once", own.at_once, self.ceiling.at_once),
        ];
        let whose = self.plan.as_ref().map_or_else(|| "this installation".to_owned(), |plan| format!("the plan “{plan}”"));
        let fields: Vec<_> = above
            .into_iter()
            .filter_map(|(field, own, most)| {
                let most = most.filter(|most| own.is_some_and(|own| own > *most))?;
                Some(FieldError { field: field.to_owned(), message: format!("{whose} allows {most} at most") })
            })
            .collect();
        if fields.is_empty() { Ok(()) } else { Err(Error::new(ErrorKind::Invalid(fields))) }
    }
}

/// What bounds the actor's tenant.
pub async fn tenant_limits(platform: &Platform, actor: &Member) -> Result<TenantLimits> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let found = load(&mut tx, &platform.settings.quota).await?;
    tx.commit().await?;
    Ok(found)
}

/// Sets what the actor's tenant has at most, from the next call on. What its plan does not allow is refused.
pub async fn set_tenant_limits(platform: &Platform, actor: &Member, own: Limit) -> Result<()> {
    actor.require(Permission::ManageTenant)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let before = load(&mut tx, &platform.settings.quota).await?;
    before.check(&own)?;
    if own == before.own {
        return tx.commit().await;
    }
    limits::set(&mut tx, LimitId::new(now), LimitScope::Tenant, own).await?;
    let difference = before.own.note(&own, Difference::default());
    audit::append(&mut tx, now, actor, &Event::TenantLimitsChanged(actor.tenant, difference)).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}

async fn load(tx: &mut crate::db::TenantTx, settings: &Settings) -> Result<TenantLimits> {
    let table = LimitTable::load(tx).await?;
    Ok(TenantLimits {
        own: table.get(LimitScope::Tenant),
        plan: store::plan_name(tx).await?,
        ceiling: table.ceiling(settings),
        holds: table.of_tenant(settings),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Rate;

    #[test]
    fn what_is_above_the_plan_is_named_field_by_field() {
        let ceiling = Limit { rate: Some(Rate { per_minute: 100, burst: 10 }), per_day: Some(1_000), at_once: None };
        let limits = TenantLimits { own: Limit::default(), plan: Some("small".to_owned()), ceiling, holds: ceiling };
        assert!(limits.check(&ceiling).is_ok() && limits.check(&Limit::default()).is_ok());
        let wanted = Limit { rate: Some(Rate { per_minute: 101, burst: 10 }), per_day: Some(1_001), at_once: Some(9) };
        let Err(error) = limits.check(&wanted) else { panic!("it is above") };
        assert_eq!(
            error.to_string(),
            "per_minute: the plan “small” allows 100 at most; per_day: the plan “small” allows 1000 at most"
        );
    }
}
