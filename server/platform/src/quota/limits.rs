//! Limits that depart from the defaults, and what a call is charged to.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use trunkline_protocol::oauth::scope::Effect;

use super::{
    Of, Scope, Settings,
    bucket::{Bucket, Rate},
    charge::{Charge, Counted, Counter, Seats},
    store,
};
use crate::{
    audit::Difference,
    db::TenantTx,
    error::{Error, Result},
    ids::{AgentId, LimitId, TenantId, ToolId},
};

/// What a rate may be, as in the table's check.
const RATES: std::ops::RangeInclusive<u32> = 1..=6_000_000;
/// What a day's limit may be. None at all is a refusal for good.
const DAYS: std::ops::RangeInclusive<u32> = 0..=2_000_000_000;
/// What may run at the same time.
const AT_ONCE: std::ops::RangeInclusive<u32> = 1..=10_000;

/// A limit that somebody has set. `None`: the default, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limit {
    /// Calls per minute, and at once.
    pub rate: Option<Rate>,
    /// Calls per day (UTC).
    pub per_day: Option<u32>,
    /// Calls that run at the same time.
    pub at_once: Option<u32>,
}

impl From<Rate> for Limit {
    fn from(rate: Rate) -> Self {
        Self { rate: Some(rate), ..Self::default() }
    }
}

impl Limit {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The same under a ceiling: neither more than the one nor more than the other.
    fn under(self, ceiling: &Self) -> Self {
        let lower = |a: Option<u32>, b: Option<u32>| a.into_iter().chain(b).min();
        let rate = match (self.rate, ceiling.rate) {
            (Some(own), Some(most)) => {
                Some(Rate { per_minute: own.per_minute.min(most.per_minute), burst: own.burst.min(most.burst) })
            }
            (own, most) => own.or(most),
        };
        Self { rate, per_day: lower(self.per_day, ceiling.per_day), at_once: lower(self.at_once, ceiling.at_once) }
    }

    /// Notes what differs after a change.
    pub fn note(&self, after: &Self, difference: Difference) -> Difference {
        note_rate("", self.rate, after.rate, difference).of("per_day", self.per_day, after.per_day).of(
            "at_once",
            self.at_once,
            after.at_once,
        )
    }

    pub(super) fn check(&self) -> Result<()> {
        if let Some(rate) = self.rate {
            for (field, value) in [("per_minute", rate.per_minute), ("burst", rate.burst)] {
                if !RATES.contains(&value) {
                    return Err(Error::invalid(field, "expected 1 to 6000000"));
                }
            }
        }
        if self.per_day.is_some_and(|most| !DAYS.contains(&most)) {
            return Err(Error::invalid("per_day", "expected 0 to 2000000000"));
        }
        if self.at_once.is_some_and(|most| !AT_ONCE.contains(&most)) {
            return Err(Error::invalid("at_once", "expected 1 to 10000"));
        }
        Ok(())
    }
}

fn note_rate(prefix: &str, before: Option<Rate>, after: Option<Rate>, difference: Difference) -> Difference {
    let part = |of: fn(Rate) -> u32| (before.map(of), after.map(of));
    let ((minute_before, minute_after), (burst_before, burst_after)) = (part(|rate| rate.per_minute), part(|rate| rate.burst));
    difference.of(format!("{prefix}per_minute"), minute_before, minute_after).of(
        format!("{prefix}burst"),
        burst_before,
        burst_after,
    )
}

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

/// Which call the charge is wanted for.
#[derive(Debug, Clone, Copy)]
pub struct ChargeOf {
    /// Whose agent.
    pub tenant: TenantId,
    /// Who calls.
    pub agent: AgentId,
    /// What is called.
    pub tool: ToolId,
    /// What it does to the world.
    pub effect: Effect,
    /// The agent has a tenth of its rates only.
    pub throttled: bool,
    /// Does it count among what runs? What waits somewhere has its place already.
    pub seated: bool,
}

/// Limits of a tenant, for look-up on the path of a call.
#[derive(Debug, Clone, Default)]
pub struct LimitTable {
    set: HashMap<LimitScope, Limit>,
    /// What the operator gives the whole tenant.
    plan: Limit,
}

impl LimitTable {
    /// Loads a tenant's limits.
    pub async fn load(tx: &mut TenantTx) -> Result<Self> {
        let set = store::load_limits(tx).await?.into_iter().collect();
        Ok(Self { set, plan: store::load_plan(tx).await?.unwrap_or_default() })
    }

    /// The same with those limits in the place of what is set.
    #[must_use]
    pub fn with(mut self, changed: &[(LimitScope, Limit)]) -> Self {
        self.set.extend(changed.iter().copied());
        self
    }

    /// The limit set on exactly that scope.
    pub fn get(&self, scope: LimitScope) -> Limit {
        self.set.get(&scope).copied().unwrap_or_default()
    }

    /// What holds for the whole tenant: its own limits under its plan's, which take the place of the installation's.
    pub fn of_tenant(&self, settings: &Settings) -> Limit {
        self.get(LimitScope::Tenant).under(&self.ceiling(settings))
    }

    /// The most that the tenant may have: its plan's limits, which take the place of the installation's.
    pub fn ceiling(&self, settings: &Settings) -> Limit {
        Limit { rate: Some(self.plan.rate.unwrap_or(settings.tenant)), ..self.plan }
    }

    /// Everything that one agent's call to one tool is charged to, narrowest first. The narrowest rule for (agent, tool) wins; wider limits come
    /// on top.
    pub fn charge(&self, settings: &Settings, call: &ChargeOf) -> Charge {
        let ChargeOf { tenant, agent, tool, effect, .. } = *call;
        let narrow =
            [LimitScope::AgentOnTool(agent, tool), LimitScope::EachAgentOnTool(tool), LimitScope::AgentOnEachTool(agent)];
        let agent_tool = narrow.into_iter().find_map(|scope| self.get(scope).rate).unwrap_or(settings.of_effect(effect));
        let (of_agent, of_tool, of_tenant) =
            (self.get(LimitScope::Agent(agent)), self.get(LimitScope::Tool(tool)), self.of_tenant(settings));
        let slowed = |rate: Rate| if call.throttled { rate.throttled() } else { rate };
        let (agent_id, tool_id, tenant_id) = (agent.uuid().simple(), tool.uuid().simple(), tenant.uuid().simple());
        let bucket = |scope, key, rate| Bucket { scope, key, rate };
        let mut buckets = vec![
            bucket(Scope::AgentTool, format!("q:{agent_id}:{tool_id}"), slowed(agent_tool)),
            bucket(Scope::Agent, format!("q:a:{agent_id}"), slowed(of_agent.rate.unwrap_or(settings.agent))),
            bucket(Scope::Tenant, format!("q:t:{tenant_id}"), of_tenant.rate.unwrap_or(settings.tenant)),
        ];
        if let Some(rate) = of_tool.rate {
            buckets.push(bucket(Scope::Tool, format!("q:o:{tool_id}"), rate));
        }
        let counter = |most: Option<u32>, of, counted, name| {
            most.map(|most| Counter { scope: Scope::Day(of), of: counted, name, amount: 1, most: most.into() })
        };
        let counters = [
            counter(of_agent.per_day, Of::Agent, Counted::Agent(agent), format!("n:a:{agent_id}")),
            counter(of_tool.per_day, Of::Tool, Counted::Tool(tool), format!("n:o:{tool_id}")),
            counter(of_tenant.per_day, Of::Tenant, Counted::Tenant, format!("n:t:{tenant_id}")),
        ];
        let seats = |of, key, most| Seats { scope: Scope::Concurrency(of), key, most };
        let mut runs = Vec::new();
        if call.seated {
            let default = settings.at_once.of_effect(effect);
            runs.push(seats(Of::Agent, format!("r:a:{agent_id}"), of_agent.at_once.unwrap_or(settings.at_once.agent)));
            runs.push(seats(Of::Tool, format!("r:o:{tool_id}"), of_tool.at_once.unwrap_or(default)));
            runs.extend(of_tenant.at_once.map(|most| seats(Of::Tenant, format!("r:t:{tenant_id}"), most)));
        }
        Charge { buckets, counters: counters.into_iter().flatten().collect(), budgets: Vec::new(), seats: runs }
    }
}

/// The limits of one agent that a person sets. `None`: the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AgentLimits {
    /// On all tools together.
    pub total: Limit,
    /// On each tool.
    pub each_tool: Option<Rate>,
}

/// The limits of one tool that a person sets. `None`: the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ToolLimits {
    /// For all agents together.
    pub total: Limit,
    /// For each agent.
    pub each_agent: Option<Rate>,
}

impl AgentLimits {
    /// Those of that agent.
    pub async fn load(tx: &mut TenantTx, agent: AgentId) -> Result<Self> {
        let table = LimitTable::load(tx).await?;
        Ok(Self { total: table.get(LimitScope::Agent(agent)), each_tool: table.get(LimitScope::AgentOnEachTool(agent)).rate })
    }

    /// Notes what differs after a change.
    pub fn note(&self, after: &Self, difference: Difference) -> Difference {
        note_rate("each_tool_", self.each_tool, after.each_tool, self.total.note(&after.total, difference))
    }

    /// What it sets, scope by scope.
    pub fn scopes(self, agent: AgentId) -> [(LimitScope, Limit); 2] {
        let each_tool = self.each_tool.map(Limit::from).unwrap_or_default();
        [(LimitScope::Agent(agent), self.total), (LimitScope::AgentOnEachTool(agent), each_tool)]
    }

    /// Puts them in the place of what is set.
    pub async fn store(self, tx: &mut TenantTx, now: DateTime<Utc>, agent: AgentId) -> Result<()> {
        for (scope, limit) in self.scopes(agent) {
            set(tx, LimitId::new(now), scope, limit).await?;
        }
        Ok(())
    }
}

impl ToolLimits {
    /// Those of that tool.
    pub async fn load(tx: &mut TenantTx, tool: ToolId) -> Result<Self> {
        let table = LimitTable::load(tx).await?;
        Ok(Self { total: table.get(LimitScope::Tool(tool)), each_agent: table.get(LimitScope::EachAgentOnTool(tool)).rate })
    }

    /// Notes what differs after a change.
    pub fn note(&self, after: &Self, difference: Difference) -> Difference {
        note_rate("each_agent_", self.each_agent, after.each_agent, self.total.note(&after.total, difference))
    }

    /// What it sets, scope by scope.
    pub fn scopes(self, tool: ToolId) -> [(LimitScope, Limit); 2] {
        let each_agent = self.each_agent.map(Limit::from).unwrap_or_default();
        [(LimitScope::Tool(tool), self.total), (LimitScope::EachAgentOnTool(tool), each_agent)]
    }

    /// Puts them in the place of what is set.
    pub async fn store(self, tx: &mut TenantTx, now: DateTime<Utc>, tool: ToolId) -> Result<()> {
        for (scope, limit) in self.scopes(tool) {
            set(tx, LimitId::new(now), scope, limit).await?;
        }
        Ok(())
    }
}

/// Reads a day's limit from a field of a form. Empty: none; 0: no call at all.
pub fn parse_per_day(field: &str, text: &str) -> Result<Option<u32>> {
    parse_number(field, text, DAYS, "expected a whole number from 0 to 2000000000, or nothing")
}

/// Reads from a field of a form how many calls run at the same time. Empty: the default.
pub fn parse_at_once(field: &str, text: &str) -> Result<Option<u32>> {
    parse_number(field, text, AT_ONCE, "expected a whole number from 1 to 10000, or nothing")
}

fn parse_number(field: &str, text: &str, range: std::ops::RangeInclusive<u32>, expected: &'static str) -> Result<Option<u32>> {
    match text.trim() {
        "" => Ok(None),
        text => match text.parse().ok().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(Error::invalid(field.to_owned(), expected)),
        },
    }
}

/// Reads a rate from two fields of a form, `{prefix}per_minute` and `{prefix}burst`. Both empty: none. Without a burst, a minute's calls
/// may come at once.
pub fn parse_rate(prefix: &str, per_minute: &str, burst: &str) -> Result<Option<Rate>> {
    let number = |field: &str, text: &str| {
        let number = text.parse::<u32>().ok().filter(|number| RATES.contains(number));
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
pub async fn set(tx: &mut TenantTx, id: LimitId, scope: LimitScope, limit: Limit) -> Result<()> {
    limit.check()?;
    if limit.is_default() { store::delete_limit(tx, scope).await } else { store::upsert_limit(tx, id, scope, limit).await }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceiling_is_never_passed() {
        let plan = Limit { rate: Some(Rate { per_minute: 100, burst: 10 }), per_day: Some(1_000), at_once: None };
        let own = Limit { rate: Some(Rate { per_minute: 50, burst: 50 }), per_day: Some(5_000), at_once: Some(3) };
        let holds = own.under(&plan);
        assert_eq!(holds, Limit { rate: Some(Rate { per_minute: 50, burst: 10 }), per_day: Some(1_000), at_once: Some(3) });
        assert_eq!(Limit::default().under(&plan), plan);
    }

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
