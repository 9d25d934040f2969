//! Limits that depart from the defaults, and which buckets a call is charged to.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use trunkline_protocol::oauth::scope::Effect;

use super::{
    Scope, Settings,
    bucket::{Bucket, Rate},
    store,
};
use crate::{
    db::TenantTx,
    error::{Error, Result},
    ids::{AgentId, LimitId, TenantId, ToolId},
};

/// What a limit may be, as in the table's check.
const LIMITS: std::ops::RangeInclusive<u32> = 1..=6_000_000;

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

/// Which call the buckets are wanted for.
#[derive(Debug, Clone, Copy)]
pub struct BucketsOf {
    /// Whose agent.
    pub tenant: TenantId,
    /// Who calls.
    pub agent: AgentId,
    /// What is called.
    pub tool: ToolId,
    /// What it does to the world.
    pub effect: Effect,
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
    pub fn buckets(&self, settings: &Settings, call: &BucketsOf) -> Vec<Bucket> {
        let BucketsOf { tenant, agent, tool, effect } = *call;
        let agent_tool = self
            .get(LimitScope::AgentOnTool(agent, tool))
            .or_else(|| self.get(LimitScope::EachAgentOnTool(tool)))
            .or_else(|| self.get(LimitScope::AgentOnEachTool(agent)))
            .unwrap_or(settings.of_effect(effect));
        let (agent_id, tool_id) = (agent.uuid().simple(), tool.uuid().simple());
        let mut buckets = vec![
            Bucket { scope: Scope::AgentTool, key: format!("q:{agent_id}:{tool_id}"), rate: agent_tool },
            Bucket {
                scope: Scope::Agent,
                key: format!("q:a:{agent_id}"),
                rate: self.get(LimitScope::Agent(agent)).unwrap_or(settings.agent),
            },
            Bucket {
                scope: Scope::Tenant,
                key: format!("q:t:{}", tenant.uuid().simple()),
                rate: self.get(LimitScope::Tenant).unwrap_or(settings.tenant),
            },
        ];
        if let Some(rate) = self.get(LimitScope::Tool(tool)) {
            buckets.push(Bucket { scope: Scope::Tool, key: format!("q:o:{tool_id}"), rate });
        }
        buckets
    }
}

/// The limits of one agent that a person sets. `None`: the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AgentLimits {
    /// On all tools together.
    pub total: Option<Rate>,
    /// On each tool.
    pub each_tool: Option<Rate>,
}

/// The limits of one tool that a person sets. `None`: the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ToolLimits {
    /// For all agents together.
    pub total: Option<Rate>,
    /// For each agent.
    pub each_agent: Option<Rate>,
}

impl AgentLimits {
    /// Those of that agent.
    pub async fn load(tx: &mut TenantTx, agent: AgentId) -> Result<Self> {
        let table = LimitTable::load(tx).await?;
        Ok(Self { total: table.get(LimitScope::Agent(agent)), each_tool: table.get(LimitScope::AgentOnEachTool(agent)) })
    }

    /// Puts them in the place of what is set.
    pub async fn store(self, tx: &mut TenantTx, now: DateTime<Utc>, agent: AgentId) -> Result<()> {
        set(tx, LimitId::new(now), LimitScope::Agent(agent), self.total).await?;
        set(tx, LimitId::new(now), LimitScope::AgentOnEachTool(agent), self.each_tool).await
    }
}

impl ToolLimits {
    /// Those of that tool.
    pub async fn load(tx: &mut TenantTx, tool: ToolId) -> Result<Self> {
        let table = LimitTable::load(tx).await?;
        Ok(Self { total: table.get(LimitScope::Tool(tool)), each_agent: table.get(LimitScope::EachAgentOnTool(tool)) })
    }

    /// Puts them in the place of what is set.
    pub async fn store(self, tx: &mut TenantTx, now: DateTime<Utc>, tool: ToolId) -> Result<()> {
        set(tx, LimitId::new(now), LimitScope::Tool(tool), self.total).await?;
        set(tx, LimitId::new(now), LimitScope::EachAgentOnTool(tool), self.each_agent).await
    }
}

/// Reads a rate from two fields of a form, `{prefix}per_minute` and `{prefix}burst`. Both empty: none. Without a burst, a minute's calls
/// may come at once.
pub fn parse_rate(prefix: &str, per_minute: &str, burst: &str) -> Result<Option<Rate>> {
    let number = |field: &str, text: &str| {
        let number = text.parse::<u32>().ok().filter(|number| LIMITS.contains(number));
        number.ok_or_else(|| Error::invalid(format!("{prefix}{field}"), "expected a whole number from 1 to 6000000"))
    };
    match (per_minute.trim(), burst.trim()) {
        ("", "") => Ok(None),
        ("", _) => Err(Error::invalid(format!("{prefix}per_minute"), "enter the calls per minute too, or clear the burst")),
        (per_minute, "") => number("per_minute", per_minute).map(Rate::per_minute).map(Some),
        (per_minute, burst) => Ok(Some(Rate { per_minute: number("per_minute", per_minute)?, burst: number("burst", burst)? })),
    }
}

/// Sets a limit, or lets the default apply again. Part of the transaction of the change that wants it.
pub async fn set(tx: &mut TenantTx, id: LimitId, scope: LimitScope, rate: Option<Rate>) -> Result<()> {
    match rate {
        None => store::delete_limit(tx, scope).await,
        Some(rate) => {
            for (field, value) in [("per_minute", rate.per_minute), ("burst", rate.burst)] {
                if !LIMITS.contains(&value) {
                    return Err(Error::invalid(field, "expected 1 to 6000000"));
                }
            }
            store::upsert_limit(tx, id, scope, rate).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_read_from_two_fields() {
        assert_eq!(parse_rate("", "", " ").ok(), Some(None));
        assert_eq!(parse_rate("", "60", "").ok(), Some(Some(Rate::per_minute(60))));
        assert_eq!(parse_rate("", "60", "5").ok(), Some(Some(Rate { per_minute: 60, burst: 5 })));
        for (per_minute, burst) in [("", "5"), ("0", ""), ("6000001", ""), ("1.5", ""), ("-1", ""), ("60", "0"), ("x", "y")] {
            assert!(parse_rate("each_", per_minute, burst).is_err(), "{per_minute} {burst}");
        }
    }
}
