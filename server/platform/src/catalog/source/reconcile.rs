//! What a fresh look at a source means for what we have of it: a pure decision, carried out by `refresh` in one transaction.

use std::collections::{HashMap, HashSet};

use trunkline_protocol::oauth::scope::Effect;

use super::{
    definition::DefinitionState,
    names::Names,
    source::{Changes, Meanwhile, NewDefinitions, Source},
    trial::Stopped,
};
use crate::{
    catalog::definition::{Definition, Finding, FindingKind, ItemKind, exposed_key, risk},
    ids::{DefinitionId, ToolId},
};

/// A definition as it stands with us.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    pub(super) id: DefinitionId,
    pub(super) kind: ItemKind,
    pub(super) upstream_key: String,
    pub(super) exposed_key: String,
    pub(super) state: DefinitionState,
    pub(super) reason: String,
    pub(super) digest: [u8; 32],
    pub(super) is_removed: bool,
    pub(super) tool: Option<ToolId>,
    /// Of the tool's version.
    pub(super) effect: Option<Effect>,
    /// Digest of the change that waits.
    pub(super) pending: Option<[u8; 32]>,
}

/// A definition that the source has, and what was found in it: over what is approved, or over nothing.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) definition: Definition,
    pub(super) findings: Vec<Finding>,
    /// What the gate found, if it was tried.
    pub(super) stopped: Option<Stopped>,
}

/// What to do. Numbers lead into what the source has.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// What was never seen.
    pub(super) added: Vec<Fate>,
    /// What nobody has approved, as it is now.
    pub(super) rewritten: Vec<(DefinitionId, Fate)>,
    /// Approved ones whose change is taken.
    pub(super) accepted: Vec<(DefinitionId, usize)>,
    /// Approved ones whose change waits.
    pub(super) pending: Vec<(DefinitionId, usize)>,
    /// Those whose earlier change waits no more.
    pub(super) withdrawn: Vec<DefinitionId>,
    /// Gone.
    pub(super) removed: Vec<DefinitionId>,
    /// Back, as they were.
    pub(super) returned: Vec<DefinitionId>,
    /// Does any of it change what callers see?
    pub(super) is_seen: bool,
}

/// What becomes of a definition that is not approved yet.
#[derive(Debug, PartialEq)]
pub(super) struct Fate {
    pub(super) listed: usize,
    pub(super) exposed_key: String,
    pub(super) state: DefinitionState,
    pub(super) reason: String,
}

impl Fate {
    /// Its name is somebody else's by now.
    fn taken(known: &Known, listed: usize, whose: &str) -> Self {
        let reason = format!("{}: {whose}", FindingKind::NameTaken.label());
        Self { listed, exposed_key: known.exposed_key.clone(), state: DefinitionState::Blocked, reason }
    }
}

impl Plan {
    /// Is there nothing to do?
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Judges what the source has, in the light of what is known of it. `approved` has the texts of approved definitions that changed, `silent`
/// is what its tools do that say nothing of it.
pub(super) fn judge(
    known: &[Known],
    approved: &HashMap<DefinitionId, Definition>,
    listed: Vec<Definition>,
    silent: Effect,
) -> Vec<Judged> {
    let by_key = by_key(known);
    listed
        .into_iter()
        .map(|definition| {
            let findings = match by_key.get(&(definition.kind, definition.key.as_str())) {
                Some(known) if known.state == DefinitionState::Approved && known.digest == definition.digest => Vec::new(),
                Some(known) if known.state == DefinitionState::Approved => risk(approved.get(&known.id), &definition, silent),
                // What was found in it stands in its row.
                Some(known) if known.digest == definition.digest && !is_name_taken(known) => Vec::new(),
                _ => risk(None, &definition, silent),
            };
            Judged { definition, findings, stopped: None }
        })
        .collect()
}

/// Approved definitions of which the source has another version.
pub(super) fn changed(known: &[Known], listed: &[Definition]) -> Vec<DefinitionId> {
    let by_key = by_key(known);
    let changed = listed.iter().filter_map(|definition| {
        let known = by_key.get(&(definition.kind, definition.key.as_str()))?;
        (known.state == DefinitionState::Approved && known.digest != definition.digest).then_some(known.id)
    });
    changed.collect()
}

fn by_key(known: &[Known]) -> HashMap<(ItemKind, &str), &Known> {
    known.iter().map(|known| ((known.kind, known.upstream_key.as_str()), known)).collect()
}

/// Is there a tool that may be new or another one? What is not known here is told apart by `plan`.
pub(super) fn brings(known: &[Known], listed: &[Definition]) -> bool {
    let by_key = by_key(known);
    listed.iter().filter(|definition| definition.kind == ItemKind::Tools).any(|definition| {
        by_key
            .get(&(definition.kind, definition.key.as_str()))
            .is_none_or(|known| known.digest != definition.digest || known.is_removed || is_name_taken(known))
    })
}

/// Might it be served now, because a name has become free?
fn is_name_taken(known: &Known) -> bool {
    known.state == DefinitionState::Blocked && known.reason.starts_with(FindingKind::NameTaken.label())
}

/// Decides. What is listed twice counts once: the first.
pub(super) fn plan(
    source: &Source,
    known: &[Known],
    rejected: &HashSet<(DefinitionId, [u8; 32])>,
    names: &mut Names,
    listed: &[Judged],
) -> Plan {
    let by_key = by_key(known);
    let mut plan = Plan::default();
    let mut seen = HashSet::new();
    // What is here keeps its name before anything new may ask for one.
    let (old, new): (Vec<_>, Vec<_>) = listed
        .iter()
        .enumerate()
        .filter(|(_, judged)| seen.insert((judged.definition.kind, judged.definition.key.as_str())))
        .partition(|(_, judged)| by_key.contains_key(&(judged.definition.kind, judged.definition.key.as_str())));
    for (at, judged) in old {
        let known = by_key[&(judged.definition.kind, judged.definition.key.as_str())];
        if known.state == DefinitionState::Approved {
            plan.approved(source, known, rejected, names, at, judged);
        } else {
            plan.unapproved(source, known, names, at, judged);
        }
    }
    for (at, judged) in new {
        let prefix = source.prefix.then(|| source.name.as_str());
        let key = exposed_key(judged.definition.kind, prefix, &judged.definition.key);
        let (state, reason) = fate(source, judged, || names.claim(judged.definition.kind, &key, None));
        plan.is_seen |= state == DefinitionState::Approved;
        plan.added.push(Fate { listed: at, exposed_key: key, state, reason });
    }
    for gone in known.iter().filter(|known| !known.is_removed && !seen.contains(&(known.kind, known.upstream_key.as_str()))) {
        plan.is_seen |= gone.state == DefinitionState::Approved;
        plan.removed.push(gone.id);
        if gone.pending.is_some() {
            plan.withdrawn.push(gone.id);
        }
    }
    plan
}

/// What becomes of something that nobody has decided about.
fn fate(source: &Source, judged: &Judged, claim: impl FnOnce() -> Result<(), String>) -> (DefinitionState, String) {
    if let Some(misfit) = judged.findings.iter().find(|finding| finding.kind.forbids()) {
        return (DefinitionState::Blocked, reason(misfit));
    }
    match claim() {
        Err(whose) => (DefinitionState::Blocked, format!("{}: {whose}", FindingKind::NameTaken.label())),
        Ok(()) if source.policy.new == NewDefinitions::Approve && judged.findings.is_empty() => match &judged.stopped {
            None => (DefinitionState::Approved, String::new()),
            Some(stopped) => (DefinitionState::Waiting, stopped.reason.clone()),
        },
        Ok(()) => (DefinitionState::Waiting, String::new()),
    }
}

/// The finding as a sentence.
pub(super) fn reason(finding: &Finding) -> String {
    format!("{}: {} ({})", finding.kind.label(), finding.what, finding.place)
}

impl Plan {
    /// Tools that nobody has looked at as they are now, and that would be served.
    pub(super) fn lets_in(&self, known: &[Known], judged: &[Judged]) -> Vec<usize> {
        let digests: HashMap<DefinitionId, [u8; 32]> = known.iter().map(|known| (known.id, known.digest)).collect();
        let is_on = |fate: &&Fate| fate.state == DefinitionState::Approved;
        let fates = self.added.iter().chain(self.rewritten.iter().map(|(_, fate)| fate)).filter(is_on).map(|fate| fate.listed);
        // Of what stays as it was approved, only its effect may be another: by what somebody says of the source.
        let is_other = |(id, at): &&(DefinitionId, usize)| digests.get(id) != Some(&judged[*at].definition.digest);
        let accepted = self.accepted.iter().filter(is_other).map(|(_, at)| *at);
        fates.chain(accepted).filter(|at| judged[*at].definition.kind == ItemKind::Tools).collect()
    }

    fn approved(
        &mut self,
        source: &Source,
        known: &Known,
        rejected: &HashSet<(DefinitionId, [u8; 32])>,
        names: &mut Names,
        at: usize,
        judged: &Judged,
    ) {
        let definition = &judged.definition;
        if known.is_removed {
            if let Err(whose) = names.claim(known.kind, &known.exposed_key, Some(known.id)) {
                self.rewritten.push((known.id, Fate::taken(known, at, &whose)));
                return;
            }
            self.returned.push(known.id);
            self.is_seen = true;
        }
        let withdraw = |plan: &mut Self| {
            if known.pending.is_some() {
                plan.withdrawn.push(known.id);
                plan.is_seen |= source.policy.meanwhile == Meanwhile::Block;
            }
        };
        if definition.digest == known.digest {
            withdraw(self);
            if known.effect.is_some_and(|effect| effect != definition.effect(source.default_effect)) {
                self.accepted.push((known.id, at));
                self.is_seen = true;
            }
        } else if known.pending == Some(definition.digest) {
            // It waits already.
        } else if rejected.contains(&(known.id, definition.digest)) {
            withdraw(self);
        } else if source.policy.changes == Changes::HarmlessPass && judged.findings.is_empty() && judged.stopped.is_none() {
            withdraw(self);
            self.accepted.push((known.id, at));
            self.is_seen = true;
        } else {
            withdraw(self);
            self.pending.push((known.id, at));
            self.is_seen |= source.policy.meanwhile == Meanwhile::Block;
        }
    }

    fn unapproved(&mut self, source: &Source, known: &Known, names: &mut Names, at: usize, judged: &Judged) {
        let is_same = judged.definition.digest == known.digest;
        if is_same && !known.is_removed && !is_name_taken(known) {
            return;
        }
        let holds_name = known.state != DefinitionState::Blocked && !known.is_removed;
        let mut claim = || if holds_name { Ok(()) } else { names.claim(known.kind, &known.exposed_key, Some(known.id)) };
        if is_same && !is_name_taken(known) {
            // Back as it was, if its name is still free; what is blocked has none.
            match if known.state == DefinitionState::Blocked { Ok(()) } else { claim() } {
                Ok(()) => self.returned.push(known.id),
                Err(whose) => self.rewritten.push((known.id, Fate::taken(known, at, &whose))),
            }
            return;
        }
        let (mut state, mut reason) = fate(source, judged, claim);
        if known.state == DefinitionState::Off && state != DefinitionState::Blocked {
            (state, reason) = (DefinitionState::Off, String::new());
        }
        if is_same && !known.is_removed && (state, &reason) == (known.state, &known.reason) {
            return;
        }
        self.is_seen |= state == DefinitionState::Approved;
        self.rewritten.push((known.id, Fate { listed: at, exposed_key: known.exposed_key.clone(), state, reason }));
    }
}

#[cfg(test)]
mod tests;
