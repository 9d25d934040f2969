//! What an agent is offered, and what that costs it before it has called anything.

use std::sync::Arc;

use crate::{
    Platform,
    actor::{Member, Permission},
    agents::Agent,
    catalog::snapshot,
    context::Count,
    error::{Error, Result},
};

/// Everything that an agent may use.
#[derive(Debug, Clone, Copy)]
pub struct Offer {
    /// How many tools.
    pub tools: usize,
    /// Tokens of their definitions: what reading the list of tools costs.
    pub count: Count,
}

/// What an agent is offered at the tenant's endpoint, if its client asks for all that it may have.
pub async fn offer(platform: &Platform, actor: &Member, agent: &Agent) -> Result<Offer> {
    actor.require(Permission::View)?;
    let mut tx = platform.db.tenant(actor.tenant).await?;
    let snapshot = snapshot::of_tenant(platform, &mut tx).await?;
    tx.commit().await?;
    let opened = snapshot.tools().iter().filter(|tool| snapshot.opens(&agent.scopes, tool));
    let definitions: Vec<_> = opened.map(|tool| Arc::clone(&tool.definition)).collect();
    let counted = tokio::task::spawn_blocking(move || {
        definitions.iter().fold(Offer { tools: 0, count: Count::default() }, |offer, definition| Offer {
            tools: offer.tools + 1,
            count: offer.count.and(definition.count()),
        })
    });
    counted.await.map_err(Error::internal)
}
