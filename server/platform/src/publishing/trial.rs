//! The gate before a source's policy: what would be let in by itself is tried as a person's approval would be, and each tool by itself where a
//! call of it is known. Where none is, the source's own call stands for it; and where that has none either, a handshake and a list do.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};

use super::{
    probe::{Kind, Subject},
    rounds::{self, Found},
    source,
};
use crate::{
    Platform,
    catalog::{
        definition::Definition,
        snapshot,
        source::{Stopped, Target},
    },
    error::Result,
    gate::{self, Check, Demand, Each, Report, Sample},
};

/// Calls in one look at a source; for what is beyond, its own call stands, as for what cannot be called.
const MOST_CALLS: usize = 40;

/// Tries tools of a source that nobody has looked at. Says of each why it is stopped.
pub(crate) fn trial<'a>(
    platform: &'a Platform,
    target: &'a Target,
    tools: &'a [&'a Definition],
) -> BoxFuture<'a, Result<Vec<Option<Stopped>>>> {
    try_all(platform, target, tools).boxed()
}

async fn try_all(platform: &Platform, target: &Target, tools: &[&Definition]) -> Result<Vec<Option<Stopped>>> {
    let mut tx = platform.db.tenant(target.tenant).await?;
    let probe = super::ensured(platform, &mut tx, Subject::Source(target.source)).await?;
    let is_active = snapshot::of_tenant(platform, &mut tx).await?.active;
    tx.commit().await?;
    if !is_active {
        let reason = "It was not tried: while an organisation is suspended nothing is called in its name.".to_owned();
        return Ok(vec![Some(Stopped { check: Check::Call.as_str(), reason }); tools.len()]);
    }

    let plan = source::plan(&probe.terms, Kind::Gate, Demand::CallIfHarmless);
    let named = |tool: &Definition| plan.sample.clone().filter(|sample| sample.tool == tool.key);
    let mut own: Vec<(&Definition, Sample)> =
        tools.iter().filter_map(|tool| Some((*tool, named(tool).or_else(|| gate::harmless(tool))?))).collect();
    own.truncate(MOST_CALLS);
    let alone = gate::alone();
    let each = gate::run_each(&alone, &platform.egress, target, &plan, &own, own.len() < tools.len()).await;
    alone.sweep(Duration::ZERO).await;

    let found = Found { report: whole(&each), version: None };
    let mut tx = platform.db.tenant(target.tenant).await?;
    rounds::insert_run(&mut tx, probe.id, Kind::Gate, &found, platform.clock.now()).await?;
    tx.commit().await?;
    let called: Vec<&str> = own.iter().map(|(tool, _)| tool.key.as_str()).collect();
    Ok(tools.iter().map(|tool| stopped(&each, called.iter().position(|key| *key == tool.key))).collect())
}

/// Why a tool is stopped, whose own call is that one.
fn stopped(each: &Each, own: Option<usize>) -> Option<Stopped> {
    let (report, whose) = if !each.server.passed {
        (&each.server, "its server was asked".to_owned())
    } else if let Some(at) = own {
        (each.calls.get(at)?, "a real call of it was made".to_owned())
    } else {
        let report = each.stand_in.as_ref()?;
        let called = report.tool.as_deref().unwrap_or_default();
        (report, format!("no call of it is known, and {called} was called in its place"))
    };
    let failure = report.failure()?;
    let (check, problem) = (failure.check.label(), failure.problem.as_deref().unwrap_or_default());
    Some(Stopped {
        check: failure.check.as_str(),
        reason: format!("The gate stopped it at “{check}” when {whose}: {}.", problem.trim_end_matches('.')),
    })
}

/// One report of all: the server's checks, and those of the first call that failed, else of the last one.
fn whole(each: &Each) -> Report {
    let calls = || each.calls.iter().chain(&each.stand_in);
    let mut report = each.server.clone();
    if let Some(call) = calls().find(|call| !call.passed).or_else(|| calls().last()) {
        report.tool.clone_from(&call.tool);
        report.checks.extend(call.checks.iter().cloned());
        report.passed &= call.passed;
    }
    report
}
