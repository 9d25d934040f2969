//! An imported API: one real call of one of its operations before tools are made of any. The others are of the same server, with the same
//! credential; and the tool that was called is probed from then on.

use serde_json::{Map, Value};

use super::{
    call::{self, Candidate},
    check_reason,
    probe::{Health, Kind, Subject, Terms},
    rounds::{self, Found},
    sample, start_over,
};
use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Event},
    catalog::{
        api::{self, Publication, Published, Rehearsal},
        snapshot,
    },
    error::{Error, Result},
    gate::{Check, Report},
    ids::{ApiId, ToolId},
    quota::attempts::{self, Attempt},
};

/// How one of its operations is tried.
#[derive(Debug, Clone, Default)]
pub struct ApiTrial {
    /// Name of the tool that is called, with the prefix; empty: one that only reads and whose arguments its definition gives.
    pub called: String,
    /// Its arguments.
    pub arguments: Option<Map<String, Value>>,
    /// Why nothing is called; empty: something is.
    pub untried: String,
}

/// What became of publishing an API.
#[derive(Debug, Clone)]
pub enum ApiPublication {
    /// Its tools are there.
    Live(Published),
    /// The gate stopped it; nothing has changed.
    Stopped(Box<Report>),
}

/// Makes tools of what is picked, if a real call of one of them goes well.
pub async fn publish_api(
    platform: &Platform,
    actor: &Member,
    id: ApiId,
    publication: Publication,
    trial: &ApiTrial,
) -> Result<ApiPublication> {
    actor.require(Permission::ManageTools)?;
    if !trial.untried.is_empty() {
        check_reason(&trial.untried)?;
        let published = api::publish(platform, actor, id, publication).await?;
        let mut tx = platform.db.tenant(actor.tenant).await?;
        audit::append(&mut tx, platform.clock.now(), actor, &Event::ApiUntried(id, trial.untried.clone())).await?;
        tx.commit().await?;
        return Ok(ApiPublication::Live(published));
    }
    let rehearsal = api::rehearse(platform, actor, id, &publication, &trial.called).await?;
    if rehearsal.tools.is_empty() && api::get(platform, actor, id).await?.counts.picked == 0 {
        // Nothing is left of it, or nothing was picked: there is nothing to call.
        return api::publish(platform, actor, id, publication).await.map(ApiPublication::Live);
    }
    attempts::check(platform, Attempt::TrialByMember, &actor.user.to_string()).await?;
    let Some(tried) = try_one(platform, actor, rehearsal, trial).await? else {
        let message = "none of the picked operations only reads and has defaults or examples for what it wants: enter a call of one, or say why none is made";
        return Err(Error::invalid("sample", message));
    };
    if !tried.report.passed {
        let check = tried.report.failure().map_or(Check::Call, |failure| failure.check);
        let mut tx = platform.db.tenant(actor.tenant).await?;
        audit::append(&mut tx, platform.clock.now(), actor, &Event::ApiStopped(id, check.as_str())).await?;
        tx.commit().await?;
        return Ok(ApiPublication::Stopped(Box::new(tried.report)));
    }
    let published = api::publish(platform, actor, id, publication).await?;
    watch(platform, actor, tried).await?;
    Ok(ApiPublication::Live(published))
}

struct Tried {
    name: String,
    terms: Terms,
    report: Report,
}

/// Calls the operation that was named, else the one that has to be told least.
async fn try_one(platform: &Platform, actor: &Member, rehearsal: Rehearsal, trial: &ApiTrial) -> Result<Option<Tried>> {
    let arguments = trial.arguments.clone();
    let is_named = !trial.called.is_empty();
    let terms = Terms { arguments: arguments.filter(|_| is_named), confirmed: is_named, ..Terms::default() };
    let fits = |tool: &snapshot::LoadedTool| !is_named || tool.tool.name.as_str() == trial.called;
    let candidates = rehearsal.tools.iter().filter(|tool| fits(tool));
    let chosen = candidates.filter_map(|tool| Some((call::told(tool, &terms)?, tool))).min_by_key(|(told, _)| *told);
    let Some((_, tool)) = chosen else { return Ok(None) };
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let current = snapshot::of_tenant(platform, &mut tx).await?;
    tx.commit().await?;
    let secret = rehearsal.secret.filter(|_| tool.tool.version.credential.is_some()).map(Ok);
    let candidate = Candidate { platform, current: &current, tool, secret, user: Some(actor.user) };
    let report = call::try_tool(candidate, &terms, Kind::Gate).await;
    Ok(Some(Tried { name: tool.tool.name.to_string(), terms, report }))
}

/// The tool that was called is tried again and again.
async fn watch(platform: &Platform, actor: &Member, tried: Tried) -> Result<()> {
    let now = platform.clock.now();
    let found = crate::catalog::find_by_name(platform, actor, &tried.name).await?;
    let Some(id): Option<ToolId> = found else { return Ok(()) };
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let Some((tool, _)) = snapshot::load_one(platform, &mut tx, id).await? else { return Ok(()) };
    let probe = super::ensured(platform, &mut tx, Subject::Tool(id)).await?;
    if tried.terms.arguments.is_some() {
        sample::set_terms(platform, &mut tx, probe.id, &Terms { repeats: false, ..tried.terms.clone() }, actor.user).await?;
    }
    let run = Found { report: tried.report, version: Some(tool.tool.version.id) };
    rounds::insert_run(&mut tx, probe.id, Kind::Gate, &run, now).await?;
    let probe = sample::lock(platform, &mut tx, probe.id).await?.ok_or(Error::not_found("probe"))?;
    start_over(&mut tx, &probe, &tool, (Health::Well, now)).await?;
    tx.commit().await
}
