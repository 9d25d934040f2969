//! From a draft to what agents call, and watching that it stays well: the gate tries a version once before a tool points at it, probes try what is
//! published again and again. Both make the same real call, which is nobody's: not billed, not in the log of calls, and noted in `probe_runs`.

mod api;
mod call;
mod echo;
mod impact;
mod notice;
mod probe;
mod rounds;
mod sample;
mod source;
mod store;
mod trial;

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

pub use api::{ApiPublication, ApiTrial, publish_api};
pub use echo::{Answered, Echoes, watch};
pub use impact::{Impact, Names, impact};
pub use probe::{EVERY_S, Health, HealthOfTools, Kind, PAUSES_S, Probe, RunReport, StoredCheck, Subject, Terms};
pub use rounds::probe_due;
pub(crate) use sample::reseal;
pub use source::{Admission, admit, watch_source};
pub(crate) use trial::trial;

use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Event},
    catalog::{
        Executor,
        drafts::{self, How},
        snapshot::{self, LoadedTool},
    },
    db::TenantTx,
    epoch,
    error::{Error, Result},
    gate::Report,
    ids::{ProbeId, SourceId, ToolId, ToolVersionId},
    quota::attempts::{self, Attempt},
};
use call::Candidate;
use rounds::Found;

/// Pieces of the last 24 hours that a bar shows, and how long each is.
pub const PIECES: usize = 48;
const PIECE_S: i32 = 1_800;
/// Subjects on one page.
const MOST_SHOWN: i64 = 500;

/// What became of publishing.
#[derive(Debug, Clone)]
pub enum Publication {
    /// Calls use that version from now on.
    Live(i32),
    /// The gate stopped it; nothing has changed.
    Stopped(Box<Report>),
}

/// A subject on the status page.
#[derive(Debug, Clone)]
pub struct StatusRow {
    /// What is known.
    pub probe: Probe,
    /// What it is called.
    pub name: String,
    /// Is it switched on?
    pub is_on: bool,
    /// Pieces of the last 24 hours, oldest first: how many probes passed and failed.
    pub bar: Vec<(i64, i64)>,
}

/// Publishes a version that was saved as a draft, if the gate lets it pass. `untried`: without a real call, for that reason, which is audited; its
/// definition is looked at all the same. Nothing changes unless it passes, or if the tool was changed meanwhile.
pub async fn publish(platform: &Platform, actor: &Member, id: ToolId, number: i32, untried: Option<&str>) -> Result<Publication> {
    actor.require(Permission::ManageTools)?;
    untried.map_or(Ok(()), check_reason)?;
    attempts::check(platform, Attempt::TrialByMember, &actor.user.to_string()).await?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let before = pointer(&mut tx, id).await?;
    let loaded = snapshot::load_version(platform, &mut tx, id, number).await?;
    let (tool, secret, was_published) = loaded.ok_or(Error::not_found("version"))?;
    check_fresh(&mut tx, &tool, number, was_published).await?;
    let probe = ensured(platform, &mut tx, Subject::Tool(id)).await?;
    let current = snapshot::of_tenant(platform, &mut tx).await?;
    tx.commit().await?;

    let report = if untried.is_some() {
        call::look_at(&tool)
    } else {
        let candidate = Candidate { platform, current: &current, tool: &tool, secret, user: Some(actor.user) };
        call::try_tool(candidate, &probe.terms, Kind::Gate).await
    };

    let found = Found { report, version: Some(tool.tool.version.id) };
    settle(platform, actor, (&tool, before), &probe, untried, found).await
}

/// Carries out what the gate has decided, if the tool still is what it was.
async fn settle(
    platform: &Platform,
    actor: &Member,
    (tool, before): (&LoadedTool, ToolVersionId),
    probe: &Probe,
    untried: Option<&str>,
    found: Found,
) -> Result<Publication> {
    let (id, now, version) = (tool.tool.id, platform.clock.now(), &tool.tool.version);
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let standing = drafts::lock(&mut tx, id).await?.ok_or(Error::not_found("tool"))?;
    let is_published = drafts::tool_at(&mut tx, id, version.number).await?.is_some_and(|(_, life)| life.was_published);
    if is_published || standing.version.id != before || drafts::newest_number(&mut tx, id).await? != version.number {
        return Err(Error::conflict("Somebody else changed this tool while it was tried. Look at it again."));
    }
    rounds::insert_run(&mut tx, probe.id, Kind::Gate, &found, now).await?;
    if let Some(failure) = found.report.failure() {
        audit::append(&mut tx, now, actor, &Event::ToolStopped(id, version.number, failure.check.as_str())).await?;
        tx.commit().await?;
        return Ok(Publication::Stopped(Box::new(found.report)));
    }
    let how = if untried.is_some() { How::Untried } else { How::Tried };
    drafts::point_at(&mut tx, (id, version.id), (how, untried.unwrap_or_default()), actor.user, now).await?;
    let difference = if standing.is_draft { audit::Difference::default() } else { standing.version.note(version) };
    audit::append(&mut tx, now, actor, &Event::ToolPublished(id, version.number, difference)).await?;
    if let Some(reason) = untried {
        let event = Event::ToolPublishedUntried(id, version.number, reason.to_owned());
        audit::append(&mut tx, now, actor, &event).await?;
    }
    let health = if untried.is_some() { Health::Unknown } else { Health::Well };
    let after = start_over(&mut tx, probe, tool, (health, now)).await?;
    if health == Health::Well && probe.health == Health::Failing {
        notice::tell(platform, &mut tx, &after).await?;
    }
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(Publication::Live(version.number))
}

/// Points a tool at a version again that was published before. It is not tried again. `seen` is the version that it pointed at when somebody
/// decided that.
pub async fn roll_back(platform: &Platform, actor: &Member, id: ToolId, number: i32, seen: i32) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let standing = drafts::lock(&mut tx, id).await?.ok_or(Error::not_found("tool"))?;
    let loaded = snapshot::load_version(platform, &mut tx, id, number).await?;
    let (tool, _, was_published) = loaded.ok_or(Error::not_found("version"))?;
    if matches!(tool.tool.version.executor, Executor::Upstream { .. }) {
        return Err(Error::conflict("The definition of this tool comes from its source: decide there what is served."));
    }
    if standing.version.number != seen {
        let message = format!("It points at version {} by now. Look at it again.", standing.version.number);
        return Err(Error::conflict(message));
    }
    if !was_published {
        return Err(Error::conflict(format!("Version {number} was never published: publish it instead.")));
    }
    if standing.version.number == number {
        return Err(Error::conflict(format!("It points at version {number} already.")));
    }
    drafts::point_at(&mut tx, (id, tool.tool.version.id), (How::Returned, ""), actor.user, now).await?;
    let difference = standing.version.note(&tool.tool.version);
    audit::append(&mut tx, now, actor, &Event::ToolRolledBack(id, number, difference)).await?;
    if let Some(probe) = sample::of(platform, &mut tx, Subject::Tool(id)).await? {
        start_over(&mut tx, &probe, &tool, (Health::Unknown, now)).await?;
    }
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}

/// Of another version nothing is known but what the gate has said; and it is probed if it can be.
async fn start_over(
    tx: &mut TenantTx,
    probe: &Probe,
    tool: &LoadedTool,
    (health, now): (Health, DateTime<Utc>),
) -> Result<Probe> {
    let fresh = Probe { terms: probe.terms.clone(), set_by: probe.set_by, ..Probe::new(probe.id, probe.subject) };
    let tried = (health == Health::Well).then_some(now);
    let after = Probe { health, since: Some(now), checked_at: tried, ..fresh };
    store::set_state(tx, &after).await?;
    match probe.terms.every_s.filter(|_| call::can_try(tool, &probe.terms, Kind::Probe)) {
        Some(pause) if tried.is_some() => store::schedule(tx, probe.id, now + rounds::spread(pause)).await?,
        Some(_) => store::schedule(tx, probe.id, now).await?,
        None => store::unschedule(tx, probe.id).await?,
    }
    Ok(after)
}

/// Is it the newest version, never published, and ours to write?
async fn check_fresh(tx: &mut TenantTx, tool: &LoadedTool, number: i32, was_published: bool) -> Result<()> {
    if matches!(tool.tool.version.executor, Executor::Upstream { .. }) {
        return Err(Error::conflict("The definition of this tool comes from its source: decide there what is served."));
    }
    if was_published {
        return Err(Error::conflict(format!("Version {number} was published before: roll back to it instead.")));
    }
    let newest = drafts::newest_number(tx, tool.tool.id).await?;
    if newest != number {
        return Err(Error::conflict(format!("Version {newest} was saved after version {number}: publish that.")));
    }
    Ok(())
}

async fn pointer(tx: &mut TenantTx, id: ToolId) -> Result<ToolVersionId> {
    drafts::current_version(tx, id).await?.ok_or(Error::not_found("tool"))
}

fn check_reason(reason: &str) -> Result<()> {
    let fits = (3..=400).contains(&reason.chars().count()) && !reason.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(Error::invalid("untried_reason", "say in 3 to 400 characters why it is not tried")) }
}

/// The subject's probe, which comes into being now if it has none.
async fn ensured(platform: &Platform, tx: &mut TenantTx, subject: Subject) -> Result<Probe> {
    if let Some(probe) = sample::of(platform, tx, subject).await? {
        return Ok(probe);
    }
    store::ensure(tx, ProbeId::new(platform.clock.now()), subject).await?;
    sample::of(platform, tx, subject).await?.ok_or(Error::not_found("probe"))
}

fn subject_of_tool(tool: &LoadedTool) -> &str {
    tool.tool.name.as_str()
}

/// How a subject is tried; the defaults if nobody has said otherwise. `None` for a subject that does not exist is not told apart: ask for it first.
pub async fn probe(platform: &Platform, actor: &Member, subject: Subject) -> Result<Option<Probe>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    sample::of(platform, &mut tx, subject).await
}

/// Says how a subject is tried. From now on it is due by that.
pub async fn set_terms(platform: &Platform, actor: &Member, subject: Subject, terms: &Terms) -> Result<()> {
    actor.require(Permission::ManageTools)?;
    terms.check()?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    check_subject(&mut tx, subject).await?;
    let probe = ensured(platform, &mut tx, subject).await?;
    if probe.terms == *terms {
        return Ok(());
    }
    sample::set_terms(platform, &mut tx, probe.id, terms, actor.user).await?;
    let difference = probe.terms.note(terms);
    let event = match subject {
        Subject::Tool(id) => Event::ToolProbeChanged(id, difference),
        Subject::Source(id) => Event::SourceProbeChanged(id, difference),
    };
    audit::append(&mut tx, now, actor, &event).await?;
    match terms.every_s {
        Some(pause) => store::schedule(&mut tx, probe.id, now + rounds::spread(pause)).await?,
        None => store::unschedule(&mut tx, probe.id).await?,
    }
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(())
}

/// Ok if there is such a subject.
pub async fn exists(platform: &Platform, actor: &Member, subject: Subject) -> Result<()> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    check_subject(&mut tx, subject).await
}

async fn check_subject(tx: &mut TenantTx, subject: Subject) -> Result<()> {
    match subject {
        Subject::Tool(id) => {
            let tool = drafts::lock(tx, id).await?.ok_or(Error::not_found("tool"))?;
            if matches!(tool.version.executor, Executor::Upstream { .. }) {
                return Err(Error::conflict("This tool is tried with its source: say there how."));
            }
            Ok(())
        }
        Subject::Source(id) => {
            if store::has_source(tx, id).await? {
                Ok(())
            } else {
                Err(Error::not_found("source"))
            }
        }
    }
}

/// Tries what is published now, as a probe would. `Conflict`: there is nothing to try, or nothing that may be tried.
pub async fn try_now(platform: &Platform, actor: &Member, subject: Subject) -> Result<bool> {
    actor.require(Permission::ManageTools)?;
    attempts::check(platform, Attempt::TrialByMember, &actor.user.to_string()).await?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    check_subject(&mut tx, subject).await?;
    let probe = ensured(platform, &mut tx, subject).await?;
    tx.commit().await?;
    let Some(found) = rounds::try_subject(platform, actor.tenant, &probe).await? else {
        return Err(Error::conflict("Nothing of it is served, or no call of it is known that may be made. Enter a sample call."));
    };
    rounds::note(platform, actor.tenant, probe.id, Kind::Probe, &found).await?;
    Ok(found.report.passed)
}

/// What the gate said of a version when it was last tried.
pub async fn gate_report(platform: &Platform, actor: &Member, version: ToolVersionId) -> Result<Option<RunReport>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::gate_run(&mut tx, version).await
}

/// The newest runs of a probe.
pub async fn runs(platform: &Platform, actor: &Member, probe: ProbeId, most: i64) -> Result<Vec<RunReport>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::runs(&mut tx, probe, most).await
}

/// What is known of some tools, and whether each is kept from callers for it.
pub async fn health(platform: &Platform, actor: &Member, tools: &[ToolId]) -> Result<HealthOfTools> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let found = store::health_of(&mut tx, tools).await?;
    Ok(found.into_iter().map(|(tool, health, is_hidden)| (tool, (health, is_hidden))).collect())
}

/// What is known of some sources.
pub async fn health_of_sources(platform: &Platform, actor: &Member) -> Result<HashMap<SourceId, Health>> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let all = store::all(&mut tx, MOST_SHOWN).await?;
    let of_source = |probe: &Probe| match probe.subject {
        Subject::Source(id) => Some((id, probe.health)),
        Subject::Tool(_) => None,
    };
    Ok(all.iter().filter_map(of_source).collect())
}

/// Everything that is tried again and again, what fails first; at most 500.
pub async fn status(platform: &Platform, actor: &Member) -> Result<Vec<StatusRow>> {
    actor.require(Permission::View)?;
    let since = platform.clock.now() - TimeDelta::seconds(i64::from(PIECE_S) * 48);
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let all = store::all(&mut tx, MOST_SHOWN).await?;
    let mut names: HashMap<ProbeId, (String, bool)> =
        store::names(&mut tx).await?.into_iter().map(|(id, name, is_on)| (id, (name, is_on))).collect();
    let mut bars: HashMap<ProbeId, Vec<(i64, i64)>> = HashMap::new();
    for (id, piece, passed, failed) in store::bars(&mut tx, since, PIECE_S).await? {
        let bar = bars.entry(id).or_insert_with(|| vec![(0, 0); PIECES]);
        // What happens this very moment belongs to the last piece.
        let at = usize::try_from(piece).unwrap_or_default().min(PIECES - 1);
        bar[at] = (bar[at].0 + passed, bar[at].1 + failed);
    }
    let row = |probe: Probe| {
        let (name, is_on) = names.remove(&probe.id).unwrap_or_default();
        let bar = bars.remove(&probe.id).unwrap_or_else(|| vec![(0, 0); PIECES]);
        StatusRow { probe, name, is_on, bar }
    };
    let mut rows: Vec<StatusRow> = all.into_iter().map(row).collect();
    rows.sort_by(|a, b| {
        let rank = |row: &StatusRow| (row.probe.health != Health::Failing, !row.is_on);
        (rank(a), &a.name).cmp(&(rank(b), &b.name))
    });
    Ok(rows)
}
