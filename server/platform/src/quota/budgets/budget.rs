//! A budget, and what a call reserves of it.

use std::collections::HashMap;

use super::{Period, store};
use crate::{
    actor::Permission,
    db::TenantTx,
    error::{Error, Result},
    ids::{AgentId, BudgetId, TenantId, ToolId},
    quota::{Of, Scope, charge::DAY_S},
};

/// What a budget may be, in micro-units, as in the table's check: a billion.
const AMOUNTS: std::ops::RangeInclusive<i64> = 1..=1_000_000_000_000_000;
/// At which share owners may be told.
const SHARES: std::ops::RangeInclusive<i16> = 1..=99;
/// Above every sum there can be: of a budget that does not block.
const NEVER: i64 = 9_000_000_000_000_000;

/// Whose spending a budget is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BudgetScope {
    /// All of the tenant's.
    Tenant,
    /// One agent's.
    Agent(AgentId),
    /// One tool's.
    Tool(ToolId),
}

impl BudgetScope {
    /// Whose it is, as a refusal says it.
    pub fn of(self) -> Of {
        match self {
            Self::Tenant => Of::Tenant,
            Self::Agent(_) => Of::Agent,
            Self::Tool(_) => Of::Tool,
        }
    }

    /// Who may set it.
    pub(super) fn permission(self) -> Permission {
        match self {
            Self::Tenant => Permission::ManageTenant,
            Self::Agent(_) => Permission::ManageAgents,
            Self::Tool(_) => Permission::ManageTools,
        }
    }

    pub(super) fn noun(self) -> &'static str {
        self.of().as_str()
    }

    /// Id of what it is about.
    pub(super) fn subject(self, tenant: TenantId) -> String {
        match self {
            Self::Tenant => tenant.to_string(),
            Self::Agent(id) => id.to_string(),
            Self::Tool(id) => id.to_string(),
        }
    }

    /// Agent and tool, as columns have them.
    pub(super) fn ids(self) -> (Option<AgentId>, Option<ToolId>) {
        match self {
            Self::Tenant => (None, None),
            Self::Agent(id) => (Some(id), None),
            Self::Tool(id) => (None, Some(id)),
        }
    }
}

/// What a person says of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// So much, in micro-units.
    pub amount_micro: i64,
    /// At which share of it owners are told. `None`: when it is spent.
    pub warn_percent: Option<i16>,
    /// Are calls refused that it has nothing left for? If not, owners are told, and that is all.
    pub blocks: bool,
}

impl Terms {
    pub(super) fn check(&self, period: Period) -> Result<()> {
        if !AMOUNTS.contains(&self.amount_micro) {
            let field = format!("{}_amount", period.as_str());
            return Err(Error::invalid(field, "expected more than 0 and at most 1000000000"));
        }
        if self.warn_percent.is_some_and(|share| !SHARES.contains(&share)) {
            let field = format!("{}_warn", period.as_str());
            return Err(Error::invalid(field, "expected a whole number from 1 to 99, or nothing"));
        }
        Ok(())
    }

    /// From which sum on owners are told.
    pub(super) fn warns_at(&self) -> Option<i64> {
        let share = i128::from(self.warn_percent?);
        i64::try_from((i128::from(self.amount_micro) * share + 99) / 100).ok()
    }
}

/// So much money in each day or month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Its id.
    pub id: BudgetId,
    /// Whose spending it is about.
    pub scope: BudgetScope,
    /// How long it lasts.
    pub period: Period,
    /// How much, and what happens then.
    pub terms: Terms,
}

/// Budgets of a tenant, for look-up on the path of a call.
#[derive(Debug, Clone, Default)]
pub struct BudgetTable(HashMap<BudgetScope, Vec<Budget>>);

impl BudgetTable {
    /// Loads a tenant's budgets.
    pub async fn load(tx: &mut TenantTx) -> Result<Self> {
        let mut table: HashMap<_, Vec<_>> = HashMap::new();
        for budget in store::list(tx).await? {
            table.entry(budget.scope).or_default().push(budget);
        }
        Ok(Self(table))
    }

    /// What an agent's call to a tool reserves where it will probably cost that much. A free one reserves nothing.
    pub fn reserve(&self, agent: AgentId, tool: ToolId, amount_micro: i64) -> Vec<Reservation> {
        if amount_micro == 0 {
            return Vec::new();
        }
        let scopes = [BudgetScope::Agent(agent), BudgetScope::Tool(tool), BudgetScope::Tenant];
        let budgets = scopes.iter().filter_map(|scope| self.0.get(scope)).flatten();
        budgets.map(|budget| Reservation { budget: budget.clone(), amount_micro }).collect()
    }
}

/// What one call reserves of one budget.
#[derive(Debug, Clone)]
pub struct Reservation {
    /// Of which.
    pub budget: Budget,
    /// How much, in micro-units.
    pub amount_micro: i64,
}

impl Reservation {
    /// What it limits.
    pub fn scope(&self) -> Scope {
        Scope::Budget(self.budget.scope.of())
    }

    /// The most that its counter may come to.
    pub(in crate::quota) fn most(&self) -> i64 {
        if self.budget.terms.blocks { self.budget.terms.amount_micro } else { NEVER }
    }

    /// Name of its counter on that day, unique in the tenant.
    pub(in crate::quota) fn key(&self, day: i64) -> String {
        let (begins, _) = self.budget.period.around(day);
        format!("b:{}:{}{begins}", self.budget.id.uuid().simple(), self.budget.period.as_str())
    }

    /// When its period ends, in seconds.
    pub(in crate::quota) fn ends_s(&self, day: i64) -> i64 {
        self.budget.period.around(day).1 * DAY_S
    }

    /// Seconds of its period.
    pub(in crate::quota) fn window_s(&self, day: i64) -> u64 {
        let (begins, ends) = self.budget.period.around(day);
        u64::try_from((ends - begins) * DAY_S).unwrap_or(0)
    }

    /// How long its counter lives from that day on, in seconds: it outlives its period, so that whoever's clock is late finds it.
    pub(super) fn lives_s(&self, day: i64) -> i64 {
        self.ends_s(day) - day * DAY_S + DAY_S
    }
}

/// Where the reservations of a counter are.
pub(in crate::quota) fn reservations_of(counter: &str) -> String {
    format!("{counter}:open")
}

/// Where the round is named in which the record is read to begin a counter.
pub(super) fn round_of(counter: &str) -> String {
    format!("{counter}:round")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_bounded_and_warn_not_before_their_share() {
        let terms = |amount_micro, warn_percent| Terms { amount_micro, warn_percent, blocks: true };
        for (amount, share) in [(0, None), (-1, None), (*AMOUNTS.end() + 1, None), (5, Some(0)), (5, Some(100))] {
            assert!(terms(amount, share).check(Period::Day).is_err(), "{amount} {share:?}");
        }
        assert!(terms(*AMOUNTS.end(), Some(99)).check(Period::Month).is_ok());
        assert_eq!(terms(1_000, Some(80)).warns_at(), Some(800));
        assert_eq!(terms(1, Some(1)).warns_at(), Some(1));
        assert_eq!(terms(1_000, None).warns_at(), None);
    }
}
