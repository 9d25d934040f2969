//! Limits that depart from the defaults, and which buckets a call is charged to.

use std::collections::HashMap;

use trunkline_protocol::oauth::scope::Effect;

use super::{
    Scope, Settings,
    bucket::{Bucket, Rate},
    store,
};
use crate::{
    db::TenantTx,
    error::{Error, Result},
    ids::{AgentId, LimitId, ToolId},
};

/// What a limit applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitScope {
    /// One agent on one tool.
    AgentOnTool(AgentId, ToolId),
    /// One agent on each tool.
    AgentOnEachTool(AgentId),
    /// Each agent on one tool.
    EachAgentOnTool(ToolId),
    /// One agent on all tools together.
    Agent(AgentId),
    /// All agents together on one tool.
    Tool(ToolId),
    /// The tenant.
    Tenant,
}

/// Limits of a tenant, for look-up on the path of a call.
#[derive(Debug, Clone, Default)]
pub struct LimitTable(HashMap<LimitScope, Rate>);

impl LimitTable {
    /// Loads a tenant's limits.
    pub async fn load(tx: &mut TenantTx) -> Result<Self> {
        store::load_limits(tx).await.map(|limits| Self(limits.into_iter().collect()))
    }

    /// The limit set on exactly that scope.
    pub fn get(&self, scope: LimitScope) -> Option<Rate> {
        self.0.get(&scope).copied()
    }

    /// Buckets of one agent's call to one tool, narrowest first. The narrowest rule for (agent, tool) wins; wider buckets come on top.
    pub fn buckets(&self, settings: &Settings, agent: AgentId, tool: ToolId, effect: Effect) -> Vec<Bucket> {
        let default = match effect {
            Effect::Read => settings.read,
            Effect::Write => settings.write,
            Effect::Destructive => settings.destructive,
        };
        let agent_tool = self
            .get(LimitScope::AgentOnTool(agent, tool))
            .or_else(|| self.get(LimitScope::EachAgentOnTool(tool)))
            .or_else(|| self.get(LimitScope::AgentOnEachTool(agent)))
            .unwrap_or(default);
        let (agent_id, tool_id) = (agent.uuid().simple(), tool.uuid().simple());
        let mut buckets = vec![
            Bucket { scope: Scope::AgentTool, key: format!("q:{agent_id}:{tool_id}"), rate: agent_tool },
            Bucket {
                scope: Scope::Agent,
                key: format!("q:a:{agent_id}"),
                rate: self.get(LimitScope::Agent(agent)).unwrap_or(settings.agent),
            },
            Bucket { scope: Scope::Tenant, key: "q:t".to_owned(), rate: self.get(LimitScope::Tenant).unwrap_or(settings.tenant) },
        ];
        if let Some(rate) = self.get(LimitScope::Tool(tool)) {
            buckets.push(Bucket { scope: Scope::Tool, key: format!("q:o:{tool_id}"), rate });
        }
        buckets
    }
}

/// Sets a limit, or lets the default apply again. Part of the transaction of the change that wants it.
pub async fn set(tx: &mut TenantTx, id: LimitId, scope: LimitScope, rate: Option<Rate>) -> Result<()> {
    match rate {
        None => store::delete_limit(tx, scope).await,
        Some(rate) => {
            for (field, value) in [("per_minute", rate.per_minute), ("burst", rate.burst)] {
                if !(1..=6_000_000).contains(&value) {
                    return Err(Error::invalid(field, "expected 1 to 6000000"));
                }
            }
            store::upsert_limit(tx, id, scope, rate).await
        }
    }
}
