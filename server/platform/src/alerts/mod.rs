//! Alerts: what is out of the ordinary for a tool or an agent is told once when it begins and once when it is over.
//!
//! `rounds` looks at each tenant once a minute, `judge` says what a look means, `turn` what becomes of it, `notice` tells. What is usual is learnt
//! from the sums of the days before, and stays what it was for as long as an alert lasts.

mod alert;
mod judge;
mod notice;
mod rounds;
mod store;
mod targets;
mod turn;

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

pub(crate) use targets::reseal;
pub use {
    alert::{Alert, Kind, State},
    rounds::look_due,
    targets::{NewTargets, Targets},
};

use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Event},
    error::{Error, Result},
    ids::{AlertId, UserId, uuid_v7},
    jobs,
    secret::Plaintext,
};

/// Alerts that a page lists of each kind of state.
const LISTED: i64 = 100;
/// Longest silence.
const LONGEST_SILENCE: TimeDelta = TimeDelta::days(30);

/// What a tenant's page says.
#[derive(Debug)]
pub struct Overview {
    /// What fires, the newest first.
    pub firing: Vec<Alert>,
    /// What was over, the last first.
    pub history: Vec<Alert>,
    /// Addresses of members who look after some of them.
    pub emails: HashMap<UserId, String>,
}

/// What fires, and what did in the last days; of each the newest hundred.
pub async fn overview(platform: &Platform, actor: &Member) -> Result<Overview> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let firing = store::list(&mut tx, true, LISTED).await?;
    let history = store::list(&mut tx, false, LISTED).await?;
    let users: Vec<UserId> = firing.iter().chain(&history).filter_map(|alert| alert.acknowledged.map(|(user, _)| user)).collect();
    let emails = store::emails(&mut tx, &users).await?;
    tx.commit().await?;
    Ok(Overview { firing, history, emails })
}

/// Says that the actor looks after it.
pub async fn acknowledge(platform: &Platform, actor: &Member, id: AlertId) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    if !store::acknowledge(&mut tx, id, actor.user, now).await? {
        return Err(Error::not_found("alert"));
    }
    audit::append(&mut tx, now, actor, &Event::AlertAcknowledged(id)).await?;
    tx.commit().await
}

/// Nobody is told of what it is about until then, also when it comes back. What was told of already is told when it is over.
pub async fn silence(platform: &Platform, actor: &Member, id: AlertId, until: DateTime<Utc>) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    let now = platform.clock.now();
    if until <= now || until > now + LONGEST_SILENCE {
        return Err(Error::invalid("until", "expected a time within the next 30 days"));
    }
    let mut tx = platform.db.tenant(actor.tenant).await?;
    if !store::silence(&mut tx, id, until).await? {
        return Err(Error::not_found("alert"));
    }
    audit::append(&mut tx, now, actor, &Event::AlertSilenced(id, until)).await?;
    tx.commit().await
}

/// Whom the tenant's alerts are told.
pub async fn targets(platform: &Platform, actor: &Member) -> Result<Targets> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let targets = targets::of(platform, &mut tx).await?;
    tx.commit().await?;
    Ok(targets)
}

/// Says whom. Gives the secret that the webhook is signed with, where it is new: it is shown this once.
pub async fn set_targets(platform: &Platform, actor: &Member, new: NewTargets) -> Result<Option<Plaintext>> {
    actor.require(Permission::ManageTenant)?;
    new.check(platform)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let secret = targets::set(platform, &mut tx, new).await?;
    audit::append(&mut tx, platform.clock.now(), actor, &Event::AlertTargetsChanged(actor.tenant)).await?;
    tx.commit().await?;
    Ok(secret)
}

/// Tells each server once that this is a test. What each of them is, and why it was not taken; `None` if it was.
pub async fn try_targets(platform: &Platform, actor: &Member) -> Result<Vec<(&'static str, Option<String>)>> {
    actor.require(Permission::ManageTenant)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let targets = targets::of(platform, &mut tx).await?;
    let (organisation, slug) = store::organisation(&mut tx).await?;
    tx.commit().await?;
    let id = format!("msg_test_{}", uuid_v7(now).simple());
    let about = notice::About { organisation, slug };
    let mut tried = Vec::new();
    for (what, hook) in notice::trials(&about, &targets, &id, now) {
        tried.push((what, jobs::post(platform, &hook).await.err().map(|refused| refused.why)));
    }
    Ok(tried)
}
