//! What publishing a version changes, and for whom: said before anybody presses the button.

use std::{collections::BTreeSet, sync::Arc};

use super::subject_of_tool;
use crate::{
    Platform,
    actor::{Member, Permission},
    agents::Agent,
    catalog::{
        ToolVersion, drafts,
        snapshot::{self, LoadedTool},
    },
    error::{Error, Result},
    ids::ToolId,
};

/// Names that are said.
const MOST_NAMED: usize = 20;

/// Names of agents, the first of them, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// In alphabetical order.
    pub first: Vec<String>,
    /// Of all.
    pub total: usize,
}

/// What publishing changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Impact {
    /// Agents that see it now and then.
    pub keep: Names,
    /// Agents that see it only then.
    pub gain: Names,
    /// Agents that do not see it any more.
    pub lose: Names,
    /// Members of the definition that differ, with what they were and will be; short texts only.
    pub differs: Vec<(&'static str, String, String)>,
}

/// What publishing that version of a tool would change.
pub async fn impact(platform: &Platform, actor: &Member, id: ToolId, number: i32) -> Result<Impact> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let (then, _, _) = snapshot::load_version(platform, &mut tx, id, number).await?.ok_or(Error::not_found("version"))?;
    let now = drafts::lock(&mut tx, id).await?.ok_or(Error::not_found("tool"))?;
    let current = snapshot::of_tenant(platform, &mut tx).await?;
    tx.commit().await?;
    let served = current.tool(subject_of_tool(&then));
    let (mut keep, mut gain, mut lose) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    // One that somebody disabled stays so.
    let will_be_served = now.is_draft || served.is_some();
    // Whoever is pinned to a version goes on with it.
    let moves = |agent: &&Arc<Agent>| served.is_none_or(|tool| Arc::ptr_eq(current.version_for(agent.id, tool), tool));
    for agent in current.agents().filter(moves) {
        let sees = |tool: &LoadedTool| current.opens(&agent.scopes, tool);
        match (served.is_some_and(|tool| sees(tool)), will_be_served && sees(&then)) {
            (true, true) => keep.insert(agent.name.to_string()),
            (false, true) => gain.insert(agent.name.to_string()),
            (true, false) => lose.insert(agent.name.to_string()),
            (false, false) => false,
        };
    }
    let differs = if now.is_draft { Vec::new() } else { differences(&now.version, &then.tool.version) };
    Ok(Impact { keep: names(keep), gain: names(gain), lose: names(lose), differs })
}

fn names(all: BTreeSet<String>) -> Names {
    Names { total: all.len(), first: all.into_iter().take(MOST_NAMED).collect() }
}

/// What agents or those who pay notice, member by member.
fn differences(before: &ToolVersion, after: &ToolVersion) -> Vec<(&'static str, String, String)> {
    let yes = |is: bool| if is { "differs" } else { "" }.to_owned();
    let schema = before.input_schema.get() != after.input_schema.get();
    [
        ("Effect", before.effect.as_str().to_owned(), after.effect.as_str().to_owned()),
        ("Title", before.title.clone(), after.title.clone()),
        ("Description", brief(&before.description), brief(&after.description)),
        ("Arguments", String::new(), yes(schema)),
        ("How it runs", String::new(), yes(before.executor != after.executor || before.credential != after.credential)),
        ("Price", String::new(), yes(before.price != after.price)),
    ]
    .into_iter()
    .filter(|(_, before, after)| before != after)
    .collect()
}

fn brief(text: &str) -> String {
    let mut characters = text.chars();
    let start: String = characters.by_ref().take(120).collect();
    if characters.next().is_some() { format!("{start}…") } else { start }
}
