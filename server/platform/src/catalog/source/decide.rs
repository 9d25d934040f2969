//! What a person decides about definitions and their changes. Nobody approves what they have not seen: what changed after the page was made
//! is left as it is, and told.

use chrono::{DateTime, Utc};

use super::{
    definition::{ChangeState, DefinitionState, ListedDefinition},
    publish::{Publication, publish},
    store,
};
use crate::{
    Platform,
    actor::{Member, Permission},
    audit::{self, Event},
    catalog::definition::{Definition, ItemKind},
    epoch,
    error::{Error, Result},
    ids::{ChangeId, DefinitionId, SourceId},
};

/// Most definitions in one decision: as many as a source may reasonably have.
const MOST: usize = 5_000;

/// Which definitions are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// These.
    These(Vec<DefinitionId>),
    /// All new ones of that kind, or of any, in which nothing was found.
    Unsuspicious(Option<ItemKind>),
}

/// What became of a decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Decided {
    /// Carried out.
    pub done: usize,
    /// Left as they are: they changed after they were shown, or are in another state by now.
    pub stale: usize,
    /// Left as they are: they cannot be served.
    pub forbidden: usize,
}

/// Serves definitions from now on. `seen` is when they were shown.
pub async fn switch_on(
    platform: &Platform,
    actor: &Member,
    source: SourceId,
    pick: Pick,
    seen: DateTime<Utc>,
) -> Result<Decided> {
    actor.require(Permission::ManageTools)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::lock_names(&mut tx).await?;
    let source = store::lock(&mut tx, source).await?.ok_or(Error::not_found("source"))?;
    let ids = match pick {
        Pick::These(ids) => ids,
        Pick::Unsuspicious(kind) => store::waiting(&mut tx, source.id, kind).await?,
    };
    if ids.len() > MOST {
        return Err(Error::invalid("definition", format!("expected at most {MOST} at once")));
    }
    let mut decided = Decided::default();
    let mut names = store::names(&mut tx, &source).await?;
    let mut chosen = Vec::new();
    for listed in store::listed(&mut tx, source.id, &ids).await? {
        let is_off = matches!(listed.state, DefinitionState::Waiting | DefinitionState::Off);
        if listed.state == DefinitionState::Blocked {
            decided.forbidden += 1;
        } else if !is_off || listed.removed_at.is_some() || listed.changed_at > seen {
            decided.stale += 1;
        } else {
            // It holds its name among definitions; a tool of that name may have been made meanwhile.
            names.keys.remove(&(listed.kind, listed.exposed_key.clone()));
            match names.claim(listed.kind, &listed.exposed_key, Some(listed.id)) {
                Ok(()) => chosen.push((read(&listed)?, listed)),
                Err(_) => decided.forbidden += 1,
            }
        }
    }
    let publications: Vec<_> = chosen.iter().map(|(definition, listed)| publication(definition, listed)).collect();
    let mut events = publish(&mut tx, &source, &names, &publications, Some(actor.user), now).await?;
    let ids: Vec<_> = chosen.iter().map(|(_, listed)| listed.id).collect();
    store::set_state(&mut tx, &ids, DefinitionState::Approved, "", now).await?;
    store::set_tool_states(&mut tx, &ids, true).await?;
    events.extend(ids.iter().map(|id| Event::DefinitionApproved(*id)));
    audit::append_all(&mut tx, now, Some(actor), &events).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    decided.done = ids.len();
    Ok(decided)
}

/// Serves definitions no more, until somebody switches them on again.
pub async fn switch_off(platform: &Platform, actor: &Member, source: SourceId, ids: &[DefinitionId]) -> Result<Decided> {
    actor.require(Permission::ManageTools)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let source = store::lock(&mut tx, source).await?.ok_or(Error::not_found("source"))?;
    let listed = store::listed(&mut tx, source.id, ids).await?;
    let is_on = |listed: &&ListedDefinition| matches!(listed.state, DefinitionState::Approved | DefinitionState::Waiting);
    let chosen: Vec<_> = listed.iter().filter(is_on).map(|listed| listed.id).collect();
    store::set_state(&mut tx, &chosen, DefinitionState::Off, "", now).await?;
    store::set_tool_states(&mut tx, &chosen, false).await?;
    store::withdraw(&mut tx, &chosen).await?;
    let events: Vec<_> = chosen.iter().map(|id| Event::DefinitionSwitchedOff(*id)).collect();
    audit::append_all(&mut tx, now, Some(actor), &events).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(Decided { done: chosen.len(), stale: listed.len() - chosen.len(), forbidden: 0 })
}

/// Takes changes: what the source has now is served from now on. A change is one exact text, so what came after it is not taken with it.
pub async fn approve_changes(platform: &Platform, actor: &Member, source: SourceId, ids: &[ChangeId]) -> Result<Decided> {
    actor.require(Permission::ManageTools)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    store::lock_names(&mut tx).await?;
    let source = store::lock(&mut tx, source).await?.ok_or(Error::not_found("source"))?;
    let names = store::names(&mut tx, &source).await?;
    let changes = store::lock_changes(&mut tx, source.id, ids).await?;
    let of: Vec<_> = changes.iter().map(|(of, _)| *of).collect();
    let listed = store::listed(&mut tx, source.id, &of).await?;
    let (mut decided, mut chosen) = (Decided::default(), Vec::new());
    for (of, change) in changes {
        let Some(listed) = listed.iter().find(|listed| listed.id == of) else { continue };
        if change.findings.iter().any(|finding| finding.kind.forbids()) {
            decided.forbidden += 1;
        } else if change.state != ChangeState::Pending || listed.state != DefinitionState::Approved {
            decided.stale += 1;
        } else {
            let definition = Definition::read(listed.kind, change.definition).map_err(Error::internal)?;
            chosen.push((change.id, definition, change.findings, listed));
        }
    }
    let publications: Vec<_> = chosen.iter().map(|(_, definition, _, listed)| publication(definition, listed)).collect();
    let mut events = publish(&mut tx, &source, &names, &publications, Some(actor.user), now).await?;
    let settled = chosen.iter().map(|(_, definition, findings, listed)| store::Settled {
        id: listed.id,
        definition,
        exposed_key: listed.exposed_key.clone(),
        state: DefinitionState::Approved,
        reason: String::new(),
        findings,
    });
    store::rewrite_definitions(&mut tx, &settled.collect::<Vec<_>>(), now).await?;
    let taken: Vec<_> = chosen.iter().map(|(id, ..)| *id).collect();
    store::settle_changes(&mut tx, &taken, ChangeState::Approved, actor.user, now).await?;
    events.extend(chosen.iter().map(|(id, _, _, listed)| Event::ChangeApproved(*id, listed.id)));
    audit::append_all(&mut tx, now, Some(actor), &events).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    decided.done = taken.len();
    Ok(decided)
}

/// Does not take changes: the approved versions go on, and nobody is asked about these texts again.
pub async fn reject_changes(platform: &Platform, actor: &Member, source: SourceId, ids: &[ChangeId]) -> Result<Decided> {
    actor.require(Permission::ManageTools)?;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let source = store::lock(&mut tx, source).await?.ok_or(Error::not_found("source"))?;
    let changes = store::lock_changes(&mut tx, source.id, ids).await?;
    let pending: Vec<_> = changes.iter().filter(|(_, change)| change.state == ChangeState::Pending).collect();
    let taken: Vec<_> = pending.iter().map(|(_, change)| change.id).collect();
    store::settle_changes(&mut tx, &taken, ChangeState::Rejected, actor.user, now).await?;
    let events: Vec<_> = pending.iter().map(|(of, change)| Event::ChangeRejected(change.id, *of)).collect();
    audit::append_all(&mut tx, now, Some(actor), &events).await?;
    tx.commit().await?;
    epoch::changed(platform, actor.tenant).await;
    Ok(Decided { done: taken.len(), stale: changes.len() - taken.len(), forbidden: 0 })
}

fn read(listed: &ListedDefinition) -> Result<Definition> {
    Definition::read(listed.kind, listed.definition.clone()).map_err(Error::internal)
}

fn publication<'a>(definition: &'a Definition, listed: &'a ListedDefinition) -> Publication<'a> {
    Publication { id: listed.id, exposed_key: &listed.exposed_key, tool: listed.tool.map(|tool| tool.id), definition }
}
