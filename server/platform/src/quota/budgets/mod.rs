//! Budgets: so much money in a day or a month, of a tenant, an agent or a tool.
//!
//! A call reserves what it will probably cost where it is admitted, in the script that decides everything else (`admit.lua`); when its entry is in
//! Postgres, what it has cost takes the place of the reservation (`settle`). So a counter is the sum of the record and what is on its way, and
//! can be begun from the record at any time (`begin`).

mod begin;
mod budget;
mod notice;
mod period;
mod settle;
mod store;

use chrono::{DateTime, Utc};
use serde_json::Value;

pub use budget::{Budget, BudgetScope, BudgetTable, Reservation, Terms};
pub use notice::{Noticed, Stage};
pub use period::Period;
pub use settle::{reserved, settle};

pub(super) use {begin::begin, budget::reservations_of, notice::look};

use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Difference, Event},
    epoch,
    error::{Error, Result},
    ids::BudgetId,
};

/// How a budget stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The budget.
    pub budget: Budget,
    /// What the record has of its period, in micro-units.
    pub spent_micro: i64,
    /// Of what its owners were told in this period.
    pub stage: Option<Stage>,
    /// When its period ends.
    pub ends: DateTime<Utc>,
}

/// The budgets of that scope as they stand, days before months.
pub async fn list(platform: &Platform, actor: &Member, scope: BudgetScope) -> Result<Vec<Standing>> {
    actor.require(Permission::View)?;
    let day = period::day_of(platform.clock.now());
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let mut standings = Vec::new();
    for budget in store::list(&mut tx).await?.into_iter().filter(|budget| budget.scope == scope) {
        let (begins, ends) = budget.period.around(day);
        let spent_micro = store::spent(&mut tx, scope, (begins, ends), &[]).await?.0;
        let stage = store::stage(&mut tx, budget.id, begins).await?;
        standings.push(Standing { ends: period::at(ends), budget, spent_micro, stage });
    }
    tx.commit().await?;
    standings.sort_by_key(|standing| standing.budget.period);
    Ok(standings)
}

/// Sets the budgets of that scope. A period without terms has none. Holds from the next call on.
pub async fn set(platform: &Platform, actor: &Member, scope: BudgetScope, terms: [(Period, Option<Terms>); 2]) -> Result<()> {
    actor.require(scope.permission())?;
    for (period, terms) in &terms {
        terms.as_ref().map_or(Ok(()), |terms| terms.check(*period))?;
    }
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    if !store::exists(&mut tx, scope).await? {
        return Err(Error::not_found(scope.noun()));
    }
    let before = store::list(&mut tx).await?;
    let mut events = Vec::new();
    for (period, terms) in terms {
        let old = before.iter().find(|budget| budget.scope == scope && budget.period == period);
        match (old, terms) {
            (Some(old), None) => {
                store::delete(&mut tx, old.id).await?;
                let difference = difference(period, Some(&old.terms), None);
                events.push(Event::BudgetRemoved(old.id, scope.subject(actor.tenant), difference));
            }
            (Some(old), Some(terms)) if old.terms != terms => {
                store::update(&mut tx, old.id, terms).await?;
                // What owners were told of is not this budget any more.
                store::forget_notices(&mut tx, old.id).await?;
                let difference = difference(period, Some(&old.terms), Some(&terms));
                events.push(Event::BudgetSet(old.id, scope.subject(actor.tenant), difference));
            }
            (None, Some(terms)) => {
                let difference = difference(period, None, Some(&terms));
                let budget = Budget { id: BudgetId::new(now), scope, period, terms };
                store::insert(&mut tx, &budget, now).await?;
                events.push(Event::BudgetSet(budget.id, scope.subject(actor.tenant), difference));
            }
            _ => {}
        }
    }
    if events.is_empty() {
        return Ok(());
    }
    audit::append_all(&mut tx, now, Some(actor), &events).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}

/// What was agreed before and what is now, by the period's name.
fn difference(period: Period, before: Option<&Terms>, after: Option<&Terms>) -> Difference {
    let name = |part: &str| format!("{}_{part}", period.as_str());
    let of = |terms: Option<&Terms>, part: fn(&Terms) -> Value| terms.map(part).filter(|value| !value.is_null());
    let both = |part| (of(before, part), of(after, part));
    let (amount, warn, blocks) =
        (both(|terms| terms.amount_micro.into()), both(|terms| terms.warn_percent.into()), both(|terms| terms.blocks.into()));
    Difference::default().of(name("amount_micro"), amount.0, amount.1).of(name("warn_percent"), warn.0, warn.1).of(
        name("blocks"),
        blocks.0,
        blocks.1,
    )
}
