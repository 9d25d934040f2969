//! What a call is charged to: buckets that fill again, counters of a day, sets of what runs.

use super::{
    Scope,
    bucket::Bucket,
    budgets::{Reservation, reservations_of},
};
use crate::{
    ids::{AgentId, ToolId},
    redis::{Invocation, Redis},
};

/// Seconds of a day.
pub(super) const DAY_S: i64 = 86_400;
/// A counter outlives its day, so that whoever's clock is late finds it.
const COUNTER_LIVES_S: i64 = 2 * DAY_S;

/// Whose uses a counter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Counted {
    /// One agent's.
    Agent(AgentId),
    /// One tool's.
    Tool(ToolId),
    /// The tenant's.
    Tenant,
}

/// So much in one day (UTC).
#[derive(Debug, Clone)]
pub struct Counter {
    /// What it limits.
    pub scope: Scope,
    /// Whose.
    pub of: Counted,
    /// Its name, unique in the tenant; the key has the date too.
    pub name: String,
    /// What this call adds.
    pub amount: u64,
    /// The most of a day.
    pub most: u64,
}

impl Counter {
    /// Its name on that day (days since 1970).
    pub(super) fn key(&self, day: i64) -> String {
        format!("{}:{day}", self.name)
    }
}

/// So many at the same time.
#[derive(Debug, Clone)]
pub struct Seats {
    /// What it limits.
    pub scope: Scope,
    /// Its key, unique in the tenant.
    pub key: String,
    /// The most at once.
    pub most: u32,
}

/// Everything that one call is charged to: all of it or nothing.
#[derive(Debug, Clone, Default)]
pub struct Charge {
    /// Rates.
    pub buckets: Vec<Bucket>,
    /// Sums of a day.
    pub counters: Vec<Counter>,
    /// What is reserved of budgets.
    pub budgets: Vec<Reservation>,
    /// What runs at the same time.
    pub seats: Vec<Seats>,
}

impl From<Bucket> for Charge {
    fn from(bucket: Bucket) -> Self {
        Self { buckets: vec![bucket], ..Self::default() }
    }
}

impl Charge {
    /// Keys and arguments for the script, in its order.
    pub(super) fn put(&self, script: &mut Invocation<'_>, day: i64, key: impl Fn(&str) -> String) {
        script.arg(self.buckets.len()).arg(self.counters.len() + self.budgets.len()).arg(self.budgets.len());
        for bucket in &self.buckets {
            script.key(key(&bucket.key)).arg(bucket.rate.interval_us()).arg(bucket.rate.burst);
        }
        for counter in &self.counters {
            script.key(key(&counter.key(day))).arg(counter.amount).arg(counter.most).arg((day + 1) * DAY_S);
        }
        for budget in &self.budgets {
            script.key(key(&budget.key(day))).arg(budget.amount_micro).arg(budget.most()).arg(budget.ends_s(day));
        }
        for seats in &self.seats {
            script.key(key(&seats.key)).arg(seats.most);
        }
        for budget in &self.budgets {
            script.key(key(&reservations_of(&budget.key(day))));
        }
    }

    /// The same for what is given back. What was reserved of budgets is settled by the record, whatever became of the call.
    pub(super) fn put_back(&self, script: &mut Invocation<'_>, day: i64, key: impl Fn(&str) -> String) {
        script.arg(self.buckets.len());
        for bucket in &self.buckets {
            script.key(key(&bucket.key)).arg(bucket.rate.interval_us());
        }
        for counter in &self.counters {
            script.key(key(&counter.key(day))).arg(counter.amount);
        }
    }

    /// Keys and arguments that begin counters with what was used.
    pub(super) fn put_seeds(&self, script: &mut Invocation<'_>, day: i64, used: &[(usize, u64)], key: impl Fn(&str) -> String) {
        for (counter, used) in used.iter().filter_map(|(index, used)| self.counters.get(*index).map(|counter| (counter, used))) {
            script.key(key(&counter.key(day))).arg(*used).arg(COUNTER_LIVES_S);
        }
    }
}

/// A key of the installation's own tenants.
pub(super) fn tenant_key(redis: &Redis, tenant: crate::ids::TenantId) -> impl Fn(&str) -> String + '_ {
    move |name| redis.tenant_key(tenant, name)
}
