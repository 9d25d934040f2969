//! Looking at a source again: read all its lists, decide, and carry it out in one transaction. If one list cannot be read, nothing changes
//! and what we have goes on being served.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use serde_json::value::RawValue;

use super::{
    Target,
    definition::DefinitionState,
    fetch,
    names::Names,
    publish::{Publication, publish},
    reconcile::{self, Fate, Judged, Known, Plan},
    source::{Source, SourceKind},
    store::{self, Settled, Waiting},
    trial::Trials,
};
use crate::{
    Platform,
    audit::{self, Event},
    catalog::definition::{Definition, ItemKind, Unreadable},
    connections,
    db::TenantTx,
    epoch,
    error::{Error, Result},
    ids::{ChangeId, DefinitionId, SourceId, TenantId},
    upstream::UpstreamError,
};

/// Between two looks at a source, give or take a tenth.
const EVERY: TimeDelta = TimeDelta::minutes(5);
/// Between two looks at a source that cannot be read: the longer it has been so, the longer, within these.
const AGAIN_FIRST: TimeDelta = TimeDelta::minutes(1);
const AGAIN_LAST: TimeDelta = TimeDelta::minutes(15);
/// Longest time for reading all lists of a source, and how long nobody else begins: what is let in by itself is tried after that.
const DEADLINE: Duration = Duration::from_secs(45);
const LEASE: TimeDelta = TimeDelta::seconds(150);
/// Sources that one replica reads at the same time, each of another tenant: one whose sources hang delays nobody else's.
const TOGETHER: usize = 8;
/// Somebody else decided something while the lists were judged; more often than this, the next round may try.
const ATTEMPTS: usize = 3;

/// How a look at a source ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refreshed {
    /// Everything is as the source has it, as far as anybody approved.
    Done(Tally),
    /// Its lists could not be read, for that reason. Nothing changed.
    Stale(String),
}

/// What a look at a source found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Never seen before.
    pub added: usize,
    /// Of those: cannot be served.
    pub blocked: usize,
    /// Changed, and taken at once.
    pub changed: usize,
    /// Changed, and waiting for a person.
    pub pending: usize,
    /// Gone.
    pub removed: usize,
    /// Back.
    pub returned: usize,
}

/// Looks at a source now. `Conflict`: somebody else is doing it, or it is switched off.
pub async fn refresh(platform: &Platform, tenant: TenantId, id: SourceId) -> Result<Refreshed> {
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(tenant).await?;
    let source = store::find(&mut tx, id).await?.ok_or(Error::not_found("source"))?;
    if !store::lease(&mut tx, id, now, now + LEASE).await? {
        let text = if source.enabled { "It is being refreshed at the moment." } else { "It is switched off." };
        return Err(Error::conflict(text));
    }
    tx.commit().await?;
    leased(platform, tenant, id).await
}

/// Looks at every source that is due by now, a few at a time. Called by a background tick.
pub async fn refresh_due(platform: &Platform) -> Result<()> {
    let mut looking = FuturesUnordered::new();
    let mut busy: Vec<TenantId> = Vec::new();
    let mut outcome = Ok(());
    loop {
        while looking.len() < TOGETHER && outcome.is_ok() {
            match next_due(platform, &busy).await {
                Ok(Some((tenant, id))) => {
                    busy.push(tenant);
                    looking.push(look_and_tell(platform.clone(), tenant, id));
                }
                Ok(None) => break,
                // The queue cannot be read; what was begun is finished.
                Err(error) => outcome = Err(error),
            }
        }
        match looking.next().await {
            Some(done) => busy.retain(|tenant| *tenant != done),
            None => return outcome,
        }
    }
}

/// A source's own failure is its own. Says whose it is.
async fn look_and_tell(platform: Platform, tenant: TenantId, id: SourceId) -> TenantId {
    match leased(&platform, tenant, id).await {
        Ok(Refreshed::Done(_)) => {}
        Ok(Refreshed::Stale(why)) => tracing::info!(tenant.id = %tenant, source.id = %id, why, "a source cannot be read"),
        Err(error) => {
            tracing::warn!(tenant.id = %tenant, source.id = %id, error = &error as &dyn std::error::Error, "a source was not refreshed");
        }
    }
    tenant
}

async fn next_due(platform: &Platform, but: &[TenantId]) -> Result<Option<(TenantId, SourceId)>> {
    let now = platform.clock.now();
    let mut tx = platform.db.system().await?;
    let due = store::lease_due(&mut tx, but, now, now + LEASE).await?;
    tx.commit().await?;
    Ok(due)
}

/// The same under a lease, which ends with it.
async fn leased(platform: &Platform, tenant: TenantId, id: SourceId) -> Result<Refreshed> {
    let outcome = look(platform, tenant, id).await;
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(tenant).await?;
    let failing_since = match &outcome {
        Ok((_, since)) => *since,
        Err(_) => Some(now),
    };
    let pause = failing_since.map_or(spread(EVERY), |since| (now - since).clamp(AGAIN_FIRST, AGAIN_LAST));
    store::release(&mut tx, id, now + pause).await?;
    tx.commit().await?;
    outcome.map(|(refreshed, _)| refreshed)
}

/// Give or take a tenth, so that sources which were added together are not always read together.
fn spread(pause: TimeDelta) -> TimeDelta {
    let percent = i32::from(crate::random::bytes::<1>()[0]) * 20 / 255;
    pause * (90 + percent) / 100
}

async fn look(platform: &Platform, tenant: TenantId, id: SourceId) -> Result<(Refreshed, Option<DateTime<Utc>>)> {
    let mut tx = platform.db.tenant(tenant).await?;
    let source = store::find(&mut tx, id).await?.ok_or(Error::not_found("source"))?;
    let reached = super::reached(platform, &mut tx, &source).await?;
    let accounts = connections::reader_of(&mut tx, id).await?;
    tx.commit().await?;
    if matches!(source.kind, SourceKind::Api { .. }) {
        return Err(Error::conflict("It has no lists: its tools stand in the list of tools."));
    }
    let mut target = match reached {
        Some(reached) => Some(reached.working(platform).await),
        None => None,
    };
    // The tenant's own secret reads the lists, if there is one; else the account of whoever set it up.
    if let (Some(reader), true) = (&accounts, source.credential().is_none()) {
        let token = connections::reader_token(platform, tenant, reader).await?;
        target = token.as_ref().and_then(|token| source.target_of_person(tenant, token)).or(target);
    }
    let lists = match tokio::time::timeout(DEADLINE, fetch::lists(platform, target.as_ref())).await {
        Ok(Ok(lists)) => lists,
        Ok(Err(why)) if accounts.is_some() && why == UpstreamError::Unauthorized.to_string() => {
            let why =
                format!("{why}. Its lists are read with the account of whoever set the accounts up: they have to connect it");
            return stale(platform, tenant, &source, &why).await;
        }
        Ok(Err(why)) => return stale(platform, tenant, &source, &why).await,
        Err(_) => return stale(platform, tenant, &source, "its lists took longer than 45 s").await,
    };
    let (listed, notice) = blocking(move || read(lists)).await?;
    match settle(platform, target.as_ref(), (tenant, &source), listed, &notice).await? {
        Some(tally) => Ok((Refreshed::Done(tally), None)),
        None => Err(Error::conflict("The source was changed while it was read. Refresh it again.")),
    }
}

async fn stale(platform: &Platform, tenant: TenantId, source: &Source, why: &str) -> Result<(Refreshed, Option<DateTime<Utc>>)> {
    let now = platform.clock.now();
    let mut tx = platform.db.tenant(tenant).await?;
    let since = store::set_stale(&mut tx, source, now, why).await?;
    tx.commit().await?;
    Ok((Refreshed::Stale(why.to_owned()), since.or(Some(now))))
}

/// Reads every item; what is no definition is left out, and told.
fn read(lists: Vec<(ItemKind, Vec<Box<RawValue>>)>) -> (Vec<Definition>, String) {
    let (mut definitions, mut left_out) = (Vec::new(), Vec::<(ItemKind, Unreadable)>::new());
    for (kind, items) in lists {
        for raw in items {
            match Definition::read(kind, raw) {
                Ok(definition) => definitions.push(definition),
                Err(why) => left_out.push((kind, why)),
            }
        }
    }
    let notice = match left_out.first() {
        None => String::new(),
        Some((kind, why)) => {
            let kind = kind.word().replace('_', " ");
            format!("{} left out. The first is a {kind}: {why}.", left_out.len())
        }
    };
    (definitions, notice)
}

/// Judging schemas is work for the processor: not on the threads that answer.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)
}

/// Decides about what the source has and carries it out. What its policy would let in by itself is tried first, outside of any transaction.
/// `None`: it is not the source any more that was asked, or decisions of others kept coming in between.
async fn settle(
    platform: &Platform,
    target: Option<&Target>,
    (tenant, source): (TenantId, &Source),
    listed: Vec<Definition>,
    notice: &str,
) -> Result<Option<Tally>> {
    let mut trials = Trials::default();
    for _ in 0..ATTEMPTS {
        let mut tx = platform.db.tenant(tenant).await?;
        let known = store::known(&mut tx, source.id).await?;
        let texts = store::texts(&mut tx, &reconcile::changed(&known, &listed)).await?;
        let grounds = Grounds::read(&mut tx, source).await?;
        tx.commit().await?;
        // Judged outside of the transaction, which nobody should have to wait for.
        let (judging, again, silent) = (known.clone(), listed.clone(), source.default_effect);
        let mut judged = blocking(move || reconcile::judge(&judging, &approved(&judging, texts), again, silent)).await?;
        // Without a network there is nothing to go through.
        if let Some(target) = target.filter(|_| reconcile::brings(&known, &listed)) {
            let wanted = grounds.plan(source, &known, &judged).1.lets_in(&known, &judged);
            trials.run(platform, target, &judged, &wanted).await?;
            trials.note(&mut judged);
        }

        let mut tx = platform.db.tenant(tenant).await?;
        store::lock_names(&mut tx).await?;
        let Some(current) = store::lock(&mut tx, source.id).await?.filter(|current| current.edition == source.edition) else {
            return Ok(None);
        };
        if store::known(&mut tx, source.id).await? != known {
            continue;
        }
        let (names, plan) = Grounds::read(&mut tx, &current).await?.plan(&current, &known, &judged);
        if target.is_some() && !trials.have(&judged, &plan.lets_in(&known, &judged)) {
            // A name has become free meanwhile.
            continue;
        }
        let (tally, is_seen) = carry_out(platform, &mut tx, (&current, &names), (&known, &judged), &plan, notice).await?;
        tx.commit().await?;
        if is_seen {
            epoch::changed(platform, tenant).await;
        }
        return Ok(Some(tally));
    }
    Ok(None)
}

/// What a plan depends on beside what is known and listed.
struct Grounds {
    rejected: HashSet<(DefinitionId, [u8; 32])>,
    names: Names,
}

impl Grounds {
    async fn read(tx: &mut TenantTx, source: &Source) -> Result<Self> {
        let rejected = store::rejected(tx, source.id).await?.into_iter().collect();
        Ok(Self { rejected, names: store::names(tx, source).await? })
    }

    /// The plan, and the names as it leaves them.
    fn plan(mut self, source: &Source, known: &[Known], judged: &[Judged]) -> (Names, Plan) {
        let plan = reconcile::plan(source, known, &self.rejected, &mut self.names, judged);
        (self.names, plan)
    }
}

fn approved(known: &[Known], texts: Vec<(DefinitionId, Box<RawValue>)>) -> HashMap<DefinitionId, Definition> {
    let kinds: HashMap<_, _> = known.iter().map(|known| (known.id, known.kind)).collect();
    let read = |(id, raw)| Some((id, Definition::read(*kinds.get(&id)?, raw).ok()?));
    texts.into_iter().filter_map(read).collect()
}

async fn carry_out(
    platform: &Platform,
    tx: &mut TenantTx,
    (source, names): (&Source, &Names),
    (known, judged): (&[Known], &[Judged]),
    plan: &Plan,
    notice: &str,
) -> Result<(Tally, bool)> {
    let now = platform.clock.now();
    store::set_refreshed(tx, source.id, now, notice).await?;
    if plan.is_empty() {
        return Ok((Tally::default(), false));
    }
    let ids: Vec<DefinitionId> = plan.added.iter().map(|_| DefinitionId::new(now)).collect();
    let mut events = Vec::new();

    // First what gives names back, then what takes them.
    store::set_removed(tx, &plan.removed, Some(now)).await?;
    store::withdraw(tx, &plan.withdrawn).await?;
    store::set_removed(tx, &plan.returned, None).await?;
    events.extend(plan.removed.iter().map(|id| Event::DefinitionRemoved(*id)));
    events.extend(plan.returned.iter().map(|id| Event::DefinitionReturned(*id)));

    let added: Vec<_> = ids.iter().zip(&plan.added).map(|(id, fate)| settled(*id, fate, judged)).collect();
    let rewritten = plan.rewritten.iter().map(|(id, fate)| settled(*id, fate, judged));
    let accepted = plan.accepted.iter().map(|(id, listed)| accepted(*id, *listed, known, judged));
    let rewritten: Vec<_> = rewritten.chain(accepted).collect();
    store::insert_definitions(tx, source.id, &added, now).await?;
    store::rewrite_definitions(tx, &rewritten, now).await?;
    events.extend(added.iter().map(|one| Event::DefinitionFound(one.id, source.id, one.state.as_str())));
    let fates = ids.iter().copied().zip(&plan.added).chain(plan.rewritten.iter().map(|(id, fate)| (*id, fate)));
    events.extend(fates.filter(|(_, fate)| fate.state == DefinitionState::Waiting).filter_map(|(id, fate)| {
        let stopped = judged[fate.listed].stopped.as_ref()?;
        Some(Event::DefinitionStopped(id, stopped.check))
    }));
    events.extend(plan.accepted.iter().map(|(id, _)| Event::DefinitionChanged(*id)));

    let changes: Vec<_> = plan.pending.iter().map(|(id, listed)| waiting(*id, &judged[*listed], now)).collect();
    store::insert_changes(tx, &changes, now).await?;
    events.extend(changes.iter().map(|change| Event::ChangePending(change.id, change.of)));
    events.extend(plan.pending.iter().filter_map(|(id, listed)| {
        let stopped = judged[*listed].stopped.as_ref()?;
        Some(Event::DefinitionStopped(*id, stopped.check))
    }));

    let publications = publications(plan, &ids, known, judged);
    events.extend(publish(tx, source, names, &publications, None, now).await?);
    audit::append_all(tx, now, None, &events).await?;
    let tally = Tally {
        added: plan.added.len(),
        blocked: plan.added.iter().filter(|fate| fate.state == DefinitionState::Blocked).count(),
        changed: plan.accepted.len(),
        pending: plan.pending.len(),
        removed: plan.removed.len(),
        returned: plan.returned.len(),
    };
    Ok((tally, plan.is_seen))
}

fn settled<'a>(id: DefinitionId, fate: &Fate, judged: &'a [Judged]) -> Settled<'a> {
    let judged = &judged[fate.listed];
    Settled {
        id,
        definition: &judged.definition,
        exposed_key: fate.exposed_key.clone(),
        state: fate.state,
        reason: fate.reason.clone(),
        findings: &judged.findings,
    }
}

fn accepted<'a>(id: DefinitionId, listed: usize, known: &[Known], judged: &'a [Judged]) -> Settled<'a> {
    let exposed_key = known.iter().find(|known| known.id == id).map(|known| known.exposed_key.clone()).unwrap_or_default();
    let fate = Fate { listed, exposed_key, state: DefinitionState::Approved, reason: String::new() };
    settled(id, &fate, judged)
}

fn waiting(of: DefinitionId, judged: &Judged, now: DateTime<Utc>) -> Waiting<'_> {
    let reason = judged.stopped.as_ref().map_or("", |stopped| &stopped.reason);
    Waiting { id: ChangeId::new(now), of, definition: &judged.definition, findings: &judged.findings, reason }
}

/// Everything that is served anew, or otherwise than before.
fn publications<'a>(plan: &'a Plan, ids: &[DefinitionId], known: &'a [Known], judged: &'a [Judged]) -> Vec<Publication<'a>> {
    let known: HashMap<_, _> = known.iter().map(|known| (known.id, known)).collect();
    let tool = |id: &DefinitionId| known.get(id).and_then(|known| known.tool);
    let is_on = |fate: &Fate| fate.state == DefinitionState::Approved;
    let of_fate = |id: DefinitionId, fate: &'a Fate| Publication {
        id,
        exposed_key: &fate.exposed_key,
        tool: tool(&id),
        definition: &judged[fate.listed].definition,
    };
    let added = ids.iter().zip(&plan.added).filter(|(_, fate)| is_on(fate)).map(|(id, fate)| of_fate(*id, fate));
    let rewritten = plan.rewritten.iter().filter(|(_, fate)| is_on(fate)).map(|(id, fate)| of_fate(*id, fate));
    let accepted = plan.accepted.iter().filter_map(|(id, listed)| {
        let known = known.get(id)?;
        Some(Publication { id: *id, exposed_key: &known.exposed_key, tool: known.tool, definition: &judged[*listed].definition })
    });
    added.chain(rewritten).chain(accepted).collect()
}
