//! What a model is offered, what that costs it before it has called anything, and what of it clients are known to stumble over.

use std::sync::Arc;

use crate::{
    Platform,
    actor::{Member, Permission},
    agents::Agent,
    catalog::{
        definition::{Stumble, stumbles},
        snapshot::{self, LoadedTool},
        toolset::Toolset,
    },
    context::Count,
    error::{Error, Result},
    ids::ToolId,
};

/// Tools beyond which models begin to choose badly, and search mode is offered.
pub const MANY_TOOLS: usize = 40;
/// Tokens beyond which a list is a burden, and search mode is offered.
pub const MANY_TOKENS: i64 = 10_000;
/// Tools that are named one by one.
const NAMED: usize = 100;

/// Who reads the list.
#[derive(Debug, Clone, Copy)]
pub enum Reader<'a> {
    /// An agent at the tenant's endpoint, whose client asks for all that it may have.
    Agent(&'a Agent),
    /// Whoever connects to a toolset's endpoint, and may use all of it.
    Toolset(&'a Toolset),
}

/// Everything that a reader may use.
#[derive(Debug, Clone, Default)]
pub struct Offer {
    /// How many tools.
    pub tools: usize,
    /// Tokens of their definitions: what reading the list of tools costs.
    pub count: Count,
    /// The tools that cost most, those first; a hundred at most.
    pub heaviest: Vec<(ToolId, String, Count)>,
    /// What clients are known to stumble over; a hundred at most.
    pub stumbles: Vec<(ToolId, String, Stumble)>,
    /// How many there are in all.
    pub all_stumbles: usize,
}

impl Offer {
    /// Would its reader be better off with search mode?
    pub fn is_long(&self) -> bool {
        self.tools > MANY_TOOLS || self.count.tokens > MANY_TOKENS
    }

    fn of(tools: &[Arc<LoadedTool>]) -> Self {
        let mut offer = Self { tools: tools.len(), ..Self::default() };
        for loaded in tools {
            let (tool, count) = (&loaded.tool, loaded.definition.count());
            offer.count = offer.count.and(count);
            offer.heaviest.push((tool.id, tool.name.to_string(), count));
            let found = stumbles(tool.name.as_str(), &tool.version.description, tool.version.input_schema.get());
            offer.stumbles.extend(found.into_iter().map(|stumble| (tool.id, tool.name.to_string(), stumble)));
        }
        offer.heaviest.sort_by_key(|(_, _, count)| -count.tokens);
        offer.heaviest.truncate(NAMED);
        offer.all_stumbles = offer.stumbles.len();
        offer.stumbles.truncate(NAMED);
        offer
    }
}

/// What a reader is offered.
pub async fn offer(platform: &Platform, actor: &Member, reader: Reader<'_>) -> Result<Offer> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let snapshot = snapshot::of_tenant(platform, &mut tx).await?;
    tx.commit().await?;
    let is_offered = |tool: &&Arc<LoadedTool>| match reader {
        Reader::Agent(agent) => snapshot.opens(&agent.scopes, tool),
        Reader::Toolset(toolset) => toolset.tools.contains(&tool.tool.id),
    };
    let given = snapshot.tools().iter().map(|tool| match reader {
        Reader::Agent(agent) => snapshot.version_for(agent.id, tool),
        Reader::Toolset(_) => tool,
    });
    let tools: Vec<_> = given.filter(is_offered).cloned().collect();
    tokio::task::spawn_blocking(move || Offer::of(&tools)).await.map_err(Error::internal)
}

/// What a reader in search mode reads instead.
pub async fn search_cost() -> Result<Count> {
    tokio::task::spawn_blocking(super::search::cost).await.map_err(Error::internal)
}
