//! An MCP server as the gate and the probes see it: as its first caller would, with connections and sessions of their own, so that nobody's call
//! has to shake hands again.

use std::time::Duration;

use super::{
    probe::{Kind, Probe, Subject, Terms},
    rounds::{self, Found},
    store,
};
use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Event},
    catalog::source::{self, Target},
    error::{Error, Result},
    gate::{self, Demand, Plan, Report, Sample},
    ids::{SourceId, TenantId},
    quota::attempts::{self, Attempt},
};

/// What the gate says of a source.
#[derive(Debug, Clone)]
pub enum Admission {
    /// Its tools may be let in.
    Open,
    /// They may not, as long as it fails that.
    Stopped(Box<Report>),
}

/// May definitions of that source be let in? The first time the gate goes through it, unless somebody says why not; after that, its probes do.
pub async fn admit(platform: &Platform, actor: &Member, id: SourceId, untried: Option<&str>) -> Result<Admission> {
    actor.require(Permission::ManageTools)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    if !store::waits_for_gate(&mut tx, id).await? {
        // Nothing has to be tried, and what somebody says of it is kept all the same.
        if let Some(reason) = untried {
            super::check_reason(reason)?;
            audit::append(&mut tx, platform.clock.now(), actor, &Event::SourceUntried(id, reason.to_owned())).await?;
            tx.commit().await?;
        }
        return Ok(Admission::Open);
    }
    let probe = super::ensured(platform, &mut tx, Subject::Source(id)).await?;
    if let Some(reason) = untried {
        super::check_reason(reason)?;
        audit::append(&mut tx, platform.clock.now(), actor, &Event::SourceUntried(id, reason.to_owned())).await?;
        begin(platform, &mut tx, &probe).await?;
        tx.commit().await?;
        return Ok(Admission::Open);
    }
    tx.commit().await?;
    attempts::check(platform, Attempt::TrialByMember, &actor.user.to_string()).await?;
    let Some((_, target)) = source::reach(platform, actor.tenant, id).await? else { return Err(Error::not_found("source")) };
    // Without a network there is nothing to go through.
    let Some(target) = target else { return Ok(Admission::Open) };
    let report = go(platform, &target, &probe.terms, Kind::Gate).await;
    let now = platform.clock.now();
    let found = Found { report, version: None };
    let mut tx = platform.db.tenant(actor.tenant).await?;
    rounds::insert_run(&mut tx, probe.id, Kind::Gate, &found, now).await?;
    if let Some(failure) = found.report.failure() {
        audit::append(&mut tx, now, actor, &Event::SourceStopped(id, failure.check.as_str())).await?;
        tx.commit().await?;
        return Ok(Admission::Stopped(Box::new(found.report)));
    }
    begin(platform, &mut tx, &probe).await?;
    tx.commit().await?;
    Ok(Admission::Open)
}

pub(super) async fn begin(platform: &Platform, tx: &mut crate::db::TenantTx, probe: &Probe) -> Result<()> {
    match probe.terms.every_s {
        Some(pause) => store::schedule(tx, probe.id, platform.clock.now() + rounds::spread(pause)).await,
        None => Ok(()),
    }
}

/// Has a source tried again and again that lets its tools in by itself. One that waits for somebody is tried from then on.
pub async fn watch_source(platform: &Platform, actor: &Member, id: SourceId) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let probe = super::ensured(platform, &mut tx, Subject::Source(id)).await?;
    begin(platform, &mut tx, &probe).await?;
    tx.commit().await
}

/// Probes a source. `None`: it is switched off, gone, or not reached over the network.
pub(super) async fn try_source(platform: &Platform, tenant: TenantId, id: SourceId, probe: &Probe) -> Result<Option<Found>> {
    let reached = source::reach(platform, tenant, id).await?;
    let Some((_, Some(target))) = reached.filter(|(source, _)| source.enabled) else { return Ok(None) };
    let report = go(platform, &target, &probe.terms, Kind::Probe).await;
    Ok(Some(Found { report, version: None }))
}

/// What is asked of it, and which call is made if somebody has named one that may be made.
pub(super) fn plan(terms: &Terms, kind: Kind, demand: Demand) -> Plan {
    let is_allowed = terms.confirmed && (kind == Kind::Gate || terms.repeats);
    let named = !terms.called.is_empty() && is_allowed;
    let sample = named.then(|| Sample { tool: terms.called.clone(), arguments: terms.arguments.clone().unwrap_or_default() });
    Plan {
        sample,
        within: Duration::from_millis(terms.within_ms.into()),
        may_echo: terms.may_echo,
        // What is expected is expected of the call that was named.
        expected: if named { terms.expectations() } else { Vec::new() },
        demand,
    }
}

async fn go(platform: &Platform, target: &Target, terms: &Terms, kind: Kind) -> Report {
    let plan = plan(terms, kind, if kind == Kind::Gate { Demand::Call } else { Demand::CallIfHarmless });
    let alone = gate::alone();
    let report = gate::run(&alone, &platform.egress, target, &plan).await;
    alone.sweep(Duration::ZERO).await;
    report
}
