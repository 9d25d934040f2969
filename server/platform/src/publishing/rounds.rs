//! Probes that are due: one replica takes each by a lease, a few are made at the same time, and one failure is looked at again soon, so that what
//! is broken is known within one interval and what stumbled once is not called broken.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt as _, stream::FuturesUnordered};

use super::{
    call::{self, Candidate},
    notice,
    probe::{Health, Kind, Probe, Subject},
    sample, source, store,
};
use crate::{
    Platform,
    catalog::snapshot,
    db::TenantTx,
    epoch,
    error::{Error, Result},
    gate::Report,
    ids::{ProbeId, ProbeRunId, TenantId, ToolVersionId},
};

/// How soon a result that speaks against what is known is checked again, in seconds; sooner where probes are frequent.
const AGAIN_S: u32 = 20;
/// Results in a row that change what is known.
const ENOUGH: i32 = 2;
/// Longest probe, and how long nobody else begins.
const DEADLINE: Duration = Duration::from_secs(150);
const LEASE: TimeDelta = TimeDelta::seconds(180);
/// Probes that one replica makes at the same time, each of another tenant.
const TOGETHER: usize = 8;
/// What is kept of a probe.
const KEPT: TimeDelta = TimeDelta::days(7);
const MOST_KEPT: i64 = 300;

/// What came of trying a subject.
pub(super) struct Found {
    pub(super) report: Report,
    pub(super) version: Option<ToolVersionId>,
}

/// Makes every probe that is due by now, a few at a time. Called by a background tick.
pub async fn probe_due(platform: &Platform) -> Result<()> {
    let mut probing = FuturesUnordered::new();
    let mut busy: Vec<TenantId> = Vec::new();
    let mut outcome = Ok(());
    loop {
        while probing.len() < TOGETHER && outcome.is_ok() {
            match next_due(platform, &busy).await {
                Ok(Some((tenant, id))) => {
                    busy.push(tenant);
                    probing.push(probe_and_tell(platform, tenant, id));
                }
                Ok(None) => break,
                // The queue cannot be read; what was begun is finished.
                Err(error) => outcome = Err(error),
            }
        }
        match probing.next().await {
            Some(done) => busy.retain(|tenant| *tenant != done),
            None => return outcome,
        }
    }
}

async fn next_due(platform: &Platform, but: &[TenantId]) -> Result<Option<(TenantId, ProbeId)>> {
    let now = platform.clock.now();
    let mut tx = platform.db.system().await?;
    let due = store::lease_due(&mut tx, but, now, now + LEASE).await?;
    tx.commit().await?;
    Ok(due)
}

/// A probe that cannot be made says nothing of its subject. Says whose it is.
async fn probe_and_tell(platform: &Platform, tenant: TenantId, id: ProbeId) -> TenantId {
    if let Err(error) = one(platform, tenant, id).await {
        tracing::warn!(tenant.id = %tenant, probe.id = %id, error = &error as &dyn std::error::Error, "a probe was not made");
    }
    tenant
}

async fn one(platform: &Platform, tenant: TenantId, id: ProbeId) -> Result<()> {
    let mut tx = platform.db.tenant(tenant).await?;
    let Some(probe) = sample::lock(platform, &mut tx, id).await? else { return Ok(()) };
    sample::seal_plain(platform, &mut tx, &probe).await?;
    // While a tenant is suspended nothing is called in its name.
    let is_active = snapshot::of_tenant(platform, &mut tx).await?.active;
    tx.commit().await?;
    let Some(pause) = probe.terms.every_s else { return forget(platform, tenant, id).await };
    let trying = async { if is_active { try_subject(platform, tenant, &probe).await } else { Ok(None) } };
    let Ok(found) = tokio::time::timeout(DEADLINE, trying).await else {
        return Err(Error::internal("a probe took longer than its lease"));
    };
    if let Some(found) = found? {
        return note(platform, tenant, id, Kind::Probe, &found).await;
    }
    let mut tx = platform.db.tenant(tenant).await?;
    store::release(&mut tx, id, platform.clock.now() + spread(pause)).await?;
    tx.commit().await
}

async fn forget(platform: &Platform, tenant: TenantId, id: ProbeId) -> Result<()> {
    let mut tx = platform.db.tenant(tenant).await?;
    store::unschedule(&mut tx, id).await?;
    tx.commit().await
}

/// Tries what is published. `None`: there is nothing to try, or nothing that may be tried.
pub(super) async fn try_subject(platform: &Platform, tenant: TenantId, probe: &Probe) -> Result<Option<Found>> {
    match probe.subject {
        Subject::Source(id) => source::try_source(platform, tenant, id, probe).await,
        Subject::Tool(id) => {
            let mut tx = platform.db.tenant(tenant).await?;
            let Some((tool, secret)) = snapshot::load_one(platform, &mut tx, id).await? else { return Ok(None) };
            let current = snapshot::of_tenant(platform, &mut tx).await?;
            tx.commit().await?;
            let is_served = tool.tool.enabled && !tool.tool.withheld && !tool.tool.version.executor.is_proxied();
            if !is_served || !call::can_try(&tool, &probe.terms, Kind::Probe) {
                return Ok(None);
            }
            let version = Some(tool.tool.version.id);
            let candidate = Candidate { platform, current: &current, tool: &tool, secret, user: probe.set_by };
            let report = call::try_tool(candidate, &probe.terms, Kind::Probe).await;
            Ok(Some(Found { report, version }))
        }
    }
}

/// Stores what was found, and what follows from it.
pub(super) async fn note(platform: &Platform, tenant: TenantId, id: ProbeId, kind: Kind, found: &Found) -> Result<()> {
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(tenant).await?;
    let Some(before) = sample::lock(platform, &mut tx, id).await? else { return Ok(()) };
    if matches!(before.subject, Subject::Tool(_)) && !is_current(&mut tx, &before, found.version).await? {
        // Another version was published while this one was tried: nothing is known of that.
        store::release(&mut tx, id, now).await?;
        return tx.commit().await;
    }
    insert_run(&mut tx, id, kind, found, now).await?;
    let after = weigh(&before, &found.report, now);
    store::set_state(&mut tx, &after).await?;
    let has_turned = (before.health == Health::Failing) != (after.health == Health::Failing);
    if has_turned {
        notice::tell(platform, &mut tx, &after).await?;
    }
    if let Some(pause) = after.terms.every_s {
        let pause = if after.against == 0 { spread(pause) } else { TimeDelta::seconds(again_s(pause).into()) };
        store::release(&mut tx, id, now + pause).await?;
    }
    tx.commit().await?;
    platform.metrics.count_probe(found.report.passed);
    if has_turned && after.terms.hides {
        epoch::changed(platform, tenant).await;
    }
    Ok(())
}

async fn is_current(tx: &mut TenantTx, probe: &Probe, tried: Option<ToolVersionId>) -> Result<bool> {
    let Subject::Tool(id) = probe.subject else { return Ok(true) };
    let current = crate::catalog::drafts::current_version(tx, id).await?;
    Ok(current == tried)
}

/// Stores a run, and drops those that are too old or too many.
pub(super) async fn insert_run(tx: &mut TenantTx, probe: ProbeId, kind: Kind, found: &Found, now: DateTime<Utc>) -> Result<()> {
    let report = serde_json::value::to_raw_value(&found.report).map_err(Error::internal)?;
    let run = store::NewRun {
        id: ProbeRunId::new(now),
        probe,
        version: found.version,
        kind,
        passed: found.report.passed,
        took_ms: i32::try_from(found.report.took_ms()).unwrap_or(i32::MAX),
        report: &report,
        at: now,
    };
    store::insert_run(tx, &run).await?;
    store::prune(tx, probe, now - KEPT, MOST_KEPT).await
}

/// What is known after a result. It takes two in a row to turn.
fn weigh(before: &Probe, report: &Report, now: DateTime<Utc>) -> Probe {
    let mut after = Probe { checked_at: Some(now), ..before.clone() };
    if let Some(failure) = report.failure() {
        failure.check.as_str().clone_into(&mut after.failed);
        after.problem = failure.problem.clone().unwrap_or_default();
    }
    let speaks_for = report.passed == (before.health != Health::Failing);
    if speaks_for && before.health != Health::Unknown {
        after.against = 0;
    } else if before.health == Health::Unknown && report.passed {
        (after.health, after.since, after.against) = (Health::Well, Some(now), 0);
    } else {
        after.against += 1;
        if after.against >= ENOUGH {
            after.health = if report.passed { Health::Well } else { Health::Failing };
            (after.since, after.against) = (Some(now), 0);
        }
    }
    if after.health != Health::Failing && after.against == 0 {
        after.failed.clear();
        after.problem.clear();
    }
    after
}

fn again_s(pause: u32) -> u32 {
    AGAIN_S.min(pause / 15)
}

/// A little less than the pause, and not always as much: what was published together is not tried together, and there is room for a second look.
pub(super) fn spread(pause_s: u32) -> TimeDelta {
    let percent = i32::from(crate::random::bytes::<1>()[0]) * 13 / 255;
    TimeDelta::seconds(pause_s.into()) * (80 + percent) / 100
}

#[cfg(test)]
mod tests {
    use super::{
        Health::{Failing, Unknown, Well},
        *,
    };
    use crate::{
        gate::{Check, Checked, Verdict},
        ids::ToolId,
    };

    fn report(passed: bool) -> Report {
        let verdict = if passed { Verdict::Passed } else { Verdict::Failed };
        let problem = (!passed).then(|| "down".to_owned());
        let checks = vec![Checked { check: Check::Call, verdict, took_ms: Some(1), problem, advice: None }];
        Report { passed, checks, ..Report::default() }
    }

    #[test]
    fn it_takes_two_in_a_row_to_turn() {
        let (at, id) = (DateTime::UNIX_EPOCH, ProbeId::NIL);
        let mut probe = Probe::new(id, Subject::Tool(ToolId::NIL));
        let mut health = |passed| {
            probe = weigh(&probe, &report(passed), at);
            probe.health
        };
        let seen = [false, true, false, true, false, false, true, false, true, true].map(&mut health);
        assert_eq!(seen, [Unknown, Well, Well, Well, Well, Failing, Failing, Failing, Failing, Well]);
        assert!(probe.failed.is_empty() && probe.problem.is_empty());
    }

    #[test]
    fn what_never_passed_fails_after_two() {
        let probe = Probe::new(ProbeId::NIL, Subject::Tool(ToolId::NIL));
        let once = weigh(&probe, &report(false), DateTime::UNIX_EPOCH);
        let twice = weigh(&once, &report(false), DateTime::UNIX_EPOCH);
        assert_eq!((once.health, twice.health, &*twice.failed), (Health::Unknown, Health::Failing, "call"));
    }

    #[test]
    fn a_second_look_comes_within_the_interval() {
        for pause in [30, 300, 86_400] {
            let longest = spread(pause).num_seconds() + i64::from(again_s(pause));
            assert!(longest <= i64::from(pause), "{pause}: {longest}");
        }
    }
}
